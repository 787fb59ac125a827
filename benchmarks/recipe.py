"""What each choice in our recipe gains: `standard` with one thing changed at a time, at an equal time.

    python benchmarks/recipe.py [--clips blackswan,dog] [--seconds 120] [--jobs 2]

Trains on the `object` protocol of clips.py, one thread a training, and prints PSNR in the hole (dB) on the
sRGB-encoded frames, as quality.py does. Differences below about 0.3 dB are within what another seed changes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import internal_inpaint  # noqa: F401 (first: OpenMP reads how its threads wait when PyTorch is loaded)

# isort: split
import numpy as np
import torch
from internal_inpaint.rendering.cascade import Cascade, RenderStage
from internal_inpaint.training.loop import Hooks, Trainer, best_network

from clips import Shot, parse_clips, parse_size, prepare
from internal_inpaint.methods.implicit.networks import NetworkConfig
from internal_inpaint.rendering.frames import Renderer
from internal_inpaint.report.contact_sheet import srgb_encoded
from internal_inpaint.shot import FrameStore, ShotSettings, build_store, open_shot
from internal_inpaint.shot import Shot as OpenedShot
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import PRESETS, TrainingConfig
from metrics import psnr_in_hole

STANDARD = PRESETS["standard"]
VARIANTS: dict[str, TrainingConfig] = {
    "standard": STANDARD,
    "first weights: Glorot": replace(STANDARD, initialisation="glorot"),
    "Adam 1e-3 for all": replace(STANDARD, optimiser="adam", lr=1e-3),
    "every known pixel the same": replace(STANDARD, hole_weight=None),
    "whole frames, batch 3": replace(STANDARD, crop_scale=None, batch=3),
    "step size x 2": replace(STANDARD, lr=2 * STANDARD.lr),
    "step size / 2": replace(STANDARD, lr=STANDARD.lr / 2),
    "batch 4": replace(STANDARD, batch=4),
    "batch 8 whatever the crop": replace(STANDARD, batch_pixels=(10**9, 10**9)),
    "full width": replace(STANDARD, network=NetworkConfig("base")),
    "stacked": replace(STANDARD, network=NetworkConfig("stacked", width=0.5)),
}


@dataclass(frozen=True)
class Learned:
    """A shot as the network saw it, and the training on it."""

    shot: Shot
    opened: OpenedShot
    store: FrameStore
    trainer: Trainer

    def filled(self) -> np.ndarray:
        """What the best weights make of the shot: display-encoded frames [N, H, W, 3], 0..1."""
        stage = RenderStage(best_network(self.trainer), self.store.frames, self.store.state)
        renderer = Renderer(Cascade([stage]), self.store.working_space.to_linear)
        results = []
        for index in range(len(self.opened.pictures)):
            loaded = self.opened.load(index)
            results.append(srgb_encoded(renderer.render(index, loaded.rgb, loaded.alpha)[0]))
        return np.stack(results)


def learn(shot: Shot, config: TrainingConfig, budget: Budget, folder: Path) -> Learned:
    """Train on a shot with one thread and without stopping early; ``folder`` takes the frame store."""
    torch.set_num_threads(1)
    opened = open_shot(ShotSettings(shot.plate, shot.matte, f"{shot.frames[0]}-{shot.frames[-1]}", grow=0, feather=0))
    store = build_store(opened, folder / "store", (opened.canvas.height, opened.canvas.width))
    frames, state = torch.from_numpy(np.array(store.frames)), torch.from_numpy(np.array(store.state))
    trainer = Trainer(replace(config, patience=0), frames, state, torch.device("cpu"))
    # Processor time of the one thread: what else the machine does takes nothing from any variant.
    trainer.run(budget, Hooks(clock=time.process_time))
    return Learned(shot, opened, store, trainer)


def measure(shot: Shot, config: TrainingConfig, seconds: float) -> tuple[float, int]:
    """PSNR in the hole after so many seconds, and the steps that fitted into them."""
    with tempfile.TemporaryDirectory() as folder:
        learned = learn(shot, config, Budget(seconds=seconds), Path(folder))
        return psnr_in_hole(learned.filled(), shot.truth(), shot.holes()), learned.trainer.counters.step


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what each choice of the recipe gains.")
    parser.add_argument("--clips", type=parse_clips, default="blackswan,dog")
    parser.add_argument("--size", type=parse_size, default="240x136", metavar="WIDTHxHEIGHT")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    options = parser.parse_args()
    shots = {clip: prepare(clip, "object", options.size, None) for clip in options.clips}
    columns = [f"{clip} (steps)" for clip in shots]
    print(f"| recipe | {' | '.join(columns)} | mean |\n|---{'|---' * (len(columns) + 1)}|")
    with ProcessPoolExecutor(options.jobs) as pool:
        runs = {
            name: [pool.submit(measure, shot, VARIANTS[name], options.seconds) for shot in shots.values()]
            for name in options.variants.split(",")
        }
        for name, futures in runs.items():
            found = [future.result() for future in futures]
            cells = " | ".join(f"{psnr:.2f} ({steps})" for psnr, steps in found)
            print(f"| {name} | {cells} | {np.mean([psnr for psnr, _ in found]):.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

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
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from clips import Shot, parse_clips, parse_size, prepare
from internal_inpaint.methods.implicit.networks import NetworkConfig
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import PRESETS, TrainingConfig, with_network
from learned import learn, with_method
from metrics import psnr_in_hole

STANDARD = PRESETS["standard"]
VARIANTS: dict[str, TrainingConfig] = {
    "standard": STANDARD,
    "first weights: Glorot": with_method(STANDARD, initialisation="glorot"),
    "Adam 1e-3 for all": replace(STANDARD, optimiser="adam", lr=1e-3),
    "every known pixel the same": with_method(STANDARD, hole_weight=None),
    "whole frames, batch 3": replace(STANDARD, crop_scale=None, batch=3),
    "step size x 2": replace(STANDARD, lr=2 * STANDARD.lr),
    "step size / 2": replace(STANDARD, lr=STANDARD.lr / 2),
    "batch 4": replace(STANDARD, batch=4),
    "batch 8 whatever the crop": replace(STANDARD, batch_pixels=(10**9, 10**9)),
    "full width": with_method(STANDARD, network=NetworkConfig("base")),
    "stacked": with_network(STANDARD, "stacked"),
}


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

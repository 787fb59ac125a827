"""What the finer levels gain: a sample shot learned at one level and enlarged, and learned progressively.

    python benchmarks/progressive.py --size 864x480 --seconds 300

The same processor time on one thread for both. The shot is made by code (``internal-inpaint demo``), so the
truth is known. Detail is told by the picture's gradients inside the hole, away from its edge: how much of the
truth's there is of them, and how far they lie where the truth's do (correlation).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from clips import CACHE, frame_path, parse_size, read_display
from contact_sheet import contact_sheet, with_hole
from internal_inpaint.demo import make_sample_shot
from internal_inpaint.shot import Shot, ShotSettings, build_stores, open_shot
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import Progressive, TrainingConfig, preset
from internal_inpaint.training.fill_task import fill_trainer
from internal_inpaint.training.levels import plan_levels
from internal_inpaint.training.state import Hooks
from learned import CPU, filled, planes, trained_level
from metrics import psnr_in_hole

EDGE = 5  # pixels of the hole's edge that detail is not measured in


def fill(shot: Shot, config: TrainingConfig, seconds: float, folder: Path) -> tuple[np.ndarray, str]:
    """The shot filled after so many seconds of training, display-encoded [N, H, W, 3], and the levels' steps."""
    levels = plan_levels((shot.canvas.height, shot.canvas.width), config, on_cuda=False)
    stores = build_stores(shot, folder, [level.size for level in levels])
    trainer, trained, steps = None, [], []
    for level, store in zip(levels, stores, strict=True):
        trainer = fill_trainer(replace(level.config, patience=0), *planes(store), CPU, coarser=trainer)
        trainer.run(level.budget(Budget(seconds=seconds)), Hooks(clock=time.process_time))
        trained.append(trained_level(trainer, store.frames, store.state))
        steps.append(f"{level.name}: {trainer.counters.step} steps")
    return filled(shot, trained, stores[0].working_space), ", ".join(steps)


def detail(result: np.ndarray, truth: np.ndarray, holes: np.ndarray) -> tuple[float, float]:
    """Mean gradient over the truth's, and correlation of both, inside the holes away from their edge."""
    inner = np.stack([cv2.erode(h.astype(np.uint8), np.ones((2 * EDGE + 1,) * 2)) > 0 for h in holes])

    def gradient(pictures: np.ndarray) -> np.ndarray:
        grey = pictures.mean(axis=-1)
        return np.hypot(*np.gradient(grey, axis=(1, 2)))[inner]

    ours, true = gradient(result), gradient(truth)
    return float(ours.mean() / true.mean()), float(np.corrcoef(ours, true)[0, 1])


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what the finer levels gain.")
    parser.add_argument("--size", type=parse_size, default="864x480", metavar="WIDTHxHEIGHT")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--weights", default="0.25,0.5", help="budgets of a finer level over the first's to try")
    parser.add_argument("--sheet", type=Path, default=CACHE / "progressive.png")
    options = parser.parse_args()
    torch.set_num_threads(1)
    standard = preset("standard", "implicit")
    variants = {"one level, enlarged": replace(standard, progressive=None)}
    for weight in map(float, options.weights.split(",")):
        variants[f"progressive, weight {weight:g}"] = replace(
            standard, progressive=Progressive(weight=(weight, weight))
        )
    print("| fill | levels | PSNR hole (dB) | detail | where it belongs |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        sample = make_sample_shot(Path(folder) / "shot", options.frames, *options.size)
        shot = open_shot(ShotSettings(sample.plate, sample.matte))
        truth = np.stack([read_display(frame_path(sample.clean, number)) for number in sample.frames])
        plates = np.stack([read_display(frame_path(sample.plate, number)) for number in sample.frames])
        holes = np.stack([shot.load(index).alpha > 0.5 for index in range(len(shot.pictures))])
        columns = {"plate and hole": with_hole(plates, holes)}
        for name, config in variants.items():
            result, levels = fill(shot, config, options.seconds, Path(folder) / "store")
            columns[name] = result
            amount, place = detail(result, truth, holes)
            psnr = psnr_in_hole(result, truth, holes)
            print(f"| {name} | {levels} | {psnr:.2f} | {amount:.2f} | {place:.2f} |", flush=True)
        contact_sheet({**columns, "truth": truth}, options.sheet)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The analysis of the paper's appendix B on our clips: network, length of the shot, kind of synthetic hole.

    python benchmarks/analysis.py complexity
    python benchmarks/analysis.py capacity
    python benchmarks/analysis.py length
    python benchmarks/analysis.py masks

Each trains the `standard` recipe with one thing changed, one thread a training, without stopping early, and prints
Markdown tables. Times are processor time of that thread. Every figure is saved as soon as it is known and is not
measured again: an interrupted study goes on where it was, and one with more clips measures only what is new.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch

from clips import CACHE, CLIPS, Shot, parse_clips, parse_size, prepare
from internal_inpaint.methods.base import Clip
from internal_inpaint.methods.implicit.networks import NetworkConfig
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import PRESETS, TrainingConfig, with_network
from internal_inpaint.training.validation import HeldOut, held_out_psnr
from learned import Learned, learn, with_method
from metrics import flows, psnr_in_hole
from results import Results, collect, table

STANDARD = PRESETS["standard"]
NETWORKS: dict[str, TrainingConfig] = {
    **{f"{kind} x0.5": with_network(STANDARD, kind) for kind in ("base", "stacked", "coarse-to-fine")},
    **{
        f"{kind} x1": with_method(STANDARD, network=NetworkConfig(kind))
        for kind in ("base", "stacked", "coarse-to-fine")
    },
}
HOLES: dict[str, TrainingConfig] = {
    "object mattes": STANDARD,
    "random strokes": replace(STANDARD, holes="strokes"),
}
LENGTHS = (5, 20, 80)
SHARED_FRAMES = min(LENGTHS)  # in the shot whatever its length
REMEMBERED_HOLES = 40


@dataclass(frozen=True)
class Trial:
    """One training; two equal ones need to be made only once. ``steps`` or ``seconds`` ends it."""

    study: str
    protocol: str
    clip: str
    variant: str
    size: str
    frames: int
    steps: int | None
    seconds: float | None

    @property
    def config(self) -> TrainingConfig:
        return {**NETWORKS, **HOLES}.get(self.variant, STANDARD)

    @property
    def budget(self) -> str:
        """In words."""
        return f"{self.steps} steps" if self.seconds is None else f"{self.seconds:g} s"


def measure(trial: Trial, shot: Shot) -> dict[str, float]:
    """Train, fill, and score: see ``REPORTS`` for what the figures are."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        learned = learn(shot, trial.config, Budget(trial.steps, trial.seconds), Path(folder))
        counters, result = learned.trainer.counters, learned.filled()
        truth, holes = shot.truth(), shot.holes()
        found = {
            "psnr_hole": psnr_in_hole(result, truth, holes),
            "steps_done": counters.step,
            "training_s": counters.seconds,
            "step_s": counters.seconds / counters.step,
            "parameters": sum(weights.numel() for weights in learned.trainer.network.parameters()) / 1e6,
        }
        if trial.study == "length":
            first = slice(SHARED_FRAMES)
            found["psnr_hole_first"] = psnr_in_hole(result[first], truth[first], holes[first])
            found |= {"psnr_shown": shown(learned), "psnr_remembered": remembered(learned)}
            if counters.best_psnr is not None:
                found["psnr_held_out"] = counters.best_psnr
    found["all_s"] = time.process_time() - began
    return {name: round(float(value), 3) for name, value in found.items()}


@torch.no_grad()
def shown(learned: Learned) -> float:
    """PSNR (dB, working space) of the known pixels when the network looks at them: what rendering sees."""
    method, network = learned.trainer.method, learned.trainer.best_network()
    squared, count = 0.0, 0
    for frame, state in zip(learned.store.frames, learned.store.state, strict=True):
        pixels = torch.from_numpy(frame.astype(np.float32)).permute(2, 0, 1)[None]
        mask = torch.from_numpy(np.asarray(state) != PixelState.KNOWN)[None, None].float()
        error = (method.fill(network, Clip(pixels[:, None], mask[:, None])) - pixels) / 2
        squared += float((error.square() * (1 - mask)).sum())
        count += 3 * int((1 - mask).sum())
    return -10 * float(np.log10(squared / count))


def remembered(learned: Learned) -> float:
    """PSNR (dB, working space) inside synthetic holes over pixels that training had: what the network knows by heart.

    The holes are drawn as training draws them; pixels held out for validation do not count.
    """
    trainer, rng = learned.trainer, np.random.default_rng(99)
    task = trainer.task
    sampler = task._sampler(task.size, task.held_out.masks)
    holes = HeldOut(tuple(sampler.draw(rng) for _ in range(REMEMBERED_HOLES)), {})
    return held_out_psnr(partial(trainer.method.fill, trainer.best_network()), sampler, holes)


def motion_and_texture(shot: Shot) -> tuple[float, float]:
    """Mean motion (pixels a frame, OpenCV DIS) and mean gradient (8-bit code values a pixel) of the whole plate."""
    truth = shot.truth()
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in truth]) * 255
    gradient = np.hypot(*np.gradient(grey, axis=(1, 2)))
    return float(np.linalg.norm(flows(truth), axis=-1).mean()), float(gradient.mean())


def complexity(options: argparse.Namespace) -> int:
    """Print how complex each clip is."""
    rows = {}
    for clip in options.clips:
        shot = prepare(clip, "fixed", options.size)
        motion, texture = motion_and_texture(shot)
        rows[clip] = {
            "frames": len(shot.frames),
            "motion": motion,
            "texture": texture,
            "complexity": motion * texture,
        }
    rows = dict(sorted(rows.items(), key=lambda row: row[1]["complexity"]))
    print(table(rows, ["frames", "motion", "texture", "complexity"], "clip", {"frames": 0, "complexity": 1}))
    return 0


def report_by_clip(results: Results, trials: list[Trial]) -> str:
    """A table a budget: PSNR in the hole by clip, what the network weighs, what it cost."""
    parts = []
    for budget in dict.fromkeys(trial.budget for trial in trials):
        chosen = [trial for trial in trials if trial.budget == budget]
        clips = list(dict.fromkeys(trial.clip for trial in chosen))
        rows: dict[str, dict[str, float]] = {}
        for variant in dict.fromkeys(trial.variant for trial in chosen):
            found = {t.clip: r for t in chosen if t.variant == variant and (r := results.find(t))}
            if not found:
                continue
            rows[variant] = {clip: record["psnr_hole"] for clip, record in found.items()}
            rows[variant]["parameters (M)"] = next(iter(found.values()))["parameters"]
            for title, name in (("s a step", "step_s"), ("steps", "steps_done"), ("training s", "training_s")):
                rows[variant][title] = float(np.mean([record[name] for record in found.values()]))
            if len(found) == len(clips):  # a mean over some of the clips could not be compared with the others
                rows[variant]["mean"] = float(np.mean([record["psnr_hole"] for record in found.values()]))
        columns = [*clips, "mean", "parameters (M)", "s a step", "steps", "training s"]
        digits = {"steps": 0, "training s": 0}
        parts.append(f"### {budget}: PSNR in the hole, dB\n\n{table(rows, columns, 'variant', digits)}\n")
    return "\n".join(parts)


def report_lengths(results: Results, trials: list[Trial]) -> str:
    """A table a clip and budget, a row a length."""
    titles = {
        "psnr_shown": "known, shown",
        "psnr_remembered": "known, hidden",
        "psnr_held_out": "held out",
        "psnr_hole": "hole",
        "psnr_hole_first": f"hole, first {SHARED_FRAMES} frames",
        "steps_done": "steps",
        "step_s": "s a step",
        "training_s": "training s",
    }
    parts = []
    for clip, budget in dict.fromkeys((trial.clip, trial.budget) for trial in trials):
        chosen = [trial for trial in trials if (trial.clip, trial.budget) == (clip, budget)]
        found = {trial.variant: record for trial in chosen if (record := results.find(trial))}
        rows = {
            variant: {title: record[name] for name, title in titles.items() if name in record}
            for variant, record in found.items()
        }
        digits = {"steps": 0, "training s": 0}
        parts.append(f"### {clip}, {budget}: PSNR, dB\n\n{table(rows, titles.values(), 'length', digits)}\n")
    return "\n".join(parts)


REPORTS: dict[str, Callable[[Results, list[Trial]], str]] = {
    "capacity": report_by_clip,
    "length": report_lengths,
    "masks": report_by_clip,
}


def planned(options: argparse.Namespace) -> dict[Trial, Shot]:
    """The trials of a study, each with its shot."""
    budgets = [(steps, None) for steps in options.steps] + [(None, seconds) for seconds in options.seconds]
    make = partial(Trial, options.study, options.protocol, size="x".join(map(str, options.size)))
    trials = {}
    for steps, seconds in budgets:
        for clip in options.clips:
            if options.study == "length":
                for length in LENGTHS:
                    shot = prepare(clip, options.protocol, options.size, length)
                    count = len(shot.frames)
                    trials[make(clip, f"{count} frames", frames=count, steps=steps, seconds=seconds)] = shot
                continue
            shot = prepare(clip, options.protocol, options.size, options.frames)
            for variant in options.variants:
                if seconds is None and variant in options.at_equal_time_only:
                    continue
                trials[make(clip, variant, frames=len(shot.frames), steps=steps, seconds=seconds)] = shot
    return trials


def study(options: argparse.Namespace) -> int:
    """Measure what is missing, print the tables; 0, or 1 if any training failed."""
    results, trials = Results(options.save), planned(options)
    missing = [trial for trial in trials if results.find(trial) is None]
    # Fresh processes: one forked from a process whose threads have multiplied matrices may hang.
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(measure, trial, trials[trial]): trial for trial in missing}
        failed = collect(running, results, lambda trial: f"{trial.clip}, {trial.variant}, {trial.budget}")
    print(REPORTS[options.study](results, list(trials)))
    return 1 if failed else 0


def _numbers(kind: type) -> Callable[[str], list]:
    def parse(text: str) -> list:
        try:
            numbers = [kind(part) for part in text.split(",") if part]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text} is no list of numbers such as 60,120") from None
        if any(number <= 0 for number in numbers):
            raise argparse.ArgumentTypeError(f"{text}: a training is longer than nothing")
        return numbers

    return parse


def _variants(known: dict[str, TrainingConfig]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(known)}")
        return names

    return parse


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The analysis of the paper's appendix B on our clips.")
    studies = parser.add_subparsers(dest="study", required=True)

    def add(name: str, help: str, clips: str, action: Callable) -> argparse.ArgumentParser:
        one = studies.add_parser(name, help=help, description=help)
        one.add_argument("--clips", type=parse_clips, default=clips, help="all, or names separated by commas")
        one.add_argument("--size", type=parse_size, default="240x136", metavar="WIDTHxHEIGHT")
        one.set_defaults(action=action)
        return one

    def budget(one: argparse.ArgumentParser, name: str, steps: str, seconds: str, protocol: str) -> None:
        one.add_argument("--steps", type=_numbers(int), default=steps, help="budgets in steps, or ''")
        one.add_argument("--seconds", type=_numbers(float), default=seconds, help="budgets in seconds, or ''")
        one.add_argument("--jobs", type=int, default=1, help="how many trainings at a time")
        one.add_argument("--save", type=Path, default=CACHE / f"analysis-{name}.json", metavar="JSON")
        one.set_defaults(protocol=protocol, frames=None, at_equal_time_only=())

    add("complexity", "motion and texture of each clip", ",".join(CLIPS), complexity)
    one = add("capacity", "PSNR in the hole against the network, fixed mattes", "blackswan,bmx-trees", study)
    budget(one, "capacity", "100", "60", "fixed")
    chosen = "base x0.5,stacked x0.5,coarse-to-fine x0.5,base x1,coarse-to-fine x1"
    one.add_argument(
        "--networks", type=_variants(NETWORKS), default=chosen, dest="variants", help=", ".join(NETWORKS)
    )
    one.add_argument("--frames", type=int, help="use only this many frames of each clip")
    # A step of it takes nine of the smallest network's.
    one.set_defaults(at_equal_time_only=("stacked x1", "coarse-to-fine x1"))
    one = add("length", "how well shots of 5, 20 and 80 frames are learned, fixed mattes", "bmx-trees", study)
    budget(one, "length", "200", "", "fixed")
    one = add("masks", "object mattes against random strokes as synthetic holes", "blackswan,bmx-trees,goat", study)
    budget(one, "masks", "", "75", "object")
    one.add_argument("--frames", type=int, help="use only this many frames of each clip")
    one.set_defaults(variants=list(HOLES))
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = _parse_arguments(arguments)
    return options.action(options)


if __name__ == "__main__":
    sys.exit(main())

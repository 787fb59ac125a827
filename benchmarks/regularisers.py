"""What the two regularisers do (the paper's table 3), at an equal training time, against a known truth.

    python benchmarks/regularisers.py --clips all --seconds 160 --save docs/regularisers.json --sheets sheets
    python benchmarks/regularisers.py --clips goat,dog --variants "ambiguity=0.1 encoder=vgg19;ambiguity=0.1"
    python benchmarks/regularisers.py --cost

`object` protocol of clips.py. A clip is trained once without regularisers up to where they begin (three
quarters of the time); each variant goes on from those very weights, so that variants differ by nothing
else. Time is processor time of one thread: a term that makes a step dearer gets fewer steps. Figures are
saved as soon as they are known and not measured again.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
import torch.nn.functional as F

import metrics
from clips import CACHE, Shot, parse_clips, parse_size, prepare, shared_folder
from contact_sheet import contact_sheet
from internal_inpaint.methods.implicit.encoders import ENCODERS, Vgg19
from internal_inpaint.shot import build_store
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import PRESETS, TrainingConfig
from internal_inpaint.training.fill_task import fill_trainer
from internal_inpaint.training.state import Counters, Hooks
from internal_inpaint.training.trainer import Trainer
from internal_inpaint.vgg19 import load_vgg19
from learned import CPU, filled, opened, planes, trained_level, with_method
from results import Results, table
from speed import moving_pattern

VARIANTS = {
    "reconstruction only": "",
    "+ ambiguity": "ambiguity=0.1",
    "+ stabilisation": "stabilise=0.2",
    "both": "ambiguity=0.1 stabilise=0.2",
}
SCORES = {
    "psnr_frame": "PSNR frame (dB)",
    "psnr_hole": "PSNR hole (dB)",
    "ssim": "SSIM frame",
    "vgg_distance": "VGG distance in the hole",
    "sharpness": "sharpness of the fill",
    "temporal_error": "temporal error",
    "steps": "steps",
}
DIGITS = {SCORES["ssim"]: 4, SCORES["vgg_distance"]: 4, SCORES["steps"]: 0}
SHARE = 0.25


@dataclass(frozen=True)
class Measurement:
    """One variant on one clip; two equal ones need to be made only once."""

    clip: str
    variant: str
    size: str
    preset: str
    seconds: float
    seed: int


def vgg_distance(result: np.ndarray, truth: np.ndarray, holes: np.ndarray, vgg: Vgg19) -> float:
    """How far the fill is from the truth in VGG-19's relu3_4: mean cosine distance, 0 to 1, low is alike.

    Over the feature points of all frames whose 4x4 pixels are at least half hole; a blur is far from
    the texture it stands for, while PSNR forgives it.
    """
    total, count = 0.0, 0.0
    for pictures in zip(result, truth, holes, strict=True):
        if not pictures[2].any():
            continue
        pair = torch.from_numpy(np.stack(pictures[:2]).astype(np.float32)).permute(0, 3, 1, 2)
        inside = F.avg_pool2d(torch.from_numpy(pictures[2].astype(np.float32))[None], 4)[0] >= 0.5
        with torch.no_grad():
            ours, theirs = F.normalize(vgg.features(pair), dim=1)
        total += float((1 - (ours * theirs).sum(0))[inside].sum())
        count += float(inside.sum())
    return total / count if count else float("nan")


def sharpness(result: np.ndarray, truth: np.ndarray, holes: np.ndarray) -> float:
    """Gradient of the fill over that of the truth, inside the hole: 1 is as much detail as there was."""
    kernel = np.ones((3, 3), np.uint8)
    inside = np.stack([cv2.erode(hole.astype(np.uint8), kernel) > 0 for hole in holes])[:, 1:, 1:]

    def gradient(images: np.ndarray) -> float:
        steps = np.abs(np.diff(images, axis=1))[:, :, 1:] + np.abs(np.diff(images, axis=2))[:, 1:]
        return float(steps[inside].mean())

    return gradient(result) / gradient(truth)


class Subject:
    """A clip trained up to where the regularisers begin, from which every variant goes on."""

    def __init__(self, shot: Shot, config: TrainingConfig, seconds: float, seed: int, cache: Path) -> None:
        self.shot, self._config, self._seed = shot, replace(config, patience=0), seed
        self._opened = opened(shot)
        size = self._opened.canvas.height, self._opened.canvas.width
        with tempfile.TemporaryDirectory() as folder:
            store = build_store(self._opened, Path(folder) / "store", size)
            self._planes = planes(store)
        self._space = store.working_space
        self._budget = Budget(seconds=seconds)
        self._begun = self._train(cache)

    def finish(self, settings: dict, vgg: Vgg19 | None) -> tuple[np.ndarray, Trainer]:
        """Train the last share with ``settings`` and fill the shot; display-encoded ``[N, H, W, 3]``."""
        config = with_method(self._config, regularise_share=SHARE, **settings)
        trainer = self._trainer(config, vgg)
        begun = copy.deepcopy(self._begun)
        trainer.network.load_state_dict(begun["network"])
        trainer.optimisers["network"].load_state_dict(begun["optimiser"])
        trainer.rng.bit_generator.state = begun["counters"]["rng"]
        trainer.best, trainer.counters = begun["best"], Counters(**begun["counters"])
        trainer.run(self._budget, Hooks(clock=time.process_time))
        level = trained_level(trainer, *(plane.numpy() for plane in self._planes))
        return filled(self._opened, [level], self._space), trainer

    def _train(self, cache: Path) -> dict:
        """State of a trainer at three quarters of the time, from ``cache`` if it is there."""
        if cache.is_file():
            return torch.load(cache, weights_only=True)
        trainer = self._trainer(self._config, None)
        until = (1 - SHARE) * self._budget.seconds
        trainer.run(
            self._budget, Hooks(clock=time.process_time, should_stop=lambda: trainer.counters.seconds >= until)
        )
        trainer.counters.rng = trainer.rng.bit_generator.state
        state = {
            "network": trainer.network.state_dict(),
            "optimiser": trainer.optimisers["network"].state_dict(),
            "best": trainer.best,
            "counters": json.loads(json.dumps(asdict(trainer.counters))),
        }
        state["counters"]["crop"] = tuple(state["counters"]["crop"])
        cache.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, cache)
        return state

    def _trainer(self, config: TrainingConfig, vgg: Vgg19 | None) -> Trainer:
        return fill_trainer(config, *self._planes, CPU, self._seed, encoder=vgg)


def parse_settings(variant: str) -> dict:
    """``ambiguity=0.1 encoder=vgg19`` to settings; a name of ``VARIANTS`` stands for its own."""
    pairs = dict(part.split("=") for part in VARIANTS.get(variant, variant).split())
    return {name: value if name == "encoder" else float(value) for name, value in pairs.items()}


def measure(subject: Subject, settings: dict, vgg: Vgg19) -> tuple[dict[str, float], np.ndarray]:
    """Every figure of one variant, and its frames."""
    outside = settings.get("encoder") == "vgg19"
    settings = {name: value for name, value in settings.items() if not (outside and name == "encoder")}
    result, trainer = subject.finish(settings, vgg if outside else None)
    truth, holes = subject.shot.truth(), subject.shot.holes()
    return {
        "psnr_frame": round(metrics.psnr(result, truth), 3),
        "psnr_hole": round(metrics.psnr_in_hole(result, truth, holes), 3),
        "ssim": round(metrics.ssim(result, truth), 5),
        "vgg_distance": round(vgg_distance(result, truth, holes, vgg), 5),
        "sharpness": round(sharpness(result, truth, holes), 3),
        "temporal_error": round(metrics.temporal_error(result, truth, holes), 3),
        "steps": trainer.counters.step,
    }, result


def report(results: Results, clips: list[str], variants: list[str], about: dict) -> str:
    """A Markdown table a clip, and one of the means over the clips that have all variants."""
    parts, complete = [], []
    for clip in clips:
        found = {variant: results.find(Measurement(clip, variant, **about)) for variant in variants}
        rows = {v: {title: r[key] for key, title in SCORES.items()} for v, r in found.items() if r}
        if len(rows) == len(variants):
            complete.append(rows)
        parts += [f"### {clip}\n", table(rows, SCORES.values(), "variant", DIGITS) + "\n"]
    if len(complete) > 1:
        means = {
            v: {title: float(np.mean([rows[v][title] for rows in complete])) for title in SCORES.values()}
            for v in variants
        }
        parts += [f"### means over {len(complete)} clips\n", table(means, SCORES.values(), "variant", DIGITS) + "\n"]
    return "\n".join(parts)


def cost(config: TrainingConfig, size: tuple[int, int], vgg: Vgg19) -> str:
    """Processor time of one training step with each term, one thread: a Markdown table."""
    pattern = moving_pattern(size[::-1], CPU)
    terms = {"reconstruction only": {}, "+ stabilisation": {"stabilise": 0.2}}
    terms |= {f"+ ambiguity, {name}": {"ambiguity": 0.1, "encoder": name} for name in (*ENCODERS, "vgg19")}
    rows = {}
    for name, settings in terms.items():
        outside = settings.get("encoder") == "vgg19"
        settings = {key: value for key, value in settings.items() if not (outside and key == "encoder")}
        trainer = fill_trainer(with_method(config, **settings), *pattern, CPU, encoder=vgg if outside else None)
        times = []
        for _ in range(4):
            began = time.process_time()
            trainer._step(rate=1.0, share=1.0)  # the last share is the regularised one
            times.append(time.process_time() - began)
        rows[name] = {"seconds a step": min(times)}
    plain = rows["reconstruction only"]["seconds a step"]
    for row in rows.values():
        row["times as long"] = row["seconds a step"] / plain
    return table(rows, ("seconds a step", "times as long"), "step", {"seconds a step": 3})


def cropped(columns: dict[str, np.ndarray], holes: np.ndarray, enlarged: int = 3) -> dict[str, np.ndarray]:
    """The part of the frames round all holes, enlarged, so that the fill can be looked at."""
    rows, across = (np.flatnonzero(holes.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    box = slice(max(0, rows[0] - 6), rows[-1] + 7), slice(max(0, across[0] - 6), across[-1] + 7)
    return {
        name: images[:, box[0], box[1]].repeat(enlarged, axis=1).repeat(enlarged, axis=2)
        for name, images in columns.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what the regularisers do.")
    parser.add_argument("--clips", type=parse_clips, default="all")
    parser.add_argument("--size", type=parse_size, default="240x136", metavar="WIDTHxHEIGHT")
    parser.add_argument(
        "--preset", choices=PRESETS, default="standard", help="the recipe before and beside the terms"
    )
    parser.add_argument("--seconds", type=float, default=160, help="of one thread, in all")
    parser.add_argument("--variants", default=";".join(VARIANTS), help="names or settings, separated by semicolons")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, default=CACHE / "regularisers.json", metavar="JSON")
    parser.add_argument("--work", type=Path, default=CACHE / "regularisers", help="where half-trained clips are kept")
    parser.add_argument("--cost", action="store_true", help="only measure what a step costs with each term")
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="also save pictures of the fills")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    weights = shared_folder() / "weights" / "vgg19_relu3_4.safetensors"
    vgg = load_vgg19(weights, CPU)
    if options.cost:
        print(cost(PRESETS[options.preset], options.size, vgg))
        return 0
    results, variants = Results(options.save), options.variants.split(";")
    about = {
        "size": "x".join(map(str, options.size)),
        "preset": options.preset,
        "seconds": options.seconds,
        "seed": options.seed,
    }
    for clip in options.clips:
        missing = [v for v in variants if results.find(Measurement(clip, v, **about)) is None]
        if not missing:
            continue
        shot = prepare(clip, "object", options.size)
        name = f"{clip}-{about['size']}-{options.preset}-{options.seconds:g}-{options.seed}"
        subject = Subject(shot, PRESETS[options.preset], options.seconds, options.seed, options.work / f"{name}.pt")
        columns = {}
        for variant in missing:
            scores, columns[variant] = measure(subject, parse_settings(variant), vgg)
            results.add(Measurement(clip, variant, **about), scores)
            print(f"{clip}, {variant}: {scores}", file=sys.stderr, flush=True)
        if options.sheets:
            sheet = cropped({**columns, "truth": shot.truth()}, shot.holes())
            contact_sheet(sheet, options.sheets / f"{name}.png")
    print(report(results, options.clips, variants, about))
    return 0


if __name__ == "__main__":
    sys.exit(main())

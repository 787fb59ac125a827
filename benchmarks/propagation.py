"""Roto one frame, get the rest: how close the propagated mattes come to the clips' own.

    python benchmarks/propagation.py --clips all --size 432x240 --time 600s [--middle 0.18,0.27,0.35]

Every clip is propagated from the mattes of its reference frames alone (``--references``), and the
other frames are scored against the mattes that the clip comes with, means over the frames:

- ``--middle`` scores the same predictions as if the matte's middle were where the network is so sure (by default
  where ``RotoConfig`` has it);
- IoU: intersection over union; recall: share of the object that is found; precision: share of what is
  found that is object; each at a matte value of 0.5;
- doubtful: frames reported as doubtful, and how many of the frames with an IoU below 0.5 are among them;
- seconds: processor time of everything on one thread; the budget is counted in it too, so that a busy
  machine measures the same.

``--references`` takes ``first``; ``first+last``; ``first+worst``, which is first done from the first frame
and then again with the frame that came out worst added, as an artist would correct it. What is measured
is kept in a JSON file and not measured again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from clips import CACHE, Shot, parse_clips, parse_size, prepare
from internal_inpaint.job import parse_time
from internal_inpaint.roto import Propagated, RotoConfig, propagate
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.state import Hooks
from results import Results, table

REFERENCES = ("first", "first+last", "first+worst")
SCORES = ("IoU", "recall", "precision", "worst IoU", "doubtful", "lost", "lost and doubtful", "seconds")
LOST = 0.5  # IoU below which a frame's object counts as lost
# A soft edge from 10 % to 44 % sure: what was found can be scored as if the matte's middle were anywhere between.
WIDE = replace(RotoConfig(), threshold=0.27, softness=0.17)


@dataclass(frozen=True)
class Measurement:
    """One clip from one choice of reference frames; two equal ones need to be made only once."""

    clip: str
    references: str
    size: str
    frames: int
    time: str
    middle: float

    @property
    def label(self) -> str:
        """A name that can be a folder: of what was found, wherever the middle is."""
        return "-".join(str(part) for name, part in asdict(self).items() if name != "middle")


def working_frames(shot: Shot) -> np.ndarray:
    """The plate as the engine sees it: ``[N, h, w, 3]`` float16 in [-1, 1]."""
    # Display-encoded values are close enough to the working space's log curve, and need no frame store.
    return (2 * shot.truth() - 1).astype(np.float16)


def scores(mattes: np.ndarray, truth: np.ndarray, leave_out: set[int], doubtful: list[int]) -> dict[str, float]:
    """The figures of a propagated clip; empty frames that were found to be empty count as 1.

    Args:
        mattes: ``[N, h, w]`` 0..1.
        truth: ``[N, h, w]`` bool.
        leave_out: reference frames, which are right by definition.
    """
    each = {name: [] for name in SCORES[:3]}
    for index in set(range(len(truth))) - leave_out:
        found, there = np.asarray(mattes[index]) > 0.5, truth[index]
        both = float((found & there).sum())
        for name, of in (("IoU", found | there), ("recall", there), ("precision", found)):
            each[name].append(both / of.sum() if of.any() else 1.0)
    lost = [i for i, iou in zip(sorted(set(range(len(truth))) - leave_out), each["IoU"], strict=True) if iou < LOST]
    return {
        **{name: round(float(np.mean(values)), 4) for name, values in each.items()},
        "worst IoU": round(float(np.min(each["IoU"])), 4),
        "doubtful": len(doubtful),
        "lost": len(lost),
        "lost and doubtful": len(set(lost) & set(doubtful)),
    }


def worst_frame(mattes: np.ndarray, truth: np.ndarray) -> int:
    """The frame that an artist would correct first."""
    missed = [(there & ~(np.asarray(found) > 0.5)).sum() for found, there in zip(mattes, truth, strict=True)]
    return int(np.argmax(missed))


def measure(wanted: Measurement, shot: Shot, sheets: Path | None) -> dict[str, float]:
    """Propagate one clip from an empty folder and score it."""
    frames, truth = working_frames(shot), shot.holes()
    chosen = {0, len(frames) - 1} if wanted.references == "first+last" else {0}
    result, seconds = _propagate(wanted, frames, truth, chosen)
    if wanted.references == "first+worst":
        chosen.add(worst_frame(result.mattes, truth))
        result, seconds = _propagate(wanted, frames, truth, chosen)
    if sheets:
        _sheet(sheets / f"{wanted.label}.png", shot.truth(), truth, result.mattes)
    at = (wanted.middle - WIDE.threshold) / (2 * WIDE.softness) + 0.5
    found = result.mattes > np.float16(at)
    return {**scores(found, truth, chosen, result.doubtful), "seconds": round(seconds, 1)}


def _propagate(
    wanted: Measurement, frames: np.ndarray, truth: np.ndarray, chosen: set[int]
) -> tuple[Propagated, float]:
    folder = CACHE / "propagation" / f"{wanted.label}-{len(chosen)}"
    if not (folder / "propagation.json").is_file():
        # What an interrupted benchmark has left would be resumed, with more time than it is due.
        shutil.rmtree(folder, ignore_errors=True)
    outside = np.zeros(frames.shape[:3], bool)
    references = {index: truth[index].astype(np.float32) for index in chosen}
    budget = Budget(seconds=parse_time(wanted.time))
    hooks = Hooks(clock=time.process_time)
    result = propagate(frames, outside, references, WIDE, budget, torch.device("cpu"), 0, folder, hooks)
    return result, json.loads((folder / "propagation.json").read_text())["seconds"]


def _sheet(path: Path, plate: np.ndarray, truth: np.ndarray, mattes: np.ndarray) -> None:
    """Seven frames with the outlines of the clip's own matte in green and of the found one in red."""
    rows = []
    for index in np.linspace(0, len(plate) - 1, 7).astype(int):
        picture = (255 * plate[index][..., ::-1]).astype(np.uint8).copy()
        for matte, colour in ((truth[index], (0, 255, 0)), (np.asarray(mattes[index]) > 0.5, (0, 0, 255))):
            outlines, _ = cv2.findContours(matte.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(picture, outlines, -1, colour, 1)
        rows.append(picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack(rows))


def report(results: Results, wanted: list[Measurement]) -> str:
    """A Markdown table for each choice of reference frames and of the middle: a clip a row, and the means."""
    parts = []
    for references, middle in dict.fromkeys((m.references, m.middle) for m in wanted):
        chosen = [m for m in wanted if (m.references, m.middle) == (references, middle)]
        found = {m.clip: record for m in chosen if (record := results.find(m))}
        rows = {clip: {name: record[name] for name in SCORES} for clip, record in found.items()}
        # A mean over some of the clips could not be compared with the others.
        if rows and len(found) == len(chosen):
            rows["mean"] = {name: float(np.mean([row[name] for row in rows.values()])) for name in SCORES}
        digits = dict.fromkeys(SCORES[4:], 0)
        title = f"### from {references}, the middle where it is {middle:.0%} sure"
        parts.append(f"{title}\n\n{table(rows, SCORES, 'clip', digits)}\n")
    return "\n".join(parts)


def _parse_middles(text: str) -> list[float]:
    middles = [float(part) for part in text.split(",")]
    low, high = WIDE.threshold - WIDE.softness, WIDE.threshold + WIDE.softness
    if not all(low <= middle < high for middle in middles):
        raise argparse.ArgumentTypeError(f"{text}: from {low:.2f} to less than {high:.2f}")
    return middles


def _parse_references(text: str) -> list[str]:
    for name in text.split(","):
        if name not in REFERENCES:
            raise argparse.ArgumentTypeError(f"{name} is no choice; there are {', '.join(REFERENCES)}")
    return text.split(",")


def main(arguments: list[str] | None = None) -> int:
    """Measure what is missing and print the tables."""
    parser = argparse.ArgumentParser(description="Measure the propagation of mattes against the clips' own.")
    parser.add_argument("--clips", type=parse_clips, default="all", help="all, or names separated by commas")
    parser.add_argument("--references", type=_parse_references, default="first")
    parser.add_argument("--size", type=parse_size, default="432x240", metavar="WIDTHxHEIGHT")
    parser.add_argument("--time", default="300s", help="time budget of each propagation")
    parser.add_argument("--middle", type=_parse_middles, default=[RotoConfig().threshold], metavar="SURE,...")
    parser.add_argument("--frames", type=int, help="use only this many frames of each clip")
    parser.add_argument("--save", type=Path, default=CACHE / "propagation.json", metavar="JSON")
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="also save a picture of every result")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    results, wanted = Results(options.save), []
    size = "x".join(map(str, options.size))
    for references in options.references:
        for clip in options.clips:
            shot = prepare(clip, "removal", options.size, options.frames)
            for middle in options.middle:
                made = Measurement(clip, references, size, len(shot.frames), options.time, middle)
                wanted.append(made)
                if results.find(made) is None:
                    results.add(made, measure(made, shot, options.sheets))
                    print(f"{clip} from {references}: {results.find(made)}", file=sys.stderr, flush=True)
    print(report(results, wanted))
    return 0


if __name__ == "__main__":
    sys.exit(main())

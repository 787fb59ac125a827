"""What tells a wrong copy: the error of copies with a known truth, by how far from their pixel they come back.

    python benchmarks/wrong_copies.py [--clips all] [--protocol object] [--every 7]

At 240x135, before anything is learned, on every seventh frame of the clips of `benchmarks/clips.py`. Error: mean over
the channels of |copy - truth| in the working space, after the correction of light, as a share of the shot's contrast.
Distances are in pixels of 135 rows; in brackets, the share of the copies. Last, the correlation of the error with the
error that the engine expects.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import cv2
import numpy as np
import torch

import learned
from clips import CACHE, Shot, _read, frame_path, parse_clips, prepare
from internal_inpaint.ingest import copies_of
from internal_inpaint.motion.candidates import KINDS
from internal_inpaint.motion.follow import follow_flow
from internal_inpaint.rendering.copying import ShotCopies
from internal_inpaint.resample import reduce_area
from internal_inpaint.shot import FrameStore, build_stores

SIZE, CANVAS = (135, 240), (480, 854)
EDGES = (0, 0.25, 0.5, 1, 2, 4, 8, 16, np.inf)


def opened(clip: Shot) -> tuple[FrameStore, ShotCopies]:
    """The clip in the working space, and what could be copied in it; measured once."""
    folder = CACHE / "wrong_copies" / f"{clip.name}-{clip.protocol}"
    folder.mkdir(parents=True, exist_ok=True)
    stores = build_stores(learned.opened(clip), folder / "store", [SIZE, CANVAS])
    return stores[0], copies_of(stores[0], stores[1], 1, folder / "motion")


def truth_of(clip: Shot, store: FrameStore, index: int) -> np.ndarray:
    """``[h, w, 3]`` at ``SIZE``: the working space of a picture whose hole still shows the truth."""
    plate = _read(frame_path(clip.plate, clip.frames[index]), "RGB")
    return reduce_area(np.asarray(store.working_space.to_working(plate), np.float32), SIZE)


def parsed(description: str) -> argparse.Namespace:
    """The options that say which pictures to measure; from then on, everything runs on one thread."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--clips", type=parse_clips, default="all")
    parser.add_argument("--protocol", choices=("fixed", "object"), default="object")
    parser.add_argument("--every", type=int, default=7)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    return parser.parse_args()


def copies_and_errors(clip: Shot, every: int) -> dict[bool, np.ndarray]:
    """By whether they were followed along the flow: ``[C, 3]``: distance, expected error and error of each copy."""
    store, copies = opened(clip)
    found: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for index in range(2, len(clip.frames), every):
        candidates = copies.candidates(index)
        if candidates is None:
            continue
        truth = truth_of(clip, store, index)[candidates.found.box]
        wrong = np.abs(candidates.colours - truth).mean(axis=3) / copies.contrast
        for kind, (follow, _) in enumerate(KINDS):
            valid = candidates.found.valid[kind] & candidates.found.hidden
            planes = candidates.stray[kind] * SIZE[0], candidates.errors[kind], wrong[kind]
            found[follow is follow_flow].append(np.stack([plane[valid] for plane in planes], axis=1))
    return {flow: np.concatenate(parts) for flow, parts in found.items()}


def row(copies: np.ndarray) -> list[str]:
    """Mean error and share by distance, then the correlation of expectation and error."""
    cells = []
    for low, high in pairwise(EDGES):
        chosen = (copies[:, 0] >= low) & (copies[:, 0] < high)
        cells.append(f"{copies[chosen, 2].mean():.2f} ({chosen.mean():.0%})" if chosen.any() else "-")
    return [*cells, f"{np.corrcoef(copies[:, 1], copies[:, 2])[0, 1]:.2f}" if len(copies) > 1 else "-"]


def main() -> None:
    options = parsed("Measure how wrong copies are, by how far from their pixel they come back.")
    spans = [f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g} and more" for low, high in pairwise(EDGES)]
    print("| clip | along | " + " | ".join(spans) + " | expected |")
    print("|---" * (len(spans) + 3) + "|")
    for name in options.clips:
        found = copies_and_errors(prepare(name, options.protocol, CANVAS[::-1]), options.every)
        for flow, title in ((True, "flow"), (False, "camera")):
            if len(found[flow]):
                print(f"| {name} | {title} | " + " | ".join(row(found[flow])) + " |", flush=True)


if __name__ == "__main__":
    main()

"""The mattes that were found for a shot, and the inputs that they depend on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from internal_inpaint.errors import BadInput
from internal_inpaint.files import replace, write_atomically
from internal_inpaint.job_folder import RotoFolder
from internal_inpaint.roto.config import RotoConfig
from internal_inpaint.roto.tracking import lower_where_absent, near_edge
from internal_inpaint.training.budget import Budget

VERSION = 2  # of the procedure: results of other versions are not reused


@dataclass(frozen=True)
class Propagated:
    """A matte for every picture.

    Attributes:
        confidence: 0..1 for each picture; 1 at reference frames.
        doubtful: indices of pictures in which the object may be lost.
        steps, seconds: of the training, over all attempts.
        key: identifies the inputs and the length of the training: equal keys mean equal mattes.
        mattes: ``[N, h, w]`` float16 memory map, 0..1, at the size of the frames; 0 away from the object. At
            reference frames it is the artist's matte. ``None`` once the mattes are written to files.
    """

    confidence: list[float]
    doubtful: list[int]
    steps: int
    seconds: float
    key: str
    mattes: np.memmap | None = None


def check_inputs(frames: np.ndarray, outside: np.ndarray, references: dict[int, np.ndarray]) -> None:
    """Raises ``BadInput`` if there is no object to find."""
    count, *size = frames.shape[:3]
    if not references:
        raise BadInput("no frame has a matte to propagate: give --matte, and its frames with --matte-frame")
    for index, matte in references.items():
        if not 0 <= index < count or matte.shape != tuple(size) or outside.shape != (count, *size):
            raise ValueError(
                f"reference {index} {matte.shape} or outside {outside.shape} does not fit {frames.shape}"
            )
    if not any((matte > 0.5).any() for matte in references.values()):
        raise BadInput(
            "the matte is empty (nowhere above 0.5) on every frame that has one: check the file and --matte-channel"
        )


def inputs_fingerprint(frames: np.ndarray, references: dict, config: RotoConfig, seed: int, views: int) -> str:
    """Fingerprint of everything that the result depends on, except the budget."""
    digest = hashlib.sha256(json.dumps([VERSION, list(frames.shape), config.to_dict(), seed, views]).encode())
    for index in range(len(frames)):
        digest.update(np.ascontiguousarray(frames[index, index % 7 :: 7, ::7]).tobytes())
    for index in sorted(references):
        digest.update(f"{index}".encode() + np.ascontiguousarray(references[index], np.float32).tobytes())
    return digest.hexdigest()


def finish(
    folder: RotoFolder,
    fingerprint: str,
    confidence: list[float],
    references: Collection[int],
    doubt: float,
    views: int,
    about: dict,
) -> Propagated:
    """Rename the finished file of mattes to its final name, and write its description.

    Args:
        confidence: of each picture; pictures below ``doubt`` are doubtful.
        references: indices of the reference frames. They are never doubtful, even with an empty matte.
        views: pictures per frame.
        about: plain values to save in the description.
    """
    mattes = np.load(folder.grown_mattes, mmap_mode="r")
    empty = [not (matte > 0.5).any() for matte in mattes]
    at_edge = [near_edge(np.asarray(matte) > 0.5) for matte in mattes]
    confidence = list(confidence)
    for view in range(views):
        own = slice(view, None, views)
        confidence[own] = lower_where_absent(confidence[own], empty[own], at_edge[own])
    del mattes
    confidence = [1.0 if index in references else round(float(value), 4) for index, value in enumerate(confidence)]
    doubtful = [index for index, value in enumerate(confidence) if value < doubt]
    described = {"fingerprint": fingerprint, "confidence": confidence, "doubtful": doubtful, **about}
    # Remove the old description first: it must never describe the new mattes.
    folder.mattes_about.unlink(missing_ok=True)
    shutil.rmtree(folder.background, ignore_errors=True)
    replace(folder.grown_mattes, folder.mattes)
    write_atomically(folder.mattes_about, json.dumps(described))
    with contextlib.suppress(OSError):  # Windows keeps a file that is still mapped
        folder.unfinished_mattes.unlink(missing_ok=True)
    return _described(folder, described)


def finished(folder: RotoFolder, fingerprint: str, budget: Budget) -> Propagated | None:
    """The finished result for these inputs and this budget, if the folder holds one."""
    try:
        about = json.loads(folder.mattes_about.read_text())
        if about["fingerprint"] != fingerprint or about["budget"] != [budget.steps, budget.seconds]:
            return None
        found = _described(folder, about)
        return found if len(found.mattes) == len(found.confidence) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _described(folder: RotoFolder, about: dict) -> Propagated:
    mattes, key = np.load(folder.mattes, mmap_mode="r"), f"{about['fingerprint']} {about['steps']}"
    return Propagated(about["confidence"], about["doubtful"], about["steps"], about["seconds"], key, mattes)

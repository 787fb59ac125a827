"""The confidence of a fill, by pixel: near 1 where other frames show the same, near 0 where nothing supports it.

Each hole pixel is followed along the motion to the nearest frames that show it, in both directions of time
(``motion.reprojection``), and compared with what they show. A fill that agrees is as good as seen. One that does not
is wrong, or what is behind the hole changes. A pixel that no frame shows had to be invented; a fill that flickers
there from frame to frame is worse than one that is stable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from internal_inpaint.confidence.array_file import write_array
from internal_inpaint.confidence.progress import ProgressReporter
from internal_inpaint.motion.contrast import contrast_of
from internal_inpaint.motion.reprojection import Reprojection, past_and_future
from internal_inpaint.pixel_state import PixelState

PATCH_SIGMA = 1.25  # pixels over which differences are averaged: single pixels of grain differ anyway
DIFFERENCE_SCALE = 0.3  # the difference, as a share of the shot's contrast, at which the confidence is 1/e
NOT_OBSERVED_LIMIT = 0.1  # upper limit of the confidence of a pixel that no other frame shows
CONFIDENT_THRESHOLD = 0.5  # a pixel at least this confident counts as shown by the shot


@dataclass(frozen=True)
class FrameConfidence:
    """The confidence of one frame (of one view of it) in figures.

    Attributes:
        frame: the shot's own frame number.
        coverage: the hole's share of the known and hole pixels.
        confidence: mean over the hole; ``None`` without a hole.
        confident: share of the hole at or above ``CONFIDENT_THRESHOLD``; ``None`` without a hole.
        view: of a stereo shot.
        copied: share of the hole that is copied from other frames; ``None`` without a hole, and for a method that
            invents everything.
    """

    frame: int
    coverage: float
    confidence: float | None
    confident: float | None
    view: str = ""
    copied: float | None = None


def write_confidence(
    frames: np.ndarray,
    state: np.ndarray,
    fills: np.ndarray,
    path: Path,
    views: int = 1,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> np.ndarray:
    """Compute the confidence of a whole shot, in memory that does not grow with its length.

    Args:
        frames: ``[N, h, w, 3]`` working space, 0 where not known (``FrameStore.frames``).
        state: ``[N, h, w]`` uint8 ``PixelState``.
        fills: ``[N, h, w, 3]`` working space, read where ``state`` is ``HOLE``.
        path: of the ``.npy`` file; it appears under its name only when complete.
        views: of the shot; frames of one view are ``views`` apart.
        progress: called with (frames done, all frames).
        should_stop: called twice for every frame.

    Returns:
        ``[N, h, w]`` float16 memory map: 0 to 1 in the hole, 1 elsewhere.

    Raises:
        Stopped: on request; no file is left and the next call starts over.
        OutOfResources, BadInput: the file cannot be written.
    """
    reporter = ProgressReporter(len(state), progress, should_stop, "measuring the confidence", passes=2)

    def planes() -> Iterable[tuple[int, np.ndarray]]:
        for view in range(views):
            yield from _track(frames, state, fills, range(view, len(state), views), reporter, path.parent)

    return write_array(path, state.shape, planes())


def frame_confidence(
    plane: np.ndarray, state: np.ndarray, frame: int, view: str = "", copied: float | None = None
) -> FrameConfidence:
    """Reduce the confidence ``[h, w]`` of one frame to figures, over the hole of its ``state`` ``[h, w]``."""
    hole = np.asarray(state) == PixelState.HOLE
    inside = hole.sum() + (np.asarray(state) == PixelState.KNOWN).sum()
    coverage = float(hole.sum() / max(1, inside))
    if not hole.any():
        return FrameConfidence(frame, coverage, None, None, view)
    values = np.asarray(plane, np.float32)[hole]
    confident = float((values >= CONFIDENT_THRESHOLD).mean())
    return FrameConfidence(frame, coverage, float(values.mean()), confident, view, copied)


def _track(
    frames: np.ndarray,
    state: np.ndarray,
    fills: np.ndarray,
    track: Sequence[int],
    reporter: ProgressReporter,
    folder: Path,
) -> Iterable[tuple[int, np.ndarray]]:
    """The confidence of the frames of one view, in their order: (index, ``[h, w]`` float32)."""

    def filled(index: int) -> np.ndarray:
        hole = np.asarray(state[index])[..., None] == PixelState.HOLE
        return np.nan_to_num(np.where(hole, fills[index], frames[index]).astype(np.float32))

    scale = DIFFERENCE_SCALE * contrast_of(frames, state, track)
    for index, past, future in past_and_future(filled, state, track, folder, reporter):
        here = np.asarray(state[index])
        hole = here == PixelState.HOLE
        plane = np.ones(here.shape, np.float32)
        if hole.any():
            plane[hole] = _hole_confidence(filled(index), past, future, frames, scale)
        yield index, plane


def _hole_confidence(
    fill: np.ndarray, past: Reprojection, future: Reprojection, frames: np.ndarray, scale: float
) -> np.ndarray:
    """The confidence ``[P]`` of one frame's hole pixels in reading order; ``scale``: difference that leaves 1/e."""
    place = past.rows, past.columns
    difference = np.minimum(*(_difference(fill, reprojection, frames)[place] for reprojection in (past, future)))
    flicker = np.fmax(past.residual, future.residual)
    not_observed = NOT_OBSERVED_LIMIT * np.exp(-np.nan_to_num(flicker, nan=np.inf) / scale)
    return np.where(np.isfinite(difference), np.exp(-difference / scale), not_observed)


def _difference(fill: np.ndarray, reprojection: Reprojection, frames: np.ndarray) -> np.ndarray:
    """Mean difference ``[h, w]`` around each pixel of fill and observation; infinite where none is observed."""
    planes = np.zeros((*fill.shape[:2], 2), np.float32)  # the difference, and 1 where there is one
    observed = reprojection.observed
    place = reprojection.rows[observed], reprojection.columns[observed]
    planes[..., 0][place] = np.abs(fill[place] - reprojection.sample(frames)[observed]).mean(axis=1)
    planes[..., 1][place] = 1
    smooth = cv2.GaussianBlur(planes, (0, 0), PATCH_SIGMA)
    return np.where(planes[..., 1] > 0, smooth[..., 0] / np.maximum(smooth[..., 1], 1e-6), np.inf)

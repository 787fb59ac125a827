"""How far the shot itself shows what was filled: 1 where other pictures show the same, 0 where it is invented.

Each hole pixel is followed along the motion to where the shot shows it, in both directions of time (``sight``).
What is seen there is compared with the fill: a fill that agrees with what the shot shows is as good as shown; one
that does not is wrong, or what is behind it changes. What is seen nowhere had to be invented; there, a fill that
flickers from frame to frame is worse than one that stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from internal_inpaint.confidence.array_file import Told, write_planes
from internal_inpaint.motion.reprojection import Reprojection, past_and_future
from internal_inpaint.pixel_state import PixelState

PATCH_SIGMA = 1.25  # pixels over which fill and sight are compared: single pixels of grain differ anyway
DOUBT = 0.3  # the difference, in parts of the shot's contrast, at which the confidence is 1/e
INVENTED = 0.1  # the most confidence that something seen nowhere can have
CONFIDENT = 0.5  # from here on a pixel counts as shown by the shot
_CONTRAST_PICTURES, _CONTRAST_PIXELS = 16, 100_000


@dataclass(frozen=True)
class Figures:
    """One picture: its hole's share of the known and hole pixels, the mean confidence there (``None`` without a
    hole), and the share of its hole that is confident."""

    coverage: float
    confidence: float | None
    confident: float | None


def measure_confidence(
    frames: np.ndarray,
    state: np.ndarray,
    fills: np.ndarray,
    path: Path,
    views: int = 1,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> np.ndarray:
    """Measure the confidence of a whole shot, in memory that does not grow with its length.

    Args:
        frames: ``[N, h, w, 3]`` working space, 0 where not known (``FrameStore.frames``).
        state: ``[N, h, w]`` uint8, 0 known, 1 hole, 2 void.
        fills: ``[N, h, w, 3]`` working space, read where ``state`` is 1.
        path: of the result, a ``.npy`` file; it appears under its name only when complete.
        views: pictures a frame; pictures of one view are ``views`` apart.
        progress: told (done, of all) pictures.
        should_stop: asked before every picture.

    Returns:
        ``[N, h, w]`` float16 memory map: 0 to 1 in the hole, 1 elsewhere.

    Raises:
        Stopped: on request; nothing is left, the next call begins anew.
        OutOfResources, BadInput: the file cannot be written.
    """
    told = Told(len(state), progress, should_stop, "judging the fill", passes=2)

    def planes() -> Iterable[tuple[int, np.ndarray]]:
        for view in range(views):
            yield from _track(frames, state, fills, range(view, len(state), views), told, path.parent)

    return write_planes(path, state.shape, planes())


def enlarged(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A confidence plane ``[h, w]`` at the plate's ``(height, width)``, float32, bilinear."""
    return cv2.resize(np.asarray(plane, np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def figures(plane: np.ndarray, state: np.ndarray) -> Figures:
    """What one picture's confidence ``[h, w]`` comes to, over the hole of its ``state`` ``[h, w]``."""
    hole = np.asarray(state) == PixelState.HOLE
    inside = hole.sum() + (np.asarray(state) == PixelState.KNOWN).sum()
    coverage = float(hole.sum() / max(1, inside))
    if not hole.any():
        return Figures(coverage, None, None)
    values = np.asarray(plane, np.float32)[hole]
    return Figures(coverage, float(values.mean()), float((values >= CONFIDENT).mean()))


def _track(frames: np.ndarray, state: np.ndarray, fills: np.ndarray, track: Sequence[int], told: Told, folder: Path):
    """The confidence of one view's pictures: (index, ``[h, w]`` float32), in their order."""

    def filled(index: int) -> np.ndarray:
        hole = np.asarray(state[index])[..., None] == PixelState.HOLE
        return np.nan_to_num(np.where(hole, fills[index], frames[index]).astype(np.float32))

    contrast = _contrast(frames, state, track)
    for index, past, future in past_and_future(filled, state, track, folder, told):
        here = np.asarray(state[index])
        hole = here == PixelState.HOLE
        plane = np.ones(here.shape, np.float32)
        if hole.any():
            plane[hole] = _judged(filled(index), past, future, frames, DOUBT * contrast)
        yield index, plane


def _judged(
    fill: np.ndarray, past: Reprojection, future: Reprojection, frames: np.ndarray, doubt: float
) -> np.ndarray:
    """Confidence ``[P]`` of a picture's hole pixels in reading order; ``doubt``: the difference that leaves 1/e."""
    place = past.rows, past.columns
    error = np.minimum(*(_difference(fill, reprojection, frames)[place] for reprojection in (past, future)))
    flicker = np.fmax(past.residual, future.residual)
    invented = INVENTED * np.exp(-np.nan_to_num(flicker, nan=np.inf) / doubt)
    return np.where(np.isfinite(error), np.exp(-error / doubt), invented)


def _difference(fill: np.ndarray, reprojection: Reprojection, frames: np.ndarray) -> np.ndarray:
    """Mean difference ``[h, w]`` between fill and sight round each pixel, infinite where nothing is seen."""
    apart = np.zeros((*fill.shape[:2], 2), np.float32)
    found = reprojection.observed
    place = reprojection.rows[found], reprojection.columns[found]
    apart[..., 0][place] = np.abs(fill[place] - reprojection.sample(frames)[found]).mean(axis=1)
    apart[..., 1][place] = 1
    near = cv2.GaussianBlur(apart, (0, 0), PATCH_SIGMA)
    return np.where(apart[..., 1] > 0, near[..., 0] / np.maximum(near[..., 1], 1e-6), np.inf)


def _contrast(frames: np.ndarray, state: np.ndarray, track: Sequence[int]) -> float:
    """Standard deviation of the known pixels of a few pictures: what one picture of the shot could be off by."""
    spread = np.linspace(0, len(track) - 1, min(len(track), _CONTRAST_PICTURES)).round().astype(int)
    step = max(1, round(np.sqrt(state[0].size / _CONTRAST_PIXELS)))
    thin = [(frames[i][::step, ::step], state[i][::step, ::step]) for i in (track[k] for k in spread)]
    values = np.concatenate([picture.astype(np.float32)[plane == PixelState.KNOWN] for picture, plane in thin])
    return max(float(values.std(axis=0).mean()), 1e-3) if len(values) else 1.0

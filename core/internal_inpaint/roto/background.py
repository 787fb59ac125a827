"""What differs from the background that other frames show belongs to the object.

A network that has learned one frame misses thin and rare parts of the object: a horn, a leg in another light. But the
background behind them is seen, somewhere else in the shot. Where the plate beside a matte differs from all that other
frames show there, it shows something that moves against the background, and the matte grows over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from internal_inpaint.ahead import made_ahead
from internal_inpaint.motion.candidates import COUNT, astray, find_candidates
from internal_inpaint.motion.compare import compare_candidates
from internal_inpaint.motion.contrast import contrast_of
from internal_inpaint.motion.field import MotionField
from internal_inpaint.motion.follow import NOWHERE, shows
from internal_inpaint.motion.measure import MotionSource, measure_motion
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.resample import as_float32, push_pull

REACH = 1 / 30  # of the frame's height: how far from a matte it may grow
HIDDEN = 1 / 20  # of the frame's height: what lies so near to a matte is not taken for background
DIFFERENT = 0.3  # of the shot's contrast, and
_TIMES_USUAL = 2.0  # so many times the usual difference beside this frame's matte
MOST = 0.25  # of the object's area: where more differs, the background itself moves, or its motion is not known
LONGEST = 60  # frames within which the background has to be seen
_CACHED_BYTES = 256e6  # of the masks that are kept
_MEASURED = 0.4  # share of the time for the motion
_SHIFTS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]  # pixels: motion is hardly ever wrong by less


def grown_over_what_differs(
    frames: np.ndarray,
    outside: np.ndarray,
    mattes: np.ndarray,
    views: int,
    folder: Path,
    key: str,
    threads: int,
    should_stop: Callable[[], bool] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Iterator[np.ndarray]:
    """Each picture's matte, grown over what moves against the background beside it.

    Args:
        frames: ``[N, h, w, 3]`` working space.
        outside: ``[N, h, w]`` bool, outside the data window.
        mattes: ``[N, h, w]`` 0..1.
        views: pictures per frame.
        folder: for the motion of the background.
        key: identifies frames and mattes.
        threads: pictures at a time. The result does not depend on it.
        should_stop: asks for a stop while the motion is measured; there is then no matte.
        progress: called with the share of the work that is done.

    Yields:
        ``[h, w]`` float32, at least the matte that was given.

    Raises:
        OSError: the motion cannot be written.
    """
    report = progress or (lambda share: None)
    with closing(_Background(frames, outside, mattes)) as shot:
        (motion,) = measure_motion(
            shot.motion_source(views, key),
            folder,
            (),
            threads,
            lambda done, pairs: report(_MEASURED * done / max(1, pairs)),
            should_stop,
        )
        if should_stop is not None and should_stop():
            return
        contrast = contrast_of(frames, shot, range(len(frames)))

        def grown(index: int) -> np.ndarray:
            matte = np.asarray(mattes[index], np.float32)
            difference = _difference(shot, motion, index, contrast, views)
            return matte if difference is None else _grown(matte, difference, contrast)

        with closing(made_ahead(grown, range(len(frames)), threads, "background")) as made:
            for index, matte in made:
                yield matte
                report(_MEASURED + (1 - _MEASURED) * (index + 1) / len(frames))


class _Background:
    """The shot with everything near a matte hidden; indexed, it gives ``PixelState`` planes ``[h, w]``."""

    def __init__(self, frames: np.ndarray, outside: np.ndarray, mattes: np.ndarray) -> None:
        self.frames, self._outside, self.mattes = frames, outside, mattes
        kept = int(max(2, _CACHED_BYTES // (2 * outside[0].size)))
        self._states = lru_cache(kept)(self._state)
        self.shown = lru_cache(kept)(lambda index: shows(self[index]))

    def close(self) -> None:
        """Let go of the mattes: the caches refer to this object, which would keep them open until a collection."""
        self._states.cache_clear()
        self.shown.cache_clear()
        self.frames = self._outside = self.mattes = None

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._states(index)

    def _state(self, index: int) -> np.ndarray:
        hidden = _dilated(np.asarray(self.mattes[index]) > 0, HIDDEN)
        state = np.where(hidden, PixelState.HOLE, PixelState.KNOWN)
        return np.where(np.asarray(self._outside[index]) > 0, PixelState.OUTSIDE, state).astype(np.uint8)

    def beside(self, index: int) -> np.ndarray:
        """``[h, w]`` bool: where the matte may grow."""
        inside = np.asarray(self.mattes[index]) > 0.5
        return _dilated(inside, REACH) & ~inside

    def picture(self, index: int) -> np.ndarray:
        """``[h, w, 3]`` float32, smooth where it is hidden."""
        return push_pull(as_float32(self.frames[index]), self[index] == PixelState.KNOWN)

    def motion_source(self, views: int, key: str) -> MotionSource:
        return MotionSource(self.picture, self.__getitem__, len(self), self.frames.shape[1:3], views, key)


def _difference(shot: _Background, motion: MotionField, index: int, contrast: float, views: int) -> np.ndarray | None:
    """``[h, w]`` float32: how far the plate differs from what other frames show there; 0 where none shows it.

    ``None`` where there is no matte.
    """
    beside = shot.beside(index)
    if not beside.any():
        return None
    # As far as the edge of what is hidden: there, the candidates' light is compared with what is there.
    sought = np.where(np.asarray(shot.mattes[index]) > 0.5, NOWHERE, 0).astype(np.int32)[None].repeat(COUNT, axis=0)
    found = find_candidates(
        motion, shot.shown, shot[index], index, longest=(LONGEST,) * COUNT, earliest=lambda box: sought[:, *box]
    )
    if found is None:
        return None
    copies = compare_candidates(found, astray(found, motion), lambda i: as_float32(shot.frames[i]), contrast, views)
    here = as_float32(shot.frames[index][found.box])
    least = np.full(found.hidden.shape, np.inf, np.float32)
    for colours, valid in zip(copies.colours, found.valid, strict=True):
        for shift in _SHIFTS:
            moved, there = (np.roll(plane, shift, (0, 1)) for plane in (colours, valid))
            error = cv2.blur(np.abs(here - moved).mean(axis=2), (3, 3))
            np.minimum(least, np.where(valid & there, error, np.inf), out=least)
    whole = np.zeros(beside.shape, np.float32)
    whole[found.box] = np.where(np.isfinite(least), least, 0)
    return whole * beside


def _grown(matte: np.ndarray, difference: np.ndarray, contrast: float) -> np.ndarray:
    """The matte with what differs and touches it, if that is not too much."""
    inside, seen = matte > 0.5, difference > 0
    if not seen.any():
        return matte
    least = max(DIFFERENT * contrast, _TIMES_USUAL * float(np.median(difference[seen])))
    differs = cv2.medianBlur(np.minimum(difference, 2 * least), 3) > least
    _, labels = cv2.connectedComponents((inside | differs).astype(np.uint8), connectivity=4)
    touching = np.zeros(labels.max() + 1, bool)
    touching[np.unique(labels[inside])] = True
    added = touching[labels] & differs & ~inside
    if added.sum() > MOST * inside.sum():
        return matte
    return np.where(added, np.float32(1), matte)


def _dilated(mask: np.ndarray, share: float) -> np.ndarray:
    """A mask grown by a share of its height, in a circle."""
    radius = max(1, round(share * len(mask)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0

"""Where the shot itself shows what a hole hides: each hidden pixel followed along the motion, both ways in time.

Between neighbouring pictures the motion is measured where both are known and checked forth and back; inside a
hole nobody sees it move, so it is completed smoothly from round the hole. A hidden pixel whose place in the next
picture is known has been found; otherwise it is where that place was found. One sweep over the shot so follows
every pixel as far as the shot goes, with the motion of one pair of pictures in memory at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from internal_inpaint.motion import flow as motion

KNOWN, HOLE = 0, 1
_BLEED = 5  # pixels by which DIS lets the motion of a hole's edge into what is round it
_NOWHERE = -1
_SMALLEST = 16  # pixels of a side: DIS takes no smaller picture, and none has motion worth following
_MEMORY = 0.5  # of the flicker so far, a picture: a mean over about two


@dataclass(frozen=True)
class Sight:
    """Where the hole pixels of one picture are seen in one direction of time.

    Attributes:
        rows, columns: ``[P]`` int, the hole's pixels in reading order.
        picture: ``[P]`` int32, the index of the picture that shows it, or -1: none does.
        y, x: ``[P]`` float32, the place in that picture, in pixels.
        flicker: ``[P]`` float32, how much the fill changes along the motion, mean over the last few pictures;
            NaN where it could not be followed.
    """

    rows: np.ndarray
    columns: np.ndarray
    picture: np.ndarray
    y: np.ndarray
    x: np.ndarray
    flicker: np.ndarray

    def look(self, frames: np.ndarray) -> np.ndarray:
        """What is there: ``[P, C]`` float32 out of ``frames`` ``[N, H, W, C]``, bilinear; 0 where nowhere."""
        height, width = frames.shape[1:3]
        found = self.picture >= 0
        seen = np.zeros((len(self.rows), frames.shape[3]), np.float32)
        picture, y, x = self.picture[found], self.y[found], self.x[found]
        top = np.clip(np.floor(y), 0, max(0, height - 2)).astype(np.int64)
        left = np.clip(np.floor(x), 0, max(0, width - 2)).astype(np.int64)
        down, right = np.clip(y - top, 0, 1)[:, None], np.clip(x - left, 0, 1)[:, None]
        below, beside = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)

        def at(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
            return frames[picture, rows, columns].astype(np.float32)

        upper = at(top, left) * (1 - right) + at(top, beside) * right
        lower = at(below, left) * (1 - right) + at(below, beside) * right
        seen[found] = upper * (1 - down) + lower * down
        return seen


def sights(
    filled: Callable[[int], np.ndarray], state: np.ndarray, order: Sequence[int]
) -> Iterable[tuple[int, Sight]]:
    """Follow the holes of a track of pictures towards those that come earlier in ``order``.

    Args:
        filled: picture by index, ``[H, W, 3]`` float32 working space, the holes filled, so that no edge of
            an empty hole disturbs the motion round it.
        state: ``[N, H, W]`` uint8, 0 known, 1 hole, 2 void.
        order: indices of the pictures, neighbours in time next to each other.

    Yields:
        For each picture, in that order, its index and where its hole pixels are seen in those before it.
    """
    height, width = state.shape[1:]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    before: _Swept | None = None
    for index in order:
        here, shown = np.asarray(state[index]), filled(index)
        # A known pixel beside the hole holds some of the object's edge: it is not what the shot shows.
        solid = cv2.erode((here == KNOWN).astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
        picture = np.where(solid, index, _NOWHERE).astype(np.int32)
        to_y, to_x, flicker = y.copy(), x.copy(), np.full(here.shape, np.nan, np.float32)
        hidden = ~solid & (here <= HOLE)
        if before is not None and hidden.any():
            step = _step(shown, before.shown, here, np.asarray(state[before.index]))
            change = np.abs(shown - motion.carried(before.shown, step)).mean(axis=2)[hidden]
            at_x, at_y = x[hidden] + step[hidden][:, 0], y[hidden] + step[hidden][:, 1]
            inside = (at_x >= 0) & (at_x <= width - 1) & (at_y >= 0) & (at_y <= height - 1)
            columns = np.clip(np.rint(at_x), 0, width - 1).astype(np.int64)
            rows = np.clip(np.rint(at_y), 0, height - 1).astype(np.int64)
            # The way on from the nearest pixel, plus what rounding to it has left out.
            picture[hidden] = np.where(inside, before.picture[rows, columns], _NOWHERE)
            to_y[hidden] = before.y[rows, columns] + (at_y - rows)
            to_x[hidden] = before.x[rows, columns] + (at_x - columns)
            so_far = before.flicker[rows, columns]
            mean = np.where(np.isnan(so_far), change, _MEMORY * so_far + (1 - _MEMORY) * change)
            flicker[hidden] = np.where(inside, mean, np.nan)
        rows, columns = np.nonzero(here == HOLE)
        place = rows, columns
        yield index, Sight(rows, columns, picture[place], to_y[place], to_x[place], flicker[place])
        before = _Swept(index, shown, picture, to_y, to_x, flicker)


@dataclass(frozen=True)
class _Swept:
    """The picture that a sweep comes from: what it shows, and where each of its pixels is seen, all ``[H, W]``."""

    index: int
    shown: np.ndarray
    picture: np.ndarray
    y: np.ndarray
    x: np.ndarray
    flicker: np.ndarray


class Kept:
    """The sights of one direction, kept in a file without a name: 16 bytes a hole pixel, whatever the length."""

    def __init__(self, swept: Iterable[tuple[int, Sight]], folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (it lives as long as this object)
        self._places: dict[int, tuple[int, int]] = {}
        for index, sight in swept:
            self._places[index] = self._file.tell(), len(sight.rows)
            for part in (sight.picture, sight.y, sight.x, sight.flicker):
                self._file.write(np.ascontiguousarray(part).tobytes())

    def of(self, index: int, state: np.ndarray) -> Sight:
        """One picture's, whose ``state`` ``[H, W]`` says where the hole is."""
        start, count = self._places[index]
        self._file.seek(start)
        kinds = (np.int32, np.float32, np.float32, np.float32)
        parts = [np.frombuffer(self._file.read(4 * count), kind) for kind in kinds]
        return Sight(*np.nonzero(state == HOLE), *parts)

    def close(self) -> None:
        self._file.close()


def completed(step: np.ndarray, trusted: np.ndarray) -> np.ndarray:
    """Motion ``[H, W, 2]`` where it is trusted ``[H, W]`` in 0..1, and smoothly from round about elsewhere.

    Pulled up a pyramid as weighted means and pushed down again (push-pull, Gortler et al. 1996). Without any
    trusted pixel: no motion.
    """
    height, width = trusted.shape
    trusted = trusted.astype(np.float32)[..., None]
    if min(height, width) <= 2:
        mean = (step * trusted).sum(axis=(0, 1)) / max(float(trusted.sum()), 1e-6)
        return np.where(trusted > 0, step, mean).astype(np.float32)
    half = (width + 1) // 2, (height + 1) // 2
    weight = cv2.resize(trusted, half, interpolation=cv2.INTER_AREA)[..., None]
    coarse = cv2.resize(step * trusted, half, interpolation=cv2.INTER_AREA) / np.maximum(weight, 1e-6)
    coarse = completed(coarse, np.minimum(4 * weight[..., 0], 1))
    return step * trusted + cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR) * (1 - trusted)


def _step(start: np.ndarray, end: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Motion ``[H, W, 2]`` from one picture to another, completed where their states ``[H, W]`` hide it."""
    if min(here.shape) < _SMALLEST:
        return np.zeros((*here.shape, 2), np.float32)
    forth, back = motion.flow(start, end), motion.flow(end, start)
    known = cv2.erode((here == KNOWN).astype(np.uint8), np.ones((_BLEED, _BLEED), np.uint8), borderValue=1) > 0
    lands = motion.carried((there == KNOWN).astype(np.float32), forth) > 0.99
    return completed(forth, known & lands & motion.agrees(forth, back))

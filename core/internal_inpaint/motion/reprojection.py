"""Where other frames show what a hole hides: hidden pixels followed along the motion, both ways in time.

Between neighbouring frames the flow is estimated where both are known, and completed inside the hole. A hidden pixel
whose position in the next frame is known is observed there; otherwise it is observed where that position is
observed. One sweep over the shot therefore follows every pixel to the end of the shot, with one pair of frames in
memory at a time.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from internal_inpaint.motion.completion import completed_flow
from internal_inpaint.motion.flow import warp
from internal_inpaint.pixel_state import PixelState

NOT_OBSERVED = -1
_MOMENTUM = 0.5  # of the running mean of the residual: a mean over about two frames


@dataclass(frozen=True)
class Reprojection:
    """The nearest observation, in one direction of time, of each hole pixel of one frame.

    Attributes:
        rows, columns: ``[P]`` int, the hole's pixels in reading order.
        frame: ``[P]`` int32, the index of the nearest frame that shows the pixel, or ``NOT_OBSERVED``.
        y, x: ``[P]`` float32, the position in that frame, in pixels.
        residual: ``[P]`` float32, mean absolute difference between the pictures along the motion, a running mean over
            the last few frames; NaN where the pixel could not be followed at all.
    """

    rows: np.ndarray
    columns: np.ndarray
    frame: np.ndarray
    y: np.ndarray
    x: np.ndarray
    residual: np.ndarray

    @property
    def observed(self) -> np.ndarray:
        """``[P]`` bool: whether any frame shows the pixel."""
        return self.frame != NOT_OBSERVED

    def sample(self, frames: np.ndarray) -> np.ndarray:
        """Observed values ``[P, C]`` float32 out of ``frames`` ``[N, H, W, C]``, bilinear; 0 where not observed."""
        height, width = frames.shape[1:3]
        values = np.zeros((len(self.rows), frames.shape[3]), np.float32)
        observed = self.observed
        frame, y, x = self.frame[observed], self.y[observed], self.x[observed]
        top = np.clip(np.floor(y), 0, max(0, height - 2)).astype(np.int64)
        left = np.clip(np.floor(x), 0, max(0, width - 2)).astype(np.int64)
        down, right = np.clip(y - top, 0, 1)[:, None], np.clip(x - left, 0, 1)[:, None]
        below, beside = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)

        def at(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
            return frames[frame, rows, columns].astype(np.float32)

        upper = at(top, left) * (1 - right) + at(top, beside) * right
        lower = at(below, left) * (1 - right) + at(below, beside) * right
        values[observed] = upper * (1 - down) + lower * down
        return values


def reproject(
    picture: Callable[[int], np.ndarray], state: np.ndarray, order: Sequence[int]
) -> Iterator[tuple[int, Reprojection]]:
    """Follow the holes of a track of frames towards the frames that come earlier in ``order``.

    Args:
        picture: a frame by index, ``[H, W, 3]`` float32 working space, with something plausible in the holes: the
            edge of an empty hole disturbs the flow around it.
        state: ``[N, H, W]`` uint8 ``PixelState``.
        order: indices of the frames, neighbours in time next to each other: ascending for the nearest observation in
            the past, descending for the future.

    Yields:
        For each frame, in that order, its index and the nearest observations of its hole pixels.
    """
    height, width = state.shape[1:]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    before: _Swept | None = None
    for index in order:
        here, current = np.asarray(state[index]), picture(index)
        # A known pixel that touches the hole contains some of the object's edge: it observes nothing.
        solid = (here == PixelState.KNOWN).astype(np.uint8)
        solid = cv2.erode(solid, np.ones((3, 3), np.uint8), borderValue=1) > 0
        frame = np.where(solid, index, NOT_OBSERVED).astype(np.int32)
        to_y, to_x, residual = y.copy(), x.copy(), np.full(here.shape, np.nan, np.float32)
        hidden = ~solid & (here != PixelState.OUTSIDE)
        if before is not None and hidden.any():
            flow = completed_flow(current, before.picture, here, np.asarray(state[before.index]))
            change = np.abs(current - warp(before.picture, flow)).mean(axis=2)[hidden]
            at_x, at_y = x[hidden] + flow[hidden][:, 0], y[hidden] + flow[hidden][:, 1]
            inside = (at_x >= 0) & (at_x <= width - 1) & (at_y >= 0) & (at_y <= height - 1)
            columns = np.clip(np.rint(at_x), 0, width - 1).astype(np.int64)
            rows = np.clip(np.rint(at_y), 0, height - 1).astype(np.int64)
            # Continue from the nearest pixel, and add the rounding error of its position.
            frame[hidden] = np.where(inside, before.frame[rows, columns], NOT_OBSERVED)
            to_y[hidden] = before.y[rows, columns] + (at_y - rows)
            to_x[hidden] = before.x[rows, columns] + (at_x - columns)
            earlier = before.residual[rows, columns]
            mean = np.where(np.isnan(earlier), change, _MOMENTUM * earlier + (1 - _MOMENTUM) * change)
            residual[hidden] = np.where(inside, mean, np.nan)
        hole = np.nonzero(here == PixelState.HOLE)
        yield index, Reprojection(*hole, frame[hole], to_y[hole], to_x[hole], residual[hole])
        before = _Swept(index, current, frame, to_y, to_x, residual)


@dataclass(frozen=True)
class _Swept:
    """The frame that a sweep comes from: its picture, and where each of its pixels is observed, all ``[H, W]``."""

    index: int
    picture: np.ndarray
    frame: np.ndarray
    y: np.ndarray
    x: np.ndarray
    residual: np.ndarray


def past_and_future(
    picture: Callable[[int], np.ndarray],
    state: np.ndarray,
    track: Sequence[int],
    folder: Path,
    on_frame: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, Reprojection, Reprojection]]:
    """The nearest observation of each hidden pixel in the past and in the future.

    Args:
        picture, state: as for ``reproject``.
        track: indices of the frames of one view, in ascending order.
        folder: for the temporary file that holds one direction.
        on_frame: called for each frame in each of the two sweeps; an exception that it raises ends them.

    Yields:
        For each frame of the track its index, the observations in the past and those in the future.
    """

    def sweep(order: Sequence[int]) -> Iterator[tuple[int, Reprojection]]:
        for index, reprojection in reproject(picture, state, order):
            on_frame()
            yield index, reprojection

    with contextlib.closing(ReprojectionCache(sweep(track[::-1]), folder)) as future:
        for index, past in sweep(track):
            yield index, past, future.read(index, np.asarray(state[index]))


class ReprojectionCache:
    """The reprojections of one sweep in a temporary file: 16 bytes a hole pixel on the disk, none in memory.

    Args:
        swept: of ``reproject``.
        folder: holds the temporary file, which has no name in it on systems that support this.
    """

    def __init__(self, swept: Iterable[tuple[int, Reprojection]], folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (it lives as long as this object)
        self._entries: dict[int, tuple[int, int]] = {}
        try:
            for index, reprojection in swept:
                self._entries[index] = self._file.tell(), len(reprojection.rows)
                for part in (reprojection.frame, reprojection.y, reprojection.x, reprojection.residual):
                    self._file.write(np.ascontiguousarray(part).tobytes())
        except BaseException:
            self.close()
            raise

    def read(self, index: int, state: np.ndarray) -> Reprojection:
        """The reprojection of one frame, given the same ``state`` ``[H, W]`` as in the sweep."""
        offset, count = self._entries[index]
        self._file.seek(offset)
        types = (np.int32, np.float32, np.float32, np.float32)
        parts = [np.frombuffer(self._file.read(4 * count), kind) for kind in types]
        return Reprojection(*np.nonzero(state == PixelState.HOLE), *parts)

    def close(self) -> None:
        """Close and delete the file."""
        self._file.close()

"""What a shot's fills copy from, at one size, and what of the search for it is kept."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from internal_inpaint.motion.candidates import Found, astray, find_candidates
from internal_inpaint.motion.field import Motion, resized_motion
from internal_inpaint.motion.follow import shows

_MASK_BYTES = 256e6  # of the masks of one size that are kept
_FOUND_BYTES = 256e6  # of the candidates that are kept
_FOUND_PIXEL = 66  # bytes of a pixel's


class CopySource:
    """What is copied from, at one size.

    Args:
        frames: ``[N, h, w, 3]`` working space, with the known pixels continued smoothly into the holes.
        state: ``[N, h, w]`` uint8 of ``PixelState``.
        motion: of the shot, at any size.
    """

    def __init__(self, frames: np.ndarray, state: np.ndarray, motion: Motion) -> None:
        self.frames, self.state = frames, state
        self.size: tuple[int, int] = tuple(state.shape[1:])
        self.motion = resized_motion(motion, self.size)
        kept = int(max(2, _MASK_BYTES // max(1, state[0].size)))
        self.shown = lru_cache(kept)(lambda index: shows(np.asarray(state[index])))
        self._found: dict[int, tuple[Found, np.ndarray] | None] = {}
        self._found_bytes = 0

    def picture(self, index: int) -> np.ndarray:
        return self.frames[index]

    def searched(self, index: int) -> tuple[Found, np.ndarray] | None:
        """The candidates of a picture's hole, and how far they come out astray; ``None`` without a hole.

        They are kept as far as memory allows: texture, confidence, previews and rendering all ask for them.
        """
        if index in self._found:
            return self._found[index]
        result = self.search(index)
        # What came first stays: all of these go through the shot from its beginning.
        if self._found_bytes < _FOUND_BYTES:
            self._found[index] = result
            self._found_bytes += 0 if result is None else result[0].nbytes + result[1].nbytes
        return result

    def search(self, index: int) -> tuple[Found, np.ndarray] | None:
        """As ``searched``, anew."""
        found = find_candidates(self.motion, self.shown, np.asarray(self.state[index]), index)
        return None if found is None else (found, astray(found, self.motion))


def kept_bytes(pictures: int, sizes: Iterable[tuple[int, int]], hole_pixels: float) -> int:
    """Memory for what the sources of these sizes keep of a shot.

    Args:
        hole_pixels: of the boxes of all holes at the level.
    """
    masks = sum(min(_MASK_BYTES, pictures * height * width) for height, width in sizes)
    return int(masks + min(_FOUND_BYTES, _FOUND_PIXEL * hole_pixels))

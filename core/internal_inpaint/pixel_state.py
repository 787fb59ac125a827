"""What is known of a pixel of the shot: the one enumeration that the state planes of the frame store hold."""

from __future__ import annotations

from enum import IntEnum
from functools import reduce

import numpy as np


class PixelState(IntEnum):
    """A value of a state plane ``[N, h, w]`` uint8."""

    KNOWN = 0
    HOLE = 1
    OUTSIDE = 2  # outside the frame's data window


def is_finite(picture: np.ndarray) -> np.ndarray:
    """``[H, W]`` bool: whether all channels of a pixel ``[H, W, C]`` are finite."""
    # By channel: NumPy reduces a short last axis several times as slowly.
    return reduce(np.logical_and, (np.isfinite(picture[..., channel]) for channel in range(picture.shape[2])))

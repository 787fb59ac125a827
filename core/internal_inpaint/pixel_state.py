"""What is known of a pixel of the shot: the one enumeration that the state planes of the frame store hold."""

from __future__ import annotations

from enum import IntEnum


class PixelState(IntEnum):
    """A value of a state plane ``[N, h, w]`` uint8."""

    KNOWN = 0
    HOLE = 1
    OUTSIDE = 2  # outside the frame's data window

"""Random free-form strokes as synthetic holes, the alternative to randomly shifted mattes.

The scheme is that of the gated-convolution paper: brush strokes along a polyline with alternating turns and round
joints. Appendix B of our paper compares it with object mattes. The presets use object mattes; strokes are for
that comparison. The strokes are computed on the host, with NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

MOST_OF_A_CROP = (
    0.25  # largest share of a crop that strokes are to cover: that of a hole in a crop of twice its sides
)
# As shares of the crop's shorter side; turns in radians.
RADIUS = (0.03, 0.09)
LENGTH = (0.1, 0.4)
TURN = (0.2, 1.6)
VERTICES = (3, 9)


def stroke_hole(rng: np.random.Generator, size: tuple[int, int], area: int) -> np.ndarray:
    """A hole of random strokes.

    Strokes are added disc by disc until they cover ``area``, so the hole exceeds it by less than one disc of the
    widest brush.

    Args:
        rng: random generator that determines the hole.
        size: height and width in pixels.
        area: minimum number of pixels to cover; limited to ``MOST_OF_A_CROP`` of the size.

    Returns:
        ``[height, width]`` bool, True inside the hole.
    """
    hole = np.zeros(size, dtype=bool)
    area = max(1, min(area, int(MOST_OF_A_CROP * hole.size)))
    covered = 0
    while True:
        for top, left, disc in _discs(rng, size):
            covered += _cover(hole, top, left, disc)
            if covered >= area:
                return hole


def _discs(rng: np.random.Generator, size: tuple[int, int]) -> Iterator[tuple[int, int, np.ndarray]]:
    """(top, left, disc) along one stroke, close enough together to look like a line; discs are square masks."""
    shorter = min(size)
    row, column = (rng.uniform(0, side - 1) for side in size)
    heading = rng.uniform(0, 2 * math.pi)
    for vertex in range(rng.integers(*VERTICES, endpoint=True)):
        radius = max(1, round(rng.uniform(*RADIUS) * shorter))
        across = np.arange(-radius, radius + 1) ** 2
        disc = across[:, None] + across[None, :] <= radius * radius
        # Alternate left and right turns: the line wriggles instead of closing into a circle.
        heading += rng.uniform(*TURN) * (1 if vertex % 2 else -1)
        length = rng.uniform(*LENGTH) * shorter
        to_row, to_column = row + length * math.sin(heading), column + length * math.cos(heading)
        steps = 1 + int(math.hypot(to_row - row, to_column - column) / (0.7 * radius))
        for share in np.linspace(0, 1, steps + 1):
            down, right = row + share * (to_row - row), column + share * (to_column - column)
            yield round(down) - radius, round(right) - radius, disc
        row, column = to_row, to_column
        if not (0 <= row < size[0] and 0 <= column < size[1]):
            return


def _cover(hole: np.ndarray, top: int, left: int, disc: np.ndarray) -> int:
    """Add a disc, clipped to the array, to the hole; returns how many pixels are newly covered."""
    part = hole[max(0, top) : max(0, top + len(disc)), max(0, left) : max(0, left + len(disc))]
    disc = disc[max(0, -top) :, max(0, -left) :][: part.shape[0], : part.shape[1]]
    before = np.count_nonzero(part)
    part |= disc
    return np.count_nonzero(part) - before

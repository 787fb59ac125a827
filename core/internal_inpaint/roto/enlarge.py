"""A matte found at the working size, brought to the plate's size.

Cubic resampling, and nothing cleverer: a guided filter (K. He, J. Sun, X. Tang, 2013) fitted to the plate
was tried for it, and cost solid objects more edge than it gave to thin ones.
"""

from __future__ import annotations

import cv2
import numpy as np

NOISE = 1 / 128  # ripples of the cubic


def enlarge_matte(matte: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A soft matte at the plate's size.

    Args:
        matte: ``[h, w]`` 0..1, at the working size.
        size: (H, W) of the plate; the area average is taken where it is the smaller one.

    Returns:
        ``[H, W]`` float32 0..1; exactly 0 away from where ``matte`` is above 0.
    """
    matte = np.ascontiguousarray(matte, np.float32)
    if matte.shape == tuple(size):
        return matte.copy()
    smaller = size[0] <= matte.shape[0] and size[1] <= matte.shape[1]
    kind = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    enlarged = np.clip(cv2.resize(matte, size[::-1], interpolation=kind), 0, 1)
    enlarged[enlarged < NOISE] = 0
    enlarged[enlarged > 1 - NOISE] = 1
    return enlarged

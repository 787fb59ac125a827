"""Plate and fill put together, in scene-linear."""

from __future__ import annotations

import numpy as np

from internal_inpaint.pixel_state import is_finite


def composite(plate: np.ndarray, fill: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """``plate x (1 - a) + fill x a``.

    Where the matte touches a plate pixel that is NaN or infinite, the fill replaces the pixel entirely.

    Args:
        plate, fill: ``[H, W, 3]`` float32 scene-linear.
        alpha: ``[H, W]`` float32, the grown and feathered matte.

    Returns:
        ``[H, W, 3]`` float32; the plate itself, bit for bit, where alpha is 0.
    """
    a = alpha[..., None]
    usable = is_finite(plate)[..., None]
    blended = np.where(usable, plate, fill) * (1 - a) + fill * a
    return np.where(a > 0, blended, plate).astype(np.float32)

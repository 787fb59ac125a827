"""Pictures made smaller."""

from __future__ import annotations

import numpy as np
import torch


def reduced(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``[H, W, C]`` float32 reduced to ``size`` (h, w) by area."""
    planes = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    small = torch.nn.functional.adaptive_avg_pool2d(planes, size)
    return small[0].permute(1, 2, 0).contiguous().numpy()

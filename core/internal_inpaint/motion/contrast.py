"""The contrast of a shot, which differences between its frames are measured in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from internal_inpaint.pixel_state import PixelState

_FRAMES, _PIXELS = 16, 100_000
_LEAST = 1e-3


def contrast_of(frames: np.ndarray, state: np.ndarray, track: Sequence[int]) -> float:
    """Standard deviation of the known pixels, of a few frames; at least 0.001.

    Args:
        frames: ``[N, h, w, 3]``; state: ``[N, h, w]`` uint8 ``PixelState``.
        track: indices of the frames to choose from.
    """
    spread = np.linspace(0, len(track) - 1, min(len(track), _FRAMES)).round().astype(int)
    stride = max(1, round(np.sqrt(state[0].size / _PIXELS)))
    samples = [(frames[i][::stride, ::stride], state[i][::stride, ::stride]) for i in (track[k] for k in spread)]
    values = np.concatenate([frame.astype(np.float32)[plane == PixelState.KNOWN] for frame, plane in samples])
    return max(float(values.std(axis=0).mean()), _LEAST) if len(values) else 1.0

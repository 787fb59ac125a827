"""Optical flow completed where a hole hides the motion."""

from __future__ import annotations

import cv2
import numpy as np

from internal_inpaint.motion.flow import is_consistent, optical_flow, warp
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.resample import enlarge_bilinear, reduce_area

_DIS_MARGIN = 5  # pixels by which DIS spreads the motion at the edge of a hole into what surrounds it
_SMALLEST = 16  # pixels a side: DIS takes no smaller frame


def completed_flow(
    source: np.ndarray, target: np.ndarray, source_state: np.ndarray, target_state: np.ndarray
) -> np.ndarray:
    """Estimate the flow between neighbouring frames and complete it where either frame is not known.

    The estimate is kept where both of its ends are known and it passes the forward-backward check.

    Args:
        source, target: ``[H, W, 3]`` working space, with something plausible in the holes: the edge of an empty hole
            disturbs the flow around it.
        source_state, target_state: ``[H, W]`` uint8 ``PixelState``.

    Returns:
        ``[H, W, 2]`` float32; 0 for frames too small to estimate a flow.
    """
    if min(source_state.shape) < _SMALLEST:
        return np.zeros((*source_state.shape, 2), np.float32)
    forward, backward = optical_flow(source, target), optical_flow(target, source)
    known = (source_state == PixelState.KNOWN).astype(np.uint8)
    known = cv2.erode(known, np.ones((_DIS_MARGIN, _DIS_MARGIN), np.uint8), borderValue=1) > 0
    ends_on_known = warp((target_state == PixelState.KNOWN).astype(np.float32), forward) > 0.99
    return push_pull(forward, known & ends_on_known & is_consistent(forward, backward))


def push_pull(flow: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Interpolate scattered data smoothly with push-pull (Gortler et al., "The Lumigraph", SIGGRAPH 1996).

    The pull phase reduces the data to a pyramid of weighted means; the push phase fills what is missing at each level
    from the next coarser one.

    Args:
        flow: ``[H, W, 2]`` float32.
        weight: ``[H, W]`` bool or 0..1: 1 where ``flow`` is kept as it is, 0 where it is missing.

    Returns:
        ``[H, W, 2]`` float32; 0 everywhere if all weights are 0.
    """
    height, width = weight.shape
    weight = weight.astype(np.float32)[..., None]
    if min(height, width) <= 2:
        mean = (flow * weight).sum(axis=(0, 1)) / max(float(weight.sum()), 1e-6)
        return np.where(weight > 0, flow, mean).astype(np.float32)
    half = (height + 1) // 2, (width + 1) // 2
    share = reduce_area(weight, half)
    coarse = reduce_area(flow * weight, half) / np.maximum(share, 1e-6)
    coarse = push_pull(coarse, np.minimum(4 * share[..., 0], 1))
    return flow * weight + enlarge_bilinear(coarse, (height, width)) * (1 - weight)

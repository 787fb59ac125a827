"""Optical flow measured where both frames are known, and completed where a hole hides the motion."""

from __future__ import annotations

import cv2
import numpy as np

from internal_inpaint.motion.flow import is_consistent, optical_flow, warp
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.resample import push_pull

DIS_MARGIN = 5  # pixels by which DIS spreads the motion at the edge of a hole into what surrounds it
SMALLEST = 16  # pixels a side: DIS takes no smaller frame


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
    if min(source_state.shape) < SMALLEST:
        return np.zeros((*source_state.shape, 2), np.float32)
    forward, backward = optical_flow(source, target), optical_flow(target, source)
    known = [away_from_holes(state) for state in (source_state, target_state)]
    return push_pull(forward, trusted(forward, backward, *known))


def away_from_holes(state: np.ndarray) -> np.ndarray:
    """``[H, W]`` bool: known pixels that DIS does not confuse with what is in a hole beside them."""
    known = (state == PixelState.KNOWN).astype(np.uint8)
    return cv2.erode(known, np.ones((DIS_MARGIN, DIS_MARGIN), np.uint8), borderValue=1) > 0


def trusted(forward: np.ndarray, backward: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Where a flow is a measurement: both of its ends are known, and it passes the forward-backward check.

    Args:
        forward, backward: ``[H, W, 2]`` flows from source to target and back.
        source, target: ``[H, W]`` bool, the known pixels of the two frames.

    Returns:
        ``[H, W]`` bool, of the source frame.
    """
    return source & (warp(target.astype(np.float32), forward) > 0.99) & is_consistent(forward, backward)

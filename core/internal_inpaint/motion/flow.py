"""Optical flow between two frames, with OpenCV's DIS estimator (Kroeger et al., "Fast Optical Flow using Dense
Inverse Search", ECCV 2016).

A flow is ``[H, W, 2]`` float32, (x, y) in pixels: what is at p in the source frame is at p + flow[p] in the target
frame. On water, motion blur and holes the flow is a guess: check it forward and backward (``is_consistent``).
"""

from __future__ import annotations

import cv2
import numpy as np


def optical_flow(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Estimate the flow ``[H, W, 2]`` from one frame to another.

    Args:
        source, target: ``[H, W, 3]`` working space in [-1, 1], at least 16 pixels a side.
    """
    return optical_flow_of_codes(grey_codes(source), grey_codes(target))


def optical_flow_of_codes(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``optical_flow`` of two frames that are ``grey_codes`` already."""
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(source, target, None)


def warp(target: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Warp an image of the target frame ``[H, W, ...]`` back to the source frame, bilinear; edges repeat."""
    x, y = _target_positions(flow)
    return cv2.remap(target, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def is_consistent(forward: np.ndarray, backward: np.ndarray, threshold: float = 1.0) -> np.ndarray:
    """Forward-backward check: ``[H, W]`` bool, True where following ``forward`` and then ``backward`` ends within
    ``threshold`` pixels of the start and does not leave the frame."""
    height, width = forward.shape[:2]
    x, y = _target_positions(forward)
    error = np.linalg.norm(forward + warp(backward, forward), axis=2)
    return (error <= threshold) & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def independent_motion(flow: np.ndarray, scale: float = 0.01) -> np.ndarray:
    """How far each pixel moves independently of the camera.

    The camera's motion is the affine map that RANSAC fits to the flow.

    Args:
        flow: ``[H, W, 2]``.
        scale: independent motion that maps to tanh(1) = 0.76, as a share of the frame's diagonal.

    Returns:
        ``[H, W]`` float32, from 0 (moves with the camera) to 1.
    """
    height, width = flow.shape[:2]
    stride = max(1, round((height * width / 2000) ** 0.5))
    y, x = np.mgrid[stride // 2 : height : stride, stride // 2 : width : stride]
    source = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
    target = source + flow[y.ravel(), x.ravel()]
    cv2.setRNGSeed(0)  # RANSAC draws random samples
    camera, _ = cv2.estimateAffine2D(source, target, method=cv2.RANSAC, ransacReprojThreshold=1.5)
    if camera is None:
        return np.zeros((height, width), np.float32)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    expected = np.stack([camera[i, 0] * columns + camera[i, 1] * rows + camera[i, 2] for i in (0, 1)], axis=2)
    distance = np.linalg.norm(np.stack(_target_positions(flow), axis=2) - expected, axis=2)
    return np.tanh(distance / (scale * np.hypot(height, width))).astype(np.float32)


def _target_positions(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x + flow[..., 0], y + flow[..., 1]


def grey_codes(frame: np.ndarray) -> np.ndarray:
    """What the flow is estimated from: ``[H, W]`` uint8, grey, of a frame ``[H, W, 3]`` in working space."""
    grey = np.asarray(frame, np.float32).mean(axis=2)
    return np.round(np.clip((grey + 1) * 127.5, 0, 255)).astype(np.uint8)

"""Apparent motion between two frames, by OpenCV's DIS optical flow (Kroeger et al., ECCV 2016).

Where the ground moves simply it says where a pixel went; in water, blur and holes it is a guess:
whoever uses it checks it forth and back (``agrees``).
"""

from __future__ import annotations

import cv2
import numpy as np


def flow(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Where each pixel of one frame is in another.

    Args:
        start, end: ``[H, W, 3]`` working space in [-1, 1].

    Returns:
        ``[H, W, 2]`` float32 (x, y) in pixels: what is at p in ``start`` is at p + flow[p] in ``end``.
    """
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return estimator.calc(_codes(start), _codes(end), None)


def carried(picture: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """A picture of the other frame ``[H, W, ...]`` brought back along ``motion``, bilinear; edges repeat."""
    x, y = _targets(motion)
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def agrees(motion: np.ndarray, back: np.ndarray, pixels: float = 1.0) -> np.ndarray:
    """``[H, W]`` bool: forth along ``motion`` and back along ``back`` ends within so many pixels of the start,
    and inside the frame."""
    height, width = motion.shape[:2]
    x, y = _targets(motion)
    error = np.linalg.norm(motion + carried(back, motion), axis=2)
    return (error <= pixels) & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def own_motion(motion: np.ndarray, fast: float = 0.01) -> np.ndarray:
    """How far pixels do not move with the camera, whose motion is the affine map that most of a flow follows.

    Args:
        motion: ``[H, W, 2]`` from ``flow``.
        fast: motion that counts as 0.76, as a share of the frame's diagonal.

    Returns:
        ``[H, W]`` float32, 0 with the camera to 1.
    """
    height, width = motion.shape[:2]
    step = max(1, round((height * width / 2000) ** 0.5))
    y, x = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    start = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
    end = start + motion[y.ravel(), x.ravel()]
    cv2.setRNGSeed(0)  # the fit draws lots
    camera, _ = cv2.estimateAffine2D(start, end, method=cv2.RANSAC, ransacReprojThreshold=1.5)
    if camera is None:
        return np.zeros((height, width), np.float32)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    expected = np.stack([camera[i, 0] * columns + camera[i, 1] * rows + camera[i, 2] for i in (0, 1)], axis=2)
    apart = np.linalg.norm(np.stack(_targets(motion), axis=2) - expected, axis=2)
    return np.tanh(apart / (fast * np.hypot(height, width))).astype(np.float32)


def _targets(motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = motion.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x + motion[..., 0], y + motion[..., 1]


def _codes(frame: np.ndarray) -> np.ndarray:
    grey = np.asarray(frame, np.float32).mean(axis=2)
    return np.round(np.clip((grey + 1) * 127.5, 0, 255)).astype(np.uint8)

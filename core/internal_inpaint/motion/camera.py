"""The camera's motion between two frames, as a homography.

A homography describes a camera that turns, and any camera over a plane, exactly. It needs no flow inside a hole, and
its errors do not grow from pixel to pixel, so that on blurred or very fast shots it is the better guide.
"""

from __future__ import annotations

import cv2
import numpy as np

_SAMPLES = 4000  # flow vectors to fit to, on a grid
_FEWEST = 20
_THRESHOLD = 1.0  # pixels of an inlier, in frames of this many pixels; it grows with the frame
_THRESHOLD_PIXELS = 854 * 480
_FAR = 1e6  # pixels


def camera_motion(flow: np.ndarray, trusted: np.ndarray) -> np.ndarray:
    """Fit a homography to a flow with RANSAC.

    Args:
        flow: ``[H, W, 2]`` pixels.
        trusted: ``[H, W]`` bool, where to fit.

    Returns:
        ``[3, 3]`` float64: maps (x, y, 1) in the source frame to the target frame. The identity if nothing fits.
    """
    height, width = trusted.shape
    stride = max(1, round((height * width / _SAMPLES) ** 0.5))
    y, x = (grid.ravel() for grid in np.mgrid[stride // 2 : height : stride, stride // 2 : width : stride])
    chosen = trusted[y, x]
    y, x = y[chosen], x[chosen]
    if len(y) < _FEWEST:
        return np.eye(3)
    source = np.stack([x, y], axis=1).astype(np.float32)
    threshold = _THRESHOLD * max(1.0, (height * width / _THRESHOLD_PIXELS) ** 0.5)
    cv2.setRNGSeed(0)  # RANSAC draws random samples
    found, _ = cv2.findHomography(source, source + flow[y, x], cv2.RANSAC, threshold)
    return np.eye(3) if found is None or not np.isfinite(found).all() else found


def resized_camera(camera: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """The same homography for frames of another size.

    Args:
        scale: (vertical, horizontal) factors from the homography's size to the new one.
    """
    vertical, horizontal = scale
    # Pixel centres lie at half integers.
    to_new = np.array([[horizontal, 0, (horizontal - 1) / 2], [0, vertical, (vertical - 1) / 2], [0, 0, 1]])
    return to_new @ camera @ np.linalg.inv(to_new)


def mapped(camera: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points ``[P, 2]`` (x, y) mapped by a homography, float32; far outside the frame where the camera cannot see.

    That is what it maps to infinity and what lies behind it, which would otherwise come back mirrored.
    """
    if not len(points):
        return np.zeros((0, 2), np.float32)
    at = cv2.perspectiveTransform(np.asarray(points, np.float32)[None], camera)[0]
    before = points @ camera[2, :2].astype(np.float32) + np.float32(camera[2, 2]) > 1e-9
    at[~before] = _FAR
    return at.clip(-_FAR, _FAR)

"""How good a fill is: figures on display-encoded images [N, H, W, 3], 0..1, against the truth.

Display-encoded means scene-linear clipped to 0..1 and sRGB-encoded, so that an error counts by how
much it is seen. Holes are boolean [N, H, W], true where the plate was unknown.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5  # an 11 x 11 window


def psnr(result: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over all pixels of all frames together."""
    return _decibel(float(np.mean((result.astype(np.float64) - truth) ** 2)))


def psnr_in_hole(result: np.ndarray, truth: np.ndarray, holes: np.ndarray) -> float:
    """PSNR in dB over the hole pixels of all frames together; NaN where there is no hole at all.

    The squared error is pooled over the clip before the logarithm: a frame weighs by the size of
    its hole, and one bad frame is not hidden by many good ones.
    """
    if not holes.any():
        return float("nan")
    return _decibel(float(np.mean((result[holes].astype(np.float64) - truth[holes]) ** 2)))


def ssim(result: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004), mean over frames, channels and pixels.

    Gaussian window 11 x 11 of sigma 1.5, K1 = 0.01, K2 = 0.03, population moments; pixels whose
    window leaves the frame are left out.
    """
    return float(np.mean([_ssim_frame(a, b) for a, b in zip(result, truth, strict=True)]))


def flows(truth: np.ndarray) -> np.ndarray:
    """Motion of the truth from each frame to the next, [N - 1, H, W, 2] pixels (x, y), OpenCV DIS."""
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(np.round(frame * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY) for frame in truth]
    pairs = [estimator.calc(a, b, None) for a, b in pairwise(grey)]
    return np.stack(pairs) if pairs else np.zeros((0, *truth.shape[1:3], 2), np.float32)


def temporal_error(
    result: np.ndarray, truth: np.ndarray, holes: np.ndarray, motion: np.ndarray | None = None
) -> float:
    """Flicker and swimming inside the hole, in 8-bit code values: 0 moves as the truth does, low is stable.

    The mean, over the hole pixels of frame t, channels and t, of
    ``|(W r[t+1] - r[t]) - (W g[t+1] - g[t])|``: r is the result, g the truth and W carries frame
    t + 1 back onto t along the motion of the truth (``flows``). A fill that is wrong but sticks to
    what it covers costs nothing here; that is what the PSNR is for. Pixels that move out of the
    frame are left out. NaN without two frames or without a hole.
    """
    motion = flows(truth) if motion is None else motion
    height, width = truth.shape[1:3]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    total, count = 0.0, 0
    for t, step in enumerate(motion):
        to_x, to_y = x + step[..., 0], y + step[..., 1]
        counted = holes[t] & (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)
        # The warp is linear, so the error is warped once instead of both images.
        error = (result[t + 1] - truth[t + 1]).astype(np.float32)
        carried = cv2.remap(error, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        total += float(np.abs(carried - (result[t] - truth[t]))[counted].sum())
        count += int(counted.sum()) * truth.shape[-1]
    return 255 * total / count if count else float("nan")


def _decibel(mean_squared_error: float) -> float:
    return float("inf") if mean_squared_error == 0 else float(-10 * np.log10(mean_squared_error))


def _ssim_frame(a: np.ndarray, b: np.ndarray) -> float:
    def blur(image: np.ndarray) -> np.ndarray:
        side = 2 * SSIM_RADIUS + 1
        return cv2.GaussianBlur(image, (side, side), SSIM_SIGMA)

    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = blur(a), blur(b)
    variance_a, variance_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    index = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    index /= (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    inner = slice(SSIM_RADIUS, -SSIM_RADIUS)
    return float(index[inner, inner].mean())

"""How good a fill is: figures on display-encoded images [N, H, W, 3], 0..1, against the truth.

Display-encoded means scene-linear clipped to 0..1 and sRGB-encoded, so that an error counts by how
much it is seen. Holes are boolean [N, H, W], true where the plate was unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from internal_inpaint.methods.implicit.encoders import POOLED, VGG_CHANNELS, Vgg19

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5  # an 11 x 11 window
SEAM_WIDTH = 4
PERCEPTUAL_LAYERS = (2, 7, 16)  # relu1_2, relu2_2 and relu3_4 as torchvision numbers their convolutions
PERCEPTUAL_MARGIN = 16
PERCEPTUAL_FRAMES = 10


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


def sharpness(result: np.ndarray, truth: np.ndarray, holes: np.ndarray) -> float:
    """Detail inside the hole as a share of the truth's: 1 is as sharp, less is blurred, more is noise or false edges.

    The mean length of the gradient (central differences, each channel by itself) over the hole of all frames, result
    over truth. Sums are pooled over the clip: a flat frame cannot give a huge ratio. A border of one pixel is left
    out, so that no difference reaches across the hole's edge, where a visible seam would count as detail. NaN if
    nothing of the hole is left or the truth is flat there.
    """
    own = true = 0.0
    for a, b, hole in zip(result, truth, holes, strict=True):
        if hole.any():
            box = bounding_box(hole, 1)
            # The frame's edge is not a border of the hole: nothing known lies beyond it.
            inner = cv2.erode(hole[box].astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
            own += float(_gradient_length(a[box])[inner].sum(dtype=np.float64))
            true += float(_gradient_length(b[box])[inner].sum(dtype=np.float64))
    return own / true if true else float("nan")


def seam_error(result: np.ndarray, truth: np.ndarray, holes: np.ndarray, width: int = SEAM_WIDTH) -> float:
    """Mean absolute error in 8-bit code values over the ``width`` pixels inside the hole's edge; NaN without an edge.

    What is known lies right beside this ring, so a fill that is wrong here is seen as a seam first. Where the hole
    runs out of the frame there is no edge.
    """
    total, count = 0.0, 0
    for a, b, hole in zip(result, truth, holes, strict=True):
        if hole.any() and not hole.all():
            ring = hole & (cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= width)
            total += float(np.abs(a[ring] - b[ring]).sum(dtype=np.float64))
            count += int(ring.sum()) * truth.shape[-1]
    return 255 * total / count if count else float("nan")


def seam_step(result: np.ndarray, truth: np.ndarray, holes: np.ndarray) -> float:
    """How much more the picture steps across the hole's edge than the truth does, in 8-bit code values.

    The mean of ``|inside - outside|`` over pairs of neighbours on both sides of the edge, result less truth. Zero:
    the edge cannot be told by its step; above: it shows as a line; below: the fill grows smoothly out of what
    surrounds it, as a blur does. A fill that is wrong but fits costs nothing here. NaN without an edge.
    """
    total, count = 0.0, 0
    for axis in (1, 2):
        for a, b, hole in zip(result, truth, holes, strict=True):
            edge = np.diff(hole, axis=axis - 1)
            step_a, step_b = (np.abs(np.diff(image, axis=axis - 1)[edge]) for image in (a, b))
            total += float((step_a - step_b).sum(dtype=np.float64))
            count += step_a.size
    return 255 * total / count if count else float("nan")


def perceptual_distance(
    result: np.ndarray, truth: np.ndarray, holes: np.ndarray, encoder: Vgg19, frames: int = PERCEPTUAL_FRAMES
) -> float:
    """Distance of VGG-19 features in the hole: 0 is alike, 2 as different as can be; NaN without a hole.

    As LPIPS (Zhang et al. 2018), without its learned weights: features of relu1_2, relu2_2 and relu3_4, each position
    scaled to unit length, squared distance, mean over the positions that touch the hole, then over the three layers.
    Blur changes what the features see much more than a small shift does, which is how people judge, and the opposite
    of what the PSNR says. It is computed on the hole's bounding box grown by 16 pixels, on at most ``frames`` frames
    spread evenly over those with a hole: all of them would take longer than most methods need.
    """
    with_hole = np.flatnonzero(holes.any(axis=(1, 2)))
    sums, counts = np.zeros(len(PERCEPTUAL_LAYERS)), np.zeros(len(PERCEPTUAL_LAYERS))
    spread = np.linspace(0, len(with_hole) - 1, min(frames, len(with_hole))).round().astype(int)
    for t in with_hole[spread]:
        rows, columns = bounding_box(holes[t], PERCEPTUAL_MARGIN)
        pair = np.stack([images[t, rows, columns] for images in (result, truth)])
        pictures = torch.from_numpy(pair).float().permute(0, 3, 1, 2)
        hole = torch.from_numpy(holes[t, rows, columns]).float()[None, None]
        for layer, (features, touched) in enumerate(_unit_features(encoder, pictures, hole)):
            distance = (features[0] - features[1]).square().sum(0)[touched[0, 0] > 0]
            sums[layer] += float(distance.sum())
            counts[layer] += len(distance)
    return float((sums / counts).mean()) if counts.all() else float("nan")


def bounding_box(hole: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns of the smallest box round a hole [H, W], grown by ``margin`` pixels inside the frame."""
    sides = []
    for axis in (1, 0):
        at = np.flatnonzero(hole.any(axis=axis))
        sides.append(slice(max(0, int(at[0]) - margin), int(at[-1]) + 1 + margin))
    return sides[0], sides[1]


def _gradient_length(image: np.ndarray) -> np.ndarray:
    down, right = np.gradient(image, axis=(0, 1))
    return np.hypot(down, right).mean(axis=-1)


@torch.no_grad()
def _unit_features(encoder: Vgg19, pictures: Tensor, hole: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Features [B, C, h, w] of unit length at each of ``PERCEPTUAL_LAYERS``, and where they touch the hole."""
    x = (pictures - encoder.mean) / encoder.deviation
    for index in VGG_CHANNELS:
        if index in POOLED:
            x, hole = F.max_pool2d(x, 2), F.max_pool2d(hole, 2)
        x = F.conv2d(x, getattr(encoder, f"weight{index}"), getattr(encoder, f"bias{index}"), padding=1).relu_()
        if index in PERCEPTUAL_LAYERS:
            yield F.normalize(x, dim=1), hole


def _decibel(mean_squared_error: float) -> float:
    return float("inf") if mean_squared_error == 0 else float(-10 * np.log10(mean_squared_error))


def _ssim_frame(a: np.ndarray, b: np.ndarray) -> float:
    index_of_all = np.ones(a.shape)
    differs = (a != b).any(axis=-1)
    # A window in which nothing differs has the index 1, which is most of a frame of which a hole was filled.
    if differs.any():
        box = bounding_box(differs, 2 * SSIM_RADIUS)
        index_of_all[box] = _ssim_index(a[box].astype(np.float64), b[box].astype(np.float64))
    inner = slice(SSIM_RADIUS, -SSIM_RADIUS)
    return float(index_of_all[inner, inner].mean())


def _ssim_index(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    def blur(image: np.ndarray) -> np.ndarray:
        side = 2 * SSIM_RADIUS + 1
        return cv2.GaussianBlur(image, (side, side), SSIM_SIGMA)

    mean_a, mean_b = blur(a), blur(b)
    variance_a, variance_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    index = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return index / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))

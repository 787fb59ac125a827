"""Stabilisation regulariser (section 3.4, equations 4 and 5, ranges of A.3): a fill that follows its surroundings.

Where no frame shows what is behind the object, the network invents it. A small change of the surroundings may
make it invent something else in the next frame, which is visible as flicker. Here a frame and its mattes are changed
slightly by a random ``g``, both versions are filled, and the loss requires the fill to change as the frame does.

How ``g`` acts in the working space: its log-like values, mapped to 0..1, take the place of the paper's
display-referred ones. Brightness multiplies them by 0.95 to 1.05, clipped to the range. The blur averages
working-space values of known pixels only, so that the hole does not bleed into them. Mattes are transformed
geometrically, but neither brightened nor blurred.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT, ANGLE, SCALE, SHEAR, BRIGHTNESS = 3.0, 2.0, 0.05, 1.0, 0.05
# "Standard" Gaussian kernels of 1 (no blur), 3 and 5 pixels, as five taps; the width follows the size as in OpenCV.
KERNELS = np.zeros((3, 5))
KERNELS[0, 2] = 1
for _row, _size in ((1, 3), (2, 5)):
    _taps = np.exp(-((np.arange(_size) - _size // 2) ** 2) / (2 * (0.3 * ((_size - 1) / 2 - 1) + 0.8) ** 2))
    KERNELS[_row, 2 - _size // 2 : 3 + _size // 2] = _taps / _taps.sum()
MASK_THRESHOLD = 0.01  # a resampled pixel counts as masked if masked pixels contribute more than this to it


@dataclass(frozen=True)
class Change:
    """One random ``g`` per crop.

    Attributes:
        matrix: ``[B, 2, 2]`` rotation, scale and shear about the crop's centre, applied to points (x, y).
        shift: ``[B, 2]`` translation (x, y) in pixels, applied after ``matrix``.
        brightness: ``[B]`` factor.
        blur: ``[B]`` row of ``KERNELS``.
    """

    matrix: np.ndarray
    shift: np.ndarray
    brightness: np.ndarray
    blur: np.ndarray


def draw_change(rng: np.random.Generator, count: int) -> Change:
    """Random parameters of ``g`` within the paper's ranges; the blur is none, 3x3 or 5x5."""
    angle, shear = (np.radians(rng.uniform(-most, most, count)) for most in (ANGLE, SHEAR))
    scale = rng.uniform(1 - SCALE, 1 + SCALE, count)
    zeros, ones = np.zeros(count), np.ones(count)
    rotation = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(-1, 2, 2)
    sheared = np.stack([ones, np.tan(shear), zeros, ones], 1).reshape(-1, 2, 2)
    return Change(
        matrix=scale[:, None, None] * rotation @ sheared,
        shift=rng.uniform(-SHIFT, SHIFT, (count, 2)),
        brightness=rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS, count),
        blur=rng.integers(len(KERNELS), size=count),
    )


@dataclass(frozen=True)
class Changed:
    """A batch after ``g``, ``[B, C, h, w]`` each.

    Attributes:
        picture: ``g(X)``; meaningless where not ``known``.
        hidden: ``g(M') u g(M)``.
        known: 1 outside ``g(M)`` and where the source lay inside the crop.
        synthetic: ``g(M')``.
        extra: the network's extra input planes, changed like the picture.
    """

    picture: Tensor
    hidden: Tensor
    known: Tensor
    synthetic: Tensor
    extra: Tensor | None


def apply_change(
    change: Change, picture: Tensor, hidden: Tensor, known: Tensor, synthetic: Tensor, extra: Tensor | None = None
) -> Changed:
    """Apply ``g`` to a batch: blur and brightness to pictures, one resampling to everything.

    Args:
        picture: ``[B, 3, h, w]`` working space in [-1, 1].
        hidden, known, synthetic: ``[B, 1, h, w]`` of 0 and 1, as in ``Clip``.
        extra: ``[B, k, h, w]`` additional picture planes, known everywhere.
    """
    size = tuple(picture.shape[-2:])
    matrix, kernels, brightness = _on_device(change, size, picture.device)
    # Blur known pixels only, normalised by their weight, so that the zeros of the hole do not contribute.
    amount = _blurred(known, kernels)
    planes = [_brightened(_blurred(picture * known, kernels) / amount.clamp(min=1e-6), brightness) * known]
    if extra is not None:
        planes.append(_brightened(_blurred(extra, kernels), brightness))
    planes += [hidden, 1 - known, synthetic]
    grid = F.affine_grid(matrix, [len(picture), 1, *size], align_corners=False)
    moved = F.grid_sample(torch.cat(planes, 1), grid, padding_mode="border", align_corners=False)
    pictures, mattes = moved[:, :-3], (moved[:, -3:] > MASK_THRESHOLD).to(picture.dtype)
    # Pixel centres of the crop lie within 1 - 1 / size of its centre; positions beyond were not in the crop.
    x, y = grid.abs().unbind(3)
    inside = (x <= 1 - (1 - MASK_THRESHOLD) / size[1]) & (y <= 1 - (1 - MASK_THRESHOLD) / size[0])
    inside = inside[:, None].to(picture.dtype)
    return Changed(
        picture=pictures[:, :3],
        hidden=mattes[:, 0:1],
        known=(1 - mattes[:, 1:2]) * inside,
        synthetic=mattes[:, 2:3],
        extra=pictures[:, 3:] if extra is not None else None,
    )


def stabilise_loss(
    output: Tensor,
    picture: Tensor,
    known: Tensor,
    synthetic: Tensor,
    changed_output: Tensor,
    changed: Changed,
    hole_weight: float | None,
) -> Tensor:
    """Equations (4) and (5): difference between the change of the output and of the picture, outside ``M u g(M)``.

    Args:
        output: ``[B, 3, h, w]`` for the original frame.
        picture, known, synthetic: ``[B, *, h, w]`` of the original batch.
        changed_output: ``[B, 3, h, w]`` for the changed frame.
        changed: the changed batch.
        hole_weight: weight of the region inside ``M' u g(M')``, like ``ImplicitConfig.hole_weight``; ``None``: every
            pixel counts the same, as in the paper.
    """
    counted = known * changed.known
    delta = ((changed_output.float() - output.float()) - (changed.picture - picture)).abs().sum(1, keepdim=True) / 3
    if hole_weight is None:
        return _mean(delta, counted)
    inside = counted * torch.maximum(synthetic, changed.synthetic)
    return hole_weight * _mean(delta, inside) + (1 - hole_weight) * _mean(delta, counted - inside)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1)


def _on_device(change: Change, size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Sampling matrices ``[B, 2, 3]``, kernels ``[B, 5]`` and brightness ``[B]``, in one transfer."""
    inverse = np.linalg.inv(change.matrix)  # resampling needs the source position of a pixel
    half = np.array([size[1], size[0]]) / 2
    matrix = inverse * half[None, None, :] / half[None, :, None]
    shift = -(inverse @ change.shift[:, :, None]) / half[None, :, None]
    numbers = np.concatenate(
        [np.concatenate([matrix, shift], 2).reshape(-1, 6), KERNELS[change.blur], change.brightness[:, None]], 1
    )
    tensor = torch.from_numpy(numbers.astype(np.float32))
    if device.type == "cuda":
        tensor = tensor.pin_memory().to(device, non_blocking=True)
    return tensor[:, :6].reshape(-1, 2, 3), tensor[:, 6:11], tensor[:, 11]


def _brightened(picture: Tensor, factor: Tensor) -> Tensor:
    return ((picture + 1) * factor[:, None, None, None] - 1).clamp(-1, 1)


def _blurred(planes: Tensor, kernels: Tensor) -> Tensor:
    """Separable convolution of each crop with its own kernel; edge pixels are repeated."""
    for axis in (2, 3):
        length = planes.shape[axis]
        padded = F.pad(planes, (0, 0, 2, 2) if axis == 2 else (2, 2, 0, 0), mode="replicate")
        planes = sum(padded.narrow(axis, tap, length) * kernels[:, tap, None, None, None] for tap in range(5))
    return planes

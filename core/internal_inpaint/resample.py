"""Resampling of pictures: every image that changes its size on the host does so here.

Images are ``[H, W]`` or ``[H, W, C]``; sizes are (height, width). Pixel centres lie at half integers, so an image and
its resampled version cover the same area. An image that already has the size comes back as it is.
"""

from __future__ import annotations

import cv2
import numpy as np

# OpenCV converts half floats from version 5 on, and several times as fast as NumPy.
_CONVERTS_HALF = int(cv2.__version__.split(".")[0]) >= 5
MATTE_NOISE = 1 / 128  # the ripples that bicubic interpolation leaves beside an edge


def reduce_area(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Reduce to ``size`` by area: each new pixel is the mean of what it covers, float32."""
    return _resize(image, size, cv2.INTER_AREA)


def enlarge_bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge to ``size`` by bilinear interpolation, float32."""
    return _resize(image, size, cv2.INTER_LINEAR)


def enlarge_bicubic(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge to ``size`` by bicubic interpolation, float32. It overshoots beside edges: clip where that matters."""
    return _resize(image, size, cv2.INTER_CUBIC)


def enlarged_part(
    image: np.ndarray, size: tuple[int, int], box: tuple[slice, slice], bicubic: bool = False
) -> np.ndarray:
    """A part of an image that is enlarged to ``size``, without making the rest.

    Args:
        image: ``[h, w, C]``, C at most 4.
        box: rows and columns of the enlarged image.

    Returns:
        ``[rows, columns, C]`` float32.
    """
    if image.shape[:2] == tuple(size):
        return np.array(image[box], np.float32)
    y, x = (
        ((np.arange(part.start, part.stop) + 0.5) * (old / new) - 0.5).astype(np.float32)
        for part, old, new in zip(box, image.shape[:2], size, strict=True)
    )
    margin = 3
    top, left = max(0, int(y[0]) - margin), max(0, int(x[0]) - margin)
    part = as_float32(image[top : int(y[-1]) + margin + 2, left : int(x[-1]) + margin + 2])
    columns, rows = np.meshgrid(x - left, y - top)
    found = cv2.remap(
        part, columns, rows, cv2.INTER_CUBIC if bicubic else cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return found.reshape(*rows.shape, *image.shape[2:])


def push_pull(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Interpolate scattered data smoothly with push-pull (Gortler et al., "The Lumigraph", SIGGRAPH 1996).

    The pull phase reduces the data to a pyramid of weighted means; the push phase fills what is missing at each level
    from the next coarser one.

    Args:
        values: ``[H, W, C]`` float32.
        weight: ``[H, W]`` bool or 0..1: 1 where a value is kept as it is, 0 where it is missing.

    Returns:
        ``[H, W, C]`` float32; 0 everywhere if all weights are 0.
    """
    height, width = weight.shape
    weight = weight.astype(np.float32)[..., None]
    if min(height, width) <= 2:
        mean = (values * weight).sum(axis=(0, 1)) / max(float(weight.sum()), 1e-6)
        return np.where(weight > 0, values, mean).astype(np.float32)
    half = (height + 1) // 2, (width + 1) // 2
    share = reduce_area(weight, half)
    coarse = reduce_area(values * weight, half) / np.maximum(share, 1e-6)
    coarse = push_pull(coarse, np.minimum(4 * share[..., 0], 1))
    return values * weight + enlarge_bilinear(coarse, (height, width)) * (1 - weight)


def reduce_max(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Reduce to ``size``: each new pixel is the largest value that it touches, however little of it it covers.

    Of a mask that is every pixel that anything of the mask touches. Keeps the type of ``image``.
    """
    rows = _reduce_max_rows(image, size[0])
    return np.ascontiguousarray(_reduce_max_rows(np.ascontiguousarray(rows.swapaxes(0, 1)), size[1]).swapaxes(0, 1))


def resize_matte(matte: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A soft matte at another size: by area where that is smaller, else bicubic.

    Nothing cleverer: a guided filter (K. He, J. Sun, X. Tang, 2013) fitted to the plate was tried, and cost solid
    objects more edge than it gave to thin ones.

    Args:
        matte: ``[h, w]`` 0 to 1.

    Returns:
        ``[H, W]`` float32, 0 to 1; exactly 0 away from where ``matte`` is above 0.
    """
    if matte.shape == tuple(size):
        return np.array(matte, np.float32)
    smaller = size[0] <= matte.shape[0] and size[1] <= matte.shape[1]
    resized = np.clip(reduce_area(matte, size) if smaller else enlarge_bicubic(matte, size), 0, 1)
    resized[resized < MATTE_NOISE] = 0
    resized[resized > 1 - MATTE_NOISE] = 1
    return resized


def interpolate_linear(image: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Sample an image ``[H, W]`` at fractional ``positions`` along one axis; 0 at positions outside the image."""
    count = image.shape[axis]
    lower = np.floor(positions).astype(int)
    weight = (positions - lower).astype(np.float32)
    weight = weight.reshape((-1, 1) if axis == 0 else (1, -1))
    first = np.take(image, np.clip(lower, 0, count - 1), axis)
    second = np.take(image, np.clip(lower + 1, 0, count - 1), axis)
    inside = ((positions >= -0.5) & (positions <= count - 0.5)).reshape(weight.shape)
    return (first * (1 - weight) + second * weight) * inside


def as_float32(image: np.ndarray) -> np.ndarray:
    """An image of any float type as contiguous float32, without a copy where it is that already."""
    image = np.ascontiguousarray(image)
    if image.dtype == np.float16 and image.size and _CONVERTS_HALF:
        return cv2.add(image, 0.0, dtype=cv2.CV_32F).reshape(image.shape)
    return image.astype(np.float32, copy=False)


def _resize(image: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    image = as_float32(image)
    if image.shape[:2] == tuple(size):
        return image
    resized = cv2.resize(image, (size[1], size[0]), interpolation=interpolation)
    return resized.reshape(*size, *image.shape[2:])  # OpenCV drops an axis of one channel


def _reduce_max_rows(image: np.ndarray, rows: int) -> np.ndarray:
    count = len(image)
    if count == rows:
        return image
    new = np.arange(rows)
    first, last = new * count // rows, -(-(new + 1) * count // rows) - 1
    reduced = image[first]
    for offset in range(1, int((last - first).max()) + 1):
        np.maximum(reduced, image[np.minimum(first + offset, last)], out=reduced)
    return reduced

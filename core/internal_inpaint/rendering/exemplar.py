"""What nothing shows, filled with pieces of what surrounds it: exemplar-based inpainting.

The method is that of A. Criminisi, P. Perez, K. Toyama, "Region filling and object removal by exemplar-based image
inpainting", IEEE Transactions on Image Processing 2004: piece by piece from the edge inwards, first where much is
known and a structure meets the edge, the best matching piece of the known picture is copied. Pieces are searched in a
reduced picture; they are aligned, copied and blended in the picture itself, so that they keep its detail and grain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from internal_inpaint.motion.candidates import Box
from internal_inpaint.resample import reduce_area, reduce_max

SEARCHED_PIXELS = 240 * 135  # of the reduced picture, at most
_PIECE = 1 / 21  # radius of a piece, as a share of the shorter side of the reduced picture
_RADII = (1.0, 0.5, 0.25)  # shares of that: smaller pieces where no whole one is known
_LEAST_RADIUS = 2
_GUESSED = 0.1  # weight of what is not filled yet, and smooth, in the comparison
_ALIGNED = 2  # pixels of the reduced picture by which a piece may move when it is aligned
_BLENDED = 3  # pixels of the reduced picture over which pieces are blended
_EVEN = 0.02  # gradient, in working space, that a flat edge counts as


@dataclass(frozen=True)
class _Piece:
    """A piece in the reduced picture: where it goes, and the corner (row, column) that it comes from."""

    box: Box
    source: tuple[int, int]


def exemplar_fill(picture: np.ndarray, missing: np.ndarray, copied_from: np.ndarray) -> np.ndarray:
    """Fill the missing pixels of a picture.

    Args:
        picture: ``[H, W, 3]`` float32 working space, with something smooth where pixels are missing.
        missing: ``[H, W]`` bool.
        copied_from: ``[H, W]`` bool, what pieces may be taken from.

    Returns:
        ``[H, W, 3]`` float32. Where there is nothing to take pieces from, the picture itself.
    """
    size = missing.shape
    scale = max(1.0, (missing.size / SEARCHED_PIXELS) ** 0.5)
    small = tuple(max(1, round(side / scale)) for side in size)
    # A pixel that is missing in part only shows something of what is there, but no piece may hold it.
    small_missing = reduce_area(missing.astype(np.float32), small) >= 0.5
    allowed = (reduce_max((~copied_from | missing).astype(np.uint8), small) == 0) & ~small_missing
    result, filled = picture.astype(np.float32), ~missing
    for piece in _pieces(reduce_area(picture, small), small_missing, allowed):
        _paste(result, filled, piece, small)
    # A seam is blended on both sides.
    return np.where(missing[..., None], result, picture)


def _pieces(picture: np.ndarray, missing: np.ndarray, allowed: np.ndarray) -> Iterator[_Piece]:
    """The pieces in the order in which they are pasted."""
    radius, corners = _sources(allowed)
    if radius == 0:
        return
    picture, filled, size = picture.copy(), ~missing, missing.shape
    known = filled.astype(np.float32)  # confidence in each pixel
    window = (2 * radius + 1, 2 * radius + 1)
    while True:
        front = ~filled & (cv2.dilate(filled.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
        if not front.any():
            return
        confidence = cv2.boxFilter(known, -1, window, borderType=cv2.BORDER_CONSTANT)
        structure = cv2.boxFilter(_gradient(picture) * _inner(filled), -1, window)
        row, column = np.unravel_index(np.where(front, confidence * (structure + _EVEN), -1).argmax(), size)
        box = tuple(
            slice(max(0, int(at) - radius), min(side, int(at) + radius + 1))
            for at, side in zip((row, column), size, strict=True)
        )
        of_box = filled[box]
        source = _best(picture, box, of_box, corners[row - box[0].start :, column - box[1].start :])
        yield _Piece(box, source)
        taken = tuple(slice(at, at + side) for at, side in zip(source, of_box.shape, strict=True))
        picture[box] = np.where(of_box[..., None], picture[box], picture[taken])
        known[box] = np.where(of_box, known[box], confidence[row, column])
        filled[box] = True


def _sources(allowed: np.ndarray) -> tuple[int, np.ndarray]:
    """The radius of the pieces, and where their middles may be ``[h, w]``; 0 if there is none."""
    for share in _RADII:
        radius = max(_LEAST_RADIUS, round(share * _PIECE * min(allowed.shape)))
        side = 2 * (radius + _ALIGNED) + 1
        middles = cv2.erode(allowed.astype(np.uint8), np.ones((side, side), np.uint8), borderValue=0) > 0
        if middles.any():
            return radius, middles
    return 0, np.zeros_like(allowed)


def _best(picture: np.ndarray, box: Box, filled: np.ndarray, corners: np.ndarray) -> tuple[int, int]:
    """The corner of the piece that is most like what a box holds already.

    Args:
        corners: bool: where the corner of a piece may be.
    """
    weight = np.where(filled, 1, _GUESSED).astype(np.float32)
    found = _differences(picture, picture[box], weight)
    found = np.where(corners[: found.shape[0], : found.shape[1]], found, np.inf)
    row, column = np.unravel_index(found.argmin(), found.shape)
    return int(row), int(column)


def _differences(picture: np.ndarray, piece: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted squared differences of a piece with the picture, for all corners."""
    mask = np.repeat(weight[..., None], 3, axis=2)
    return cv2.matchTemplate(picture, np.ascontiguousarray(piece), cv2.TM_SQDIFF, mask=mask)


def _paste(result: np.ndarray, filled: np.ndarray, piece: _Piece, small: tuple[int, int]) -> None:
    """Paste a piece into the picture itself, where it fits best, blended with what is there."""
    scale = [new / old for new, old in zip(filled.shape, small, strict=True)]
    box = tuple(slice(round(part.start * s), round(part.stop * s)) for part, s in zip(piece.box, scale, strict=True))
    sides = [part.stop - part.start for part in box]
    here = filled[box]
    if here.all():
        return
    reach = [int(np.ceil(_ALIGNED * s)) if s > 1 else 0 for s in scale]
    at = [
        min(round(corner * s), whole - side)
        for corner, s, side, whole in zip(piece.source, scale, sides, filled.shape, strict=True)
    ]
    around = tuple(
        slice(max(0, start - r), min(whole, start + side + r))
        for start, side, r, whole in zip(at, sides, reach, filled.shape, strict=True)
    )
    found = _differences(result[around], result[box], here.astype(np.float32))
    row, column = np.unravel_index(found.argmin(), found.shape)
    top, left = around[0].start + int(row), around[1].start + int(column)
    source = result[top : top + sides[0], left : left + sides[1]].copy()
    # What is filled keeps its pixels, but for the seam.
    depth = cv2.distanceTransform(here.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    share = np.clip(1 - depth / (_BLENDED * min(scale)), 0, 1)[..., None]
    result[box] = result[box] * (1 - share) + source * share
    filled[box] = True


def _gradient(picture: np.ndarray) -> np.ndarray:
    rows, columns = np.gradient(cv2.GaussianBlur(picture.mean(axis=2), (0, 0), 1.0))
    return np.hypot(rows, columns).astype(np.float32)


def _inner(filled: np.ndarray) -> np.ndarray:
    """Where a gradient is one of the picture, and not of its edge."""
    return cv2.erode(filled.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1).astype(np.float32)

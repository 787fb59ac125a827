"""Mattes: from a file's channel to the alpha that composites the fill.

A matte is float32: 1 in the hole, 0 in the known region, values in between at soft edges.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from internal_inpaint.errors import BadInput
from internal_inpaint.resample import interpolate_linear
from internal_inpaint.shot.image import Window

# Below this (and above one minus this) a matte value is filtering or compression noise.
NOISE = 1e-4


def clean_matte(values: np.ndarray) -> np.ndarray:
    """Stored matte values as float32 in [0, 1]. Noise at both ends is removed; NaN counts as 0."""
    matte = np.clip(np.nan_to_num(values.astype(np.float32, copy=False), nan=0.0), 0.0, 1.0)
    matte[matte < NOISE] = 0.0
    matte[matte > 1.0 - NOISE] = 1.0
    return matte


def matte_is_proxy(matte: Window, plate: Window, matte_name: str, plate_name: str) -> bool:
    """Whether a matte with this display window must be resampled to the plate's.

    False: the windows are the same, so pixels match by coordinates. True: the matte has the plate's aspect and
    origin, but another resolution. Raises BadInput, with both sizes, for anything else.
    """
    if matte == plate:
        return False
    scale = plate.width / matte.width
    same_aspect = matte.width != plate.width and abs(plate.height / scale - matte.height) < 1
    same_corner = abs(matte.x * scale - plate.x) <= 1 and abs(matte.y * scale - plate.y) <= 1
    if same_aspect and same_corner:
        return True
    raise BadInput(
        f"matte {matte_name} is {matte} and plate {plate_name} is {plate} (display window); "
        f"render the matte at the plate's format"
    )


def place_matte(matte: np.ndarray, data: Window, canvas: Window) -> np.ndarray:
    """Places a matte with its own data window on the canvas, by coordinates; 0 elsewhere. Returns [H, W]."""
    placed = np.zeros((canvas.height, canvas.width), np.float32)
    common = data.intersection(canvas)
    if common.width and common.height:
        placed[common.slices_in(canvas)] = matte[common.slices_in(data)]
    return placed


def resample_matte(
    matte: np.ndarray, data: Window, matte_display: Window, plate_display: Window, canvas: Window
) -> np.ndarray:
    """Resamples a matte of another resolution to the canvas (bilinear), matching the display windows."""
    rows = _source_positions(
        np.arange(canvas.y, canvas.bottom), plate_display.y, plate_display.height, matte_display.height
    )
    columns = _source_positions(
        np.arange(canvas.x, canvas.right), plate_display.x, plate_display.width, matte_display.width
    )
    row_blended = interpolate_linear(matte, rows + matte_display.y - data.y, axis=0)
    return interpolate_linear(row_blended, columns + matte_display.x - data.x, axis=1)


def grow_matte(matte: np.ndarray, pixels: int) -> np.ndarray:
    """Grows the matte by `pixels` (grey dilation with an octagon): round mattes stay round, soft edges keep their
    shape."""
    if pixels <= 0:
        return matte
    # A square of radius s, dilated d times with a diamond, is a regular octagon of radius s + d.
    square = round(0.414 * pixels)
    grown = ndimage.maximum_filter(matte, size=2 * square + 1, mode="nearest") if square else matte
    for _ in range(pixels - square):
        grown = _widen(grown, diagonal=False)
    return grown


def feather_matte(matte: np.ndarray, pixels: int) -> np.ndarray:
    """Adds a ramp outside the matte that reaches exactly 0 after `pixels`; no value is lowered."""
    feathered = matte
    step = np.float32(1.0 / (pixels + 1))
    for index in range(pixels):
        # Alternating square and diamond steps give an octagon again.
        lowered = _widen(feathered, diagonal=index % 2 == 1) - step
        feathered = np.maximum(feathered, np.maximum(lowered, 0.0))
    return np.where(feathered < NOISE, np.float32(0.0), feathered)


def hole_and_alpha(matte: np.ndarray, grow: int, feather: int) -> tuple[np.ndarray, np.ndarray]:
    """The hole (bool: the grown matte) and the alpha (float32: feathered outside the hole) of a clean matte."""
    hole = np.zeros(matte.shape, bool)
    alpha = np.zeros(matte.shape, np.float32)
    rows, columns = np.nonzero(matte.any(axis=1))[0], np.nonzero(matte.any(axis=0))[0]
    if not len(rows):
        return hole, alpha
    # Mattes are mostly empty: process only the part that can change.
    reach = grow + feather + 1
    box = (
        slice(max(0, rows[0] - reach), rows[-1] + reach + 1),
        slice(max(0, columns[0] - reach), columns[-1] + reach + 1),
    )
    grown = grow_matte(matte[box], grow)
    hole[box] = grown > 0.0
    alpha[box] = feather_matte(grown, feather)
    return hole, alpha


def _widen(matte: np.ndarray, diagonal: bool) -> np.ndarray:
    """Grows by one pixel: to the four neighbours, or to all eight if `diagonal`."""
    columns = matte.copy()
    np.maximum(columns[:, 1:], matte[:, :-1], out=columns[:, 1:])
    np.maximum(columns[:, :-1], matte[:, 1:], out=columns[:, :-1])
    source = columns if diagonal else matte
    widened = columns.copy() if diagonal else columns
    np.maximum(widened[1:], source[:-1], out=widened[1:])
    np.maximum(widened[:-1], source[1:], out=widened[:-1])
    return widened


def _source_positions(pixels: np.ndarray, start: int, size: int, matte_size: int) -> np.ndarray:
    """Where the centres of plate pixels fall in the matte's display window, along one axis, in pixels."""
    return (pixels + 0.5 - start) / size * matte_size - 0.5

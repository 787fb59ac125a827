"""Contact sheets: plate, matte, fill and result of a few frames, as one PNG."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenImageIO as oiio

from internal_inpaint.errors import OutOfResources
from internal_inpaint.resample import reduce_area

GAP = 4  # pixels between pictures
MOST_WIDTH = 480  # of one picture; wider frames are reduced


@dataclass(frozen=True)
class Row:
    """One frame of a contact sheet; pictures ``[H, W, 3]`` float32 scene-linear, matte ``[H, W]``."""

    frame: int
    plate: np.ndarray
    matte: np.ndarray
    fill: np.ndarray
    result: np.ndarray


def srgb_encoded(linear: np.ndarray) -> np.ndarray:
    """Scene-linear to sRGB code values in [0, 1] (IEC 61966-2-1), clipped. For previews only, never for output."""
    x = _clipped(linear)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.power(x, 1 / 2.4) - 0.055).astype(np.float32)


def _clipped(linear: np.ndarray) -> np.ndarray:
    """Scene-linear values clipped to the range of a display, 0 to 1; NaN becomes black."""
    return np.clip(np.nan_to_num(linear, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)


def write_contact_sheet(rows: list[Row], path: Path) -> None:
    """Write a PNG with one row per frame; its columns are plate, matte, fill (inside the matte) and result.

    The file appears under its name only when it is complete.

    Raises:
        OutOfResources: the file cannot be written.
    """
    sheet = None
    for row in rows:
        alpha = np.repeat(row.matte[..., None], 3, axis=-1)
        fill = np.where(alpha > 0, row.fill, np.float32(0.18))
        # Reduced in linear light, as a lens does it; it is also faster to encode the smaller picture.
        plate, fill, result = (srgb_encoded(_reduced(_clipped(picture))) for picture in (row.plate, fill, row.result))
        pictures = [plate, _reduced(alpha.astype(np.float32)), fill, result]
        line = np.concatenate([_framed(picture) for picture in pictures], axis=1)
        line = _labelled(line, row.frame)
        sheet = line if sheet is None else np.concatenate([sheet, line], axis=0)
    temporary = path.with_name(f".{path.stem}.part.png")
    code_values = np.round(np.clip(sheet, 0, 1) * 255).astype(np.uint8)
    output = oiio.ImageOutput.create(str(temporary))
    spec = oiio.ImageSpec(code_values.shape[1], code_values.shape[0], 3, "uint8")
    written = output and output.open(str(temporary), spec) and output.write_image(code_values) and output.close()
    if not written:
        temporary.unlink(missing_ok=True)
        raise OutOfResources(f"{path} cannot be written: check the disk and the folder's permissions")
    os.replace(temporary, path)


def _reduced(picture: np.ndarray) -> np.ndarray:
    step = -(-picture.shape[1] // MOST_WIDTH)
    if step == 1:
        return picture
    height, width = picture.shape[:2]
    return reduce_area(picture, (max(1, height // step), width // step))


def _framed(picture: np.ndarray) -> np.ndarray:
    return np.pad(picture, ((GAP, 0), (GAP, 0), (0, 0)), constant_values=0.1)


def _labelled(line: np.ndarray, frame: int) -> np.ndarray:
    """The row with its frame number in the corner, if OpenImageIO was built with a font renderer."""
    spec = oiio.ImageSpec(line.shape[1], line.shape[0], 3, "float")
    buffer = oiio.ImageBuf(spec)
    buffer.set_pixels(oiio.ROI(), np.ascontiguousarray(line, dtype=np.float32))
    if not oiio.ImageBufAlgo.render_text(buffer, GAP + 6, GAP + 20, str(frame), 16, "", (1.0, 1.0, 1.0), shadow=1):
        buffer.geterror()  # no font here: reading the error clears it, so that it is not printed at exit
        return line
    return np.asarray(buffer.get_pixels(oiio.FLOAT)).reshape(line.shape)

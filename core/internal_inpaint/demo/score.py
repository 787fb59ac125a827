"""The PSNR that the demo prints: the difference between the result and the true clean plate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import OpenImageIO as oiio

from internal_inpaint.demo.files import SampleShot, frame_path
from internal_inpaint.errors import BadInput
from internal_inpaint.report.contact_sheet import srgb_encoded


def score_against_truth(output: str | Path | Sequence[str | Path], shot: SampleShot) -> dict[str, float]:
    """PSNR in dB of an output sequence against the true clean plate, over all frames together.

    ``output`` is a ``####`` pattern, or one path per frame in the order of ``shot.frames``. Both images are clipped
    to 0..1 and sRGB-encoded, so that the figure follows what a viewer sees, and compared inside the display window:
    ``psnr_hole`` where the matte is above 0.5, ``psnr_frame`` everywhere.
    """
    if isinstance(output, str | Path):
        output = [frame_path(str(output), number) for number in shot.frames]
    in_hole, in_frame = _Error(), _Error()
    for path, number in zip(output, shot.frames, strict=True):
        truth = srgb_encoded(display_window(frame_path(shot.clean, number), "RGB"))
        result = srgb_encoded(display_window(Path(path), "RGB"))
        hole = display_window(frame_path(shot.matte, number), "A")[..., 0] > 0.5
        squared = (result.astype(np.float64) - truth) ** 2
        in_hole.add(squared[hole])
        in_frame.add(squared)
    return {"psnr_hole": in_hole.psnr(), "psnr_frame": in_frame.psnr()}


class _Error:
    """Squared error summed over all frames, so that every pixel has the same weight."""

    def __init__(self) -> None:
        self._total, self._count = 0.0, 0

    def add(self, squared: np.ndarray) -> None:
        self._total += float(squared.sum())
        self._count += squared.size

    def psnr(self) -> float:
        mean = self._total / max(self._count, 1)
        return float("inf") if mean == 0 else float(-10 * np.log10(mean))


def display_window(path: Path, channels: str) -> np.ndarray:
    """Channels [H, W, C] of an image inside its display window; 0 outside the data window."""
    image = oiio.ImageInput.open(str(path))
    if image is None:
        raise BadInput(f"{path} cannot be read to compare it with the truth ({oiio.geterror().strip()}).")
    spec = image.spec()
    missing = [name for name in channels if name not in spec.channelnames]
    if missing:
        raise BadInput(f"{path} has no channel {missing[0]}, which the comparison with the truth needs.")
    pixels = image.read_image("float")
    image.close()
    picked = pixels[..., [spec.channelnames.index(name) for name in channels]]
    window = np.zeros((spec.full_height, spec.full_width, len(channels)), np.float32)
    x, y = spec.x - spec.full_x, spec.y - spec.full_y
    rows = slice(max(y, 0), min(y + spec.height, spec.full_height))
    columns = slice(max(x, 0), min(x + spec.width, spec.full_width))
    window[rows, columns] = picked[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
    return window

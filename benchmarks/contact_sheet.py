"""Pictures of results side by side: columns are versions of a shot, rows are frames.

    python benchmarks/contact_sheet.py --out sheet.png --count 4 --frames 1001-1050 \\
        plate='shot/plate.####.exr' matte='shot/matte.####.exr' result='out/clean.####.exr'
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import OpenImageIO as oiio

from clips import frame_path
from internal_inpaint.report.contact_sheet import srgb_encoded
from metrics import bounding_box

GAP = 4
TITLE_HEIGHT = 20
TITLE_FONT = (cv2.FONT_HERSHEY_SIMPLEX, 0.42)
CROP_MARGIN = 24


def contact_sheet(columns: dict[str, np.ndarray], path: Path, count: int = 4) -> None:
    """Write a PNG of ``count`` frames, evenly spread, of each named column [N, H, W, 3], 0..1."""
    frames = len(next(iter(columns.values())))
    chosen = np.unique(np.linspace(0, frames - 1, count).round().astype(int))
    strips = []
    for name, images in columns.items():
        # Pictures of a small hole can be narrower than their title.
        width = max(images.shape[2], cv2.getTextSize(name, *TITLE_FONT, 1)[0][0] + 8)
        title = np.zeros((TITLE_HEIGHT, width, 3), np.uint8)
        cv2.putText(title, name, (4, TITLE_HEIGHT - 6), *TITLE_FONT, (255, 255, 255))
        gap = np.zeros((GAP, width, 3), np.uint8)
        codes = _codes(images[chosen])
        codes = np.pad(codes, ((0, 0), (0, 0), (0, width - images.shape[2]), (0, 0)))
        strip = np.concatenate([title, *(cell for image in codes for cell in (image, gap))])
        strips += [strip, np.zeros((len(strip), GAP, 3), np.uint8)]
    _write(path, np.concatenate(strips[:-1], axis=1))


def middle_with_hole(holes: np.ndarray) -> int | None:
    """The frame nearest the middle of the clip that has a hole [N, H, W]; None if none has."""
    frames = np.flatnonzero(holes.any(axis=(1, 2)))
    return int(min(frames, key=lambda t: abs(t - (len(holes) - 1) / 2))) if len(frames) else None


def save_crop(frame: np.ndarray, hole: np.ndarray, path: Path) -> None:
    """Write what lies round the hole of one frame [H, W, 3], 0..1, as a PNG, pixel for pixel."""
    _write(path, _codes(frame[bounding_box(hole, CROP_MARGIN)]))


def crop_sheet(frame: np.ndarray, hole: np.ndarray, crops: dict[str, Path], path: Path) -> None:
    """Write a PNG of what ``save_crop`` wrote side by side, at full resolution: truth, hidden, then ``crops``."""
    box = bounding_box(hole, CROP_MARGIN)
    columns = {"truth": frame[box], "hidden": with_hole(frame, hole)[box]}
    for title, crop in crops.items():
        columns[title] = cv2.imread(str(crop))[..., ::-1].astype(np.float32) / 255
    contact_sheet({title: picture[None] for title, picture in columns.items()}, path, count=1)


def _codes(images: np.ndarray) -> np.ndarray:
    return np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)


def _write(path: Path, codes: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), codes[..., ::-1]):
        raise OSError(f"{path} cannot be written")


def with_hole(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Frames with their holes in flat magenta, a colour no plate has."""
    return np.where(holes[..., None], np.array([0.85, 0.1, 0.75], np.float32), frames)


def _read_any(path: Path) -> np.ndarray:
    """Display window of an image as display-encoded RGB; a single channel becomes grey as it is."""
    image = oiio.ImageBuf(str(path))
    if image.has_error:
        raise OSError(f"{path} cannot be read: {image.geterror()}")
    names = image.spec().channelnames
    colour = [name for name in ("R", "G", "B") if name in names]
    pixels = oiio.ImageBufAlgo.cut(image, image.roi_full).get_pixels(oiio.FLOAT)
    if len(colour) == 3:
        return srgb_encoded(pixels[..., [names.index(name) for name in colour]])
    return np.repeat(np.clip(pixels[..., :1], 0, 1), 3, axis=2)


def main() -> None:
    parser = argparse.ArgumentParser(description="Picture of EXR sequences side by side.")
    parser.add_argument("columns", nargs="+", metavar="NAME=PATTERN", help="a title and a #### pattern")
    parser.add_argument("--frames", required=True, metavar="FIRST-LAST")
    parser.add_argument("--count", type=int, default=4, help="how many frames to show")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    options = parser.parse_args()
    first, last = (int(number) for number in options.frames.split("-"))
    numbers = np.unique(np.linspace(first, last, options.count).round().astype(int))
    columns = {}
    for column in options.columns:
        name, pattern = column.split("=", 1)
        columns[name] = np.stack([_read_any(frame_path(pattern, number)) for number in numbers])
    contact_sheet(columns, options.out, options.count)
    print(options.out)


if __name__ == "__main__":
    main()

"""Turns the real clips of the shared folder into EXR shots with a known truth.

    python benchmarks/clips.py --clips goat --protocol object --size 240x136

Each clip is written once, as scene-linear half floats, into a cache; so are its mattes:

- ``fixed``: a rectangle of 1/4 width x 1/4 height in the centre of every frame;
- ``object``: the mattes of another clip laid over this one (``OBJECT_MATTES``);
- ``removal``: the clip's own mattes, for which nobody knows the truth.

For ``fixed`` and ``object`` the plate still holds the truth under the hole. It is there to be
scored against: whatever fills the hole must not look at it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import OpenImageIO as oiio

from internal_inpaint.report.contact_sheet import srgb_encoded

CHECKOUT = Path(__file__).resolve().parents[1]
CACHE = CHECKOUT / ".benchmarks"
FIRST_FRAME = 1001
CLIPS = ("blackswan", "bmx-trees", "dog", "goat", "kite-surf", "schoolgirls")
PROTOCOLS = ("fixed", "object", "removal")
OBJECT_MATTES = {
    "blackswan": "goat",
    "bmx-trees": "dog",
    "dog": "blackswan",
    "goat": "bmx-trees",
    "kite-surf": "schoolgirls",
    "schoolgirls": "kite-surf",
}


@dataclass(frozen=True)
class Shot:
    """A clip as EXR sequences under one matte protocol; ``frames`` are the numbers to use."""

    name: str
    protocol: str
    plate: str
    matte: str
    frames: tuple[int, ...]

    def truth(self) -> np.ndarray:
        """The plate as display-encoded images [N, H, W, 3], 0..1: the truth, except for ``removal``."""
        return self.pictures(self.plate)

    def pictures(self, pattern: str) -> np.ndarray:
        """Any sequence with the frames of this shot as display-encoded images [N, H, W, 3], 0..1."""
        return np.stack([read_display(frame_path(pattern, frame)) for frame in self.frames])

    def holes(self) -> np.ndarray:
        """True where the matte is above 0.5, [N, H, W]."""
        return np.stack([_read(frame_path(self.matte, frame))[..., 0] > 0.5 for frame in self.frames])


def shared_folder() -> Path:
    """Where the clips lie: beside the checkout, or where INTERNAL_INPAINT_SHARED says."""
    return Path(os.environ.get("INTERNAL_INPAINT_SHARED", CHECKOUT.parent / "shared"))


def vgg19_weights() -> Path:
    """VGG-19 up to relu3_4, for the perceptual distance; like the clips, it is not in this repository."""
    return shared_folder() / "weights" / "vgg19_relu3_4.safetensors"


def frame_path(pattern: str, frame: int) -> Path:
    """The file of ``frame`` under a ``####`` pattern."""
    return Path(pattern.replace("####", f"{frame:04d}"))


def prepare(name: str, protocol: str, size: tuple[int, int], frames: int | None = None, cache: Path = CACHE) -> Shot:
    """The shot of clip ``name`` at ``size`` (width, height), written into ``cache`` once."""
    sources = sorted((shared_folder() / "clips" / name / "frames").glob("*"))
    if not sources:
        raise FileNotFoundError(f"No frames of the clip {name} under {shared_folder() / 'clips'}.")
    folder = cache / "clips" / f"{name}-{size[0]}x{size[1]}"
    _write_once(folder / "plate", "plate", (_linear_plate(path, size) for path in sources))
    _write_once(folder / protocol, "matte", _mattes(name, protocol, size, len(sources)))
    count = len(sources) if frames is None else min(frames, len(sources))
    return Shot(
        name,
        protocol,
        str(folder / "plate" / "plate.####.exr"),
        str(folder / protocol / "matte.####.exr"),
        tuple(range(FIRST_FRAME, FIRST_FRAME + count)),
    )


def read_display(path: Path) -> np.ndarray:
    """R, G, B of an EXR file as display-encoded (sRGB, clipped) values [H, W, 3], 0..1."""
    return srgb_encoded(_read(path, "RGB")).astype(np.float32)


def _linear_plate(path: Path, size: tuple[int, int]) -> np.ndarray:
    """An 8-bit sRGB frame as scene-linear [H, W, 3]; averaged in linear light, as a camera would.

    A clip that is smaller than ``size`` is enlarged, and its truth is as soft as that makes it.
    """
    encoded = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    # Where there are too few pixels, averaging repeats them, and blocks have edges that no camera saw.
    way = cv2.INTER_AREA if encoded.shape[1] >= size[0] else cv2.INTER_CUBIC
    return cv2.resize(linear.astype(np.float32), size, interpolation=way).clip(0, 1)


def _mattes(name: str, protocol: str, size: tuple[int, int], count: int) -> Iterable[np.ndarray]:
    """``count`` mattes [H, W, 1], 0 or 1."""
    width, height = size
    if protocol == "fixed":
        matte = np.zeros((height, width, 1), np.float32)
        top, left = (height - height // 4) // 2, (width - width // 4) // 2
        matte[top : top + height // 4, left : left + width // 4] = 1
        yield from (matte for _ in range(count))
        return
    owner = name if protocol == "removal" else OBJECT_MATTES[name]
    paths = sorted((shared_folder() / "clips" / owner / "masks").glob("*.png"))
    # A shorter clip is played forth and back, so that its object never jumps.
    there_and_back = paths + paths[-2:0:-1]
    for index in range(count):
        matte = cv2.imread(str(there_and_back[index % len(there_and_back)]), cv2.IMREAD_GRAYSCALE)
        matte = cv2.resize(matte, size, interpolation=cv2.INTER_NEAREST)
        yield (matte > 127).astype(np.float32)[..., None]


def _write_once(folder: Path, stem: str, images: Iterable[np.ndarray]) -> None:
    """Write an EXR sequence unless ``folder`` is there; a half-written one never gets that name."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=folder.name, suffix=".part", dir=folder.parent))
    try:
        for index, image in enumerate(images):
            _write(partial / f"{stem}.{FIRST_FRAME + index:04d}.exr", image)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write(path: Path, pixels: np.ndarray) -> None:
    height, width, channels = pixels.shape
    spec = oiio.ImageSpec(width, height, channels, "half")
    spec.channelnames = ("A",) if channels == 1 else ("R", "G", "B")
    spec.attribute("compression", "zip")
    output = oiio.ImageOutput.create(str(path))
    if not (output and output.open(str(path), spec) and output.write_image(pixels) and output.close()):
        raise OSError(f"{path} cannot be written: {output.geterror() if output else oiio.geterror()}")


def _read(path: Path, channels: str | None = None) -> np.ndarray:
    image = oiio.ImageInput.open(str(path))
    if image is None:
        raise OSError(f"{path} cannot be read: {oiio.geterror()}")
    names = image.spec().channelnames
    pixels = image.read_image("float")
    image.close()
    return pixels if channels is None else pixels[..., [names.index(channel) for channel in channels]]


def parse_size(text: str) -> tuple[int, int]:
    """``240x136`` as (240, 136)."""
    width, height = text.lower().split("x")
    return int(width), int(height)


def parse_clips(text: str) -> list[str]:
    """``all`` or a comma-separated list of clip names."""
    names = list(CLIPS) if text == "all" else text.split(",")
    for name in names:
        if name not in CLIPS:
            raise argparse.ArgumentTypeError(f"{name} is no clip; there are {', '.join(CLIPS)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description="Write clips of the shared folder as EXR shots.")
    parser.add_argument("--clips", type=parse_clips, default="all", help="all, or names separated by commas")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="removal")
    parser.add_argument("--size", type=parse_size, default="432x240", metavar="WIDTHxHEIGHT")
    options = parser.parse_args()
    for name in options.clips:
        shot = prepare(name, options.protocol, options.size)
        print(f"--plate '{shot.plate}' --matte '{shot.matte}'")


if __name__ == "__main__":
    main()

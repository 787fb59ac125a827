"""Reads image files with OpenImageIO: headers, and pixels in their own types.

This module knows nothing about frames, mattes or colour spaces. Windows follow OpenEXR: x grows to the right, y grows
downwards, and a data window may lie anywhere relative to the display window.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenImageIO as oiio

from internal_inpaint.errors import BadInput

# The sample types a plate may have, as OpenImageIO names them.
SAMPLE_DTYPES = {
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint": np.uint32,
    "half": np.float16,
    "float": np.float32,
}
FLOAT_TYPES = ("half", "float")
# Formats whose header may name the colour space; other formats only repeat what their type implies.
HINTED_KINDS = ("dpx", "cineon")


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels. `x`, `y` is its top left pixel and may be negative."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """One past the last column."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """One past the last row."""
        return self.y + self.height

    def union(self, other: Window) -> Window:
        """The smallest window that contains both."""
        x, y = min(self.x, other.x), min(self.y, other.y)
        return Window(x, y, max(self.right, other.right) - x, max(self.bottom, other.bottom) - y)

    def intersection(self, other: Window) -> Window:
        """The common part of both; its width or height is 0 if they do not overlap."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        width = max(0, min(self.right, other.right) - x)
        return Window(x, y, width, max(0, min(self.bottom, other.bottom) - y))

    def slices_in(self, outer: Window) -> tuple[slice, slice]:
        """Rows and columns of this window in an array that covers `outer` (this must lie inside it)."""
        top, left = self.y - outer.y, self.x - outer.x
        return slice(top, top + self.height), slice(left, left + self.width)

    def __str__(self) -> str:
        return f"{self.width}x{self.height}{self.x:+d}{self.y:+d}"


@dataclass(frozen=True)
class Channel:
    """One channel of a part: its full name and sample type ('half', 'float', 'uint', 'uint8', 'uint16')."""

    name: str
    type: str


@dataclass(frozen=True)
class Part:
    """One part (subimage) of a file, as its header describes it.

    `views` is the `multiView` list of a part that holds several views; `view` is the `view` attribute of a part that
    holds one. Both are empty if the file has no views.
    """

    index: int
    name: str
    view: str
    views: tuple[str, ...]
    channels: tuple[Channel, ...]
    data: Window
    display: Window
    compression: str
    tiled: bool
    pixel_aspect: float
    colour_hint: str

    @property
    def type_runs(self) -> tuple[tuple[int, int, str], ...]:
        """Runs of neighbouring channels of the same type, as (first, end, type)."""
        runs: list[tuple[int, int, str]] = []
        for index, channel in enumerate(self.channels):
            if runs and runs[-1][2] == channel.type:
                runs[-1] = (runs[-1][0], index + 1, channel.type)
            else:
                runs.append((index, index + 1, channel.type))
        return tuple(runs)


@dataclass(frozen=True)
class ImageHeader:
    """The headers of one file. `kind` is OpenImageIO's format name ('openexr', 'png', ...)."""

    path: Path
    kind: str
    parts: tuple[Part, ...]


class NativePixels:
    """All pixels of one part, every channel in its own type in the file."""

    def __init__(self, part: Part, runs: list[np.ndarray]):
        self.part = part
        self.runs = runs

    def channel(self, index: int) -> np.ndarray:
        """Channel `index` as a writable view, [H, W], in its own type."""
        for (first, end, _), pixels in zip(self.part.type_runs, self.runs, strict=True):
            if first <= index < end:
                return pixels[..., index - first]
        raise IndexError(index)


@contextmanager
def opened(path: Path, what: str) -> Iterator[oiio.ImageInput]:
    """Opens `path` and leaves unassociated alpha as it is. Raises BadInput, with the file's name, if it cannot."""
    if not path.exists():
        raise BadInput(f"{what} file {path} does not exist; check the name")
    if not path.is_file() or not os.access(path, os.R_OK):
        raise BadInput(f"{what} file {path} cannot be read; check that it is a file and its permissions")
    config = oiio.ImageSpec()
    config.attribute("oiio:UnassociatedAlpha", 1)
    source = oiio.ImageInput.open(str(path), config)
    if source is None:
        raise BadInput(_damaged(path, what, _reason(oiio.geterror)))
    try:
        yield source
    finally:
        source.close()


def read_header(path: Path, what: str = "plate") -> ImageHeader:
    """Reads the headers of every part of `path`. Raises BadInput if the file cannot be used as a picture."""
    with opened(path, what) as source:
        parts: list[Part] = []
        while source.seek_subimage(len(parts), 0):
            spec = source.spec()
            _refuse_unusable(path, what, spec, source.seek_subimage(len(parts), 1))
            parts.append(_part(len(parts), spec))
        # To seek_subimage, a damaged later part looks like the end of the file; it also sets an error.
        reason = _reason(source.geterror) if source.has_error else ""
        declared = source_subimages(source)
        if len(parts) < declared:
            raise BadInput(_damaged(path, what, reason or "some of its parts are missing"))
        kind = source.format_name()
    if kind not in ("openexr", "tiff"):
        parts = parts[:1]  # In other formats, further subimages are pages or thumbnails.
    return ImageHeader(path, kind, tuple(parts))


def source_subimages(source: oiio.ImageInput) -> int:
    """The number of parts that the open file declares (1 if it declares none)."""
    source.seek_subimage(0, 0)
    return source.spec().get_int_attribute("oiio:subimages", 1)


def read_channels(header: ImageHeader, part: int, indices: tuple[int, ...], what: str = "plate") -> np.ndarray:
    """Channels `indices` of one part as float32 [H, W, len(indices)] over its data window, as stored.

    Integers are scaled to 0..1. Raises BadInput if pixels are damaged, even if only some of them are.
    """
    with opened(header.path, what) as source:
        first, end = min(indices), max(indices) + 1
        if end - first <= 4:
            pixels = _read(source, header, part, first, end, "float", what)
            return np.ascontiguousarray(pixels[..., [index - first for index in indices]])
        planes = [_read(source, header, part, index, index + 1, "float", what) for index in indices]
        return np.concatenate(planes, axis=2)


def read_native(header: ImageHeader, part: int, what: str = "plate") -> NativePixels:
    """All pixels of one part, bit for bit, every channel in its own type. Raises BadInput if they are damaged."""
    description = header.parts[part]
    with opened(header.path, what) as source:
        runs = [
            _read(source, header, part, first, end, type_name, what)
            for first, end, type_name in description.type_runs
        ]
    return NativePixels(description, runs)


def _read(source, header, part: int, first: int, end: int, type_name: str, what: str) -> np.ndarray:
    """One run of channels, [H, W, end - first]."""
    try:
        pixels = source.read_image(part, 0, first, end, type_name)
    except (UnicodeDecodeError, RuntimeError, ValueError) as error:
        raise BadInput(_damaged(header.path, what, str(error))) from error
    if pixels is None or source.has_error:
        raise BadInput(_damaged(header.path, what, _reason(source.geterror)))
    window = header.parts[part].data
    return pixels.reshape(window.height, window.width, end - first)


def _part(index: int, spec: oiio.ImageSpec) -> Part:
    formats = list(spec.channelformats) or [spec.format] * spec.nchannels
    views = spec.getattribute("multiView")
    return Part(
        index=index,
        name=spec.get_string_attribute("oiio:subimagename") or spec.get_string_attribute("name"),
        view=spec.get_string_attribute("view"),
        views=tuple(views) if isinstance(views, list | tuple) else (),
        channels=tuple(Channel(name, str(kind)) for name, kind in zip(spec.channelnames, formats, strict=True)),
        data=Window(spec.x, spec.y, spec.width, spec.height),
        display=Window(spec.full_x, spec.full_y, spec.full_width, spec.full_height),
        compression=spec.get_string_attribute("compression"),
        tiled=spec.tile_width > 0,
        pixel_aspect=spec.get_float_attribute("PixelAspectRatio", 1.0),
        colour_hint=spec.get_string_attribute("oiio:ColorSpace"),
    )


def _refuse_unusable(path: Path, what: str, spec: oiio.ImageSpec, has_mip_levels: bool) -> None:
    if spec.deep:
        raise BadInput(f"{what} file {path} is a deep image; flatten it (DeepToImage) first")
    if spec.depth > 1:
        raise BadInput(f"{what} file {path} is a volume, not a picture; give a flat image")
    if has_mip_levels:
        raise BadInput(f"{what} file {path} is a mip-mapped texture; give it without mip levels")
    if not all(name and name.isprintable() for name in spec.channelnames):
        raise BadInput(f"{what} file {path} has a channel with a broken name; rename its channels")
    formats = list(spec.channelformats) or [spec.format]
    unknown = sorted({str(kind) for kind in formats} - SAMPLE_DTYPES.keys())
    if unknown:
        raise BadInput(f"{what} file {path} has {unknown[0]} samples; convert it to half, float, 8 or 16 bit")


def _reason(geterror) -> str:
    """OpenImageIO's error message in one line. Its binding cannot decode the message for some damaged files."""
    try:
        message = geterror()
    except UnicodeDecodeError:
        return "its header is damaged"
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else "its pixels are damaged or missing"


def _damaged(path: Path, what: str, reason: str) -> str:
    return f"{what} file {path} cannot be read ({reason}); render or copy it again"

"""Small image files made by code, real ones where they are, and what two files must have in common."""

from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest
from running import ROOT

from internal_inpaint.shot import FrameWriter, Patch, ShotSettings, open_shot
from internal_inpaint.shot.exr_header import read_attributes
from internal_inpaint.shot.image import read_header, read_native

SHARED_EXR = ROOT.parent / "shared" / "exr"


def shared_exr(name: str) -> Path:
    """A real file of shared/exr, or a skip that says so."""
    path = SHARED_EXR / name
    if not path.exists():
        pytest.skip(f"shared/exr/{name} is not on this machine")
    return path


def random_plane(dtype: str, height: int, width: int, seed: int = 0) -> np.ndarray:
    """A plane of one EXR sample type: ordinary values, for 'uint' all 32 bits in use."""
    rng = np.random.default_rng(seed)
    if dtype == "uint":
        return rng.integers(0, 2**32, (height, width), dtype=np.uint32)
    return (rng.standard_normal((height, width)) * 2).astype(np.float16 if dtype == "half" else np.float32)


def write_image(
    path: Path,
    channels: dict[str, np.ndarray],
    origin: tuple[int, int] = (0, 0),
    display: tuple[int, int, int, int] | None = None,
    tile: int = 0,
    **attributes,
) -> Path:
    """Writes named planes as one image; `display` is x, y, width, height. EXR planes of mixed half and
    float keep their types; integer planes must be of one type."""
    planes = list(channels.values())
    height, width = planes[0].shape
    names = {"float16": "half", "float32": "float", "uint32": "uint", "uint8": "uint8", "uint16": "uint16"}
    types = [names[plane.dtype.name] for plane in planes]
    spec = oiio.ImageSpec(width, height, len(planes), types[0] if len(set(types)) == 1 else "float")
    spec.channelnames = tuple(channels)
    if len(set(types)) > 1:
        spec.channelformats = tuple(oiio.TypeDesc(name) for name in types)
    spec.x, spec.y = origin
    display = display or (0, 0, width, height)
    spec.full_x, spec.full_y, spec.full_width, spec.full_height = display
    spec.tile_width = spec.tile_height = tile
    for name, value in attributes.items():
        name = name.replace("__", ":")
        if isinstance(value, tuple):
            spec.attribute(name, oiio.TypeDesc(value[0]), value[1])
        else:
            spec.attribute(name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    target = oiio.ImageOutput.create(str(path))
    assert target.open(str(path), spec), target.geterror()
    assert target.write_image(np.stack(planes, axis=-1)), target.geterror()
    assert target.close(), target.geterror()
    return path


def write_plate(path: Path, height: int = 24, width: int = 32, seed: int = 0, **options) -> Path:
    """A half RGB plate of random values (some negative, some above 1)."""
    planes = {name: random_plane("half", height, width, seed * 3 + i) for i, name in enumerate("RGB")}
    return write_image(path, planes, **options)


def write_matte(path: Path, height: int = 24, width: int = 32, box=(8, 16, 10, 20), value=1.0, **options) -> Path:
    """A half matte in channel A: `value` in rows box[0]:box[1], columns box[2]:box[3]."""
    plane = np.zeros((height, width), np.float16)
    plane[box[0] : box[1], box[2] : box[3]] = value
    return write_image(path, {"A": plane}, **options)


def bits(array: np.ndarray) -> bytes:
    """The bytes of an array: equal only when every bit is, NaN included."""
    return np.ascontiguousarray(array).tobytes()


def assert_same_pixels(written: Path, plate: Path, except_at: dict | None = None) -> None:
    """Every channel of every part has the plate's bits, but where `except_at[name]` is True."""
    a, b = read_header(plate), read_header(written)
    assert [part.data for part in a.parts] == [part.data for part in b.parts]
    for part in a.parts:
        ours, theirs = read_native(b, part.index), read_native(a, part.index)
        other = {channel.name: index for index, channel in enumerate(b.parts[part.index].channels)}
        for index, channel in enumerate(part.channels):
            assert b.parts[part.index].channels[other[channel.name]].type == channel.type, channel.name
            kept = theirs.channel(index), ours.channel(other[channel.name])
            mask = (except_at or {}).get(channel.name)
            if mask is not None:
                kept = kept[0][~mask], kept[1][~mask]
            assert bits(kept[0]) == bits(kept[1]), f"part {part.index} channel {channel.name}"


def make_shot(folder, frames=(1001, 1002, 1003), matte_options=None, plate_options=None, **settings):
    """A small shot on disk, opened."""
    for frame in frames:
        write_plate(folder / f"plate.{frame}.exr", seed=frame, **(plate_options or {}))
        write_matte(folder / f"roto.{frame}.exr", **(matte_options or {}))
    defaults = {"plate": str(folder / "plate.####.exr"), "matte": str(folder / "roto.####.exr")}
    return open_shot(ShotSettings(**(defaults | settings)))


def patch_of(shot, picture, value=0.5, empty=False):
    """A patch of one flat colour with the picture's own alpha (or none)."""
    data = shot.load(picture.index)
    alpha = np.zeros_like(data.alpha) if empty else data.alpha
    fill = np.full_like(data.rgb, value)
    return Patch(data.rgb * (1 - alpha[..., None]) + fill * alpha[..., None], alpha, fill)


def write_frame(shot, output, frame=None, fill_layer=False, **patch):
    """Writes one frame with flat patches in every view."""
    frame = shot.frames[0] if frame is None else frame
    patches = {p.view: patch_of(shot, p, **patch) for p in shot.pictures if p.frame == frame}
    return FrameWriter(shot, str(output), fill_layer).write(frame, patches)


def rewrite(path, output):
    """Reads a file as a whole shot and writes it again without touching any pixel."""
    shot = open_shot(ShotSettings(str(path), str(path), grow=0, feather=0))
    return write_frame(shot, output, empty=True)


def assert_same_attributes(written, plate, but=frozenset()):
    ours, theirs = read_attributes(written), read_attributes(plate)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert {k: v for k, v in a.items() if k not in but} == {k: v for k, v in b.items() if k not in but}

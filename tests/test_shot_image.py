"""Reading image files: headers, native pixels, and refusal of everything damaged.

Also the home of the helpers that the other test_shot_* modules make their files with.
"""

from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest

from internal_inpaint.errors import BadInput
from internal_inpaint.shot.image import Window, read_channels, read_header, read_native

SHARED_EXR = Path(__file__).resolve().parents[2] / "shared" / "exr"


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


def test_mixed_types_are_read_each_in_its_own(tmp_path):
    planes = {
        "R": random_plane("half", 8, 9),
        "G": random_plane("half", 8, 9, 1),
        "m.z": random_plane("float", 8, 9, 2),
    }
    planes["R"].view(np.uint16)[0, :3] = (0x7C01, 0x7E55, 0xFC00)  # signalling NaN, NaN with payload, -Inf
    header = read_header(write_image(tmp_path / "p.exr", planes))
    native = read_native(header, 0)
    assert [c.type for c in header.parts[0].channels] == ["half", "half", "float"]
    for index, plane in enumerate(planes.values()):
        assert bits(native.channel(index)) == bits(plane)


def test_header_gives_windows_that_are_negative_and_off_the_display(tmp_path):
    path = write_plate(tmp_path / "p.exr", origin=(-5, -7), display=(3, 2, 40, 30), PixelAspectRatio=2.0)
    part = read_header(path).parts[0]
    assert part.data == Window(-5, -7, 32, 24)
    assert part.display == Window(3, 2, 40, 30)
    assert part.pixel_aspect == 2.0


def test_unassociated_alpha_is_not_multiplied_into_the_colour(tmp_path):
    planes = {name: np.full((4, 4), 200, np.uint8) for name in "RGB"} | {"A": np.full((4, 4), 10, np.uint8)}
    path = write_image(tmp_path / "p.png", planes, oiio__UnassociatedAlpha=1)
    native = read_native(read_header(path), 0)
    assert (native.channel(0) == 200).all()
    assert (native.channel(3) == 10).all()


@pytest.mark.parametrize("name", ["incomplete.exr", "comp_early_eof_piz.exr"])
def test_damaged_shared_files_are_refused_in_one_sentence(name):
    path = shared_exr(f"damaged/{name}")
    with pytest.raises(BadInput) as refused:
        read_channels(read_header(path), 0, (0, 1, 2))
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("extension", ["exr", "tiled.exr", "png", "tif", "jpg", "dpx"])
@pytest.mark.parametrize("share", [0.97, 0.5, 0.01, 0.0])
def test_truncated_files_are_refused_not_read_as_black(tmp_path, extension, share):
    rng = np.random.default_rng(0)
    planes = {name: rng.integers(0, 255, (90, 110), dtype=np.uint8) for name in "RGB"}
    if extension.endswith("exr"):
        planes = {name: plane.astype(np.float16) for name, plane in planes.items()}
    path = write_image(tmp_path / f"p.{extension}", planes, tile=32 if "tiled" in extension else 0)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadInput, match=r"cannot be read"):
        read_channels(read_header(path), 0, (0, 1, 2))


def test_deep_images_are_refused(tmp_path):
    spec = oiio.ImageSpec(4, 4, 2, "float")
    spec.channelnames, spec.deep = ("R", "Z"), True
    deep = oiio.DeepData()
    deep.init(16, 2, oiio.TypeDesc("float"), ["R", "Z"])
    path = tmp_path / "deep.exr"
    target = oiio.ImageOutput.create(str(path))
    assert target.open(str(path), spec)
    assert target.write_deep_image(deep)
    target.close()
    with pytest.raises(BadInput, match="deep"):
        read_header(path)


def test_mip_mapped_textures_are_refused(tmp_path):
    write_plate(tmp_path / "p.exr", 64, 64)
    buffer = oiio.ImageBuf(str(tmp_path / "p.exr"))
    assert oiio.ImageBufAlgo.make_texture(oiio.MakeTxTexture, buffer, str(tmp_path / "t.exr"))
    with pytest.raises(BadInput, match="mip"):
        read_header(tmp_path / "t.exr")


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"gone\.exr does not exist"):
        read_header(tmp_path / "gone.exr")
    (tmp_path / "text.exr").write_text("not an image at all")
    with pytest.raises(BadInput, match=r"matte file .*text\.exr cannot be read"):
        read_header(tmp_path / "text.exr", "matte")

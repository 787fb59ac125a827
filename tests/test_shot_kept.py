"""What a written file keeps of its plate: every channel, compression, attribute and code value."""

import dataclasses
import struct

import numpy as np
import OpenImageIO as oiio
import pytest
from shot_files import (
    SHARED_EXR,
    assert_same_attributes,
    assert_same_pixels,
    bits,
    make_shot,
    patch_of,
    random_plane,
    rewrite,
    shared_exr,
    write_frame,
    write_image,
    write_matte,
    write_plate,
)

from internal_inpaint.errors import BadInput
from internal_inpaint.shot import FrameWriter, ShotSettings, open_shot
from internal_inpaint.shot.exr_header import read_attributes, restore_attributes
from internal_inpaint.shot.image import read_channels, read_header, read_native
from internal_inpaint.shot.layout import mixes_tiles, part_layout
from internal_inpaint.shot.output import output_warnings

SHARED_FILES = sorted(str(path.relative_to(SHARED_EXR)) for path in SHARED_EXR.rglob("*.exr")) or ["t01.exr"]


# What a new compression changes in a header.
COMPRESSION_ATTRIBUTES = {"compression", "dwaCompressionLevel", "chunkCount"}


@pytest.mark.parametrize("name", SHARED_FILES)
def test_every_shared_file_comes_back_whole_or_is_refused(name, tmp_path):
    path = shared_exr(name)
    if "damaged/" in name:
        with pytest.raises(BadInput, match=f"{path.name} cannot be read"):
            rewrite(path, tmp_path / "out.exr")
        assert not list(tmp_path.iterdir())
        return
    written = rewrite(path, tmp_path / "out.exr")
    lossy = "dwaa" in name
    assert_same_pixels(written, path)
    assert_same_attributes(written, path, COMPRESSION_ATTRIBUTES if lossy else frozenset())
    assert [p.name for p in tmp_path.iterdir()] == ["out.exr"]


@pytest.mark.parametrize("compression", ["none", "rle", "zips", "zip", "piz", "pxr24", "b44", "b44a", "dwaa", "dwab"])
@pytest.mark.parametrize("tile", [0, 16])
def test_every_compression_keeps_the_known_region(compression, tile, tmp_path):
    planes = {name: random_plane("half", 40, 50, i) for i, name in enumerate("RGB")}
    planes["m.depth"] = random_plane("float", 40, 50, 3)
    options = {"origin": (-9, -4), "display": (0, 0, 60, 44), "tile": tile, "compression": compression}
    plate = write_image(tmp_path / "p.exr", planes, **options)
    write_matte(tmp_path / "m.exr", 44, 60, box=(5, 20, 5, 20))
    shot = open_shot(ShotSettings(str(plate), str(tmp_path / "m.exr"), grow=1, feather=2))
    writer = FrameWriter(shot, str(tmp_path / "o.exr"))
    patch = patch_of(shot, shot.pictures[0])
    written = writer.write(shot.frames[0], {"": patch})
    touched = patch.alpha > 0
    assert_same_pixels(written, plate, dict.fromkeys("RGB", touched))
    header = read_header(written).parts[0]
    assert header.tiled == bool(tile)
    lossy = compression in ("pxr24", "b44", "b44a", "dwaa", "dwab")
    assert header.compression == ("zip" if lossy else compression)
    assert [compression in warning for warning in writer.warnings] == [True] * lossy
    assert_same_attributes(written, plate, COMPRESSION_ATTRIBUTES if lossy else frozenset())


def test_pxr24_is_kept_where_it_loses_nothing(tmp_path):
    plate = write_plate(tmp_path / "p.exr", compression="pxr24")
    write_matte(tmp_path / "m.exr")
    shot = open_shot(ShotSettings(str(plate), str(tmp_path / "m.exr")))
    written = write_frame(shot, tmp_path / "o.exr", empty=True)
    assert_same_attributes(written, plate)
    assert_same_pixels(written, plate)


def write_mixed(path, compression="zip", tile=0):
    """A plate of half, float and 32-bit integer channels with every bit in use."""
    planes = {name: random_plane("half", 24, 32, i) for i, name in enumerate("RGB")}
    planes["R"].view(np.uint16)[0, :4] = (0x7C01, 0x7E55, 0xFC00, 0x8001)
    planes["crypto.id"] = random_plane("uint", 24, 32, 4).view(np.float32)
    planes["depth.Z"] = random_plane("float", 24, 32, 5)
    planes["depth.Z"].view(np.uint32)[0, :2] = (0x7F800001, 0x7FC12345)
    write_image(path, planes, compression=compression, tile=tile)
    # OpenImageIO cannot write integers beside floats without losing bits: the header makes them so.
    content = path.read_bytes()
    entry = b"crypto.id\0" + struct.pack("<i", 2)
    assert content.count(entry) == 1
    path.write_bytes(content.replace(entry, b"crypto.id\0" + struct.pack("<i", 0)))
    return planes


@pytest.mark.parametrize("compression", ["none", "rle", "zips", "zip", "piz"])
@pytest.mark.parametrize("fill_layer", [False, True])
@pytest.mark.parametrize("tile", [0, 16])
def test_half_float_and_integer_channels_in_one_part(tmp_path, compression, fill_layer, tile):
    planes = write_mixed(tmp_path / "p.exr", compression, tile)
    write_matte(tmp_path / "m.exr")
    shot = open_shot(ShotSettings(str(tmp_path / "p.exr"), str(tmp_path / "m.exr"), grow=0, feather=0))
    written = write_frame(shot, tmp_path / "o.exr", fill_layer=fill_layer)
    assert_same_pixels(written, tmp_path / "p.exr", dict.fromkeys("RGB", shot.load(0).alpha > 0))
    header = read_header(written)
    assert {c.name: c.type for c in header.parts[0].channels}["crypto.id"] == "uint"
    index = [c.name for c in header.parts[0].channels].index("crypto.id")
    assert bits(read_native(header, 0).channel(index)) == bits(planes["crypto.id"])


def test_integers_leave_a_compression_that_treats_them_differently(tmp_path):
    planes = {name: random_plane("half", 24, 32, i) for i, name in enumerate("RGB")}
    planes["id.n"] = random_plane("uint", 24, 32, 4).view(np.float32)
    path = write_image(tmp_path / "p.exr", planes, compression="zip")
    content = path.read_bytes().replace(b"id.n\0" + struct.pack("<i", 2), b"id.n\0" + struct.pack("<i", 0))
    path.write_bytes(content)
    # A straight copy keeps integers beside half floats, whatever the compression.
    source = oiio.ImageInput.open(str(path))
    spec = oiio.ImageSpec(source.spec())
    spec.attribute("compression", "pxr24")
    target = oiio.ImageOutput.create(str(tmp_path / "q.exr"))
    assert target.open(str(tmp_path / "q.exr"), spec)
    assert target.copy_image(source)
    target.close()
    write_matte(tmp_path / "m.exr")
    shot = open_shot(ShotSettings(str(tmp_path / "q.exr"), str(tmp_path / "m.exr")))
    written = write_frame(shot, tmp_path / "o.exr", empty=True)
    assert_same_pixels(written, tmp_path / "q.exr")
    assert read_header(written).parts[0].compression == "zip"


def test_mixed_tiling_is_announced(tmp_path):
    """OpenImageIO writes no such file either, so here one is only claimed."""
    header = read_header(shared_exr("beachball/multipart.0001.exr"))
    assert not mixes_tiles(header)
    parts = (dataclasses.replace(header.parts[0], tiled=True), *header.parts[1:])
    claimed = dataclasses.replace(header, parts=parts)
    layout = part_layout(claimed, parts[0], "openexr", True, ())
    assert layout.spec.tile_width == 0
    shot = make_shot(tmp_path, frames=(1001,))
    shot.plate_header = lambda frame: claimed
    assert output_warnings(shot, "openexr") == [
        "the plate has tiled and untiled parts: frames are written with all parts untiled"
    ]


def test_every_kind_of_attribute_survives(tmp_path):
    matrix = tuple(float(i) for i in range(16))
    plate = write_plate(
        tmp_path / "p.exr",
        worldToCamera=("matrix", matrix),
        smpte__TimeCode=("timecode", (0x01020304, 0x55)),
        smpte__KeyCode=("keycode", (1, 2, 3, 4, 5, 6, 7)),
        framesPerSecond=("rational", (24000, 1001)),
        chromaticities=("float[8]", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
        notes=("string[2]", ("a", "b")),
        openexr__lineOrder="decreasingY",
        XResolution=72.0,
        PixelAspectRatio=2.0,
        Copyright="someone",
        DateTime="2020:01:01 10:11:12",
    )
    # What OpenImageIO itself would lose: put into the header by hand.
    headers = read_attributes(plate)
    kind = type(headers[0]["channels"])
    extra = {
        "empty": kind("string", b""),
        "exact": kind("double", struct.pack("<d", 3.14159265358979)),
        "preview": kind("preview", struct.pack("<II", 1, 1) + b"\1\2\3\4"),
        "studioThing": kind("acmeType", b"\0\1\2\3"),
        "a_name_of_more_than_thirty_one_characters_in_all": kind("string", b""),
    }
    add_attributes(plate, extra)
    write_matte(tmp_path / "m.exr")
    shot = open_shot(ShotSettings(str(plate), str(tmp_path / "m.exr")))
    written = write_frame(shot, tmp_path / "o.exr")
    assert_same_attributes(written, plate)
    assert written.read_bytes()[5] & 0x04
    assert extra.items() <= read_attributes(written)[0].items()
    assert oiio.ImageInput.open(str(written)).spec().getattribute("smpte:TimeCode") == (0x01020304, 0x55)


def add_attributes(path, extra):
    """Adds raw attributes, long names among them, to a single-part file, moving its chunk offsets."""
    content = bytearray(path.read_bytes())
    content[5] |= 0x04  # the long names flag
    block = b"".join(
        name.encode() + b"\0" + a.type.encode() + b"\0" + struct.pack("<i", len(a.value)) + a.value
        for name, a in extra.items()
    )
    position = 8
    while content[position] != 0:
        end = content.index(b"\0", position)
        end = content.index(b"\0", end + 1) + 1
        position = end + 4 + struct.unpack_from("<i", content, end)[0]
    first = min(struct.unpack_from("<2Q", content, position + 1))
    chunks = (first - position - 1) // 8
    table = struct.unpack_from(f"<{chunks}Q", content, position + 1)
    moved = struct.pack(f"<{chunks}Q", *(offset + len(block) for offset in table))
    path.write_bytes(content[:position] + block + b"\0" + moved + content[position + 1 + 8 * chunks :])


def test_restoring_attributes_of_another_layout_is_refused(tmp_path):
    write_plate(tmp_path / "p.exr")
    with pytest.raises(ValueError, match="other parts"):
        restore_attributes(tmp_path / "p.exr", shared_exr("beachball/multipart.0001.exr"))


@pytest.mark.parametrize("torn", ["zeros", "short"])
def test_a_file_that_a_full_disk_has_torn_is_no_result(tmp_path, torn):
    """OpenEXR writes where its chunks are last; that write can fail without a word."""
    plate, new = tmp_path / "plate.exr", tmp_path / "new.exr"
    write_plate(plate)
    write_plate(new)
    content = new.read_bytes()
    last_attribute = content.index(b"\0\0", content.index(b"screenWindowWidth") + 22)
    end = last_attribute + 10
    new.write_bytes(content[:end] if torn == "short" else content[:end] + bytes(64) + content[end + 64 :])
    with pytest.raises(OSError, match="full"):
        restore_attributes(new, plate)


@pytest.mark.parametrize(
    ("extension", "dtype", "options"),
    [
        ("png", np.uint8, {}),
        ("png", np.uint16, {}),
        ("tif", np.uint8, {}),
        ("tif", np.uint16, {"compression": "lzw"}),
        ("tif", np.float32, {}),
        ("dpx", np.uint16, {"oiio__BitsPerSample": 10}),
        ("dpx", np.uint16, {"oiio__BitsPerSample": 16}),
    ],
)
def test_other_formats_keep_their_code_values(tmp_path, extension, dtype, options):
    rng = np.random.default_rng(0)
    if dtype == np.float32:
        planes = {name: rng.standard_normal((24, 32)).astype(dtype) for name in "RGB"}
    else:
        planes = {name: rng.integers(0, np.iinfo(dtype).max, (24, 32)).astype(dtype) for name in "RGB"}
    if extension != "dpx":
        planes["A"] = planes["G"][::-1].copy()
        options = options | {"oiio__UnassociatedAlpha": 1}
    plate = write_image(tmp_path / f"p.{extension}", planes, Copyright="someone", **options)
    write_matte(tmp_path / "m.exr")
    shot = open_shot(ShotSettings(str(plate), str(tmp_path / "m.exr"), grow=0, feather=1))
    written = write_frame(shot, tmp_path / f"o.{extension}", value=0.2158)
    touched = shot.load(0).alpha > 0
    assert_same_pixels(written, plate, dict.fromkeys("RGB", touched))
    if dtype == np.uint8:
        assert abs(int(read_native(read_header(written), 0).channel(1)[10, 15]) - 128) <= 1
    depth = [oiio.ImageInput.open(str(p)).spec().get_int_attribute("oiio:BitsPerSample") for p in (plate, written)]
    assert depth[0] == depth[1]


@pytest.mark.parametrize("extension", ["tif", "png"])
def test_associated_alpha_is_neither_divided_nor_relabelled(tmp_path, extension):
    planes = {name: random_codes(seed) for seed, name in enumerate("RGBA")}
    plate = write_image(tmp_path / "p.tif", planes)
    write_matte(tmp_path / "m.exr")
    shot = open_shot(ShotSettings(str(plate), str(tmp_path / "m.exr"), grow=0, feather=0))
    written = write_frame(shot, tmp_path / f"o.{extension}")
    assert_same_pixels(written, plate, dict.fromkeys("RGB", shot.load(0).alpha > 0))
    if extension == "tif":
        spec = oiio.ImageInput.open(str(written)).spec()
        assert spec.get_int_attribute("oiio:UnassociatedAlpha") == 0


def random_codes(seed):
    return np.random.default_rng(seed).integers(0, 255, (24, 32), dtype=np.uint8)


def test_jpeg_plates_become_scene_linear_half_exr(tmp_path):
    planes = {name: np.full((24, 32), 128, np.uint8) for name in "RGB"}
    plate = write_image(tmp_path / "p.jpg", planes)
    write_matte(tmp_path / "m.exr")
    shot = open_shot(ShotSettings(str(plate), str(tmp_path / "m.exr"), grow=0, feather=0))
    writer = FrameWriter(shot, str(tmp_path / "o.exr"))
    assert "scene-linear" in writer.warnings[0]
    written = writer.write(1, {"": patch_of(shot, shot.pictures[0], value=4.0)})
    header = read_header(written)
    assert {c.type for c in header.parts[0].channels} == {"half"}
    result = read_channels(header, 0, (0, 1, 2))
    assert result[2, 2, 0] == pytest.approx(0.2158, abs=2e-3)
    assert result[10, 15, 0] == 4.0
    attributes = {a.name for a in oiio.ImageInput.open(str(written)).spec().extra_attribs}
    assert not attributes & {"DateTime", "oiio:ColorSpace", "ICCProfile"}
    with pytest.raises(BadInput, match=r"extension '\.jpg'; choose \.exr"):
        FrameWriter(shot, str(tmp_path / "o.jpg"))

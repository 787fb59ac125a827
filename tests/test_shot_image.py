"""Reading image files: headers, native pixels, and refusal of everything damaged."""

import numpy as np
import OpenImageIO as oiio
import pytest
from shot_files import bits, random_plane, shared_exr, write_image, write_plate

from internal_inpaint.errors import BadInput
from internal_inpaint.shot.image import Window, read_channels, read_header, read_native


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

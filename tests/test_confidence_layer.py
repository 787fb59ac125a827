"""The `confidence` layer: 1 where the plate is kept, the patch's inside the matte, nothing else changed."""

import numpy as np
import pytest
from shot_files import (
    assert_same_attributes,
    assert_same_pixels,
    bits,
    make_shot,
    patch_of,
    random_plane,
    shared_exr,
    write_image,
    write_matte,
)

from internal_inpaint.errors import BadInput
from internal_inpaint.shot import FrameWriter, Patch, ShotSettings, open_shot
from internal_inpaint.shot.image import read_channels, read_header


def judged(shot, picture, value=0.25):
    """A patch whose confidence is ``value`` everywhere on the canvas: the writer is to take only the matte's."""
    patch = patch_of(shot, picture)
    return Patch(patch.rgb, patch.alpha, patch.fill, np.full_like(patch.alpha, value))


def write_judged(shot, output, frame, fill_layer=False, value=0.25):
    patches = {p.view: judged(shot, p, value) for p in shot.pictures if p.frame == frame}
    return FrameWriter(shot, str(output), fill_layer, confidence_layer=True).write(frame, patches)


def layer_of(written, name="confidence.Y", part=0):
    channels = read_header(written).parts[part].channels
    (index,) = [i for i, channel in enumerate(channels) if channel.name == name]
    assert channels[index].type == "half"
    return read_channels(read_header(written), part, (index,))[..., 0]


@pytest.mark.parametrize("fill_layer", [False, True])
def test_the_layer_holds_the_confidence_inside_the_matte_and_one_outside(tmp_path, fill_layer):
    shot = make_shot(tmp_path, grow=1, feather=2)
    written = write_judged(shot, tmp_path / "o.####.exr", 1002, fill_layer)
    touched = shot.load(1).alpha > 0
    layer = layer_of(written)
    assert (layer[touched] == 0.25).all()
    assert (layer[~touched] == 1).all()
    assert_same_pixels(written, shot.plate_header(1002).path, dict.fromkeys("RGB", touched))
    plain = FrameWriter(shot, str(tmp_path / "p.####.exr"), fill_layer).write(
        1002, {"": patch_of(shot, shot.pictures[1])}
    )
    theirs, ours = (read_header(path).parts[0].channels for path in (plain, written))
    names = [channel.name for channel in ours if channel.name != "confidence.Y"]
    assert names == [channel.name for channel in theirs]
    order = [[c.name for c in channels].index(name) for channels in (theirs, ours) for name in names]
    half = len(names)
    assert bits(read_channels(read_header(plain), 0, tuple(order[:half]))) == bits(
        read_channels(read_header(written), 0, tuple(order[half:]))
    )
    assert_same_attributes(written, plain, {"channels"})


def test_a_file_with_the_layer_is_still_the_same_plate(tmp_path):
    shot = make_shot(tmp_path, grow=0, feather=0)
    written = write_judged(shot, tmp_path / "o.####.exr", 1001)
    again = open_shot(ShotSettings(str(written), str(tmp_path / "roto.1001.exr"), grow=0, feather=0))
    known = shot.load(0).alpha == 0
    assert (again.load(0).rgb[known] == shot.load(0).rgb[known]).all()


@pytest.mark.parametrize("name", ["singlepart.0001.exr", "multipart.0001.exr"])
def test_both_views_of_stereo_files_get_their_own(name, tmp_path):
    path = shared_exr(f"beachball/{name}")
    shot = open_shot(ShotSettings(str(path), matte_channel="whitebarmask.mask", grow=0, feather=0))
    patches = {p.view: judged(shot, p, value) for p, value in zip(shot.pictures, (0.25, 0.5), strict=True)}
    written = FrameWriter(shot, str(tmp_path / "o.exr"), True, True).write(shot.frames[0], patches)
    parts = [shot.picture_channels(picture).part for picture in shot.pictures]
    names = ("confidence.Y", "confidence.left.Y" if parts[0] == parts[1] else "confidence.Y")
    for picture, part, channel, value in zip(shot.pictures, parts, names, (0.25, 0.5), strict=True):
        alpha = shot.load(picture.index).alpha[shot.data_window(picture).slices_in(shot.canvas)]
        layer = layer_of(written, channel, part)
        assert (alpha > 0).any()
        assert (layer[alpha > 0] == value).all()
        assert (layer[alpha == 0] == 1).all()
    layers = [c.name for part in read_header(written).parts for c in part.channels if c.name.startswith("confidence")]
    assert len(layers) == 2, layers


def test_a_view_that_is_not_filled_is_all_certain(tmp_path):
    path = shared_exr("beachball/singlepart.0001.exr")
    shot = open_shot(ShotSettings(str(path), matte_channel="whitebarmask.mask", grow=0, feather=0))
    left = shot.pictures[1]
    writer = FrameWriter(shot, str(tmp_path / "o.exr"), confidence_layer=True)
    written = writer.write(shot.frames[0], {left.view: judged(shot, left)})
    assert (layer_of(written, "confidence.Y") == 1).all()
    assert (layer_of(written, "confidence.left.Y") == 0.25).any()


def test_mixed_types_and_a_data_window_of_its_own(tmp_path):
    planes = {name: random_plane("half", 20, 30, seed) for seed, name in enumerate("RGB")}
    planes["depth.Z"] = random_plane("float", 20, 30, 4)
    plate = write_image(tmp_path / "p.exr", planes, origin=(-3, 2), display=(0, 0, 24, 24), compression="zips")
    write_matte(tmp_path / "m.exr", 24, 24)
    shot = open_shot(ShotSettings(str(plate), str(tmp_path / "m.exr"), grow=0, feather=0))
    written = write_judged(shot, tmp_path / "o.exr", shot.frames[0])
    touched = shot.load(0).alpha > 0
    assert_same_pixels(written, plate, dict.fromkeys("RGB", touched))
    np.testing.assert_array_equal(layer_of(written) == 0.25, touched)


def test_values_that_are_no_confidence_are_brought_into_range(tmp_path):
    shot = make_shot(tmp_path, frames=(1001,), grow=0, feather=0)
    patch = judged(shot, shot.pictures[0])
    patch.confidence[10, 15:18] = (np.nan, 7.0, -1.0)
    written = FrameWriter(shot, str(tmp_path / "o.exr"), confidence_layer=True).write(1001, {"": patch})
    assert layer_of(written)[10, 15:18].tolist() == [0, 1, 0]


def test_it_is_refused_where_it_cannot_be(tmp_path):
    shot = make_shot(tmp_path, frames=(1001,), grow=0, feather=0)
    written = write_judged(shot, tmp_path / "o.exr", 1001)
    again = open_shot(ShotSettings(str(written), str(tmp_path / "roto.1001.exr")))
    with pytest.raises(BadInput, match="already has a layer confidence; leave out --confidence-layer"):
        FrameWriter(again, str(tmp_path / "x.exr"), confidence_layer=True)
    FrameWriter(again, str(tmp_path / "x.exr"), fill_layer=True)
    planes = {name: np.zeros((24, 32), np.uint16) for name in "RGB"}
    plate = write_image(tmp_path / "p.png", planes)
    integer = open_shot(ShotSettings(str(plate), str(tmp_path / "roto.1001.exr")))
    with pytest.raises(BadInput, match=r"cannot store the confidence layer; choose \.exr"):
        FrameWriter(integer, str(tmp_path / "o.png"), confidence_layer=True)
    with pytest.raises(ValueError, match="needs a confidence"):
        FrameWriter(shot, str(tmp_path / "y.exr"), confidence_layer=True).write(
            1001, {"": patch_of(shot, shot.pictures[0])}
        )

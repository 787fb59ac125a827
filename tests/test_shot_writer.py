"""Writing frames: outside the matte nothing changes, bit for bit; outputs that would do harm are refused."""

import os
import resource
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from shot_files import (
    assert_same_attributes,
    assert_same_pixels,
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

from internal_inpaint.errors import BadInput, OutOfResources
from internal_inpaint.shot import FrameWriter, Patch, ShotSettings, open_shot
from internal_inpaint.shot.image import read_channels, read_header


def test_only_the_matte_gets_the_composite(tmp_path):
    shot = make_shot(tmp_path, grow=1, feather=3)
    patch = patch_of(shot, shot.pictures[1], value=0.7)
    written = FrameWriter(shot, str(tmp_path / "clean.####.exr")).write(1002, {"": patch})
    assert written.name == "clean.1002.exr"
    assert_same_pixels(written, shot.plate_header(1002).path, dict.fromkeys("RGB", patch.alpha > 0))
    result = read_channels(read_header(written), 0, (0, 1, 2))
    np.testing.assert_array_equal(result[patch.alpha > 0], patch.rgb.astype(np.float16)[patch.alpha > 0])
    assert (result[10, 15] == np.float16(0.7)).all()


@pytest.mark.parametrize("name", ["singlepart.0001.exr", "multipart.0001.exr"])
def test_stereo_files_are_filled_in_both_views(name, tmp_path):
    path = shared_exr(f"beachball/{name}")
    shot = open_shot(ShotSettings(str(path), matte_channel="whitebarmask.mask", grow=0, feather=0))
    written = write_frame(shot, tmp_path / "o.exr", value=3.0, fill_layer=True)
    again = open_shot(ShotSettings(str(written), matte_channel="whitebarmask.mask", grow=0, feather=0))
    for picture in shot.pictures:
        solid = shot.load(picture.index).alpha == 1
        assert solid.any()
        assert (again.load(picture.index).rgb[solid] == 3.0).all()
        layer = open_shot(ShotSettings(str(written), str(path), layer="inpaint", matte_channel="A"))
        fill = layer.load(picture.index).rgb
        assert (fill[solid] == 3.0).all()
        assert (fill[shot.load(picture.index).alpha == 0] == 0).all()
    names = {c.name for part in shot.plate_header(shot.frames[0]).parts for c in part.channels}
    if "left.R" in names:
        touched = {}
        for picture, prefix in zip(shot.pictures, ("", "left."), strict=True):
            inside = shot.data_window(picture).slices_in(shot.canvas)
            touched |= {prefix + base: shot.load(picture.index).alpha[inside] > 0 for base in "RGB"}
        assert_same_pixels(written, path, touched)
    assert_same_attributes(written, path, {"channels"})


def test_one_view_only_leaves_the_other_alone(tmp_path):
    path = shared_exr("beachball/singlepart.0001.exr")
    shot = open_shot(ShotSettings(str(path), matte_channel="whitebarmask.mask", view="left", grow=0, feather=0))
    written = write_frame(shot, tmp_path / "o.exr", value=3.0)
    inside = shot.data_window(shot.pictures[0]).slices_in(shot.canvas)
    touched = shot.load(0).alpha[inside] > 0
    assert_same_pixels(written, path, {f"left.{base}": touched for base in "RGB"})


def test_a_moving_data_window_is_kept_frame_by_frame(tmp_path):
    for frame, x in ((1, -4), (2, 6)):
        write_plate(tmp_path / f"p.{frame}.exr", 10, 12, seed=frame, origin=(x, 3), display=(0, 0, 20, 20))
        write_matte(tmp_path / f"m.{frame}.exr", 20, 20, box=(0, 20, 0, 20))
    shot = open_shot(ShotSettings(str(tmp_path / "p.#.exr"), str(tmp_path / "m.#.exr"), grow=0, feather=0))
    for picture in shot.pictures:
        written = write_frame(shot, tmp_path / "o.####.exr", picture.frame, value=picture.frame)
        part = read_header(written).parts[0]
        assert part.data == shot.data_window(picture)
        result = read_channels(read_header(written), 0, (0, 1, 2))
        filled = (result == picture.frame).all(axis=2)
        touched = shot.load(picture.index).alpha[part.data.slices_in(shot.canvas)] > 0
        np.testing.assert_array_equal(filled, touched)


def test_log_encoded_plates_get_the_fill_in_their_own_space(tmp_path):
    shot = make_shot(tmp_path, frames=(1001,), colorspace="ACEScct", grow=0, feather=0)
    written = write_frame(shot, tmp_path / "o.exr", value=0.18)
    touched = shot.load(0).alpha > 0
    assert_same_pixels(written, tmp_path / "plate.1001.exr", dict.fromkeys("RGB", touched))
    assert read_channels(read_header(written), 0, (0, 1, 2))[10, 15, 1] == pytest.approx(0.4136, abs=3e-4)


def test_grey_plates_stay_grey(tmp_path):
    path = shared_exr("layers/single_channel_y.exr")
    write_matte(tmp_path / "m.exr", 64, 64)
    shot = open_shot(ShotSettings(str(path), str(tmp_path / "m.exr"), grow=0, feather=0))
    written = write_frame(shot, tmp_path / "o.exr", value=0.25)
    assert_same_pixels(written, path, {"Y": shot.load(0).alpha > 0})
    assert (read_channels(read_header(written), 0, (0,))[10, 15] == 0.25).all()


def test_the_fill_layer_is_premultiplied_and_empty_outside(tmp_path):
    shot = make_shot(tmp_path, matte_options={"value": 0.5}, grow=0, feather=0)
    written = write_frame(shot, tmp_path / "o.####.exr", value=2.0, fill_layer=True)
    part = read_header(written).parts[0]
    names = [c.name for c in part.channels]
    layer = read_channels(read_header(written), 0, tuple(names.index(f"inpaint.{b}") for b in "RGBA"))
    np.testing.assert_array_equal(layer[10, 15], [1.0, 1.0, 1.0, 0.5])
    assert not layer[shot.load(0).alpha == 0].any()
    again = open_shot(ShotSettings(str(written), str(tmp_path / "roto.1001.exr")))
    with pytest.raises(BadInput, match="already has a layer inpaint"):
        FrameWriter(again, str(tmp_path / "x.exr"), fill_layer=True)


def test_extreme_and_broken_fills_stay_finite(tmp_path):
    shot = make_shot(tmp_path, frames=(1001,), grow=0, feather=0)
    patch = patch_of(shot, shot.pictures[0])
    patch.rgb[10, 15] = (1e6, -np.inf, np.nan)
    written = FrameWriter(shot, str(tmp_path / "o.exr")).write(1001, {"": patch})
    result = read_channels(read_header(written), 0, (0, 1, 2))
    np.testing.assert_array_equal(result[10, 15], [65504, -65504, 0])


def test_broken_plate_pixels_outside_the_matte_keep_their_bits(tmp_path):
    path = shared_exr("layers/bad.exr")
    write_matte(tmp_path / "m.exr", 64, 64, box=(0, 2, 0, 2))
    shot = open_shot(ShotSettings(str(path), str(tmp_path / "m.exr"), grow=0, feather=0))
    data = shot.load(0)
    assert data.broken.any()
    written = write_frame(shot, tmp_path / "o.exr")
    assert_same_pixels(written, path, dict.fromkeys("RGB", data.alpha > 0))


def test_float_plates_do_not_go_into_integer_files(tmp_path):
    shot = make_shot(tmp_path)
    with pytest.raises(BadInput, match="float plate"):
        FrameWriter(shot, str(tmp_path / "o.####.png"))
    with pytest.raises(BadInput, match="no frame number"):
        FrameWriter(shot, str(tmp_path / "o.exr"))


def test_inputs_are_never_overwritten(tmp_path):
    shot = make_shot(tmp_path, frames=(1001, 1002))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "link.1001.exr").symlink_to(tmp_path / "plate.1001.exr")
    os.link(tmp_path / "roto.1002.exr", tmp_path / "other" / "hard.1002.exr")
    (tmp_path / "linked").symlink_to(tmp_path)
    for output in (
        "plate.####.exr",
        "plate.%04d.exr",
        "roto.####.exr",
        "PLATE.####.exr",
        "other/../plate.####.exr",
        "other/link.####.exr",
        "other/hard.####.exr",
        "linked/plate.####.exr",
    ):
        with pytest.raises(BadInput, match=r"would overwrite the (plate|matte)"):
            FrameWriter(shot, str(tmp_path / output))
    assert all(path.read_bytes() == content for path, content in before.items())


def test_frames_outside_the_range_are_inputs_too(tmp_path):
    make_shot(tmp_path)
    plate, matte = str(tmp_path / "plate.####.exr"), str(tmp_path / "roto.####.exr")
    one = open_shot(ShotSettings(plate, matte, frames="1001"))
    with pytest.raises(BadInput, match="would overwrite"):
        FrameWriter(one, str(tmp_path / "plate.1002.exr"))


def test_folders_are_made_and_unwritable_ones_refused(tmp_path):
    shot = make_shot(tmp_path)
    FrameWriter(shot, str(tmp_path / "new" / "deep" / "o.####.exr"))
    assert (tmp_path / "new" / "deep").is_dir()
    with pytest.raises(BadInput, match="cannot be written"):
        FrameWriter(shot, str(tmp_path / "plate.1001.exr" / "o.####.exr"))


def test_a_write_that_fails_leaves_neither_frame_nor_temporary(tmp_path):
    shot = make_shot(
        tmp_path, plate_options={"height": 200, "width": 300}, matte_options={"height": 200, "width": 300}
    )
    old = tmp_path / "out" / "o.1001.exr"
    writer = FrameWriter(shot, str(tmp_path / "out" / "o.####.exr"))
    old.write_bytes(b"an older frame")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OutOfResources, match=r"frame 1001 \(.*o\.1001\.exr\) cannot be written"):
            writer.write(1001, {"": patch_of(shot, shot.pictures[0])})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert [path.name for path in old.parent.iterdir()] == ["o.1001.exr"]
    assert old.read_bytes() == b"an older frame"


def test_damaged_plates_leave_no_output(tmp_path):
    shutil.copy(shared_exr("damaged/incomplete.exr"), tmp_path / "p.exr")
    write_matte(tmp_path / "m.exr", 480, 640)
    shot = open_shot(ShotSettings(str(tmp_path / "p.exr"), str(tmp_path / "m.exr")))
    blank = np.zeros((480, 640, 3), np.float32)
    with pytest.raises(BadInput, match=r"p\.exr cannot be read"):
        FrameWriter(shot, str(tmp_path / "out" / "o.exr")).write(1, {"": Patch(blank, blank[..., 0], blank)})
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("seed", range(4))
def test_any_damage_to_a_header_ends_in_a_frame_or_one_sentence(tmp_path, seed):
    planes = {name: random_plane("half", 8, 9) for name in ("R", "G", "B", "layer.x")}
    whole = write_image(tmp_path / "p.exr", planes, view="left", compression="zips").read_bytes()
    rng = np.random.default_rng(seed)
    refused = 0
    for _ in range(40):
        damaged = bytearray(whole)
        for position in rng.integers(4, 600, rng.integers(1, 5)):
            damaged[position] = rng.integers(256)
        (tmp_path / "p.exr").write_bytes(damaged)
        try:
            rewrite(tmp_path / "p.exr", tmp_path / "o.exr")
        except BadInput as error:
            refused += 1
            message = str(error)
            assert "\n" not in message
    assert 0 < refused < 40


def test_channel_names_that_are_no_text_are_refused(tmp_path):
    path = write_image(tmp_path / "p.exr", {name: random_plane("half", 8, 9) for name in ("R", "G", "B", "layer.x")})
    path.write_bytes(path.read_bytes().replace(b"layer.x", b"l\xeeyer.x"))
    with pytest.raises(BadInput, match="channel with a broken name"):
        read_header(path)


def test_writing_prints_nothing(tmp_path, capfd):
    write_frame(make_shot(tmp_path), tmp_path / "o.####.exr")
    assert capfd.readouterr() == ("", "")
    assert Path(tmp_path / "o.1001.exr").exists()

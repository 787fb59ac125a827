"""Opening shots: headers checked against each other, pictures read onto the canvas, surveys."""

import json

import numpy as np
import OpenImageIO as oiio
import pytest
from shot_files import make_shot, random_plane, shared_exr, write_image, write_matte, write_plate

from internal_inpaint.errors import BadInput
from internal_inpaint.shot import ShotSettings, Window, open_shot, survey


def test_a_picture_is_the_plate_on_the_canvas(tmp_path):
    shot = make_shot(tmp_path, grow=1, feather=1)
    assert (shot.frames, shot.views, len(shot.pictures)) == ((1001, 1002, 1003), ("",), 3)
    assert shot.canvas == shot.display == Window(0, 0, 32, 24)
    data = shot.load(1)
    np.testing.assert_array_equal(data.rgb[..., 0], random_plane("half", 24, 32, 3006))
    assert data.alpha[10, 15] == 1
    assert data.hole.sum() == 10 * 12 - 4  # grown by one pixel to its four neighbours
    assert (data.alpha > 0).sum() > data.hole.sum()
    assert not data.void.any()


def test_matte_and_plate_are_matched_by_number_not_position(tmp_path):
    for frame in (5, 6):
        write_plate(tmp_path / f"plate.{frame:04}.exr")
    for frame in range(1, 7):
        write_matte(tmp_path / f"roto.{frame}.exr", box=(frame, frame + 1, 0, 3))
    settings = ShotSettings(str(tmp_path / "plate.####.exr"), str(tmp_path / "roto.#.exr"), grow=0, feather=0)
    shot = open_shot(settings)
    assert shot.load(0).alpha[5].any()
    assert shot.load(1).alpha[6].any()


def test_missing_matte_frames_are_named(tmp_path):
    for frame in range(1, 8):
        write_plate(tmp_path / f"plate.{frame:04}.exr")
    for frame in (1, 2, 6):
        write_matte(tmp_path / f"roto.{frame:04}.exr")
    plate, matte = str(tmp_path / "plate.####.exr"), str(tmp_path / "roto.####.exr")
    shot = open_shot(ShotSettings(plate, matte))
    assert shot.reference_frames == (1, 2, 6)
    assert any("has no frames 3-5, 7: " in warning for warning in shot.warnings)
    with pytest.raises(BadInput, match=r"matte .* has none of the frames 3-5;"):
        open_shot(ShotSettings(plate, matte, frames="3-5"))
    assert open_shot(ShotSettings(plate, matte, frames="1-2,6")).frames == (1, 2, 6)


def test_an_unnumbered_matte_is_static_and_says_so(tmp_path):
    write_matte(tmp_path / "garbage.exr", box=(0, 4, 0, 4))
    shot = make_shot(tmp_path, matte=str(tmp_path / "garbage.exr"), grow=0, feather=0)
    assert [bool(shot.load(i).alpha[0, 0]) for i in range(3)] == [True] * 3
    assert any("every frame" in warning for warning in shot.warnings)


def test_frames_of_another_format_are_refused(tmp_path):
    make_shot(tmp_path)
    write_plate(tmp_path / "plate.1002.exr", 24, 40)
    with pytest.raises(BadInput, match=r"plate\.1002\.exr is 40x24.*, but .*plate\.1001\.exr is 32x24"):
        open_shot(ShotSettings(str(tmp_path / "plate.####.exr"), str(tmp_path / "roto.####.exr")))


def test_mattes_of_another_format_are_refused_and_proxies_resampled(tmp_path):
    with pytest.raises(BadInput, match=r"matte .*roto\.1001\.exr is 30x20"):
        make_shot(tmp_path, matte_options={"height": 20, "width": 30})
    shot = make_shot(tmp_path, matte_options={"height": 12, "width": 16, "box": (4, 8, 4, 8)}, grow=0, feather=0)
    assert any("resampled" in warning for warning in shot.warnings)
    assert len(shot.warnings) == 1
    assert (shot.load(0).alpha[9:15, 9:15] == 1).all()


def test_a_matte_with_a_smaller_data_window_is_empty_outside_it(tmp_path):
    options = {"height": 6, "width": 5, "box": (0, 6, 0, 5), "origin": (20, 10), "display": (0, 0, 32, 24)}
    shot = make_shot(tmp_path, matte_options=options, grow=0, feather=0)
    alpha = shot.load(0).alpha
    assert alpha.sum() == 30
    assert (alpha[10:16, 20:25] == 1).all()


def test_moving_data_windows_make_one_canvas(tmp_path):
    for frame, x in ((1, -4), (2, 6)):
        write_plate(tmp_path / f"p.{frame}.exr", 10, 12, seed=frame, origin=(x, 3), display=(0, 0, 20, 20))
        write_matte(tmp_path / f"m.{frame}.exr", 20, 20, box=(0, 20, 0, 20))
    settings = ShotSettings(str(tmp_path / "p.#.exr"), str(tmp_path / "m.#.exr"), grow=0, feather=2)
    shot = open_shot(settings)
    assert shot.canvas == Window(-4, 3, 22, 10)
    first, second = shot.load(0), shot.load(1)
    assert not first.void[:, :12].any()
    assert first.void[:, 12:].all()
    assert second.void[:, :10].all()
    np.testing.assert_array_equal(second.rgb[:, 10:, 2], random_plane("half", 10, 12, 8))
    # Nothing is filled where the frame has no pixels to keep the fill.
    assert not first.alpha[first.void].any()
    assert not first.hole[first.void].any()


def test_broken_pixels_are_unknown_and_filled_only_under_the_matte(tmp_path):
    planes = {name: random_plane("half", 24, 32, i) for i, name in enumerate("RGB")}
    planes["G"][9, 12] = np.nan  # under the matte
    planes["B"][2, 2] = np.inf  # in the known region
    planes["R"][7, 12] = np.nan  # under the feather
    write_image(tmp_path / "p.exr", planes)
    write_matte(tmp_path / "m.exr", value=0.5)
    shot = open_shot(ShotSettings(str(tmp_path / "p.exr"), str(tmp_path / "m.exr"), grow=0, feather=2))
    data = shot.load(0)
    assert np.isfinite(data.rgb).all()
    assert data.hole[9, 12]
    assert data.hole[2, 2]
    assert data.hole[7, 12]
    assert data.alpha[9, 12] == data.alpha[7, 12] == 1
    assert data.alpha[9, 13] == 0.5
    assert data.alpha[2, 2] == 0
    assert survey(shot).broken_pixels == 3


def test_default_grow_and_feather_follow_the_plates_height(tmp_path):
    shot = make_shot(tmp_path, frames=(1001,), plate_options={"height": 600}, matte_options={"height": 600})
    assert (shot.grow, shot.feather) == (6, 3)
    with pytest.raises(BadInput, match="--grow"):
        make_shot(tmp_path, frames=(1001,), grow=-1)


def test_the_plates_own_alpha_is_the_matte_when_none_is_given(tmp_path):
    planes = {name: random_plane("half", 8, 8) for name in "RGB"}
    planes["A"] = np.eye(8, dtype=np.float16)
    planes["roto.mask"] = np.ones((8, 8), np.float16) * np.float16(0.25)
    path = str(write_image(tmp_path / "p.exr", planes))
    np.testing.assert_array_equal(open_shot(ShotSettings(path, grow=0, feather=0)).load(0).alpha, np.eye(8))
    shot = open_shot(ShotSettings(path, matte_channel="roto.mask", grow=0, feather=0))
    assert (shot.load(0).alpha == 0.25).all()
    with pytest.raises(BadInput, match=r"no channel nope .*roto\.mask"):
        open_shot(ShotSettings(path, matte_channel="nope"))
    path = str(write_plate(tmp_path / "rgb.exr"))
    with pytest.raises(BadInput, match="no alpha"):
        open_shot(ShotSettings(path))


def test_matte_channel_defaults(tmp_path):
    zero, one = np.zeros((24, 32), np.float16), np.ones((24, 32), np.float16)
    write_plate(tmp_path / "p.exr")
    for channels in ({"R": zero, "A": one}, {"mask": one}, {"R": one, "G": zero, "B": zero}):
        write_image(tmp_path / "m.exr", channels)
        shot = open_shot(ShotSettings(str(tmp_path / "p.exr"), str(tmp_path / "m.exr")))
        assert shot.load_matte(0).all()


def test_layers(tmp_path):
    planes = {
        f"{layer}.{base}": random_plane("half", 4, 4, i) for layer in ("a", "b") for i, base in enumerate("RGB")
    }
    planes["matte.A"] = np.ones((4, 4), np.float16)
    path = str(write_image(tmp_path / "p.exr", planes))
    with pytest.raises(BadInput, match=r"several layers with colour \(a, b\).*--layer"):
        open_shot(ShotSettings(path, matte_channel="matte.A"))
    with pytest.raises(BadInput, match=r"layer c .*a, b"):
        open_shot(ShotSettings(path, matte_channel="matte.A", layer="c"))
    shot = open_shot(ShotSettings(path, matte_channel="matte.A", layer="b"))
    np.testing.assert_array_equal(shot.load(0).rgb[..., 1], planes["b.G"])


def test_files_without_colour_are_refused(tmp_path):
    path = str(write_image(tmp_path / "z.exr", {"Z": random_plane("float", 4, 4), "A": random_plane("float", 4, 4)}))
    with pytest.raises(BadInput, match="no colour channels"):
        open_shot(ShotSettings(path))


def test_stereo_views_in_one_part_and_in_several():
    for name in ("singlepart.0001.exr", "multipart.0001.exr"):
        path = str(shared_exr(f"beachball/{name}"))
        shot = open_shot(ShotSettings(path, matte_channel="whitebarmask.mask", grow=0, feather=0))
        assert shot.views == ("right", "left")
        right, left = (shot.load(index) for index in (0, 1))
        assert right.alpha.any()
        assert left.alpha.any()
        assert not np.array_equal(right.rgb, left.rgb)
        assert not np.array_equal(right.alpha, left.alpha)
        only = open_shot(ShotSettings(path, matte_channel="whitebarmask.mask", view="left", grow=0, feather=0))
        assert only.views == ("left",)
    with pytest.raises(BadInput, match=r"view middle .*right, left"):
        open_shot(ShotSettings(path, matte_channel="whitebarmask.mask", view="middle"))


def test_a_matte_without_views_serves_both_and_says_so(tmp_path):
    path = str(shared_exr("multiview/Fog.exr"))
    write_matte(tmp_path / "m.exr", 672, 1000)
    shot = open_shot(ShotSettings(path, str(tmp_path / "m.exr"), grow=0, feather=0))
    np.testing.assert_array_equal(shot.load_matte(0), shot.load_matte(1))
    assert [view for view in shot.views if any(view in warning for warning in shot.warnings)] == ["left", "right"]


def test_luminance_plates_are_grey():
    path = str(shared_exr("multiview/Fog.exr"))
    shot = open_shot(ShotSettings(path, matte=path))
    assert shot.views == ("left", "right")
    rgb = shot.load(0).rgb
    np.testing.assert_array_equal(rgb[..., 0], rgb[..., 2])
    assert rgb.any()


def test_display_encoded_plates_become_scene_linear(tmp_path):
    planes = {name: np.full((8, 8), 128, np.uint8) for name in "RGB"}
    planes["R"][0, 0] = 255
    write_image(tmp_path / "p.png", planes)
    write_matte(tmp_path / "m.exr", 8, 8, box=(2, 4, 2, 4))
    shot = open_shot(ShotSettings(str(tmp_path / "p.png"), str(tmp_path / "m.exr")))
    assert shot.load(0).rgb[5, 5, 1] == pytest.approx(0.2158, abs=2e-3)
    raw = open_shot(ShotSettings(str(tmp_path / "p.png"), str(tmp_path / "m.exr"), colorspace="scene_linear"))
    assert raw.load(0).rgb[5, 5, 1] == pytest.approx(128 / 255)


def test_integer_colour_in_exr_is_refused(tmp_path):
    path = str(write_image(tmp_path / "p.exr", {name: random_plane("uint", 4, 4) for name in "RGBA"}))
    with pytest.raises(BadInput, match="integer colour"):
        open_shot(ShotSettings(path))


def test_survey_says_what_is_there(tmp_path):
    shot = make_shot(tmp_path, grow=0, feather=0)
    write_matte(tmp_path / "roto.1002.exr", box=(0, 0, 0, 0))
    seen = []
    found = survey(shot, lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert found.empty_matte_frames == (1002,)
    assert found.matte_coverage_max == pytest.approx(80 / (24 * 32))
    assert found.matte_coverage_mean == pytest.approx(2 * 80 / (24 * 32) / 3)
    assert found.channels == ("R (half)", "G (half)", "B (half)")
    reds = [random_plane("half", 24, 32, seed * 3) for seed in (1001, 1002, 1003)]
    assert found.range_high[0] == max(plane.max() for plane in reds)
    assert json.loads(json.dumps(found.to_dict()))["colour_space"] == "ACEScg"


def test_nothing_to_fill_and_nothing_to_learn_from(tmp_path):
    with pytest.raises(BadInput, match="empty on all frames"):
        survey(make_shot(tmp_path, matte_options={"box": (0, 0, 0, 0)}))
    with pytest.raises(BadInput, match="no frame has a known pixel"):
        survey(make_shot(tmp_path, matte_options={"box": (0, 24, 0, 32)}))


def test_opening_a_shot_prints_nothing(tmp_path, capfd):
    survey(make_shot(tmp_path))
    assert oiio.geterror() == ""
    assert capfd.readouterr() == ("", "")

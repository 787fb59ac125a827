"""Guides as a shot reads them: frames that were painted clean, and the files that cannot be one."""

import os

import numpy as np
import pytest
from shot_files import bits, make_shot, random_plane, shared_exr, write_image, write_matte, write_plate

from internal_inpaint.errors import BadInput
from internal_inpaint.job import Job, with_absolute_paths
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.shot import FrameWriter, ShotSettings, build_store, open_shot, survey, with_mattes
from internal_inpaint.shot.image import read_channels, read_header

BOX = (8, 16, 10, 20)  # rows and columns of the matte that `write_matte` draws
PAINT = np.float16(0.25)


def paint(plate, path, box=BOX, value=PAINT, window=(0, 24, 0, 32), **options):
    """A plate's RGB with a flat colour in `box`, as a file of the rows and columns of `window`."""
    planes = dict(zip("RGB", np.moveaxis(read_channels(read_header(plate), 0, (0, 1, 2)), 2, 0), strict=True))
    for plane in planes.values():
        plane[box[0] : box[1], box[2] : box[3]] = value
    top, bottom, left, right = window
    planes = {name: plane[top:bottom, left:right].astype(np.float16) for name, plane in planes.items()}
    return write_image(path, planes, origin=(left, top), display=(0, 0, 32, 24), **options)


@pytest.fixture
def files(tmp_path):
    """The files of a shot of three frames, with a guide for the second."""
    make_shot(tmp_path)
    paint(tmp_path / "plate.1002.exr", tmp_path / "guide.1002.exr")
    return tmp_path


def guided(folder, *guides, **settings):
    """The shot of `files`, opened with these guides."""
    patterns = {"plate": str(folder / "plate.####.exr"), "matte": str(folder / "roto.####.exr")}
    edges = {"grow": 0, "feather": 0}
    guides = guides or ("guide.1002.exr",)
    return open_shot(ShotSettings(**(patterns | edges | settings), guide=tuple(str(folder / g) for g in guides)))


def test_a_guides_pixels_are_known_under_the_matte_and_the_plates_elsewhere(files):
    shot = guided(files, grow=1, feather=2)
    plain = shot.without_guides()
    plate, data = plain.load(1), shot.load(1)
    under = plate.alpha > 0
    assert plate.hole.any()
    assert under.sum() > plate.hole.sum() > 80
    assert not data.hole.any()
    guide = read_channels(read_header(files / "guide.1002.exr"), 0, (0, 1, 2))
    assert bits(data.rgb[under]) == bits(guide[under])
    assert (data.rgb[8:16, 10:20] == 0.25).all()
    assert bits(data.rgb[~under]) == bits(plate.rgb[~under])
    assert bits(data.plate) == bits(plate.rgb)
    assert bits(data.alpha) == bits(plate.alpha)
    for other in (0, 2):
        data = shot.load(other)
        assert data.plate is None
        assert bits(data.hole) == bits(plain.load(other).hole)
    # Whoever looks for the object itself sees it.
    assert bits(shot.load(1, with_matte=False).rgb) == bits(plate.rgb)


def test_nan_under_the_matte_is_known_where_it_was_painted_over(files):
    planes = {name: random_plane("half", 24, 32, i) for i, name in enumerate("RGB")}
    planes["G"][9, 12] = planes["G"][2, 2:20] = np.nan
    write_image(files / "plate.1002.exr", planes)
    planes["G"][2, 2:20] = 7  # mended too, where the plate stays as it is
    for plane in planes.values():
        plane[BOX[0] : BOX[1], BOX[2] : BOX[3]] = PAINT
    write_image(files / "guide.1002.exr", planes)
    data = guided(files).load(1)
    assert not data.hole[9, 12]
    assert data.alpha[9, 12] == 1
    assert data.rgb[9, 12, 1] == 0.25
    assert data.hole[2, 2:20].all(), "outside the matte nothing is delivered, so nothing is known"


def test_a_pattern_a_folder_and_a_list_name_guides_by_their_frames(files):
    paint(files / "plate.1003.exr", files / "other" / "x.1003.exr")
    paint(files / "plate.1003.exr", files / "guide.1007.exr")  # of a frame that the shot lacks
    shot = guided(files, "guide.####.exr", "other", "guide.1002.exr")
    assert list(shot.guides) == [1002, 1003]
    assert any("guide.####.exr is not used in frames 1007" in warning for warning in shot.warnings)
    assert shot.only([1003]).guides.keys() == {1003}
    assert not guided(files).warnings


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("a.1001.exr", ["/w/a.1001.exr"]),
        ("a.1001.exr, sub/b.####.png,/c.9.tif", ["/w/a.1001.exr", "/w/sub/b.####.png", "/c.9.tif"]),
        ("v1,v2/a.1001.exr,b.1002.exr,", ["/w/v1,v2/a.1001.exr", "/w/b.1002.exr"]),
        ("painted", ["/w/painted"]),
    ],
)
def test_a_jobs_list_of_guides_becomes_absolute_file_by_file(text, paths):
    from internal_inpaint.run import shot_settings

    job = with_absolute_paths(Job("p.####.exr", "o.####.exr", guide=text), "/w")
    assert shot_settings(job).guide == tuple(paths)
    assert with_absolute_paths(job, "/elsewhere, and.more") == job


def test_an_integer_guide_of_a_float_plate_is_read_in_the_colours_that_its_type_implies(files):
    grey = {name: np.full((24, 32), 0.5, np.float16) for name in "RGB"}
    for frame in (1001, 1002, 1003):
        write_image(files / f"plate.{frame}.exr", grey)
    codes = {name: np.full((24, 32), 188, np.uint8) for name in "RGB"}  # 0.5029 in scene-linear: a code's rounding
    for plane in codes.values():
        plane[BOX[0] : BOX[1], BOX[2] : BOX[3]] = 128
    write_image(files / "guide.1002.png", codes)
    shot = guided(files, "guide.1002.png")
    data = shot.load(1)
    np.testing.assert_allclose(data.rgb[data.alpha > 0], 0.2158, atol=2e-3)
    assert bits(data.rgb[data.alpha == 0]) == bits(np.full_like(data.rgb, 0.5)[data.alpha == 0])
    # --colorspace is the plate's; it is the guide's too only if both files are of one kind.
    assert (
        guided(files, "guide.1002.png", colorspace="ACEScct").guides[1002].colour.name
        == shot.guides[1002].colour.name
    )
    assert guided(files, colorspace="ACEScct").guides[1002].colour.name == "ACEScct"


def test_a_guide_has_the_layer_and_the_views_of_the_plate(tmp_path):
    planes = {f"{layer}.{c}": random_plane("half", 24, 32, i) for layer in "ab" for i, c in enumerate("RGB")}
    plate = write_image(tmp_path / "p.0001.exr", planes)
    write_matte(tmp_path / "m.0001.exr")
    painted = {name: plane.copy() for name, plane in planes.items()}
    painted["b.G"][BOX[0] : BOX[1], BOX[2] : BOX[3]] = 9
    guide = str(write_image(tmp_path / "g.0001.exr", painted))
    settings = {"grow": 0, "feather": 0, "layer": "b", "guide": (guide,)}
    data = open_shot(ShotSettings(str(plate), str(tmp_path / "m.0001.exr"), **settings)).load(0)
    assert (data.rgb[..., 1][data.alpha > 0] == 9).all()


def test_a_stereo_plate_takes_a_guide_with_both_views(tmp_path):
    plate = shared_exr("beachball/singlepart.0001.exr")
    settings = {"matte_channel": "whitebarmask.mask", "grow": 0, "feather": 0}
    both = str(shared_exr("beachball/multipart.0001.exr"))
    shot = open_shot(ShotSettings(str(plate), **settings, guide=(both,)))
    for index in (0, 1):
        assert shot.load(index).plate is not None
    one = shot.load(0).rgb
    write_image(tmp_path / "g.0001.exr", dict(zip("RGB", np.moveaxis(one, 2, 0).astype(np.float16), strict=True)))
    with pytest.raises(BadInput, match=r"g\.0001\.exr has no view right, but plate file .*--view"):
        open_shot(ShotSettings(str(plate), **settings, guide=(str(tmp_path / "g.0001.exr"),)))


def text_of(error):
    return " ".join(str(error.value).split())


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("guide.1009.exr", paint, r"is of frame 1009, but the shot has the frames 1001-1003; correct the number"),
        ("guide_v002.exr", paint, r"guide_v002\.exr has no frame number in its name"),
        ("guide.1001.exr", None, r"guide file .*guide\.1001\.exr does not exist; check the name"),
        ("none.####.exr", None, r"no guide frames match .*none"),
        ("plate.1002.exr", None, r"guide file .*plate\.1002\.exr is the plate itself; give a copy"),
        ("link.1002.exr", lambda plate, path: os.link(plate, path), r"link\.1002\.exr is the plate itself"),
        ("torn.1002.exr", lambda plate, path: path.write_bytes(b"\x76\x2f\x31\x01torn"), r"guide file .*torn\.1002"),
        ("large.1002.exr", lambda plate, path: write_plate(path, 48, 64), r"is 64x48\+0\+0, but plate file .*32x24"),
        (
            "views.1002.exr",
            lambda plate, path: paint(plate, path, multiView=("string[2]", ("left", "right"))),
            r"has the views left, right, but plate file .* has none",
        ),
        (
            "whole.1002.exr",
            lambda plate, path: write_image(path, {c: random_plane("uint", 24, 32) for c in "RGB"}),
            r"guide file .*whole\.1002\.exr has integer colour channels",
        ),
        (
            "z.1002.exr",
            lambda plate, path: write_image(path, {"Z": random_plane("half", 24, 32)}),
            r"z\.1002\.exr has no colour channels",
        ),
    ],
)
def test_what_cannot_be_a_guide_is_refused_before_a_pixel_is_read(files, name, make, said):
    if make is not None:
        make(files / "plate.1002.exr", files / name)
    with pytest.raises(BadInput, match=said):
        guided(files, name)


def test_two_guides_of_one_frame_are_refused(files):
    paint(files / "plate.1002.exr", files / "second.1002.exr")
    with pytest.raises(BadInput, match=r"frame 1002 has two guides, .*guide\.1002\.exr and .*second\.1002\.exr"):
        guided(files, "guide.1002.exr", "second.1002.exr")


def test_a_guide_that_is_not_the_plate_outside_the_matte_is_refused_with_the_place(files):
    paint(files / "plate.1002.exr", files / "guide.1002.exr", box=(2, 18, 8, 26), value=40)
    with pytest.raises(BadInput) as error:
        guided(files).load(1)
    alpha = guided(files).without_guides().load(1).alpha
    count = 16 * 18 - int((alpha > 0)[2:18, 8:26].sum())
    assert count > 100
    assert f"guide.1002.exr differs from plate file {files / 'plate.1002.exr'} in {count} pixels" in text_of(error)
    assert "within 18x16+8+2" in text_of(error)


@pytest.mark.parametrize("change", ["rounding", "a few pixels", "NaN where nobody looks"])
def test_what_a_paint_program_does_to_the_other_pixels_is_allowed(files, change):
    planes = read_channels(read_header(files / "guide.1002.exr"), 0, (0, 1, 2))
    if change == "rounding":
        planes *= np.float32(1.008)
    elif change == "a few pixels":
        planes[0, :8] += 5
    else:
        planes[20:22] = np.nan
    write_image(files / "guide.1002.exr", dict(zip("RGB", np.moveaxis(planes, 2, 0).astype(np.float16), strict=True)))
    data, plain = guided(files).load(1), guided(files).without_guides().load(1)
    assert bits(data.rgb[data.alpha == 0]) == bits(plain.rgb[data.alpha == 0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_under_the_matte_is_refused(files, value):
    paint(files / "plate.1002.exr", files / "guide.1002.exr", box=(10, 11, 12, 15), value=value)
    with pytest.raises(BadInput, match=r"guide\.1002\.exr has NaN or Inf in 3 pixels under the matte"):
        guided(files).load(1)


def test_a_data_window_of_its_own_must_cover_the_matte(files):
    paint(files / "plate.1002.exr", files / "guide.1002.exr", window=(8, 18, 6, 20))
    data = guided(files).load(1)
    assert (data.rgb[data.alpha > 0] == 0.25).all()
    paint(files / "plate.1002.exr", files / "guide.1002.exr", window=(4, 20, 11, 24))
    with pytest.raises(BadInput, match=r"guide\.1002\.exr does not cover the matte: \d+ pixels of it are outside"):
        guided(files).load(1)


def test_a_guide_with_overscan_lies_where_its_data_window_says(files):
    inner = read_channels(read_header(files / "guide.1002.exr"), 0, (0, 1, 2))
    outer = np.full((34, 40, 3), 3, np.float16)
    outer[6:30, 5:37] = inner
    planes = dict(zip("RGB", np.moveaxis(outer, 2, 0), strict=True))
    write_image(files / "guide.1002.exr", planes, origin=(-5, -6), display=(0, 0, 32, 24))
    data = guided(files).load(1)
    assert bits(data.rgb[data.alpha > 0]) == bits(inner[data.alpha > 0])


def test_an_output_that_would_overwrite_a_guide_is_refused(files):
    shot = guided(files)
    with pytest.raises(BadInput, match=r"would overwrite the guide .*guide\.1002\.exr"):
        FrameWriter(shot, str(files / "guide.####.exr"))
    paint(files / "plate.1003.exr", files / "painted" / "g.1003.exr")
    with pytest.raises(BadInput, match=r"painted, the folder given as the guide; give the guide as a pattern"):
        FrameWriter(guided(files, "painted"), str(files / "painted" / "clean.####.exr"))


def test_the_store_holds_a_guides_pixels_as_known(files, tmp_path):
    size = (24, 32)
    store = build_store(guided(files), tmp_path / "store", size)
    plain = build_store(guided(files).without_guides(), tmp_path / "plain", size)
    under = np.asarray(plain.state[1]) == PixelState.HOLE
    assert under.any()
    assert (np.asarray(store.state[1])[under] == PixelState.KNOWN).all()
    colour = store.working_space.to_linear(np.asarray(store.frames[1])[under])
    np.testing.assert_allclose(colour, 0.25, atol=5e-3)
    np.testing.assert_array_equal(store.state[0], plain.state[0])
    assert store.source != plain.source


def test_one_repainted_pixel_is_another_shot_and_an_untouched_one_is_not(files, tmp_path):
    """What was trained is known by the store's fingerprint, which looks at some pixels of other frames only."""
    first = build_store(guided(files), tmp_path / "one", (24, 32))
    again = build_store(guided(files), tmp_path / "one", (24, 32))
    assert again.source == first.source
    os.utime(files / "guide.1002.exr", (1, 1))
    touched = build_store(guided(files), tmp_path / "one", (24, 32))
    assert touched.source != first.source
    assert touched.fingerprint == first.fingerprint
    for column in range(12, 16):
        planes = read_channels(read_header(files / "guide.1002.exr"), 0, (0, 1, 2))
        planes[11, column] = 0.5
        planes = dict(zip("RGB", np.moveaxis(planes, 2, 0).astype(np.float16), strict=True))
        write_image(files / "guide.1002.exr", planes)
        changed = build_store(guided(files), tmp_path / "one", (24, 32))
        assert changed.fingerprint != first.fingerprint
        first = changed


def test_a_shot_with_a_guide_on_every_frame_with_a_hole_is_refused(files, tmp_path):
    write_matte(files / "roto.1001.exr", value=0.0)
    write_matte(files / "roto.1003.exr", value=0.0)
    with pytest.raises(BadInput, match=r"every frame in which the matte .* has a guide, so there is nothing left"):
        build_store(guided(files), tmp_path / "store", (24, 32))
    assert not (tmp_path / "store").exists()
    with pytest.raises(BadInput, match="has a guide, so there is nothing left"):
        survey(guided(files))


def test_a_survey_names_the_guides(files):
    found = survey(guided(files))
    assert found.guide_frames == (1002,)
    assert found.matte_coverage_mean == survey(guided(files).without_guides()).matte_coverage_mean


def test_a_frame_whose_matte_is_propagated_takes_its_guide_with_the_matte(files):
    """Nobody can know before where such a matte ends: what was painted outside it is not used."""
    for frame in (1001, 1002, 1003):
        write_matte(files / f"auto.{frame}.exr", box=(8, 16, 10, 17))
    shot = guided(files, matte_frame="1001")
    assert shot.load(1).plate is None
    found = with_mattes(shot, str(files / "auto.####.exr"))
    data = found.load(1)
    assert (data.rgb[data.alpha > 0] == 0.25).all()
    assert bits(data.rgb[data.alpha == 0]) == bits(data.plate[data.alpha == 0])
    drawn = guided(files, matte=str(files / "auto.####.exr"))
    with pytest.raises(BadInput, match="pixels outside the grown and feathered matte"):
        drawn.load(1)
    write_plate(files / "guide.1002.exr", seed=7)  # another picture altogether
    with pytest.raises(BadInput, match="pixels outside the grown and feathered matte"):
        with_mattes(guided(files, matte_frame="1001"), str(files / "auto.####.exr")).load(1)


def test_a_guide_on_the_only_frame_with_a_matte_leaves_the_others_to_fill(files):
    found = survey(guided(files, matte_frame="1002"))
    assert (found.matte_frames, found.guide_frames) == ((1002,), (1002,))

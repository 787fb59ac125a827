"""The `source` layer: which frame a pixel was copied from, and how much of it is copied."""

import json
import shutil

import numpy as np
import pytest
from moving_shot import ground
from running import frame, internal_inpaint, pixels
from shot_files import (
    assert_same_pixels,
    make_shot,
    patch_of,
    random_plane,
    shared_exr,
    write_image,
    write_matte,
)

from internal_inpaint import checkpoints
from internal_inpaint.errors import BadInput
from internal_inpaint.job_folder import JobFolder
from internal_inpaint.shot import ElementWriter, FrameWriter, Patch, ShotSettings, open_shot
from internal_inpaint.shot.image import read_channels, read_header

FRAMES = range(3001, 3013)  # half floats know only every second of these numbers
HEIGHT, WIDTH, PAN = 96, 160, 5
ROWS, COLUMNS = slice(36, 60), slice(68, 92)  # of the hole, which stands still
DRAFT = ("--quality", "draft", "--steps", "1", "--device", "cpu", "--grow", "0", "--feather", "0", "--grain", "off")


def plate(number):
    """Ground that pans by whole pixels."""
    wide = 0.18 * 4 ** ground(HEIGHT, WIDTH + PAN * len(FRAMES), seed=3)
    first = PAN * (number - FRAMES[0])
    return wide[:, first : first + WIDTH].astype(np.float16)


def make_files(folder):
    for number in FRAMES:
        picture = plate(number)
        picture[ROWS, COLUMNS] = 5
        write_image(folder / f"plate.{number}.exr", dict(zip("RGB", np.moveaxis(picture, 2, 0), strict=True)))
        box = (ROWS.start, ROWS.stop, COLUMNS.start, COLUMNS.stop)
        write_matte(folder / f"roto.{number}.exr", HEIGHT, WIDTH, box=box)
    return folder


def command(folder, *options):
    shot = ("--plate", folder / "plate.####.exr", "--matte", folder / "roto.####.exr")
    return ["run", *shot, "--output", folder / "clean.####.exr", "--work", folder / "job", *DRAFT, *options]


def run(arguments):
    done = internal_inpaint(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def digest(folder):
    (level,) = JobFolder(folder / "job").levels()
    return checkpoints.digest(checkpoints.newest(level))


def stamps(folder):
    return {number: frame(folder / "clean.####.exr", number).stat().st_mtime_ns for number in FRAMES}


def layers(path):
    found, spec = pixels(path, "float")
    return {name: found[..., index] for index, name in enumerate(spec.channelnames)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run without the layer, and the same job again with it."""
    folder = make_files(tmp_path_factory.mktemp("source"))
    run(command(folder))
    assert "source.frame" not in layers(frame(folder / "clean.####.exr", FRAMES[0]))
    weights, before = digest(folder), stamps(folder)
    run(command(folder, "--source-layer"))
    assert digest(folder) == weights, "asked for later, it needs no new training"
    assert all(time > before[number] for number, time in stamps(folder).items())
    run(command(folder, "--source-layer", "--elements", folder / "job" / "elements"))
    return folder


def test_each_frame_named_is_one_that_shows_the_pixel(finished):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    hole = np.zeros((HEIGHT, WIDTH), bool)
    hole[ROWS, COLUMNS] = True
    named = set()
    for number in FRAMES:
        found = layers(frame(finished / "clean.####.exr", number))
        source, copied = found["source.frame"], found["source.copied"]
        assert (source[~hole] == 0).all()
        assert (copied[~hole] == 0).all()
        assert set(np.unique(source)) <= {0.0, *map(float, FRAMES)}
        assert ((copied >= 0) & (copied <= 1)).all()
        assert (copied[source == 0] == 0).all()
        certain = hole & (copied > 0.9)
        assert certain[hole].mean() > 0.8
        # Where the ground was in the frame that is named: outside the hole, inside the picture.
        there = x - PAN * (source.astype(int) - number)
        shown = certain & (there >= 0) & (there < WIDTH)
        assert shown[certain].mean() > 0.99
        assert not hole[y[shown], there[shown]].any()
        # It is the nearest of its side of time that shows the pixel.
        nearer = there + PAN * np.sign(source - number).astype(int)
        assert hole[y[shown], np.clip(nearer[shown], 0, WIDTH - 1)].mean() > 0.9
        # And that frame's pixel is what was delivered.
        rgb = np.stack([found[channel] for channel in "RGB"], axis=2)
        assert np.median(np.abs(rgb[certain] / plate(number)[certain].astype(np.float32) - 1)) < 0.05
        named |= set(source[certain])
    assert len(named) > 6
    assert any(number % 2 for number in named), "odd numbers above 2048 are none of half float"


def test_the_element_holds_the_same_channels(finished):
    for number in FRAMES[::4]:
        layer = layers(frame(finished / "clean.####.exr", number))
        element = layers(frame(finished / "job" / "elements" / "source.####.exr", number))
        assert set(element) == {"source.frame", "source.copied"}
        np.testing.assert_array_equal(element["source.frame"], layer["source.frame"])
        np.testing.assert_allclose(element["source.copied"], layer["source.copied"], atol=1e-3)


def test_the_summary_and_the_report_say_how_much_is_copied(finished):
    summary = json.loads((finished / "job" / "summary.json").read_text())
    assert summary["copied"] > 0.8
    assert summary["copied"] + summary["invented"] == pytest.approx(1)
    by_frame = json.loads((finished / "job" / "confidence.json").read_text())["frames"]
    assert np.mean([one["copied"] for one in by_frame]) == pytest.approx(summary["copied"], abs=1e-3)
    assert "of the fill is copied from other frames" in (finished / "job" / "report.html").read_text()


def test_a_frame_that_is_missing_comes_back_the_same_and_the_figures_stay(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "copy", copy_function=shutil.copy2)
    arguments = command(folder, "--source-layer", "--elements", folder / "job" / "elements")
    before, gone = stamps(folder), frame(folder / "clean.####.exr", FRAMES[5])
    content, summary = gone.read_bytes(), json.loads((folder / "job" / "summary.json").read_text())
    gone.unlink()
    run(arguments)
    assert gone.read_bytes() == content
    assert [number for number, time in stamps(folder).items() if time != before[number]] == [FRAMES[5]]
    again = json.loads((folder / "job" / "summary.json").read_text())
    assert (again["copied"], again["invented"]) == (summary["copied"], summary["invented"])


def test_a_painted_frame_is_its_own_source_and_others_name_it(finished, tmp_path):
    folder = make_files(tmp_path)
    painted = FRAMES[6]
    write_image(folder / f"guide.{painted}.exr", dict(zip("RGB", np.moveaxis(plate(painted), 2, 0), strict=True)))
    run(command(folder, "--source-layer", "--guide", folder / f"guide.{painted}.exr"))
    own = layers(frame(folder / "clean.####.exr", painted))
    assert (own["source.frame"][ROWS, COLUMNS] == painted).all()
    assert (own["source.copied"] == 0).all()
    assert (own["source.frame"][: ROWS.start] == 0).all()
    beside = layers(frame(folder / "clean.####.exr", painted + 1))["source.frame"][ROWS, COLUMNS]
    assert (beside == painted).mean() > 0.2


def test_a_single_frame_has_no_source(tmp_path):
    folder = make_files(tmp_path)
    number = FRAMES[4]
    elements = folder / "job" / "elements"
    run(command(folder, "--source-layer", "--confidence-layer", "--elements", elements, "--frames", number))
    found = layers(frame(folder / "clean.####.exr", number))
    assert (found["source.frame"] == 0).all()
    assert (found["source.copied"] == 0).all()
    assert 0 < found["confidence.Y"][ROWS, COLUMNS].max() <= 0.1
    summary = json.loads((folder / "job" / "summary.json").read_text())
    assert (summary["copied"], summary["invented"]) == (0, 1)


def test_a_feather_wider_than_what_is_copied_shows_the_plate_itself(tmp_path):
    folder = make_files(tmp_path)
    run([*command(folder, "--source-layer", "--grain", "1"), "--feather", "16"])
    beyond = np.zeros((HEIGHT, WIDTH), bool)
    beyond[ROWS.start - 14 : ROWS.stop + 14, COLUMNS.start - 14 : COLUMNS.stop + 14] = True
    beyond[ROWS.start - 6 : ROWS.stop + 6, COLUMNS.start - 6 : COLUMNS.stop + 6] = False
    for number in FRAMES[::4]:
        found = layers(frame(folder / "clean.####.exr", number))
        for channel, own in zip("RGB", np.moveaxis(plate(number).astype(np.float32), 2, 0), strict=True):
            np.testing.assert_allclose(found[channel][beyond], own[beyond], rtol=0.01)
        assert (found["source.copied"][beyond] == 0).all()
        assert (found["source.frame"][beyond] == 0).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--method", "implicit"), "--method implicit copies nothing"),
        (("--quality", "paper"), "--quality paper copies nothing"),
        (("--network", "stacked"), "--network stacked copies nothing"),
    ],
)
def test_a_method_that_copies_nothing_refuses_it(refused, tmp_path, options, said):
    folder = make_files(tmp_path)
    assert said in refused(*command(folder, "--source-layer", *options))
    assert not (folder / "job").exists()


def sourced(shot, picture, value=(1003.0, 0.25)):
    patch = patch_of(shot, picture)
    return Patch(patch.rgb, patch.alpha, patch.fill, source=np.full((*patch.alpha.shape, 2), value, np.float32))


def layer_of(written, name, kind, part=0):
    channels = read_header(written).parts[part].channels
    (index,) = [i for i, channel in enumerate(channels) if channel.name == name]
    assert channels[index].type == kind
    return read_channels(read_header(written), part, (index,))[..., 0]


def test_the_plate_keeps_its_bits_and_types_beside_a_float_channel(tmp_path):
    planes = {name: random_plane("half", 24, 32, seed) for seed, name in enumerate("RGB")}
    planes["R"][0] = np.arange(0x7C01, 0x7C01 + 32, dtype=np.uint16).view(np.float16)  # signalling NaN
    planes["G"][1] = np.arange(1, 33, dtype=np.uint16).view(np.float16)  # denormals
    path = write_image(tmp_path / "p.1001.exr", planes, compression="piz")
    write_matte(tmp_path / "m.1001.exr")
    shot = open_shot(ShotSettings(str(path), str(tmp_path / "m.1001.exr"), grow=0, feather=0))
    writer = FrameWriter(shot, str(tmp_path / "o.####.exr"), True, True, True)
    patch = sourced(shot, shot.pictures[0], (70001.0, 0.25))
    patch = Patch(patch.rgb, patch.alpha, patch.fill, np.full_like(patch.alpha, 0.5), patch.source)
    written = writer.write(1001, {"": patch})
    touched = patch.alpha > 0
    assert_same_pixels(written, path, dict.fromkeys("RGB", touched))
    for name, kind, value in (("frame", "float", 70001), ("copied", "half", 0.25)):
        layer = layer_of(written, f"source.{name}", kind)
        assert (layer[touched] == value).all()
        assert (layer[~touched] == 0).all()
    assert (layer_of(written, "confidence.Y", "half") == np.where(touched, 0.5, 1)).all()


@pytest.mark.parametrize("name", ["singlepart.0001.exr", "multipart.0001.exr"])
def test_both_views_of_stereo_files_get_their_own(name, tmp_path):
    path = shared_exr(f"beachball/{name}")
    shot = open_shot(ShotSettings(str(path), matte_channel="whitebarmask.mask", grow=0, feather=0))
    patches = {p.view: sourced(shot, p, (7, v)) for p, v in zip(shot.pictures, (0.25, 0.5), strict=True)}
    written = FrameWriter(shot, str(tmp_path / "o.exr"), source_layer=True).write(shot.frames[0], patches)
    parts = [shot.picture_channels(picture).part for picture in shot.pictures]
    prefixes = ("source.", "source.left." if parts[0] == parts[1] else "source.")
    for picture, part, prefix, value in zip(shot.pictures, parts, prefixes, (0.25, 0.5), strict=True):
        alpha = shot.load(picture.index).alpha[shot.data_window(picture).slices_in(shot.canvas)]
        np.testing.assert_array_equal(layer_of(written, f"{prefix}copied", "half", part), value * (alpha > 0))
        np.testing.assert_array_equal(layer_of(written, f"{prefix}frame", "float", part), 7 * (alpha > 0))


def test_it_is_refused_where_it_cannot_be(tmp_path):
    shot = make_shot(tmp_path, frames=(1001,), grow=0, feather=0)
    patches = {"": sourced(shot, shot.pictures[0])}
    written = FrameWriter(shot, str(tmp_path / "o.exr"), source_layer=True).write(1001, patches)
    again = open_shot(ShotSettings(str(written), str(tmp_path / "roto.1001.exr")))
    with pytest.raises(BadInput, match="already has a layer source; leave out --source-layer"):
        FrameWriter(again, str(tmp_path / "x.exr"), source_layer=True)
    plate = write_image(tmp_path / "p.png", {name: np.zeros((24, 32), np.uint16) for name in "RGB"})
    integer = open_shot(ShotSettings(str(plate), str(tmp_path / "roto.1001.exr")))
    with pytest.raises(BadInput, match=r"cannot store the source layer; choose \.exr"):
        FrameWriter(integer, str(tmp_path / "o.png"), source_layer=True)
    bare = {"": patch_of(shot, shot.pictures[0])}
    with pytest.raises(ValueError, match="needs a source"):
        FrameWriter(shot, str(tmp_path / "y.exr"), source_layer=True).write(1001, bare)
    ElementWriter(shot, str(tmp_path / "e")).has(1001)
    assert not (tmp_path / "e" / "source.1001.exr").exists()

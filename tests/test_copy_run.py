"""The default method through the command line, on shots as they come: still, torn, empty, stopped, killed."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from exact_motion import moving_hole
from moving_shot import ground
from running import frame, internal_inpaint, pixels, shot_options, status
from shot_files import bits, write_image

from clips import shared_folder
from internal_inpaint.checkpoints import digest, read_about
from internal_inpaint.control import StopRequest
from internal_inpaint.motion import measure
from internal_inpaint.rendering.copying import ShotCopies
from internal_inpaint.training.config import COPY_PRESETS
from internal_inpaint.training.copy_task import CopyTask

SIZE = (96, 160)
FIRST = 1001
# Nothing is added to the matte, so that where it is 0 no pixel may change.
SETTINGS = ("--quality", "draft", "--grow", "0", "--feather", "0", "--device", "cpu", "--progress", "plain")
STEPS = (*SETTINGS, "--steps", "3")


@pytest.fixture(autouse=True, scope="module")
def plates_above_the_level():
    """What a shot is learned at is smaller than these plates, as with real ones; the smallest is learned as it is."""
    with pytest.MonkeyPatch.context() as patch:
        small = replace(COPY_PRESETS["draft"], working_pixels=(7500, 7500))
        patch.setitem(COPY_PRESETS, "draft", small)
        yield


def write_shot(folder, pictures, holes, numbers=None, origins=None, views=None):
    """A half-float shot of these pictures ``[N, h, w, 3]`` (of two views: ``[N, 2, h, w, 3]``) and their mattes."""
    numbers = range(FIRST, FIRST + len(pictures)) if numbers is None else numbers
    height, width = holes.shape[1:]
    for index, number in enumerate(numbers):
        planes, options = {}, {"display": (0, 0, width, height)}
        origin = (0, 0) if origins is None else origins[index]
        shown = (
            {"": pictures[index]} if views is None else dict(zip(("", f"{views[1]}."), pictures[index], strict=True))
        )
        for prefix, picture in shown.items():
            inside = picture[origin[1] :, origin[0] :]
            planes |= {f"{prefix}{name}": np.float16(inside[..., i]) for i, name in enumerate("RGB")}
        if views is not None:
            options["multiView"] = (f"string[{len(views)}]", views)
        write_image(folder / "in" / f"plate.{number}.exr", planes, origin, **options)
        write_image(folder / "in" / f"roto.{number}.exr", {"A": np.float16(holes[index])})
    return SimpleNamespace(
        plate=str(folder / "in" / "plate.####.exr"),
        matte=str(folder / "in" / "roto.####.exr"),
        frames=list(numbers),
        holes=holes,
        options=(),
    )


def scene(count, size=SIZE, pan=(0.0, 0.0), seed=0):
    """Scene-linear pictures of textured ground, some values above 1."""
    wide = np.exp(1.5 * ground(size[0] + 40, size[1] + 80, seed)) * 0.4
    maps = [np.float32([[1, 0, i * pan[0] - 10], [0, 1, i * pan[1] - 10]]) for i in range(count)]
    return np.stack([cv2.warpAffine(wide, each, size[::-1], flags=cv2.INTER_CUBIC) for each in maps])


def still_hole(count, size=SIZE, box=(30, 60, 50, 100)):
    holes = np.zeros((count, *size), np.uint8)
    holes[:, box[0] : box[1], box[2] : box[3]] = 1
    return holes


def run(shot, folder, *options, verb="run", settings=STEPS):
    done = internal_inpaint(verb, *shot_options(shot, folder / "clean.####.exr", folder / "job"), *settings, *options)
    assert "Traceback" not in done.stderr
    return done


def finished(shot, folder, *options, settings=STEPS):
    """Run it; check that only the holes have changed, to finite values, and give the frames ``[h, w, C]``."""
    done = run(shot, folder, *options, settings=settings)
    assert done.returncode == 0, done.stderr
    return [checked(shot, index, folder / "clean.####.exr") for index in range(len(shot.frames))]


def checked(shot, index, output):
    result, after = pixels(frame(output, shot.frames[index]), "half")
    plate, before = pixels(frame(shot.plate, shot.frames[index]), "half")
    assert (after.x, after.y, after.width, after.height) == (before.x, before.y, before.width, before.height)
    hole = shot.holes[index][after.y : after.y + after.height, after.x : after.x + after.width] > 0
    assert bits(result[~hole]) == bits(plate[~hole])
    assert np.isfinite(result[hole]).all()
    if hole.any():
        assert not np.array_equal(result[hole], plate[hole])
    return result


def _one_frame(folder):
    return write_shot(folder, scene(1), still_hole(1))


def _nothing_moves(folder):
    return write_shot(folder, scene(6), moving_hole(6, (14, 2), SIZE, (20, 10), (40, 40)))


def _hidden_in_every_frame(folder):
    return write_shot(folder, scene(6), still_hole(6))


def _holes_over_most_of_the_frame(folder):
    return write_shot(folder, scene(6, pan=(-3.4, 0)), moving_hole(6, (10, 0), SIZE, (5, -30), (86, 130)))


def _noise_everywhere(folder):
    pictures = np.random.default_rng(0).uniform(-0.1, 3, (6, *SIZE, 3))
    return write_shot(folder, pictures, moving_hole(6, (10, 2), SIZE, (20, 10), (30, 30)))


def _moving_data_window(folder):
    origins = [(3 * i, 2 * i) for i in range(6)]
    holes = moving_hole(6, (10, 0), SIZE, (0, 0), (40, 40))  # partly outside of it
    return write_shot(folder, scene(6, pan=(-2.0, 0)), holes, origins=origins)


def _missing_frames(folder):
    numbers = [1001, 1002, 1003, 1007, 1008, 1020]
    shot = write_shot(folder, scene(6, pan=(-2.0, 0)), moving_hole(6, (12, 0), SIZE, (20, 10), (40, 40)), numbers)
    shot.options = "--frames", "1001-1003,1007-1008,1020"
    return shot


def _not_a_number(folder):
    pictures = scene(6, pan=(-2.0, 0))
    pictures[2, 40:44, 60:64], pictures[3, 5:9, 5:9], pictures[4, 10, :20] = np.nan, np.nan, np.inf
    pictures[2, 0, 0] = -np.inf
    holes = moving_hole(6, (12, 0), SIZE, (20, 10), (40, 40))
    assert holes[2, 40:44, 60:64].any()
    return write_shot(folder, pictures, holes)


def _a_cut(folder):
    pictures = np.concatenate([scene(4, pan=(-2.0, 0)), 0.2 * scene(4, pan=(2.0, 0), seed=9)])
    return write_shot(folder, pictures, moving_hole(8, (10, 0), SIZE, (20, 10), (40, 40)))


def _smaller_than_a_network_likes(folder):
    size = (20, 26)
    return write_shot(folder, scene(5, size), moving_hole(5, (3, 0), size, (5, 2), (8, 8)))


def _a_hole_in_one_frame_only(folder):
    holes = np.zeros((6, *SIZE), np.uint8)
    holes[3, 50:53, 60:62] = 1
    return write_shot(folder, scene(6, pan=(-2.0, 0)), holes)


def _holes_up_to_the_corner(folder):
    return write_shot(folder, scene(5, pan=(-2.0, 0)), moving_hole(5, (-12, 6), SIZE, (-10, 120), (40, 60)))


@pytest.mark.parametrize(
    "make",
    [
        _one_frame,
        _nothing_moves,
        _hidden_in_every_frame,
        _holes_over_most_of_the_frame,
        _noise_everywhere,
        _moving_data_window,
        _missing_frames,
        _not_a_number,
        _a_cut,
        _smaller_than_a_network_likes,
        _a_hole_in_one_frame_only,
        _holes_up_to_the_corner,
    ],
)
def test_every_shot_is_filled_and_changed_nowhere_else(tmp_path, make):
    shot = make(tmp_path)
    finished(shot, tmp_path, *shot.options)


def seen(picture):
    """As on a screen, roughly."""
    return np.clip(np.asarray(picture, np.float32), 0, 1) ** (1 / 2.2)


def psnr(picture, clean, where):
    return -10 * np.log10(((seen(picture) - seen(clean))[where] ** 2).mean())


def sharpness(picture, clean, where):
    """Mean gradient, as a share of the truth's."""

    def gradient(of):
        rows, columns = np.gradient(seen(of).mean(axis=2))
        return np.hypot(rows, columns)[where].mean()

    return gradient(picture) / gradient(clean)


@pytest.fixture(scope="module")
def pan(tmp_path_factory):
    """A pan behind an object that moves the other way, and the frames of a whole run of several tracks' steps."""
    folder = tmp_path_factory.mktemp("pan")
    clean = scene(10, pan=(-3.4, 0.6)) * 0.5
    shot = write_shot(folder, clean, moving_hole(10, (9, 0), SIZE, (24, 6), (46, 40)))
    shot.clean = clean
    shot.whole = finished(shot, folder / "whole", settings=TRACKS)
    return shot


TRACKS = (*SETTINGS, "--steps", "10")  # more than one track of examples lasts


def test_what_other_frames_show_is_copied_sharply(pan, tmp_path):
    made = finished(pan, tmp_path, settings=(*SETTINGS, "--steps", "1", "--grain", "0"))
    found = []
    for index in range(1, 9):
        hole, clean = pan.holes[index] > 0, pan.clean[index]
        codes = np.uint8(np.round(seen(clean) * 255))
        telea = (cv2.inpaint(codes, pan.holes[index], 3, cv2.INPAINT_TELEA) / 255) ** 2.2
        inner = cv2.erode(pan.holes[index], np.ones((3, 3), np.uint8)) > 0
        found.append([psnr(made[index], clean, hole), psnr(telea, clean, hole), sharpness(made[index], clean, inner)])
    ours, telea, sharp = np.mean(found, axis=0)

    assert ours > telea + 12
    assert 0.85 < sharp < 1.1


def test_killed_while_the_motion_is_measured_it_ends_the_same(pan, tmp_path, monkeypatch):
    real, measured = measure._measure_block, []

    def torn(source, files, block):
        if measured:
            raise RuntimeError("killed")
        measured.append(block)
        return real(source, files, block)

    monkeypatch.setattr(measure, "_measure_block", torn)
    assert run(pan, tmp_path, settings=TRACKS).returncode == 1
    assert status(tmp_path / "job")["stage"] == "motion"
    monkeypatch.setattr(measure, "_measure_block", lambda *of: measured.append(of[-1]) or real(*of))
    again = finished(pan, tmp_path, settings=TRACKS)
    assert len(measured) == 2, "what was measured before is kept"
    for one, other in zip(again, pan.whole, strict=True):
        assert bits(one) == bits(other)


def test_killed_before_the_first_checkpoint_it_ends_the_same(pan, tmp_path, monkeypatch):
    drawn, real = [], CopyTask.draw

    def torn(task, *arguments):
        drawn.append(1)
        if len(drawn) == 4:
            raise RuntimeError("killed")
        return real(task, *arguments)

    monkeypatch.setattr(CopyTask, "draw", torn)
    assert run(pan, tmp_path, settings=TRACKS).returncode == 1
    assert not list((tmp_path / "job" / "checkpoints").glob("*/step-*"))
    again = finished(pan, tmp_path, settings=TRACKS)
    for one, other in zip(again, pan.whole, strict=True):
        assert bits(one) == bits(other)


def test_stopped_in_training_it_ends_the_same(pan, tmp_path, monkeypatch):
    stop, drawn, real = [], [], CopyTask.draw

    def draw(task, *arguments):
        drawn.append(1)
        stop.extend([1] if len(drawn) == 9 else [])
        return real(task, *arguments)

    monkeypatch.setattr(CopyTask, "draw", draw)
    monkeypatch.setattr(StopRequest, "__call__", lambda self: bool(stop))
    assert run(pan, tmp_path, settings=TRACKS).returncode == 3
    assert status(tmp_path / "job")["step"] == 9
    stop.clear()
    again = finished(pan, tmp_path, settings=TRACKS)
    for one, other in zip(again, pan.whole, strict=True):
        assert bits(one) == bits(other)


def test_what_no_frame_shows_has_the_texture_of_its_surroundings_made_once(tmp_path, monkeypatch):
    """Stopped while it is made, made again; kept for whoever renders; not taken for that of another plate."""
    clean = scene(6) * 0.5
    shot = write_shot(tmp_path, clean, still_hole(6))
    made, real = [], ShotCopies.key_frames

    def torn(copies):
        made.append(1)
        if len(made) == 1:
            raise RuntimeError("killed")
        return real(copies)

    monkeypatch.setattr(ShotCopies, "key_frames", torn)
    assert run(shot, tmp_path, "--grain", "0").returncode == 1
    result = finished(shot, tmp_path, "--grain", "0")
    assert len(made) == 2
    inner = cv2.erode(shot.holes[0], np.ones((3, 3), np.uint8)) > 0
    assert sharpness(result[2], clean[2], inner) > 0.5
    assert bits(result[1][inner]) == bits(result[4][inner]), "a picture that stands still does not flicker"
    shutil.rmtree(tmp_path / "job" / "store")
    assert internal_inpaint("render", tmp_path / "job" / "job.json").returncode == 0
    assert len(made) == 2
    write_shot(tmp_path, clean[:, ::-1], still_hole(6))
    finished(shot, tmp_path, "--grain", "0", "--restart")
    assert len(made) == 3


def test_rendering_what_was_trained_equals_a_run(pan, tmp_path):
    trained = run(pan, tmp_path, verb="train", settings=TRACKS)
    assert trained.returncode == 0, trained.stderr
    assert not list(tmp_path.glob("clean*"))
    done = internal_inpaint("render", tmp_path / "job" / "job.json")
    assert done.returncode == 0, done.stderr
    for index, whole in enumerate(pan.whole):
        assert bits(checked(pan, index, tmp_path / "clean.####.exr")) == bits(whole)


def test_a_feather_that_is_wider_than_what_was_searched_shows_the_plate(tmp_path):
    """With the plate's own grain, and no more than that."""
    plate = scene(4, pan=(-3.4, 0.6)) * 0.5
    plate += 0.02 * np.random.default_rng(0).standard_normal(plate.shape, np.float32)
    shot = write_shot(tmp_path, plate, moving_hole(4, (24, 0), SIZE, (34, 10), (30, 30)))
    wide = ("--quality", "draft", "--grow", "0", "--feather", "40", "--device", "cpu", "--steps", "1")
    done = run(shot, tmp_path, settings=wide)
    assert done.returncode == 0, done.stderr
    for index in (1, 2):
        result, _ = pixels(frame(tmp_path / "clean.####.exr", shot.frames[index]), "float")
        known = cv2.dilate(shot.holes[index], np.ones((9, 9), np.uint8)) == 0
        assert np.abs(result - plate[index])[known].max() < 0.01


def test_the_soft_edge_of_a_hole_beyond_the_data_window_shows_the_plate(tmp_path):
    clean = scene(4) * 0.5
    holes = moving_hole(4, (20, 0), SIZE, (20, 0), (40, 30))
    shot = write_shot(tmp_path, clean, holes, origins=[(34, 0), *[(0, 0)] * 3])  # the first hole ends before it
    options = ("--quality", "draft", "--grow", "0", "--feather", "30", "--device", "cpu", "--steps", "1")
    done = run(shot, tmp_path, settings=options)
    assert done.returncode == 0, done.stderr
    first, _ = pixels(frame(tmp_path / "clean.####.exr", FIRST), "float")
    assert np.abs(first - clean[0][:, 34:]).max() < 0.002


def test_each_view_copies_from_its_own_frames(tmp_path):
    left, right = scene(6, pan=(-3.4, 0)) * 0.5, scene(6, pan=(2.0, 1.0), seed=3) * 0.5
    holes = moving_hole(6, (14, 0), SIZE, (24, 10), (40, 30))
    shot = write_shot(tmp_path, np.stack([left, right], axis=1), holes, views=("left", "right"))
    made = finished(shot, tmp_path)
    for index in (2, 3):
        hole = holes[index] > 0
        assert psnr(made[index][..., :3], left[index], hole) > 20
        assert psnr(made[index][..., 3:], right[index], hole) > 20


class TestRefused:
    def test_what_copying_does_not_have(self, refused, pan, tmp_path):
        options = [*shot_options(pan, tmp_path / "c.####.exr", tmp_path / "job"), "--method", "copy"]
        assert "--quality paper" in refused("run", *options, "--quality", "paper")
        assert "--network stacked" in refused("run", *options, "--network", "stacked")
        assert not (tmp_path / "job").exists()

    def test_another_method_in_a_trained_folder(self, refused, pan, tmp_path):
        assert run(pan, tmp_path, "--method", "copy", verb="train").returncode == 0
        options = shot_options(pan, tmp_path / "clean.####.exr", tmp_path / "job")
        said = refused("run", *options, *STEPS, "--method", "implicit")
        assert "--method" in said
        assert "--restart" in said
        kept = json.loads((tmp_path / "job" / "job.json").read_text())
        assert kept["method"] == "copy"


def test_weights_of_an_encoder_that_copying_does_not_use_are_named_in_a_warning(sample, tmp_path):
    weights = shared_folder() / "weights" / "vgg19_relu3_4.safetensors"
    if not weights.is_file():
        pytest.skip(f"{weights} is not there")
    job = shot_options(sample, tmp_path / "clean.####.exr", tmp_path / "job")
    done = internal_inpaint("run", *job, "--quality", "draft", "--steps", "1", "--device", "cpu", "--vgg19", weights)
    assert done.returncode == 0, done.stderr
    assert "--vgg19 is not used" in done.stdout + done.stderr


class TestADraft:
    """It copies, and trains nothing until it is given time."""

    def test_it_delivers_every_frame_and_asks_for_no_example(self, tmp_path, monkeypatch):
        monkeypatch.setattr("internal_inpaint.copy_training.hold_out", None)  # costs more than the copy
        shot = _nothing_moves(tmp_path)
        frames = finished(shot, tmp_path, settings=SETTINGS)
        truth = [pixels(frame(shot.plate, number), "half")[0] for number in shot.frames]
        for index, (found, wanted) in enumerate(zip(frames, truth, strict=True)):
            hole = shot.holes[index] > 0
            assert np.abs(found[hole] - wanted[hole]).mean() < 0.02, "the plate stands still: a copy is the truth"
        summary = json.loads((tmp_path / "job" / "summary.json").read_text())
        assert (summary["steps"], summary["psnr"]) == (0, None)
        assert (tmp_path / "job" / "report.html").exists()

    def test_it_says_that_nothing_was_trained(self, tmp_path):
        done = run(_nothing_moves(tmp_path), tmp_path, settings=SETTINGS)
        assert "copies what other frames show: nothing was trained" in done.stdout
        assert "report: " in done.stdout

    def test_with_time_it_goes_on_from_the_copy_with_the_whole_budget(self, tmp_path):
        shot = _nothing_moves(tmp_path)
        finished(shot, tmp_path, settings=SETTINGS)
        finished(shot, tmp_path, settings=STEPS)
        (newest,) = (tmp_path / "job" / "checkpoints").glob("*x*/step-*")
        counters = read_about(newest).counters
        assert (counters.step, counters.warm) == (3, False)
        assert counters.history[0][0] == 0, "the copy is scored before the first step"

    def test_another_quality_goes_on_in_its_folder(self, tmp_path, monkeypatch):
        small = replace(COPY_PRESETS["standard"], working_pixels=(7500, 7500))
        monkeypatch.setitem(COPY_PRESETS, "standard", small)
        shot = _nothing_moves(tmp_path)
        finished(shot, tmp_path, settings=SETTINGS)
        finished(shot, tmp_path, settings=("--quality", "standard", *STEPS[2:]))
        (newest,) = (tmp_path / "job" / "checkpoints").glob("*x*/step-*")
        assert read_about(newest).counters.step == 3
        # From now on, there is something to lose.
        done = run(shot, tmp_path, settings=SETTINGS)
        assert done.returncode == 2
        assert "--quality" in done.stderr

    def test_weights_that_were_trained_are_used_after_a_change_too(self, tmp_path):
        shot = _nothing_moves(tmp_path)
        finished(shot, tmp_path, settings=STEPS)
        (trained,) = (tmp_path / "job" / "checkpoints").glob("*x*/step-*")
        weights = digest(trained)
        done = run(shot, tmp_path, "--grow", "2", settings=SETTINGS)
        assert done.returncode == 0, done.stderr
        (newest,) = (tmp_path / "job" / "checkpoints").glob("*x*/step-*")
        assert digest(newest) == weights
        assert read_about(newest).counters.learned
        model = tmp_path / "model.pt"
        done = internal_inpaint("export", tmp_path / "job", "--format", "torchscript", "--output", model)
        assert done.returncode == 0, done.stderr

    def test_after_a_change_of_the_matte_it_is_no_start(self, tmp_path):
        shot = _nothing_moves(tmp_path)
        finished(shot, tmp_path, settings=SETTINGS)
        done = run(shot, tmp_path, "--grow", "2", settings=STEPS)
        assert done.returncode == 0, done.stderr
        (newest,) = (tmp_path / "job" / "checkpoints").glob("*x*/step-*")
        assert not read_about(newest).counters.warm

    def test_it_has_no_network_to_export(self, tmp_path):
        finished(_nothing_moves(tmp_path), tmp_path, settings=SETTINGS)
        model = tmp_path / "model.pt"
        done = internal_inpaint("export", tmp_path / "job", "--format", "torchscript", "--output", model)
        assert done.returncode == 2
        assert "without training" in done.stderr
        assert not model.exists()

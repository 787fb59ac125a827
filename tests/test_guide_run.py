"""Guides through the command line: delivered as painted, learned from, changed, resumed, refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from running import frame, internal_inpaint, pixels, start, status, wait_for
from shot_files import bits, write_image, write_matte

from internal_inpaint import checkpoints
from internal_inpaint.job_folder import JobFolder

FRAMES = (1001, 1002, 1003, 1004)
BOX = slice(10, 38), slice(12, 52)  # rows and columns of the matte
RED = np.float16([0.9, 0.1, 0.1])
STEPS = ("--quality", "draft", "--device", "cpu", "--progress", "plain", "--steps", "30")


def background(number):
    """A plate of 64x48 in greens, with a dark object: nothing around the hole looks like the guide."""
    y, x = np.mgrid[:48, :64]
    light = 0.3 + 0.1 * np.sin(x / 3 + number) + 0.1 * np.cos(y / 4)
    picture = (light[..., None] * [0.5, 1, 0.8]).astype(np.float16)
    picture[BOX] = 0.02
    return picture


def write(path, picture):
    return write_image(path, dict(zip("RGB", np.moveaxis(picture, 2, 0), strict=True)))


def make_files(folder, value=1.0):
    for number in FRAMES:
        write(folder / f"plate.{number}.exr", background(number))
        rows, columns = BOX
        box = (rows.start, rows.stop, columns.start, columns.stop)
        write_matte(folder / f"roto.{number}.exr", 48, 64, box=box, value=value)
    paint(folder / "guide.1002.exr", RED)
    return folder


def paint(path, colour):
    picture = background(1002)
    picture[BOX] = colour
    return write(path, picture)


def command(folder, *options, work="job", out="out", matte="roto.####.exr"):
    shot = ("--plate", folder / "plate.####.exr", "--matte", folder / matte)
    return ["run", *shot, "--output", folder / out / "clean.####.exr", "--work", folder / work, *STEPS, *options]


def guided(folder, *options, **places):
    return command(folder, "--guide", folder / "guide.1002.exr", "--grow", "0", "--feather", "0", *options, **places)


def run(arguments, code=0):
    done = internal_inpaint(*arguments)
    assert done.returncode == code, done.stderr
    return done


def result(folder, number, out="out"):
    return pixels(frame(folder / out / "clean.####.exr", number), "float")[0][..., :3]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with a guide (job, out) and one without (plain, plain_out)."""
    folder = make_files(tmp_path_factory.mktemp("guide"))
    run(guided(folder, "--fill-layer", "--confidence-layer"))
    run(command(folder, "--grow", "0", "--feather", "0", work="plain", out="plain_out"))
    return folder


@pytest.fixture
def again(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy", copy_function=shutil.copy2))


def digest(work):
    (level,) = JobFolder(work).levels()
    return checkpoints.digest(checkpoints.newest(level))


def test_the_guided_frame_is_delivered_as_painted_and_nothing_else_of_it_changed(finished):
    expected = background(1002)
    expected[BOX] = RED
    assert bits(result(finished, 1002)) == bits(expected.astype(np.float32))
    layers, spec = pixels(frame(finished / "out" / "clean.####.exr", 1002), "float")
    names = list(spec.channelnames)
    fill = layers[..., [names.index(f"inpaint.{c}") for c in "RGBA"]]
    np.testing.assert_array_equal(fill[BOX], np.broadcast_to([*RED.astype(np.float32), 1], fill[BOX].shape))
    assert (layers[..., names.index("confidence.Y")] == 1).all(), "what an artist painted is no guess"
    for number in FRAMES:
        outside = np.ones((48, 64), bool)
        outside[BOX] = False
        assert bits(result(finished, number)[outside]) == bits(background(number)[outside].astype(np.float32))


def test_the_other_frames_are_filled_more_like_the_guide_than_without_it(finished):
    for number in (1001, 1003):
        with_guide, without = (
            np.abs(result(finished, number, out)[BOX] - RED.astype(np.float32)).mean() for out in ("out", "plain_out")
        )
        assert with_guide < 0.75 * without, number


def test_the_same_job_again_writes_nothing_and_a_deleted_frame_comes_back_the_same(finished, again):
    paths = {number: frame(again / "out" / "clean.####.exr", number) for number in FRAMES}
    stamps = {number: path.stat().st_mtime_ns for number, path in paths.items()}
    paths[1002].unlink()
    # The copied job names its own files, which have the same names and times.
    run(guided(again, "--fill-layer", "--confidence-layer"))
    assert {n for n, path in paths.items() if path.stat().st_mtime_ns != stamps[n]} == {1002}
    assert bits(result(again, 1002)) == bits(result(finished, 1002))
    assert digest(again / "job") == digest(finished / "job")


def test_a_changed_guide_is_delivered_and_learned(finished, again):
    paint(again / "guide.1002.exr", [0.1, 0.1, 0.9])
    done = run(guided(again, "--fill-layer", "--confidence-layer"))
    assert "continuing from the weights" in done.stdout
    np.testing.assert_allclose(
        result(again, 1002)[BOX], np.float32([0.1, 0.1, 0.9]) + np.zeros((28, 40, 1)), rtol=1e-3
    )
    for number in (1001, 1003):
        assert result(again, number)[BOX][..., 2].mean() > result(finished, number)[BOX][..., 2].mean() + 0.05


def test_a_guide_that_is_added_or_left_out_continues_the_training(again):
    for arguments in (
        command(again, "--grow", "0", "--feather", "0"),
        guided(again, work="plain", out="plain_out"),
    ):
        done = run(arguments)
        assert "continuing from the weights" in done.stdout
    assert (result(again, 1002)[BOX] != RED).any(axis=2).mean() > 0.9
    np.testing.assert_array_equal(result(again, 1002, "plain_out")[BOX], np.broadcast_to(RED, (28, 40, 3)))


def test_stopped_it_ends_as_if_it_had_not_been(finished, tmp_path):
    folder = make_files(tmp_path)
    arguments = guided(folder, "--fill-layer", "--confidence-layer")
    process = start(*arguments)
    wait_for(lambda: (status(folder / "job").get("step") or 0) >= 1, process)
    (folder / "job" / "stop").touch()
    assert process.wait(timeout=120) == 3
    assert "resuming from step" in run(arguments).stdout
    for number in FRAMES:
        assert bits(result(folder, number)) == bits(result(finished, number))


def test_a_soft_matte_blends_plate_and_guide(tmp_path):
    folder = make_files(tmp_path, value=0.5)
    run(guided(folder, "--feather", "3", "--steps", "1"))
    alpha = np.zeros((48, 64), np.float32)
    alpha[BOX] = 0.5
    found = result(folder, 1002)
    np.testing.assert_allclose(found[BOX], 0.5 * background(1002)[BOX] + 0.5 * RED, rtol=2e-3)
    assert bits(found[:5]) == bits(background(1002)[:5].astype(np.float32))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--guide", "wrong.1003.exr"), "wrong.1003.exr differs from plate file"),
        (("--guide", "guide.1002.exr,guide.1009.exr"), "guide.1009.exr is of frame 1009, but the shot has"),
        (("--guide", "gone.1002.exr"), "gone.1002.exr does not exist"),
        (("--guide", "out/clean.1002.exr"), "would overwrite the guide"),
    ],
)
def test_a_bad_guide_ends_in_one_sentence_and_overwrites_nothing(again, refused, monkeypatch, options, said):
    shutil.copy(again / "guide.1002.exr", again / "guide.1009.exr")
    shutil.copy(again / "guide.1002.exr", again / "wrong.1003.exr")
    before = {path: path.read_bytes() for path in (again / "out").iterdir()}
    weights, job = digest(again / "job"), (again / "job" / "job.json").read_bytes()
    monkeypatch.chdir(again)
    assert said in refused(*command(again, "--grow", "0", "--feather", "0", *options))
    assert {path: path.read_bytes() for path in (again / "out").iterdir()} == before
    assert digest(again / "job") == weights
    assert (again / "job" / "job.json").read_bytes() == job
    fresh = command(again, *options, "--matte-frame", "1003", work="fresh")
    assert said in refused(*fresh)
    assert not (again / "fresh").exists()


def test_check_says_which_frames_have_a_guide(finished):
    arguments = [a for a in guided(finished) if a not in ("--progress", "plain", "--steps", "30")]
    arguments = ["check", *arguments[1 : arguments.index("--output")], *arguments[arguments.index("--quality") :]]
    assert "guides         1 (frames 1002)" in run(arguments).stdout
    # The one matte there is belongs to the painted frame: the others are still to be filled.
    found = json.loads(run([*arguments, "--matte-frame", "1002", "--json"]).stdout)
    assert found["guide_frames"] == found["matte_frames"] == [1002]


def test_a_guide_in_a_frame_whose_matte_is_found(finished, tmp_path):
    folder = make_files(tmp_path)
    run(guided(folder, "--matte-frame", "1003", "--matte-steps", "30"))
    matte = pixels(folder / "job" / "matte" / "frames" / "matte.1002.exr", "float")[0]
    guide = background(1002)
    guide[BOX] = RED
    assert matte.any()
    expected = background(1002) * (1 - matte) + guide * matte
    np.testing.assert_allclose(result(folder, 1002), expected, rtol=2e-3)
    outside = matte[..., 0] == 0
    assert bits(result(folder, 1002)[outside]) == bits(background(1002)[outside].astype(np.float32))

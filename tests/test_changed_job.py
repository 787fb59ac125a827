"""Training is kept when the matte, the frame range or the plate changes; only what changed is rendered."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest
from running import frame, pixels, shot_options
from small_training import CPU

from internal_inpaint import checkpoints, fit, plan
from internal_inpaint.job import Job
from internal_inpaint.job_folder import JobFolder
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import PRESETS
from internal_inpaint.training.levels import plan_levels

FEW = (
    "--quality",
    "draft",
    "--method",
    "implicit",
    "--device",
    "cpu",
    "--progress",
    "plain",
    "--frames",
    "1001-1004",
)


@pytest.fixture
def run(capfd):
    """The command line in this process; returns what it printed."""
    from internal_inpaint.cli import main

    def go(*arguments):
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert code == 0, err
        return out

    return go


@pytest.fixture(scope="module")
def trained(sample, tmp_path_factory):
    """Twelve steps on four frames, copied for each test: (output pattern, job folder)."""
    from internal_inpaint.cli import main

    folder = tmp_path_factory.mktemp("trained")
    arguments = [
        "run",
        *shot_options(sample, folder / "out" / "clean.####.exr", folder / "job"),
        *FEW,
        "--steps",
        "12",
    ]
    assert main([str(argument) for argument in arguments]) == 0
    return folder


@pytest.fixture
def again(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "copy", copy_function=shutil.copy2)
    return tmp_path / "copy" / "out" / "clean.####.exr", tmp_path / "copy" / "job"


def weights(work):
    (level,) = JobFolder(Path(work)).levels()
    return checkpoints.newest(level)


def counters(work):
    return checkpoints.read_about(weights(work)).counters


def changed_mattes(sample, folder, change, channels=("A",)):
    """The sample's mattes of four frames ``[h, w, 1]``, changed, in a folder of their own."""
    folder.mkdir()
    for number in range(1001, 1005):
        matte, spec = pixels(frame(sample.matte, number), "float")
        spec.nchannels, spec.channelnames = len(channels), channels
        image = oiio.ImageOutput.create(str(folder / f"matte.{number}.exr"))
        image.open(str(folder / f"matte.{number}.exr"), spec)
        image.write_image(change(matte))
        image.close()
    return folder


def warm(work):
    messages = [
        json.loads(line).get("message") or "" for line in (Path(work) / "events.jsonl").read_text().splitlines()
    ]
    return any("continuing from the weights" in message for message in messages)


def test_another_feather_renders_again_and_trains_nothing(sample, again, run):
    output, work = again
    before, name = pixels(frame(output, 1002))[0], weights(work).name
    run("run", *shot_options(sample, output, work), *FEW, "--steps", "12", "--feather", "6")
    assert weights(work).name == name
    assert not warm(work)
    assert not np.array_equal(pixels(frame(output, 1002))[0], before)


def test_another_grain_renders_again_and_trains_nothing(again, run):
    output, work = again
    name = weights(work).name
    before = frame(output, 1002).stat().st_mtime_ns
    run("run", work / "job.json", "--output", output, "--grain", "off")
    assert weights(work).name == name
    assert json.loads((work / "job.json").read_text())["grain"] == 0
    after = frame(output, 1002).stat().st_mtime_ns
    assert after > before
    run("run", work / "job.json", "--output", output, "--grain", "0")
    assert frame(output, 1002).stat().st_mtime_ns == after, "the same grain: nothing to do"


def test_another_frame_range_continues_from_the_weights_there_are(sample, again, run):
    output, work = again
    before = counters(work)
    run("run", *shot_options(sample, output, work), *FEW[:-1], "1001-1006", "--steps", "12")
    assert warm(work)
    after = counters(work)
    assert (after.step, after.warm) == (12, True)
    # The first score of a training from scratch of this length is far below where the weights were.
    assert after.history[0][3] > before.history[0][3] + 1
    assert all(frame(output, number).exists() for number in range(1001, 1007))


def test_a_moved_matte_continues_and_an_unchanged_one_does_not(sample, again, run, tmp_path):
    output, work = again
    moved = changed_mattes(sample, tmp_path / "moved", lambda matte: np.roll(matte, 9, axis=1))
    run("run", "--plate", sample.plate, "--matte", moved, "--output", output, "--work", work, *FEW, "--steps", "12")
    assert warm(work)
    assert counters(work).warm


def test_a_folder_that_another_one_starts_from_gives_its_weights(sample, again, run, tmp_path):
    _, work = again
    output, new = tmp_path / "new" / "clean.####.exr", tmp_path / "new" / "job"
    options = ("--start-from", work, "--grow", "4", "--steps", "12")
    run("run", *shot_options(sample, output, new), *FEW, *options)
    assert counters(new).warm
    assert counters(new).history[0][3] > counters(work).history[0][3] + 1
    assert json.loads((new / "job.json").read_text())["start_from"] == str(work)


@pytest.mark.parametrize("grow", [(), ("--grow", "4")])
def test_a_folder_that_is_in_training_itself_gives_its_newest_weights(
    sample, again, run, tmp_path, monkeypatch, grow
):
    """While the new folder trains its first levels, the other one replaces its checkpoints."""
    _, work = again
    starts_of = fit.starts_of

    def and_the_other_goes_on(*arguments):
        starts = starts_of(*arguments)
        checkpoint = weights(work)
        checkpoint.rename(checkpoint.with_name("step-0000000013.000"))
        return starts

    monkeypatch.setattr(fit, "starts_of", and_the_other_goes_on)
    new = tmp_path / "new" / "job"
    shot = shot_options(sample, tmp_path / "new" / "clean.####.exr", new)
    run("train", *shot, *FEW, *grow, "--start-from", work, "--steps", "12")
    assert counters(new).warm == bool(grow)


def test_the_very_same_shot_in_another_folder_is_not_trained_again(sample, again, run, tmp_path):
    _, work = again
    output, new = tmp_path / "new" / "clean.####.exr", tmp_path / "new" / "job"
    run("run", *shot_options(sample, output, new), *FEW, "--steps", "12", "--start-from", work, "--feather", "6")
    assert checkpoints.digest(weights(new)) == checkpoints.digest(weights(work))
    assert not counters(new).warm


def test_a_stop_before_the_first_new_checkpoint_loses_nothing(sample, again, run, monkeypatch):
    """The weights that were there are the start again."""
    output, work = again
    before = checkpoints.digest(weights(work))
    (level,) = JobFolder(work).levels()
    aside = checkpoints.set_aside(level)  # as far as a killed run had come
    assert checkpoints.newest(level) is None
    assert checkpoints.digest(aside) == before
    run("run", *shot_options(sample, output, work), *FEW[:-1], "1001-1006", "--steps", "12")
    assert counters(work).warm
    assert checkpoints.aside(level) is None


def test_weights_set_aside_are_no_free_folder(sample, again, refused):
    """Killed before its first new checkpoint, the folder still holds what was trained for this job."""
    output, work = again
    (level,) = JobFolder(work).levels()
    aside = checkpoints.set_aside(level)
    assert "--seed" in refused("run", *shot_options(sample, output, work), *FEW, "--steps", "12", "--seed", "5")
    assert aside.is_dir()


def test_another_matte_channel_renders_again_although_the_hole_is_the_same(sample, again, run, tmp_path):
    """What the network sees is the hole; how opaque the fill is, the matte says."""
    output, work = again
    two = changed_mattes(
        sample, tmp_path / "two", lambda matte: np.concatenate([matte, 0.5 * matte], axis=2), ("A", "thin")
    )
    shot = ("--plate", sample.plate, "--matte", two, "--output", output, "--work", work)
    soft = (*FEW, "--steps", "12", "--grow", "0", "--feather", "0")
    run("run", *shot, *soft, "--matte-channel", "A")
    before, name = pixels(frame(output, 1002))[0], weights(work).name
    run("run", *shot, *soft, "--matte-channel", "thin")
    assert weights(work).name == name
    assert not np.array_equal(pixels(frame(output, 1002))[0], before)


def test_a_start_that_holds_nothing_is_refused(sample, refused, tmp_path):
    (tmp_path / "empty").mkdir()
    options = ("--start-from", tmp_path / "empty", "--steps", "4")
    shot = shot_options(sample, tmp_path / "out" / "c.####.exr", tmp_path / "job")
    assert "no checkpoint" in refused("run", *shot, *FEW, *options)
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize("wrong", ["damaged", "older"])
def test_a_start_that_cannot_be_used_costs_nothing_but_the_start(sample, again, run, tmp_path, wrong):
    """A node names its last version unasked: a damaged one must not block all later ones."""
    _, work = again
    if wrong == "damaged":
        (weights(work) / "best.safetensors").write_bytes(b"not a tensor")
    else:
        about = weights(work) / "training.json"
        about.write_text(about.read_text().replace('"format": 3', '"format": 2'))
    new = tmp_path / "new" / "job"
    shot = shot_options(sample, tmp_path / "new" / "clean.####.exr", new)
    assert "--start-from is not used" in run("train", *shot, *FEW, "--start-from", work, "--steps", "2")
    assert not counters(new).warm


def test_weights_set_aside_for_a_plate_of_another_size_are_a_start(sample, again, run):
    """A run on another size of the plate was killed before its first checkpoint."""
    output, work = again
    (level,) = JobFolder(work).levels()
    checkpoints.set_aside(level)
    level.rename(level.with_name("144x80"))
    run("train", *shot_options(sample, output, work), *FEW[:-1], "1001-1005", "--steps", "2")
    assert counters(work).warm


def test_a_level_that_starts_untrained_takes_its_whole_budget(again):
    job = Job(plate="p.####.exr", matte="m.####.exr", output="o.####.exr", quality="draft", method="implicit")
    config = replace(plan.recipe(job), progressive=PRESETS["standard"].progressive)
    levels = plan_levels((960, 1706), config, on_cuda=False)
    whole = [level.budget(plan.whole_budget(job, levels, CPU)) for level in levels]
    starts = [plan.Start(weights(again[1])), *[plan.Start()] * (len(levels) - 1)]
    assert plan.budgets_of(job, levels, CPU, starts) == [whole[0].part(plan.WARM), *whole[1:]]
    asked = replace(job, steps=100)
    assert plan.budgets_of(asked, levels, CPU, starts) == [level.budget(Budget(100)) for level in levels]


def test_a_restart_that_would_discard_its_own_start_is_refused(sample, again, refused):
    output, work = again
    options = ("--restart", "--start-from", work, "--steps", "12")
    assert "leave one of them out" in refused("run", *shot_options(sample, output, work), *FEW, *options)
    assert weights(work).exists()


def test_weights_of_another_network_are_no_start(sample, again, run, tmp_path):
    _, work = again
    output, new = tmp_path / "new" / "clean.####.exr", tmp_path / "new" / "job"
    said = run(
        "run", *shot_options(sample, output, new), *FEW, "--steps", "4", "--start-from", work, "--network", "stacked"
    )
    assert "another network" in said
    assert not counters(new).warm


@pytest.mark.parametrize("network", ["base", "stacked"])
def test_only_weights_that_are_used_shorten_the_training(sample, again, run, tmp_path, monkeypatch, network):
    draft = replace(PRESETS["draft"], cpu_seconds=None, steps=10)
    monkeypatch.setitem(PRESETS, "draft", draft)
    _, work = again
    new = tmp_path / "new" / "job"
    shot = shot_options(sample, tmp_path / "new" / "clean.####.exr", new)
    run("train", *shot, *FEW, "--grow", "4", "--start-from", work, "--network", network)
    assert counters(new).step == (3 if network == "base" else 10)


def test_one_changed_matte_renders_the_other_frames_no_more_where_the_weights_stay(sample, again, run):
    """A frame's key names its own files: touching one matte renders that frame and no other."""
    output, work = again
    one, other = frame(output, 1002), frame(output, 1003)
    one.unlink()
    kept = other.stat().st_mtime_ns
    run("run", *shot_options(sample, output, work), *FEW, "--steps", "12")
    assert one.exists()
    assert other.stat().st_mtime_ns == kept

"""Large plates and one-frame roto through the command line: levels, stopped and resumed, refused."""

import json
import shutil

import numpy as np
import pytest
from running import frame, internal_inpaint, pixels, shot_options, start, status, wait_for

from internal_inpaint import run as engine
from internal_inpaint.demo import make_sample_shot
from internal_inpaint.job import Job

STEPS = ("--quality", "standard", "--method", "implicit", "--steps", "12", "--device", "cpu", "--progress", "plain")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A plate larger than what a CPU learns at one level."""
    return make_sample_shot(tmp_path_factory.mktemp("large"), frames=3, width=560, height=320)


@pytest.fixture(scope="module")
def finished(large, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    output, work = folder / "clean.####.exr", folder / "job"
    done = internal_inpaint("run", *shot_options(large, output, work), *STEPS, "--confidence-layer")
    assert done.returncode == 0, done.stderr
    return output, work, done


def test_a_large_plate_is_learned_at_levels_up_to_its_own_size(large, finished):
    output, work, _ = finished
    sizes = sorted(path.name for path in (work / "checkpoints").iterdir())
    assert sizes == ["421x245", "576x336"]
    events = [json.loads(line) for line in (work / "events.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(e["resolution"] for e in events if e.get("resolution"))) == sizes
    percents = [e["percent"] for e in events if "percent" in e]
    assert percents == sorted(percents)
    steps = [e["step"] for e in events if e.get("step") is not None]
    assert steps == sorted(steps)
    assert max(steps) == 12
    summary = json.loads((work / "summary.json").read_text())
    assert summary["steps"] == 12
    assert (work / "report.html").stat().st_size > 10_000
    for number in large.frames:
        plate, _ = pixels(frame(large.plate, number), "float")
        result, spec = pixels(frame(output, number), "float")
        matte, _ = pixels(frame(large.matte, number), "float")
        sure = result[..., list(spec.channelnames).index("confidence.Y")]
        far = sure == 1
        assert far.mean() > 0.5
        assert (sure[matte[..., 0] > 0.5] < 1).any()
        rows, columns = np.nonzero(matte[..., 0])
        far = np.ones(matte.shape[:2], bool)
        far[max(0, rows.min() - 12) : rows.max() + 13, max(0, columns.min() - 12) : columns.max() + 13] = False
        kept = [list(spec.channelnames).index(name) for name in ("R", "G", "B", "depth.Z")]
        assert result[far][:, kept].tobytes() == plate[far].tobytes()


def test_stopped_in_the_finer_level_it_ends_as_if_it_had_not_been(large, finished, tmp_path):
    output, work = tmp_path / "clean.####.exr", tmp_path / "job"
    command = ["run", *shot_options(large, output, work), *STEPS, "--confidence-layer"]
    run = start(*command)
    wait_for(lambda: status(work).get("resolution") == "576x336", run)
    run.terminate()
    assert run.wait(timeout=120) == 3
    assert status(work)["state"] == "stopped"
    assert "resuming from step" in internal_inpaint(*command).stdout
    for number in large.frames:
        assert pixels(frame(output, number))[0].tobytes() == pixels(frame(finished[0], number))[0].tobytes()


def test_killed_in_the_finer_level_nothing_is_torn(large, finished, tmp_path):
    output, work = tmp_path / "clean.####.exr", tmp_path / "job"
    shutil.copytree(finished[1], work)
    shutil.rmtree(work / "checkpoints" / "576x336")
    command = ["run", *shot_options(large, output, work), *STEPS, "--confidence-layer"]
    run = start(*command)
    wait_for(lambda: status(work).get("resolution") == "576x336" and status(work)["state"] == "running", run)
    run.kill()
    run.wait()
    done = internal_inpaint(*command)
    assert done.returncode == 0, done.stderr
    assert not list(work.rglob("*.part*"))
    for number in large.frames:
        assert pixels(frame(output, number))[0].tobytes() == pixels(frame(finished[0], number))[0].tobytes()


def test_stopped_after_the_first_level_it_can_be_rendered_as_it_is(large, finished, tmp_path):
    work = tmp_path / "job"
    shutil.copytree(finished[1], work)
    shutil.rmtree(work / "checkpoints" / "576x336")
    (work / "rendered.json").unlink()
    output = tmp_path / "clean.####.exr"
    done = internal_inpaint("render", *shot_options(large, output, work), *STEPS[:4], "--confidence-layer")
    assert done.returncode == 0, done.stderr
    for number in large.frames:
        one, other = (pixels(frame(pattern, number))[0] for pattern in (output, finished[0]))
        assert one.shape == other.shape
        assert not np.array_equal(one, other)


def test_fewer_steps_than_levels_are_one_each_and_said_so(large, tmp_path):
    shot = {"plate": large.plate, "matte": large.matte, "output": str(tmp_path / "c.####.exr")}
    told, job = [], Job(**shot, method="implicit", steps=1, matte_steps=9, device="cpu")
    engine.run(job, tmp_path / "job", told.append, engine.Mode(render=False))
    assert [(e["step"], e["steps"]) for e in told if e.get("steps")][-1] == (2, 2), "not step 2 of 1"
    assert any("--matte-steps are not used" in e.get("warning", "") for e in told)
    percents = [e["percent"] for e in told if "percent" in e]
    assert percents == sorted(percents)
    assert percents[-2] == 100, "training is all that this run does"

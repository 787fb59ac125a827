"""The main job through the command line: real frames in and out, stopped, killed, resumed, refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest
from running import frame, internal_inpaint, pixels, shot_options, start, status, wait_for

from internal_inpaint.demo import score_against_truth

STEPS = ("--quality", "draft", "--steps", "12", "--device", "cpu", "--progress", "plain")


@pytest.fixture(scope="module")
def finished(sample, tmp_path_factory):
    """An uninterrupted run of 12 steps: (output pattern, job folder, what it printed)."""
    folder = tmp_path_factory.mktemp("finished")
    output, work = folder / "out" / "clean.####.exr", folder / "job"
    done = internal_inpaint("run", *shot_options(sample, output, work), *STEPS, "--fill-layer")
    assert done.returncode == 0, done.stderr
    return output, work, done


def test_every_frame_is_there_and_outside_the_matte_nothing_changed_bit_for_bit(sample, finished):
    output, _, _ = finished
    for number in sample.frames:
        plate, before = pixels(frame(sample.plate, number), "float")
        result, after = pixels(frame(output, number), "float")
        matte, _ = pixels(frame(sample.matte, number), "float")
        assert list(after.channelnames)[:4] == list(before.channelnames)
        far = np.ones(matte.shape[:2], bool)
        rows, columns = np.nonzero(matte[..., 0])
        if len(rows):
            far[max(0, rows.min() - 12) : rows.max() + 13, max(0, columns.min() - 12) : columns.max() + 13] = False
        assert far.any()
        assert result[far][:, :4].tobytes() == plate[far].tobytes()
        assert result[..., 3].tobytes() == plate[..., 3].tobytes(), "depth.Z is no business of ours"
        if len(rows):
            assert not np.array_equal(result[..., :3], plate[..., :3])
        for name in ("smpte:TimeCode", "FramesPerSecond", "camera", "reelName", "compression"):
            assert after.getattribute(name) == before.getattribute(name), name
        assert (after.x, after.y, after.width, after.height) == (before.x, before.y, before.width, before.height)
        assert (after.full_x, after.full_width) == (before.full_x, before.full_width)


def test_the_fill_layer_is_premultiplied_and_explains_the_result(sample, finished):
    number = sample.frames[3]
    plate, _ = pixels(frame(sample.plate, number), "float")
    result, spec = pixels(frame(finished[0], number), "float")
    names = list(spec.channelnames)
    layer = result[..., [names.index(f"inpaint.{c}") for c in "RGBA"]]
    alpha = layer[..., 3:]
    rebuilt = plate[..., :3] * (1 - alpha) + layer[..., :3]
    inside = alpha[..., 0] > 0
    assert inside.any()
    assert np.allclose(rebuilt[inside], result[..., :3][inside], rtol=2e-3, atol=2e-3)
    assert not layer[~inside].any()


def test_the_job_folder_tells_the_story(finished):
    _, work, done = finished
    assert status(work)["state"] == "done"
    assert status(work)["percent"] == 100
    states = [json.loads(line) for line in (work / "events.jsonl").read_text().splitlines()]
    stages = list(dict.fromkeys(e["stage"] for e in states))
    assert stages == ["open", "read", "motion", "train", "confidence", "render", "report"]
    assert oiio.ImageInput.open(str(work / "preview" / "contact_sheet.png")).spec().width > 400
    summary = json.loads((work / "summary.json").read_text())
    assert summary["steps"] == 12
    assert summary["frames"] == 6
    assert "6 frames" in done.stdout
    assert not list(work.rglob("*.part*"))
    assert done.stderr == ""


def test_the_same_job_again_keeps_its_frames_and_its_weights(sample, finished):
    output, work, _ = finished
    stamps = {n: frame(output, n).stat().st_mtime_ns for n in sample.frames}
    frame(output, sample.frames[2]).unlink()
    frame(output, sample.frames[4]).write_bytes(b"torn by somebody else")
    again = internal_inpaint("run", *shot_options(sample, output, work), *STEPS, "--fill-layer")
    assert again.returncode == 0, again.stderr
    kept = {n for n in sample.frames if frame(output, n).stat().st_mtime_ns == stamps[n]}
    assert kept == set(sample.frames) - {sample.frames[2], sample.frames[4]}
    assert pixels(frame(output, sample.frames[4]))[0].any()


def test_stopped_by_sigterm_then_by_the_stop_file_it_ends_as_if_it_had_not_been(sample, finished, tmp_path):
    output, work = tmp_path / "clean.####.exr", tmp_path / "job"
    command = ["run", *shot_options(sample, output, work), *STEPS, "--fill-layer"]

    run = start(*command)
    wait_for(lambda: (status(work).get("step") or 0) >= 1, run)
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 3, said
    assert "run the same command again" in said.splitlines()[-1]
    assert status(work)["state"] == "stopped"
    first = status(work)["step"]
    assert 1 <= first < 12

    run = start(*command)
    wait_for(lambda: status(work)["state"] == "running" and (status(work).get("step") or 0) > first, run)
    (work / "stop").touch()
    _, said = run.communicate(timeout=60)
    assert run.returncode == 3, said

    done = internal_inpaint(*command)
    assert done.returncode == 0, done.stderr
    assert "resuming from step" in done.stdout
    for number in sample.frames:
        mine, _ = pixels(frame(output, number), "float")
        theirs, _ = pixels(frame(finished[0], number), "float")
        assert mine.tobytes() == theirs.tobytes(), f"frame {number} differs from the uninterrupted run's"


def test_killed_while_rendering_it_leaves_whole_frames_and_goes_on_with_the_rest(sample, tmp_path):
    output, work = tmp_path / "clean.####.exr", tmp_path / "job"
    command = ["run", *shot_options(sample, output, work), *STEPS]
    run = start(*command)
    wait_for(lambda: frame(output, sample.frames[0]).exists(), run)
    run.kill()
    run.wait()
    there = [n for n in sample.frames if frame(output, n).exists()]
    for number in there:
        assert pixels(frame(output, number))[0].shape[2] == 4, "no torn frame"
    stamps = {n: frame(output, n).stat().st_mtime_ns for n in there}
    done = internal_inpaint(*command)
    assert done.returncode == 0, done.stderr
    assert all(frame(output, n).exists() for n in sample.frames)
    # The last one may have been written but not yet entered in the ledger.
    assert all(frame(output, n).stat().st_mtime_ns == stamps[n] for n in there[:-1])
    assert not list(tmp_path.rglob("*.part*"))


def test_asked_to_stop_while_it_is_still_starting_it_stops(sample, tmp_path):
    work = tmp_path / "job"
    work.mkdir()
    command = ["run", *shot_options(sample, tmp_path / "clean.####.exr", work), *STEPS]
    (work / "stop").touch()
    os.utime(work / "stop", (1, 1))  # from long ago: meant for an earlier run
    run = start(*command)
    wait_for(lambda: not (work / "stop").exists(), run)
    (work / "stop").touch()
    _, said = run.communicate(timeout=60)
    assert run.returncode == 3, said
    assert status(work)["state"] == "stopped"
    assert not (work / "stop").exists(), "it has done its work"


def test_whoever_watches_may_go_away(sample, tmp_path):
    work = tmp_path / "job"
    run = start("run", *shot_options(sample, tmp_path / "clean.####.exr", work), *STEPS[:-1], "json")
    assert json.loads(run.stdout.readline())["stage"] == "open"
    run.stdout.close()
    run.wait(timeout=120)
    assert status(work)["state"] == "done"
    assert frame(tmp_path / "clean.####.exr", sample.frames[-1]).exists()


def test_a_store_that_has_rotted_is_made_again(sample, finished, tmp_path):
    output, work = tmp_path / "clean.####.exr", tmp_path / "job"
    shutil.copytree(finished[1], work)
    for name in ("frames.npy", "state.npy"):
        path = next(work.glob(f"store/*/{name}"))
        data = path.read_bytes()
        path.write_bytes(data[:256] + b"\xff" * (len(data) - 256))
    done = internal_inpaint("run", *shot_options(sample, output, work), *STEPS, "--fill-layer")
    assert done.returncode == 0, done.stderr
    for number in sample.frames:
        assert pixels(frame(output, number))[0].tobytes() == pixels(frame(finished[0], number))[0].tobytes()


def test_frames_of_another_origin_are_not_replaced_without_a_word(sample, finished, tmp_path):
    output = tmp_path / "clean.####.exr"
    shutil.copy(frame(sample.clean, sample.frames[0]), frame(output, sample.frames[0]))
    work = tmp_path / "job"
    shutil.copytree(finished[1], work)
    done = internal_inpaint("run", *shot_options(sample, output, work), *STEPS, "--fill-layer")
    assert "1 frame(s) of another origin" in done.stdout


def test_without_a_standard_output_it_still_runs(sample, finished, tmp_path):
    work = tmp_path / "job"
    shutil.copytree(finished[1], work)
    command = ["run", *shot_options(sample, tmp_path / "c.####.exr", work), *STEPS, "--fill-layer"]
    code = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", sys.executable, "-m", "internal_inpaint", *map(str, command)],
        capture_output=True,
        text=True,
    )
    assert (code.returncode, code.stderr) == (0, "")


def test_a_plate_delivered_again_is_rendered_again(sample, tmp_path):
    plate = tmp_path / "plate"
    shutil.copytree(Path(sample.plate).parent, plate)
    output = tmp_path / "clean.####.exr"
    command = ["run", "--plate", plate / "plate.####.exr", "--matte", sample.matte, "--output", output]
    command += ["--work", tmp_path / "job", "--quality", "draft", "--steps", "2"]
    assert internal_inpaint(*command).returncode == 0
    before = frame(output, sample.frames[0]).stat().st_mtime_ns
    again = plate / f"plate.{sample.frames[0]}.exr"
    os.utime(again, ns=(again.stat().st_atime_ns, again.stat().st_mtime_ns + 10**9))
    assert internal_inpaint(*command).returncode == 0
    assert frame(output, sample.frames[0]).stat().st_mtime_ns > before


def test_restart_with_a_mistake_in_it_loses_nothing(sample, finished, refused):
    output, work, _ = finished
    held = sorted((work / "checkpoints").rglob("*")), (work / "job.json").read_text()
    options = shot_options(sample, output, work)
    options[1] = "nowhere.####.exr"
    assert "nowhere" in refused("run", *options, *STEPS, "--restart")
    assert "--restart" in refused("render", work / "job.json", "--restart")
    assert (sorted((work / "checkpoints").rglob("*")), (work / "job.json").read_text()) == held


def test_restart_learns_anew(sample, tmp_path):
    command = ["run", *shot_options(sample, tmp_path / "c.####.exr", tmp_path / "job"), "--quality", "draft"]
    assert internal_inpaint(*command, "--steps", "2").returncode == 0
    done = internal_inpaint(*command, "--steps", "3", "--grow", "5", "--restart")
    assert done.returncode == 0, done.stderr
    assert "resuming" not in done.stdout
    assert json.loads((tmp_path / "job" / "summary.json").read_text())["steps"] == 3


def test_train_then_render_equals_run(sample, finished, tmp_path):
    output, work = tmp_path / "clean.####.exr", tmp_path / "job"
    options = [*shot_options(sample, output, work), *STEPS, "--fill-layer"]
    assert internal_inpaint("train", *options).returncode == 0
    assert not list(tmp_path.glob("clean.*.exr"))
    moved = tmp_path / "on the farm"
    os.rename(work, moved)
    done = internal_inpaint("render", moved / "job.json", "--progress", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["state"] == "done"
    for number in sample.frames:
        mine, theirs = pixels(frame(output, number))[0], pixels(frame(finished[0], number))[0]
        assert mine.tobytes() == theirs.tobytes()


def test_two_runs_never_share_a_job_folder(sample, tmp_path, refused):
    output, work = tmp_path / "clean.####.exr", tmp_path / "job"
    command = ["run", *shot_options(sample, output, work), *STEPS]
    run = start(*command)
    wait_for(lambda: status(work).get("stage") == "train", run)
    assert "in use by another run" in refused(*command)
    run.terminate()
    run.communicate(timeout=60)


def test_a_few_seconds_of_training_beat_doing_nothing(sample, tmp_path):
    output = tmp_path / "clean.####.exr"
    assert score_against_truth(sample.plate, sample)["psnr_hole"] < 15
    done = internal_inpaint(
        "run", *shot_options(sample, output, tmp_path / "job"), "--quality", "draft", "--steps", "20"
    )
    assert done.returncode == 0, done.stderr
    score = score_against_truth(output, sample)
    plate = score_against_truth(sample.plate, sample)
    assert score["psnr_hole"] > plate["psnr_hole"] + 2, (score, plate)


def test_check_says_what_it_found_and_writes_nothing(sample, tmp_path):
    before = sorted(p for p in Path(sample.plate).parent.parent.rglob("*"))
    done = internal_inpaint("check", "--plate", sample.plate, "--matte", sample.matte, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["frames"] == list(sample.frames)
    assert max(found["range_high"]) > 1
    assert min(found["range_low"]) < 0
    assert 0 < found["matte_coverage_mean"] < 0.5
    assert found["estimate"]["memory_bytes"] > 1e8
    readable = internal_inpaint("check", "--plate", sample.plate, "--matte", sample.matte, cwd=tmp_path)
    assert "depth.Z" in readable.stdout
    assert sorted(p for p in Path(sample.plate).parent.parent.rglob("*")) == before
    assert not list(tmp_path.iterdir())


class TestRefused:
    """Each with exit code 2 and one sentence that names what is wrong."""

    def test_usage(self, refused):
        assert "--help" in refused("--nonsense")
        assert "--plate" in refused("run")
        assert "--output" in refused("run", "--plate", "a.####.exr")
        assert "--quality best" in refused("run", "--plate", "a.exr", "--output", "b.exr", "--quality", "best")
        assert "--time soon" in refused("run", "--plate", "a.exr", "--output", "b.exr", "--time", "soon")
        assert "--steps" in refused("run", "--plate", "a.exr", "--output", "b.exr", "--steps", "many")
        assert "job.json" in refused("run", "job.json", "--plate", "a.exr")

    def test_files_that_are_not_there(self, refused, sample, tmp_path):
        out = tmp_path / "clean.####.exr"
        assert "nowhere" in refused("run", "--plate", tmp_path / "nowhere.####.exr", "--output", out)
        (tmp_path / "empty").mkdir()
        assert "empty" in refused("run", "--plate", tmp_path / "empty", "--output", out)
        assert "roto" in refused(
            "run", "--plate", sample.plate, "--matte", tmp_path / "roto.####.exr", "--output", out
        )
        assert not list(tmp_path.glob("clean*.exr"))

    def test_a_frame_range_outside_the_plate(self, refused, sample, tmp_path):
        said = refused("run", *shot_options(sample, tmp_path / "c.####.exr", tmp_path / "j"), "--frames", "1001-1099")
        assert "1007-1099" in said

    def test_an_output_that_is_an_input(self, refused, sample, tmp_path):
        before = frame(sample.plate, sample.frames[0]).read_bytes()
        said = refused("run", *shot_options(sample, sample.plate, tmp_path / "j"))
        assert "plate" in said
        assert frame(sample.plate, sample.frames[0]).read_bytes() == before
        refused("run", *shot_options(sample, sample.matte, tmp_path / "j2"))

    def test_channels_colour_spaces_and_devices_that_are_not_there(self, refused, sample, tmp_path):
        options = shot_options(sample, tmp_path / "c.####.exr", tmp_path / "j")
        assert "hole" in refused("run", *options, "--matte-channel", "hole")
        assert "ACESfoo" in refused("run", *options, "--colorspace", "ACESfoo")
        assert "tpu" in refused("run", *options, "--device", "tpu")
        assert "cuda:31" in refused("run", *options, "--device", "cuda:31")

    def test_another_job_in_the_same_folder(self, refused, sample, finished):
        output, work, _ = finished
        said = refused("run", *shot_options(sample, output, work), *STEPS, "--seed", "9", "--fill-layer")
        assert "--seed" in said
        assert "--restart" in said

    def test_render_without_training(self, refused, sample, tmp_path):
        options = shot_options(sample, tmp_path / "c.####.exr", tmp_path / "j")
        assert "no checkpoint" in refused("render", *options)

    def test_a_checkpoint_of_another_shot(self, refused, sample, finished, tmp_path):
        _, work, _ = finished
        other = tmp_path / "job"
        subprocess.run(["cp", "-r", work, other], check=True)
        job = json.loads((other / "job.json").read_text())
        # As if the folder's weights had been copied from another shot's.
        job["frames"] = "1001-1005"
        (other / "job.json").write_text(json.dumps(job))
        assert "another shot" in refused("render", other / "job.json")

    def test_a_refused_job_leaves_no_folder_behind(self, refused, sample, tmp_path):
        refused("run", "--plate", sample.plate, "--matte", sample.matte, "--output", sample.plate)
        assert not list(Path(sample.plate).parent.glob("*.inpaint"))
        output = tmp_path / "clean.####.exr"
        refused("run", "--plate", sample.plate, "--matte", sample.matte, "--output", output, "--layer", "nope")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("name", ["weights.safetensors", "best.safetensors", "optimisers.safetensors"])
    def test_weights_that_are_no_numbers(self, refused, finished, tmp_path, name):
        work = tmp_path / "job"
        shutil.copytree(finished[1], work)
        path = next(work.glob(f"checkpoints/*/*/{name}"))
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] + b"\xff" * (len(data) - len(data) // 2))
        said = refused("run", work / "job.json")
        assert "damaged" in said
        assert "--restart" in said

    def test_things_in_the_way_in_the_job_folder(self, refused, sample, tmp_path):
        options = shot_options(sample, tmp_path / "c.####.exr", tmp_path / "job")
        (tmp_path / "job").mkdir()
        for name in ("events.jsonl", "status.json", "store"):
            path = tmp_path / "job" / name
            path.write_text("") if name == "store" else path.mkdir()
            assert name in refused("run", *options)
            path.unlink() if path.is_file() else path.rmdir()
        shutil.rmtree(tmp_path / "job" / "checkpoints")
        (tmp_path / "job" / "checkpoints").write_text("")
        assert "checkpoints" in refused("run", *options)

    def test_a_demo_that_cannot_go_there(self, refused, tmp_path):
        (tmp_path / "file").write_text("precious")
        assert "file" in refused("demo", "--into", tmp_path / "file")
        assert "--into" in refused("demo", "--into", "")
        assert "--time" in refused("demo", "--into", tmp_path / "demo", "--time", "0")
        assert not (tmp_path / "demo").exists()

    def test_an_ocio_configuration_that_is_not_there(self, sample, tmp_path):
        options = ["check", "--plate", sample.plate, "--matte", sample.matte]
        done = internal_inpaint(*options, env={"OCIO": str(tmp_path / "studio.ocio")})
        assert done.returncode == 2, done.stderr
        assert "studio.ocio" in done.stderr

    def test_a_work_folder_that_cannot_be_made(self, refused, sample, tmp_path):
        (tmp_path / "file").write_text("")
        said = refused("run", *shot_options(sample, tmp_path / "c.####.exr", tmp_path / "file" / "job"))
        assert "--work" in said

    def test_a_bug_is_called_one(self, refused):
        code = "import internal_inpaint.cli as c; c._parser = lambda: 1 / 0; raise SystemExit(c.main())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 1
        assert "bug" in done.stderr
        assert "Traceback" not in done.stderr

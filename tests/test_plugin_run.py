"""Host side: a run as a node sees it, with the real engine on real files."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest

from internal_inpaint import checkpoints, control
from internal_inpaint.job_folder import JobFolder
from internal_inpaint_plugin import PluginError, Run, last_run, read_job, run_for, write_job

JOB = {"plate": "plate.####.exr", "output": "result/result.####.exr"}


def wait_for(run, *states, seconds=120):
    end = time.monotonic() + seconds
    while (view := run.look()).state not in states:
        assert time.monotonic() < end, f"waited for {states} in vain: {view}"
        assert view.state in ("starting", "running"), view
        time.sleep(0.05)
    return view


@pytest.fixture
def job(sample):
    """A short job on the sample shot."""
    folder = Path(sample.plate).parent.parent
    return {
        "plate": str(sample.plate),
        "matte": str(sample.matte),
        "output": "result/result.####.exr",
        "quality": "draft",
        "steps": 4,
        "device": "cpu",
        "fill_layer": True,
        "confidence_layer": True,
    }, folder


def status(folder, **changes):
    """A status as the engine writes it."""
    folder.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    content = {"version": 1, "state": "running", "stage": "train", "step": 5, "pid": os.getpid()}
    content |= {"host": socket.gethostname(), "updated": now.isoformat(timespec="milliseconds"), **changes}
    (folder / "status.json").write_text(json.dumps(content))


def ago(seconds):
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def test_start_watch_finish_and_find_it_done(job, worker, tmp_path):
    job, _ = job
    run = run_for(tmp_path / "my shot ü", job, inputs=["a"])
    assert run.folder.name == "v001"
    assert run.look().state == "empty"
    assert run.begin(job, worker, ["a"]) == "started"
    assert run.look().busy
    assert run.begin(job, worker, ["a"]) == "running", "a second press"
    view = wait_for(run, "done")
    assert view.percent == 100
    assert "PSNR" in view.message
    frames = sorted((run.folder / "result").glob("result.*.exr"))
    assert len(frames) == 6
    assert run.frames_path() == str(run.folder / "result" / "result.####.exr")

    again = run_for(tmp_path / "my shot ü", job, inputs=["a"])
    assert again.folder == run.folder, "a host that comes back finds it"
    assert again.begin(job, worker, ["a"]) == "done"
    frames[2].unlink()
    assert again.begin(job, worker, ["a"]) == "started", "a frame is missing"
    wait_for(again, "done")
    assert frames[2].exists()


def test_other_inputs_or_settings_get_a_folder_of_their_own(job, tmp_path):
    job, _ = job
    write_job(tmp_path / "v001", job)
    (tmp_path / "v001" / "inputs.json").write_text('{"inputs": ["a"]}')
    assert run_for(tmp_path, job, ["a"]).folder.name == "v001"
    assert run_for(tmp_path, {**job, "steps": 9, "device": None}, ["a"]).folder.name == "v001"
    assert run_for(tmp_path, job, ["b"]).folder.name == "v002"
    assert run_for(tmp_path, {**job, "grow": 5}, ["a"]).folder.name == "v002"
    (tmp_path / "v007").mkdir()  # whoever made it: nothing is written there
    assert run_for(tmp_path, job, ["b"]).folder.name == "v008"
    assert last_run(tmp_path).folder.name == "v001"
    with pytest.raises(PluginError, match="a different job"):
        Run(tmp_path / "v001").begin({**job, "grow": 5})


def test_a_script_may_give_paths_and_tuples(tmp_path, monkeypatch):
    monkeypatch.setattr("internal_inpaint_plugin.worker.start", lambda command, folder: 0)
    job = {**JOB, "plate": tmp_path / "plate.####.exr"}
    for _ in range(2):
        run = run_for(tmp_path / "base", job, ("a", 1))
        assert run.folder.name == "v001"
        assert run.begin(job, sys.executable, ("a", 1)) == "started"
    assert read_job(run.folder)["plate"] == str(job["plate"])
    with pytest.raises(PluginError, match="cannot be stored in a job"):
        run_for(tmp_path, {**JOB, "plate": object()})


def test_a_home_folder_is_the_engines(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write_job(tmp_path / "v001", {**JOB, "output": "~/result.####.exr"})
    assert Run(tmp_path / "v001").frames_path() == str(tmp_path / "result.####.exr")


def test_stop_then_resume_with_more_time_gives_every_frame(job, worker, tmp_path):
    job, _ = job
    run = Run(tmp_path / "v001")
    with pytest.raises(PluginError, match="nothing has been trained"):
        run.resume(worker)
    run.begin({**job, "steps": 100000}, worker)
    end = time.monotonic() + 60
    while not ((view := run.look()).status and (view.status.step or 0) >= 2):
        assert time.monotonic() < end
        assert view.busy, view
        time.sleep(0.05)
    with pytest.raises(PluginError, match="already running"):
        run.resume(worker)
    run.stop()
    view = wait_for(run, "stopped")
    assert "Resume" in view.message
    with pytest.raises(PluginError, match="nothing is running"):
        run.stop()
    with pytest.raises(PluginError, match="grow"):
        run.resume(worker, grow=3)
    assert run.resume(worker, steps=view.status.step + 2) == "started"
    wait_for(run, "done")
    assert len(list((run.folder / "result").glob("*.exr"))) == 6


def test_a_worker_that_is_slow_to_load_hears_a_stop_from_before_it_could(tmp_path, monkeypatch):
    run, now = Run(tmp_path), time.time()
    record = {"pid": os.getpid(), "host": socket.gethostname(), "started": now}
    (tmp_path / "worker.json").write_text(json.dumps(record))
    assert run.look().state == "starting"
    run.stop()
    monkeypatch.setattr(control.time, "time", lambda: now + 60)
    request = control.StopRequest()
    request.watch(JobFolder(tmp_path))
    assert request()


@pytest.mark.parametrize("file", ["worker.json", "status.json"])
def test_a_stop_for_an_earlier_run_stops_no_later_one(tmp_path, file):
    """It came before the worker was started, or after another one had done its work."""
    for seconds, name in enumerate(("worker.json", "status.json", "stop")):
        (tmp_path / name).write_text("{}")
        os.utime(tmp_path / name, (1e9 + seconds, 1e9 + seconds))
    if file == "worker.json":
        os.utime(tmp_path / file)
    request = control.StopRequest()
    request.watch(JobFolder(tmp_path))
    assert not request()
    assert not (tmp_path / "stop").exists()


def test_a_killed_worker_is_told_from_a_living_one_and_can_go_on(job, worker, tmp_path):
    job, _ = job
    run = Run(tmp_path / "v001")
    run.begin({**job, "steps": 100000}, worker)
    end = time.monotonic() + 60
    while not (run.look().status and run.look().status.step):
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(run.look().status.pid, signal.SIGKILL)
    view = wait_for(run, "lost", seconds=10)
    assert "Resume" in view.message
    run.resume(worker, steps=4)
    wait_for(run, "done")


def test_a_job_that_the_engine_refuses_ends_in_its_sentence(job, worker, tmp_path):
    job, _ = job
    run = Run(tmp_path / "v001")
    run.begin({**job, "plate": str(tmp_path / "gone.####.exr")}, worker)
    view = wait_for(run, "failed")
    assert "gone" in view.message
    assert "Traceback" not in view.message


def test_a_worker_that_is_none_ends_in_a_sentence(tmp_path):
    run = Run(tmp_path / "v001")
    run.begin(JOB, shutil.which("true"))
    view = wait_for(run, "lost")
    assert "without a message" in view.message


def test_slow_silent_lost_and_elsewhere(tmp_path):
    run = Run(tmp_path)
    status(tmp_path)
    assert run.look().state == "running"
    status(tmp_path, updated=ago(300))
    view = run.look()
    assert (view.state, view.busy) == ("silent", True)
    assert "5 min" in view.message
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    status(tmp_path, pid=dead.pid)
    assert run.look().state == "lost"
    status(tmp_path, pid=dead.pid, host="farm-17")  # another machine's number says nothing
    assert run.look().state == "running"
    status(tmp_path, host="farm-17", updated=ago(60))  # and its clock may differ
    assert run.look().state == "running"
    status(tmp_path, host="farm-17", updated=ago(3600))
    assert "farm-17" in run.look().message
    assert run.look().state == "silent"


def test_the_last_word_of_an_earlier_process_of_the_same_number_is_not_this_ones(tmp_path):
    status(tmp_path, state="failed", error="of yesterday", updated=ago(3600))
    record = {"pid": os.getpid(), "host": socket.gethostname(), "started": time.time()}
    (tmp_path / "worker.json").write_text(json.dumps(record))
    assert Run(tmp_path).look().state == "starting"
    status(tmp_path, updated=ago(30))  # the clock was set back after the start
    assert Run(tmp_path).look().state == "running"


def test_damaged_and_newer_files_are_one_sentence(tmp_path):
    run = Run(tmp_path)
    (tmp_path / "status.json").write_text('{"state": "run')
    assert run.look().state == "failed"
    assert "status.json" in run.look().message
    status(tmp_path, version=2)
    assert "update the plugin" in run.look().message
    status(tmp_path, state="dreaming")
    assert "update the plugin" in run.look().message
    write_job(tmp_path, JOB)
    data = json.loads((tmp_path / "job.json").read_text())
    (tmp_path / "job.json").write_text(json.dumps(dict(data, version=2)))
    with pytest.raises(PluginError, match="update the plugin"):
        read_job(tmp_path)


@pytest.mark.parametrize("times", [1, 99])
def test_a_file_that_a_network_drive_cannot_give_now_is_not_called_damaged(tmp_path, monkeypatch, times):
    status(tmp_path)
    read, left = Path.read_text, iter(range(times))

    def stale(path, **options):
        if path.name == "status.json" and next(left, None) is not None:
            raise OSError(errno.ESTALE, "Stale file handle")
        return read(path, **options)

    monkeypatch.setattr(Path, "read_text", stale)
    view = Run(tmp_path).look()
    assert view.state == ("running" if times == 1 else "failed")
    assert "damaged" not in view.message


def test_a_folder_that_cannot_be_written_is_one_sentence(worker, tmp_path):
    (tmp_path / "file").write_text("in the place of a folder")
    with pytest.raises(PluginError, match="another work folder"):
        Run(tmp_path / "file" / "v001").begin(JOB, worker)
    assert run_for(tmp_path / "file", JOB).look().state == "empty"


def test_the_result_is_the_plate_outside_the_matte(job, worker, tmp_path):
    job, _ = job
    run = Run(tmp_path / "v001")
    run.begin(job, worker)
    wait_for(run, "done")
    plate_file = sorted(Path(job["plate"]).parent.glob("*.exr"))[3]
    number = plate_file.stem.split(".")[-1]
    plate = oiio.ImageBuf(str(plate_file)).get_pixels(oiio.HALF)[..., :3]
    result = oiio.ImageBuf(str(run.folder / "result" / f"result.{number}.exr"))
    names = list(result.spec().channelnames)
    pixels = result.get_pixels(oiio.HALF)
    alpha = pixels[..., names.index("inpaint.A")]
    assert {"inpaint.R", "inpaint.G", "inpaint.B", "confidence.Y"} <= set(names)
    assert (alpha > 0).any()
    rgb = pixels[..., [names.index(c) for c in "RGB"]]
    outside = alpha == 0
    assert np.array_equal(rgb[outside].view(np.uint16), plate[outside].view(np.uint16))


def test_a_status_that_somebody_has_edited_is_shown_as_far_as_it_goes(tmp_path):
    status(tmp_path, psnr="good", step="many", eta_s=float("nan"), frames=True, updated=5, pid="x", host=7)
    view = Run(tmp_path).look()
    assert (view.state, view.psnr, view.eta_s) == ("silent", None, None)


def test_another_machines_clock_does_not_count_once_it_is_heard(tmp_path):
    run = Run(tmp_path)
    status(tmp_path, host="farm-17", updated=ago(3600))
    assert run.look().state == "silent", "an hour old, for all that is known"
    status(tmp_path, host="farm-17", updated=ago(3590))
    assert run.look().state == "running", "it has said something meanwhile: its clock is late, not the worker"


def test_a_new_version_starts_from_the_weights_of_the_last_one(job, worker, tmp_path):
    settings, _ = job
    first = run_for(tmp_path, settings, "inputs")
    first.begin(settings, worker, "inputs")
    assert "start_from" not in read_job(first.folder)
    wait_for(first, "done")

    changed = {**settings, "grow": 3}
    second = run_for(tmp_path, changed, "inputs")
    assert second.folder != first.folder
    second.begin(changed, worker, "inputs")
    wait_for(second, "done")
    assert read_job(second.folder)["start_from"] == os.path.join(os.pardir, first.folder.name)
    (level,) = JobFolder(second.folder).levels()
    assert checkpoints.read_about(checkpoints.newest(level)).counters.warm
    # The node still asks for the job without it, and finds it done.
    assert run_for(tmp_path, changed, "inputs").folder == second.folder
    assert second.begin(changed, worker, "inputs") == "done"

    # Another plate has nothing to learn from these; another version of the same one has.
    other = {**settings, "plate": str(tmp_path / "other.####.exr")}
    third = run_for(tmp_path, other, "inputs")
    third.begin(other, worker, "inputs")
    assert "start_from" not in read_job(third.folder)
    wait_for(third, "failed")

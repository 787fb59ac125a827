"""The Fuse's runs: start, watch, stop, resume, finish; killed workers and hosts; versions; progress in words.
Checked against the stand-in of Fusion."""

import json
import os
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from fusion_driving import HOSTILE, run_folder, settle, starts, wait
from fusion_standin import Host, read
from fusion_standin.shots import make_matte, make_shot, quick_worker, real_worker, write

pytest.importorskip(
    "lupa", reason="lupa is not installed, so there is no LuaJIT to run the Fuse with: install .[dev]"
)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in starts POSIX launchers")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of the real engine, started by the node in a host that leaks its libraries, under a hostile path."""
    path = tmp_path_factory.mktemp("shot") / HOSTILE
    path.mkdir()
    make_shot(path, windows=True)
    host = Host(path)
    host.environment = {"PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere", "LD_LIBRARY_PATH": "/nowhere"}
    node = settle(host.node(), path, real_worker(path), Steps=2)
    assert node.press("StartTraining") == "Starting the worker"
    wait(node, "Done: validation PSNR")
    return path, host, node


def test_the_finished_frames_are_shown(finished):
    """In their place, though the plate's data window moves; nothing changed far from the matte."""
    path, _, node = finished
    for frame in range(4):
        plate, out = read(path / f"plate.{1001 + frame}.exr"), node.process(frame)
        hole = read(path / f"matte.{1001 + frame}.exr")[..., 3] > 0
        assert np.array_equal(out, read(run_folder(path) / f"result/result.{1001 + frame}.exr"))
        assert not np.array_equal(out[hole], plate[hole]), "something was filled"
        rows, columns = np.nonzero(hole)
        far = np.ones_like(hole)
        far[rows.min() - 4 : rows.max() + 5, columns.min() - 4 : columns.max() + 5] = False
        assert np.array_equal(out[far], plate[far])
    assert not list(Path(tempfile.gettempdir()).glob("lua_*.run")), "no launcher is left"


def test_no_path_is_kept_in_the_comp(finished):
    path, _, node = finished
    saved = node.save()
    assert [k for k, v in saved.items() if isinstance(v, str) and str(path) in v] == [
        "PlateFile",
        "MatteFile",
        "Worker",
    ]
    assert (saved["RunVersion"], saved["NodeFolder"]) == ("v001", "InternalInpaint1")


def test_start_again_knows_that_it_is_done(finished):
    path, host, node = finished
    before, commands = (run_folder(path) / "worker.json").read_bytes(), len(host.commands)
    assert node.press("StartTraining").startswith("Done: validation PSNR")
    assert len(host.commands) == commands
    assert (run_folder(path) / "worker.json").read_bytes() == before


@pytest.mark.parametrize("kept", ["the saved comp", "only the controls"])
def test_another_host_finds_the_run_again(finished, kept):
    path, _, node = finished
    saved = node.save()
    if kept == "only the controls":  # the host went down before the comp was saved
        saved = {k: v for k, v in saved.items() if k not in ("RunVersion", "StatusLine", "LastSeen")}
    again = Host(path).node(saved=saved)
    assert np.array_equal(again.process(2), read(run_folder(path) / "result/result.1003.exr"))
    assert again.press("RefreshStatus").startswith("Done: validation PSNR")


def test_killed_stopped_resumed_finished(tmp_path):
    """One run: the worker is killed, goes on, the host goes, another stops it, and it is finished."""
    make_shot(tmp_path)
    host = Host(tmp_path)
    node = settle(host.node(), tmp_path, real_worker(tmp_path), Steps=100000)
    node.press("StartTraining")
    wait(node, "Training at 64x48: step")
    assert "Training" in node.press("StartTraining"), "a second Start joins the run"
    assert len(host.commands) == 1

    status = json.loads((run_folder(tmp_path) / "status.json").read_text())
    os.kill(status["pid"], signal.SIGKILL)
    assert wait(node, "no longer running") == (
        "The worker is no longer running (it was killed, or the machine went down): press Resume to continue"
    )

    node.press("ResumeTraining")
    wait(node, "Training at 64x48: step")
    node = Host(tmp_path).node(saved=node.save())  # the host was killed, and is opened again
    assert "Training" in node.press("RefreshStatus")
    assert node.press("StopTraining") == "Stopping: the worker is saving its state"
    assert wait(node, "Stopped") == "Stopped: press Resume to continue"
    plate = read(tmp_path / "plate.1001.exr")
    assert np.array_equal(node.process(0, plate)[12:], plate[12:]), "no frame is finished: the plate"

    step = json.loads((run_folder(tmp_path) / "status.json").read_text())["step"]
    node.set(Steps=step + 1).press("ResumeTraining")
    wait(node, "Done: validation PSNR")
    assert np.array_equal(node.process(0), read(run_folder(tmp_path) / "result/result.1001.exr"))


def test_a_changed_matte_makes_a_version_of_its_own(quick, tmp_path):
    _, node = quick
    node.press("StartTraining")
    wait(node, "Done")
    first = (run_folder(tmp_path) / "result/result.1002.exr").read_bytes()
    for frame in range(1001, 1005):
        make_matte(tmp_path, frame, 40)  # the same names, other pictures
    assert node.press("StartTraining") == "Starting the worker"
    wait(node, "Done")
    assert node.value("RunVersion") == "v002"
    assert (run_folder(tmp_path) / "result/result.1002.exr").read_bytes() == first, "v001 is as it was"
    write(run_folder(tmp_path, "v002") / "result/result.1002.exr", np.full((48, 64, 4), 0.5))
    assert np.all(node.process(1) == 0.5), "v002 is shown"

    node.set(Grow=3)
    assert "The controls have changed since then: Start Training makes a new version" in node.press("RefreshStatus")
    node.press("StartTraining")
    wait(node, "Done")
    assert node.value("RunVersion") == "v003"
    node.set(Grow=-1)
    node.press("StartTraining")
    assert node.value("RunVersion") == "v002", "what was done before is found again"
    assert starts(run_folder(tmp_path, "v002")) == 1


def test_more_time_goes_on_in_the_same_version(quick, tmp_path):
    _, node = quick
    node.press("StartTraining")
    wait(node, "Done")
    node.set(TimeLimit=5).press("StartTraining")
    wait(node, "Done")
    assert (node.value("RunVersion"), starts(run_folder(tmp_path))) == ("v001", 2)
    assert json.loads((run_folder(tmp_path) / "job.json").read_text())["time"] == 300


def test_a_second_node_on_the_same_plate_has_its_own_folder(quick, tmp_path):
    host, node = quick
    node.press("StartTraining")
    other = settle(host.node("InternalInpaint2"), tmp_path, quick_worker(tmp_path))
    other.press("StartTraining")
    wait(node, "Done")
    wait(other, "Done")
    assert starts(run_folder(tmp_path)) == starts(run_folder(tmp_path, node="InternalInpaint2")) == 1
    renamed = host.node("Clean", saved=node.save())
    assert renamed.press("RefreshStatus").startswith("Done"), "renaming a node loses nothing"


def test_removed_frames_are_made_again(quick, tmp_path):
    _, node = quick
    node.press("StartTraining")
    wait(node, "Done")
    (run_folder(tmp_path) / "result/result.1003.exr").unlink()
    assert node.press("StartTraining") == "Starting the worker"
    wait(node, "Done")
    assert node.process(2) is not None


def test_a_request_to_stop_does_not_stop_the_next_run(quick, tmp_path):
    _, node = quick
    node.press("StartTraining")
    wait(node, "Done")
    (run_folder(tmp_path) / "stop").touch()  # asked for just as it ended
    node.set(TimeLimit=5).press("ResumeTraining")
    assert not (run_folder(tmp_path) / "stop").exists()
    wait(node, "Done")


def test_a_worker_on_a_machine_with_another_clock(quick, tmp_path):
    host, node = quick
    node.press("StartTraining")
    wait(node, "Done")
    status = run_folder(tmp_path) / "status.json"
    (run_folder(tmp_path) / "worker.json").unlink()
    said = {"state": "running", "stage": "train", "step": 1, "pid": 1, "host": "farm"}
    hour_behind = datetime.now(UTC) - timedelta(hours=1)
    for seconds in range(0, 45, 15):
        said["updated"] = (hour_behind + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
        status.write_text(json.dumps(said))
        line = node.press("RefreshStatus")
        host.skew += 15
    assert line == "Training: step 1", "it speaks, whatever time it says it is"
    host.skew += 100
    assert "No update from the worker on farm for" in node.press("RefreshStatus")


@pytest.mark.parametrize("apart", [True, False])
def test_the_status_line_is_right_though_a_render_takes_no_values(tmp_path, apart):
    make_shot(tmp_path)
    host = Host(tmp_path, apart=apart, locks=True)
    node = settle(host.node(), tmp_path, quick_worker(tmp_path))
    node.press("StartTraining")
    until = time.monotonic() + 60
    while not (run_folder(tmp_path) / "summary.json").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    node.process(0)
    assert node.status == "Starting the worker"
    assert node.press("RefreshStatus").startswith("Done")


def test_the_last_words_of_a_long_log(tmp_path):
    make_shot(tmp_path)
    node = settle(Host(tmp_path).node(), tmp_path, quick_worker(tmp_path, says="internal-inpaint: no memory; wait"))
    node.press("StartTraining")
    wait(node, "No memory")
    log = run_folder(tmp_path) / "worker.log"
    log.write_text("of another run\n" * 100_000)
    assert node.press("StartTraining") == "Starting the worker"
    assert wait(node, "No memory") == "No memory; wait"
    assert json.loads((run_folder(tmp_path) / "worker.json").read_text())["log_start"] == 15 * 100_000


def test_progress_in_words(tmp_path):
    make_shot(tmp_path)
    host = Host(tmp_path)
    node = settle(host.node(), tmp_path, quick_worker(tmp_path, state="running"))
    node.press("StartTraining")
    line = wait(node, "Training")
    assert line == "33 %: Training: step 7 of 20, PSNR 21.2 dB, 3 min left"
    assert node.press("ResumeTraining") == line
    assert len(host.commands) == 1, "one worker at a time"
    host.skew += 100
    assert "No update from the worker on" in node.press("RefreshStatus")
    os.kill(json.loads((run_folder(tmp_path) / "status.json").read_text())["pid"], signal.SIGKILL)
    assert wait(node, "no longer running")


@pytest.mark.parametrize(
    ("says", "line"),
    [("internal-inpaint: plate x.exr does not exist; check the name", "Plate x.exr does not exist; check the name")],
)
def test_what_the_worker_refuses_is_the_status_line(tmp_path, says, line):
    make_shot(tmp_path)
    node = settle(Host(tmp_path).node(), tmp_path, quick_worker(tmp_path, says=says))
    node.press("StartTraining")
    assert wait(node, "Plate") == line


def test_the_host_side_package_understands_the_fuses_folder(quick, tmp_path):
    plugin = pytest.importorskip("internal_inpaint_plugin.run", reason="the host-side package is not there")
    _, node = quick
    node.press("StartTraining")
    wait(node, "Done")
    run = plugin.last_run(run_folder(tmp_path).parent)
    assert run.folder == run_folder(tmp_path)
    assert run.look().state == "done"
    assert run.frames_path() == str(run_folder(tmp_path) / "result/result.####.exr")


def test_text_survives_json(quick, tmp_path):
    """The writer and the reader of the Fuse with every kind of letter, against Python's."""
    _, node = quick
    node.press("StartTraining")
    wait(node, "Done")
    status = run_folder(tmp_path) / "status.json"
    error = 'C:\\shots\\new "plate" ü 電 𝄞 /\t é'
    record = json.loads((run_folder(tmp_path) / "worker.json").read_text())
    for ascii_only in (True, False):
        data = {"state": "failed", "error": error, "nested": [1, -2.5e3, None, True, {}, []], "pid": record["pid"]}
        data["updated"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        status.write_text(json.dumps(data, ensure_ascii=ascii_only), encoding="utf-8-sig" if ascii_only else "utf-8")
        assert node.press("RefreshStatus") == error
    node.set(FrameRange='a "b" \\ ü\t\x7f\x01 𝄞').press("StartTraining")
    written = json.loads((run_folder(tmp_path, "v002") / "job.json").read_text(encoding="utf-8"))
    assert written["frames"] == 'a "b" \\ ü\t\x7f\x01 𝄞'

"""The Fuse with workers: start, watch, stop, resume, finish; killed workers and hosts; versions; hostile paths; and
every way in which it can go wrong ends in one sentence. Checked against the stand-in of Fusion."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from fusion_standin import FUSE, Host, Tool, read
from fusion_standin.shots import make_matte, make_shot, quick_worker, real_worker, write

pytest.importorskip(
    "lupa", reason="lupa is not installed, so there is no LuaJIT to run the Fuse with: install .[dev]"
)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in starts POSIX launchers")

HOSTILE = 'it\'s "a" $HOME %PATH% ü;&|`x` *[1] \\n'


def wait(node, *words, seconds=120):
    """Press Refresh, as an artist would, until the status line says one of these."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        line = node.press("RefreshStatus")
        if any(word in line for word in words):
            return line
        time.sleep(0.1)
    raise AssertionError(f"{words} never came: {line}")


def settle(node, path, worker, **more):
    return node.set(
        **{
            "PlateFile": f"{path}/plate.1001.exr",
            "MatteFile": f"{path}/matte.1001.exr",
            "Worker": str(worker),
            "FrameOffset": 1001,
            "Quality": 0,
            **more,
        }
    )


def run_folder(path, version="v001", node="InternalInpaint1"):
    return Path(path) / "InternalInpaint" / node / version


def starts(run):
    return len((run / "starts.txt").read_text())


@pytest.fixture(autouse=True)
def no_worker_is_left(tmp_path):
    """Workers outlive their host, and would outlive a test that fails."""
    yield
    for record in tmp_path.rglob("worker.json"):
        pid = json.loads(record.read_text())["pid"]
        with contextlib.suppress(OSError):
            if str(tmp_path) in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def quick(tmp_path):
    """A host, a node and a worker that is done at once."""
    make_shot(tmp_path)
    host = Host(tmp_path)
    return host, settle(host.node(), tmp_path, quick_worker(tmp_path))


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
    wait(node, "Done: PSNR")
    return path, host, node


# ------------------------------------------------------------------------------------------ with the engine


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
    assert node.press("StartTraining").startswith("Done: PSNR")
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
    assert again.press("RefreshStatus").startswith("Done: PSNR")


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
    assert wait(node, "has gone") == "The worker has gone (killed, or the machine went down): Resume goes on"

    node.press("ResumeTraining")
    wait(node, "Training at 64x48: step")
    node = Host(tmp_path).node(saved=node.save())  # the host was killed, and is opened again
    assert "Training" in node.press("RefreshStatus")
    assert node.press("StopTraining") == "Stopping: the worker saves its state first"
    assert wait(node, "Stopped") == "Stopped: Resume goes on from here"
    plate = read(tmp_path / "plate.1001.exr")
    assert np.array_equal(node.process(0, plate)[12:], plate[12:]), "no frame is finished: the plate"

    step = json.loads((run_folder(tmp_path) / "status.json").read_text())["step"]
    node.set(Steps=step + 1).press("ResumeTraining")
    wait(node, "Done: PSNR")
    assert np.array_equal(node.process(0), read(run_folder(tmp_path) / "result/result.1001.exr"))


# ----------------------------------------------------------------------------------------- with a quick one


@pytest.mark.parametrize("executes", ["words", "quotes", "shell", "waits", "raises", "never"])
def test_however_the_host_starts_programs(tmp_path, executes):
    path = tmp_path / HOSTILE
    make_shot(path)
    host = Host(path, executes=executes)
    # A host that waits for what it starts waits for the launcher, not for the training.
    node = settle(host.node(), path, quick_worker(path, state="running" if executes == "waits" else "done"))
    node.press("StartTraining")
    if executes == "waits":
        wait(node, "Training: step 7")
        return
    if executes == "never":
        assert node.press("RefreshStatus") == "Starting the worker", "nothing is started twice in haste"
        host.skew += 11
        node.press("RefreshStatus")
    wait(node, "Done")
    assert starts(run_folder(path)) == 1


@pytest.mark.parametrize("apart", [True, False])
def test_a_host_that_starts_nothing_says_what_to_do(tmp_path, apart):
    make_shot(tmp_path)
    host = Host(tmp_path, executes="never", apart=apart)
    host.os_execute = lambda command: 1
    node = settle(host.node(), tmp_path, quick_worker(tmp_path))
    node.press("StartTraining")
    host.skew += 11
    node.process(0)  # looking at pictures is enough where Process knows of the press: nothing waits
    assert node.status == f"Starting the worker{': press Refresh' if apart else ' in another way'}"
    assert node.press("RefreshStatus") == "Starting the worker in another way"
    host.skew += 11
    job = run_folder(tmp_path) / "job.json"
    assert node.press("RefreshStatus") == f"This host starts no programs: run  internal-inpaint run '{job}'  yourself"


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
    assert "The controls have changed since: Start Training makes a new version" in node.press("RefreshStatus")
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


def test_stop_before_the_worker_has_begun(tmp_path):
    """Nothing is started a second time, and the launcher, should it come late, ends."""
    make_shot(tmp_path)
    host = Host(tmp_path, executes="never")
    node = settle(host.node(), tmp_path, quick_worker(tmp_path))
    node.press("StartTraining")
    assert node.press("StopTraining") == "Stopping: the worker saves its state first"
    assert node.press("RefreshStatus") == "Not trained yet: press Start Training"
    host.skew += 11
    node.press("RefreshStatus")
    assert len(host.commands) == 1
    subprocess.run(host.commands[0].split(" "), check=True)
    until = time.monotonic() + 20
    while (run_folder(tmp_path) / "stop").exists():
        assert time.monotonic() < until, "the launcher did not see it"
        time.sleep(0.05)
    assert not (run_folder(tmp_path) / "starts.txt").exists()


def test_a_pasted_node_joins_the_run_of_the_copied_one(tmp_path):
    make_shot(tmp_path)
    host = Host(tmp_path, executes="never")
    node = settle(host.node(), tmp_path, quick_worker(tmp_path))
    node.press("StartTraining")
    pasted = host.node("InternalInpaint1_1", saved=node.save())
    assert pasted.press("StartTraining") == "Starting the worker"
    assert len(host.commands) == 1, "one worker, though it has not begun"


def test_a_start_of_another_day_is_forgotten(tmp_path):
    make_shot(tmp_path)
    host = Host(tmp_path, executes="never")
    node = settle(host.node(), tmp_path, quick_worker(tmp_path))
    node.press("StartTraining")  # and the machine went down
    host.skew += 86400
    node = host.node(saved=node.save())
    assert node.press("RefreshStatus") == "Not trained yet: press Start Training"
    node.process(0)
    assert len(host.commands) == 1, "nothing starts by itself"


def test_what_a_folder_says_is_never_run(tmp_path):
    make_shot(tmp_path)
    host = Host(tmp_path, executes="never")
    node = settle(host.node(), tmp_path, quick_worker(tmp_path))
    node.press("StartTraining")
    asked = json.loads((run_folder(tmp_path) / "starting.json").read_text())
    (run_folder(tmp_path) / "starting.json").write_text(json.dumps(asked | {"second": "touch /tmp/owned"}))
    node = host.node(saved=node.save())
    host.skew += 11
    assert node.press("RefreshStatus") == "Starting the worker: press Refresh"
    assert len(host.commands) == 1


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
    assert "Nothing heard from the worker on farm for" in node.press("RefreshStatus")


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
    assert "Nothing heard from the worker on" in node.press("RefreshStatus")
    os.kill(json.loads((run_folder(tmp_path) / "status.json").read_text())["pid"], signal.SIGKILL)
    assert wait(node, "has gone")


@pytest.mark.parametrize(
    ("says", "line"),
    [("internal-inpaint: plate x.exr does not exist; check the name", "Plate x.exr does not exist; check the name")],
)
def test_what_the_worker_refuses_is_the_status_line(tmp_path, says, line):
    make_shot(tmp_path)
    node = settle(Host(tmp_path).node(), tmp_path, quick_worker(tmp_path, says=says))
    node.press("StartTraining")
    assert wait(node, "Plate") == line


def test_the_jobs_keys(quick, tmp_path):
    """Every control reaches the job, as the engine reads it."""
    from internal_inpaint.job import read_job

    _, node = quick
    node.set(FrameRange=" 1001-1003 ", MatteFrames="1002", Quality=2, TimeLimit=1.5, Steps=30, Grow=4, Feather=0)
    node.set(Device=1).press("StartTraining")
    job = read_job(run_folder(tmp_path) / "job.json")
    assert (job.plate, job.matte) == (f"{tmp_path}/plate.####.exr", f"{tmp_path}/matte.####.exr")
    assert (job.frames, job.matte_frame, job.quality, job.device) == ("1001-1003", "1002", "final", "cpu")
    assert (job.time, job.steps, job.grow, job.feather) == (90, 30, 4, 0)
    assert job.elements == str(run_folder(tmp_path) / "elements")
    assert job.output == str(run_folder(tmp_path) / "result/result.####.exr")
    wait(node, "Done")


def test_the_host_side_package_understands_the_fuses_folder(quick, tmp_path):
    plugin = pytest.importorskip("internal_inpaint_plugin.run", reason="the host-side package is not there")
    _, node = quick
    node.press("StartTraining")
    wait(node, "Done")
    run = plugin.last_run(run_folder(tmp_path).parent)
    assert run.folder == run_folder(tmp_path)
    assert run.look().state == "done"
    assert run.frames_path() == str(run_folder(tmp_path) / "result/result.####.exr")


@pytest.mark.parametrize(
    ("loader", "plate", "offset"),
    [
        ({"id": "Loader", "clip": "{}/plate.1001.exr", "start_frame": 1001}, "plate.####.exr", 1001),
        (
            {"id": "Loader", "clip": "Comp:/plate.1001.exr", "start_frame": 1001, "global_in": 10, "trim_in": 1},
            "plate.####.exr",
            992,
        ),
        ({"id": "Saver", "clip": "{}/plate.1001.exr"}, "plate.####.exr", 0),
        ({"id": "MediaIn", "media": "{}/plate.[1001-1004].exr"}, "plate.####.exr", 1001),
        ({"id": "MediaIn", "media": "{}/plate.[8-12].exr"}, "plate.#.exr", 1001),  # of no fixed padding
    ],
)
def test_the_plate_is_found_at_what_is_connected(tmp_path, loader, plate, offset):
    make_shot(tmp_path)
    loader = {k: v.format(tmp_path) if isinstance(v, str) else v for k, v in loader.items()}
    tools = [
        Tool("Fuse.InternalInpaint", "InternalInpaint1", input="Router1"),
        Tool("PipeRouter", "Router1", input="Plate1"),
        Tool(name="Plate1", **loader),
    ]
    node = settle(Host(tmp_path, tools=tools).node(), tmp_path, quick_worker(tmp_path), PlateFile="")
    node.press("StartTraining")
    wait(node, "Done")
    assert json.loads((run_folder(tmp_path) / "job.json").read_text())["plate"] == f"{tmp_path}/{plate}"
    assert node.value("FrameOffset") == offset


def test_what_is_no_file_is_asked_to_be_rendered(tmp_path):
    make_shot(tmp_path)
    tools = [
        Tool("Fuse.InternalInpaint", "InternalInpaint1", input="Loader1", matte="Polygon1"),
        Tool("Loader", "Loader1", clip=f"{tmp_path}/plate.1001.exr"),
        Tool("PolylineMask", "Polygon1"),
    ]
    node = settle(Host(tmp_path, tools=tools).node(), tmp_path, quick_worker(tmp_path), PlateFile="", MatteFile="")
    assert node.press("StartTraining") == (
        "The matte comes from Polygon1, which is no file: render it with a Saver and put its files into Matte File"
    )


# ---------------------------------------------------------------------------------------- what can go wrong


def test_a_worker_that_cannot_be_found(quick, tmp_path, monkeypatch):
    host, node = quick
    node.set(Worker=str(tmp_path / "nothing"))
    assert node.press("StartTraining") == (
        f"The Worker control names {tmp_path}/nothing, which is no internal-inpaint that can be started: correct it"
    )
    node.set(Worker="")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("INTERNAL_INPAINT", raising=False)
    assert node.press("StartTraining").startswith(
        "No worker found: Worker and $INTERNAL_INPAINT are empty, and internal-"
    )
    assert not host.commands
    assert not run_folder(tmp_path).exists(), "nothing is left behind"
    # And the ways to find one: the variable, a folder of an installation, PATH.
    installation = tmp_path / "venv"
    (installation / "bin").mkdir(parents=True)
    (installation / "bin/internal-inpaint").symlink_to(quick_worker(tmp_path))
    monkeypatch.setenv("INTERNAL_INPAINT", str(installation))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    node.press("StartTraining")
    wait(node, "Done")
    monkeypatch.delenv("INTERNAL_INPAINT")
    monkeypatch.setenv("PATH", f"/usr/bin:/bin:{installation}/bin")
    node.set(Grow=2).press("StartTraining")
    wait(node, "Done")
    assert node.value("RunVersion") == "v002"


def test_the_worker_that_was_installed_with_the_fuse(tmp_path, monkeypatch):
    make_shot(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("INTERNAL_INPAINT", raising=False)
    fuse = tmp_path / "Fuses" / FUSE.name
    fuse.parent.mkdir()
    fuse.write_text(FUSE.read_text(encoding="utf-8"), encoding="utf-8")
    command = {"command": ["/bin/sh", str(quick_worker(tmp_path))]}
    (fuse.parent / "installed_worker.json").write_text(json.dumps(command))
    node = settle(Host(tmp_path, fuse=fuse).node(), tmp_path, "")
    node.press("StartTraining")
    wait(node, "Done")
    assert json.loads((run_folder(tmp_path) / "worker.json").read_text())["command"] == command["command"]


def test_what_is_written_for_windows(tmp_path):
    """Read, not run: one command of safe words, and a file in which no path is taken apart."""
    path = tmp_path / "100% it's & (here)"
    make_shot(path)
    (path / "inpaint.exe").write_text("x")
    host = Host(path, executes="never", windows=True)
    node = settle(host.node(), path, path / "inpaint.exe")
    assert node.press("StartTraining") == "Starting the worker"
    run = str(run_folder(path)).replace("/", "\\")
    assert host.commands == [f'cmd.exe /d /s /c ""{run}\\start.cmd""']
    lines = (run_folder(path) / "start.cmd").read_bytes().decode().split("\r\n")
    assert lines[0] == "@echo off"
    # The host may wait for it: it starts itself anew, its own path in quotes that cmd takes off last.
    assert lines[2:5] == ['if "%~1"=="go" goto go', 'start "" /b cmd.exe /d /s /c ^""%~f0" go^"', "exit /b 0"]
    assert 'set "PYTHONPATH="' in lines
    # Full paths: cmd cannot go to a folder of another machine.
    assert not [line for line in lines if line.startswith(("cd", "pushd"))]
    run, exe = run.replace("%", "%%"), str(path / "inpaint.exe").replace("/", "\\").replace("%", "%%")
    assert lines[-3].startswith(f'>"{run}\\worker.json" echo {{"pid": 0, "host": "%COMPUTERNAME%", "started": ')
    assert lines[-2] == f'"{exe}" run "{run}\\job.json" --progress plain >>"{run}\\worker.log" 2>&1 <nul'
    host.skew += 11
    node.press("RefreshStatus")
    assert host.commands[1] == f'""{run.replace("%%", "%")}\\start.cmd""'
    node.set(WorkFolder=str(tmp_path / "%TEMP%"))
    assert "has a name between two %, which Windows would replace" in node.press("StartTraining")
    node.set(WorkFolder=str(tmp_path / "ü"))
    assert "has letters that this host's Lua cannot open on Windows" in node.press("StartTraining")


def test_a_worker_that_is_not_to_be_executed(quick, tmp_path):
    _, node = quick
    (tmp_path / "text").write_text("no program")
    node.set(Worker=str(tmp_path / "text")).press("StartTraining")
    assert "ermission denied" in wait(node, "ermission")


@pytest.mark.parametrize(
    ("comp", "work", "sentence"),
    [
        (None, None, "The Work Folder Comp:/InternalInpaint leads nowhere: save the comp, or choose a folder"),
        ("here", "", "No Work Folder: choose where the job and the finished frames go"),
        (
            "here",
            "/proc/nothing",
            "The Work Folder /proc/nothing/InternalInpaint1/v001 cannot be made: choose another",
        ),
    ],
)
def test_an_impossible_work_folder(tmp_path, comp, work, sentence):
    make_shot(tmp_path)
    host = Host(tmp_path if comp else None)
    node = settle(host.node(), tmp_path, quick_worker(tmp_path), **({} if work is None else {"WorkFolder": work}))
    assert node.press("StartTraining") == sentence
    assert not host.commands


def test_a_folder_that_is_not_ours_is_left_alone(quick, tmp_path):
    _, node = quick
    (run_folder(tmp_path) / "job.json").mkdir(parents=True)
    node.press("StartTraining")
    wait(node, "Done")
    assert node.value("RunVersion") == "v002"


def test_a_full_disk(quick, small_disk):
    host, node = quick
    disk = small_disk(1)
    with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    line = node.set(WorkFolder=str(disk)).press("StartTraining")
    assert line == f"{disk}/InternalInpaint1/v001/job.json cannot be written: is the disk full?"
    assert not host.commands


def test_buttons_without_a_run(quick, tmp_path):
    _, node = quick
    assert node.press("StopTraining") == "Nothing is running"
    assert node.press("ResumeTraining") == "Nothing has been trained here yet: press Start Training"
    assert node.press("RefreshStatus") == "Not trained yet: press Start Training"
    node.set(PlateFile="plate.1001.exr")
    assert node.press("StartTraining") == "The plate plate.####.exr is no full path: choose it with the file browser"
    node.set(PlateFile="", MatteFile="")
    assert node.press("StartTraining").startswith("No plate: connect a Loader")


def test_a_sandbox_without_files_says_so(tmp_path):
    host = Host(tmp_path, sandboxed=True)
    node = settle(host.node(), tmp_path, "x")
    assert node.press("StartTraining").startswith("This host lets no node open files: use the InternalInpaint macro")
    assert node.process(0, np.zeros((24, 32, 4))) is not None


def test_a_version_number_is_no_frame_number(tmp_path):
    make_shot(tmp_path)
    write(tmp_path / "still_v003.exr", np.zeros((48, 64, 4)))
    node = settle(Host(tmp_path).node(), tmp_path, quick_worker(tmp_path), PlateFile=str(tmp_path / "still_v003.exr"))
    node.press("StartTraining")
    assert json.loads((run_folder(tmp_path) / "job.json").read_text())["plate"] == f"{tmp_path}/still_v003.exr"


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
        status.write_text(json.dumps(data, ensure_ascii=ascii_only), encoding="utf-8-sig" if ascii_only else "utf-8")
        assert node.press("RefreshStatus") == error
    node.set(FrameRange='a "b" \\ ü\t\x7f\x01 𝄞').press("StartTraining")
    written = json.loads((run_folder(tmp_path, "v002") / "job.json").read_text(encoding="utf-8"))
    assert written["frames"] == 'a "b" \\ ü\t\x7f\x01 𝄞'

"""How the Fuse starts its worker, whatever the host does with programs, once and never by itself. Checked against
the stand-in of Fusion."""

import json
import subprocess
import sys
import time

import pytest
from fusion_driving import HOSTILE, run_folder, settle, starts, wait
from fusion_standin import FUSE, Host
from fusion_standin.shots import make_shot, quick_worker

pytest.importorskip(
    "lupa", reason="lupa is not installed, so there is no LuaJIT to run the Fuse with: install .[dev]"
)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in starts POSIX launchers")


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
    assert node.status == f"Starting the worker{': press Refresh' if apart else ', second attempt'}"
    assert node.press("RefreshStatus") == "Starting the worker, second attempt"
    host.skew += 11
    job = run_folder(tmp_path) / "job.json"
    assert node.press("RefreshStatus") == (
        f"This host cannot start programs: run this in a terminal:  internal-inpaint run '{job}'"
    )


def test_stop_before_the_worker_has_begun(tmp_path):
    """Nothing is started a second time, and the launcher, should it come late, ends."""
    make_shot(tmp_path)
    host = Host(tmp_path, executes="never")
    node = settle(host.node(), tmp_path, quick_worker(tmp_path))
    node.press("StartTraining")
    assert node.press("StopTraining") == "Stopping: the worker is saving its state"
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


@pytest.mark.parametrize("windows", [True, "without package"])
def test_what_is_written_for_windows(tmp_path, windows):
    """Read, not run: one command of safe words, and a file in which no path is taken apart."""
    path = tmp_path / "100% it's & (here)"
    make_shot(path)
    (path / "inpaint.exe").write_text("x")
    host = Host(path, executes="never", windows=windows)
    node = settle(host.node(), path, path / "inpaint.exe")
    assert node.press("StartTraining") == "Starting the worker"
    run = str(run_folder(path)).replace("/", "\\")
    assert host.commands == [f'cmd.exe /d /s /c ""{run}\\start.cmd""']
    lines = (run_folder(path) / "start.cmd").read_bytes().decode().split("\r\n")
    assert lines[0] == "@echo off"
    # The host may wait for it: it starts itself anew, its own path in quotes that cmd takes off last.
    assert lines[2:5] == [
        'if "%~1"=="go" goto go',
        'start "" /b /belownormal cmd.exe /d /s /c ^""%~f0" go^"',
        "exit /b 0",
    ]
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
    assert "has a name between two %, which Windows would expand" in node.press("StartTraining")
    node.set(WorkFolder=str(tmp_path / "ü"))
    assert "has characters that Lua cannot open on Windows" in node.press("StartTraining")


def test_a_process_number_that_comes_again_does_not_bring_yesterdays_words(tmp_path):
    make_shot(tmp_path)
    host = Host(tmp_path)
    node = settle(host.node(), tmp_path, quick_worker(tmp_path, state="running"))
    node.press("StartTraining")
    wait(node, "Training")
    status = json.loads((run_folder(tmp_path) / "status.json").read_text())
    status |= {"state": "failed", "error": "of yesterday", "updated": "2020-01-01T00:00:00.000+00:00"}
    (run_folder(tmp_path) / "status.json").write_text(json.dumps(status))
    assert node.press("RefreshStatus") == "Starting the worker"

"""Host side: finding the worker, its environment, starting it, telling whether it lives."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from internal_inpaint_plugin import PluginError, worker

SAYS = """#!{python}
import json, os, sys, time
print(json.dumps({{"arguments": sys.argv[1:], "environment": dict(os.environ), "session": os.getsid(0)}}))
sys.stdout.flush()
time.sleep({seconds})
"""


@pytest.fixture
def says(tmp_path):
    """An executable that prints how it was started and then lives for some seconds."""

    def make(seconds=0, folder="bin"):
        path = tmp_path / folder / "internal-inpaint"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SAYS.format(python=sys.executable, seconds=seconds))
        path.chmod(0o755)
        return path

    return make


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """No setting, no variable, nothing on PATH."""
    monkeypatch.delenv("INTERNAL_INPAINT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    monkeypatch.setattr(worker, "INSTALLED", tmp_path / "not_installed.json")


def test_the_setting_comes_before_the_variable_and_that_before_path(bare, says, monkeypatch):
    first, second, third = says(folder="a b"), says(folder="ü"), says(folder="third")
    monkeypatch.setenv("PATH", str(third.parent))
    assert worker.find_worker() == [str(third)]
    monkeypatch.setenv("INTERNAL_INPAINT", str(second))
    assert worker.find_worker() == [str(second)]
    assert worker.find_worker(f" {first} ") == [str(first)]


@pytest.mark.skipif(os.name == "nt", reason="other names there")
def test_a_virtual_environment_is_enough(bare, says, tmp_path):
    path = says(folder="my venv/bin")
    assert worker.find_worker(str(tmp_path / "my venv")) == [str(path)]


def test_a_wrong_setting_is_not_passed_over(bare, says, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(says().parent))
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "gone", tmp_path / "empty"):
        with pytest.raises(PluginError, match="Worker setting names") as told:
            worker.find_worker(str(wrong))
        assert str(wrong) in str(told.value)


def test_without_a_worker_the_message_says_what_was_tried(bare):
    with pytest.raises(PluginError) as told:
        worker.find_worker()
    for tried in ("Worker setting", "$INTERNAL_INPAINT", "PATH"):
        assert tried in str(told.value)


def test_what_the_installer_wrote_down_is_used(bare, says, monkeypatch, tmp_path):
    path, record = says(), tmp_path / "installed.json"
    monkeypatch.setattr(worker, "INSTALLED", record)
    record.write_text(json.dumps({"command": [str(path)], "version": "1"}))
    assert worker.find_worker() == [str(path)]
    path.unlink()
    with pytest.raises(PluginError, match="gone since it was installed"):
        worker.find_worker()


def test_the_hosts_python_and_libraries_do_not_leak():
    leaking = {"PYTHONPATH": "x", "PYTHONHOME": "x", "LD_LIBRARY_PATH": "x", "DYLD_INSERT_LIBRARIES": "x"}
    leaking |= {"QT_PLUGIN_PATH": "x", "NUKE_PATH": "x", "LD_PRELOAD": "x", "__PYVENV_LAUNCHER__": "x"}
    kept = {"PATH": "p", "OCIO": "config.ocio", "HOME": "h", "CUDA_VISIBLE_DEVICES": "1", "TMPDIR": "t"}
    assert worker.clean_environment({**leaking, **kept}) == kept


@pytest.mark.skipif(os.name == "nt", reason="a script is no executable there")
def test_it_is_started_detached_with_a_clean_environment_and_no_shell(says, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/host/python")
    monkeypatch.delenv("INTERNAL_INPAINT_NICE", raising=False)
    folder = tmp_path / 'job $(touch x); `y` \'ü %PATH% "z"'
    folder.mkdir()
    (folder / "stop").touch()
    pid = worker.start([str(says())], folder)
    wait_for(lambda: not worker.alive(pid))
    said = json.loads(worker.log_tail(folder))
    assert said["arguments"] == ["run", str(folder / "job.json"), "--progress", "plain"]
    assert "PYTHONPATH" not in said["environment"]
    assert said["environment"]["INTERNAL_INPAINT_NICE"] == "10", "the engine lowers its priority by it"
    assert said["session"] == pid, "a session of its own: it survives the host's"
    assert not (folder / "stop").exists(), "a stop that was meant for an earlier run"
    assert worker.started(folder)["pid"] == pid


@pytest.mark.skipif(os.name == "nt", reason="a script is no executable there")
def test_it_outlives_the_host(says, tmp_path):
    path = says(seconds=60)
    host = f"from internal_inpaint_plugin import worker; print(worker.start([{str(path)!r}], {str(tmp_path)!r}))"
    plugin = os.path.dirname(os.path.dirname(worker.__file__))
    done = subprocess.run(
        [sys.executable, "-c", host], env=dict(os.environ, PYTHONPATH=plugin), capture_output=True, check=True
    )
    pid = int(done.stdout)
    try:
        assert worker.alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not worker.alive(pid))


@pytest.mark.skipif(os.name == "nt", reason="a script is no executable there")
def test_a_killed_child_that_nobody_has_waited_for_is_dead(says, tmp_path):
    pid = worker.start([str(says(seconds=60))], tmp_path)
    assert worker.alive(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not worker.alive(pid))


def test_what_cannot_be_started_is_one_sentence(tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("no program")
    broken.chmod(0o755)
    with pytest.raises(PluginError, match="cannot be started") as told:
        worker.start([str(broken)], tmp_path)
    assert str(broken) in str(told.value)
    assert not (tmp_path / "worker.json").exists()
    with pytest.raises(PluginError):
        worker.start([str(broken)], tmp_path / "not" / "there")


def test_the_log_tail_is_of_the_last_start_only(says, tmp_path):
    (tmp_path / "worker.log").write_text("internal-inpaint: an old failure\n")
    pid = worker.start([sys.executable, "-c", "pass"], tmp_path)
    wait_for(lambda: not worker.alive(pid))
    assert worker.log_tail(tmp_path) == ""

"""The contract of host and engine: what one writes, the other understands."""

import ast
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from running import ROOT

from internal_inpaint import events
from internal_inpaint import job as jobs
from internal_inpaint.errors import BadInput
from internal_inpaint.job_folder import JobFolder
from internal_inpaint.version import __version__ as engine_version
from internal_inpaint_plugin import FORMAT, MAY_CHANGE, PluginError, Run, job_folder, read_job, read_status, write_job
from internal_inpaint_plugin import __version__ as plugin_version
from internal_inpaint_plugin import run as runs

PLUGIN = ROOT / "plugin" / "internal_inpaint_plugin"


def test_both_know_the_same_jobs():
    assert {field.name for field in fields(jobs.Job)} == job_folder.KEYS
    assert jobs.MAY_CHANGE == MAY_CHANGE
    assert jobs.FORMAT == events.FORMAT == FORMAT
    assert plugin_version == engine_version


def test_a_host_job_with_every_key_reads_as_it_was_meant(tmp_path):
    given = {
        "plate": "C:\\shots\\ü plate\\p.####.exr" if sys.platform == "win32" else "/shots/ü plate/p.####.exr",
        "output": "result/r.####.exr",
        "matte": "inputs/matte.####.exr",
        "frames": "1001-1010",
        "matte_frame": "1003",
        "guide": "/shots/clean.1003.exr,/shots/clean.1009.exr",
        "grow": 4,
        "feather": 2.5,
        "grain": 0.5,
        "quality": "final",
        "time": 600,
        "matte_time": 60.0,
        "seed": 3,
        "device": "cuda:1",
        "fill_layer": True,
        "confidence_layer": True,
        "layer": None,
    }
    path = write_job(tmp_path / "job ü", given)
    assert json.loads(path.read_text())["version"] == FORMAT
    job = jobs.read_job(path)
    assert Path(job.output) == tmp_path / "job ü" / "result" / "r.####.exr"
    for key in set(given) - {"output", "matte", "plate"}:
        assert getattr(job, key) == given[key]
    jobs.write_job(job, path.parent)  # what the engine does at the start: the host still knows its own job
    assert read_job(path.parent) == {key: value for key, value in given.items() if value is not None}


def test_newer_hosts_and_newer_engines_are_told_so(tmp_path):
    path = write_job(tmp_path, {"plate": "p.exr", "output": "o.exr"})
    path.write_text(json.dumps(dict(json.loads(path.read_text()), version=FORMAT + 1)))
    with pytest.raises(BadInput, match="update it"):
        jobs.read_job(path)
    events.Events(JobFolder(tmp_path)).tell(stage="open")
    status = tmp_path / "status.json"
    status.write_text(json.dumps(dict(json.loads(status.read_text()), version=FORMAT + 1)))
    with pytest.raises(PluginError, match="update the plugin"):
        read_status(tmp_path)
    with pytest.raises(PluginError, match="unknown key"):
        write_job(tmp_path, {"plate": "p.exr", "output": "o.exr", "dream": 1})


@pytest.mark.parametrize("state", ["running", "done", "stopped", "failed"])
@pytest.mark.parametrize("stage", events.STAGES)
def test_every_status_that_the_engine_writes_is_understood(tmp_path, state, stage):
    said = events.Events(JobFolder(tmp_path))
    said.plan(*events.STAGES)
    told = {
        "step": 5,
        "steps": 10,
        "loss": 0.5,
        "psnr": 21.5,
        "eta_s": 70.0,
        "frames_done": 2,
        "frames": 9,
        "resolution": "432x240",
    }
    error = {"error": "it broke"} if state == "failed" else {}
    said.tell(warning="the object may be lost in frame(s) 1002-1040")
    said.tell(state=state, stage=stage, progress=0.5, message="hello", **told, **error)
    written = json.loads((tmp_path / "status.json").read_text())
    status = read_status(tmp_path)
    for key in set(written) - {"version", "warnings"}:
        assert getattr(status, key) == written[key]
    assert list(status.warnings) == written["warnings"]
    view = Run(tmp_path).look()
    assert view.state == state
    assert view.message
    if state == "running":
        assert runs.STAGES[stage] in view.message
    if state != "failed":
        assert view.message.endswith("Warning: the object may be lost in frame(s) 1002-1040")


def test_a_status_with_nothing_in_it_is_understood(tmp_path):
    events.Events(JobFolder(tmp_path)).tell()
    assert Run(tmp_path).look().state == "running"


MODULES = sorted([*PLUGIN.rglob("*.py"), *(ROOT / "nuke_gizmos").glob("*.py"), *(ROOT / "resolve_fuse").glob("*.py")])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_host_code_is_python_3_9_and_needs_only_the_standard_library(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    allowed = set(sys.stdlib_module_names) | {"internal_inpaint_plugin"}
    hosts = {"nuke", "DaVinciResolveScript", "fusionscript"}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            top = name.split(".")[0]
            in_host_module = path.name.startswith(("nuke_", "fusion_", "init", "menu", "InternalInpaint"))
            assert top in allowed or (top in hosts and in_host_module), f"{path.name} imports {name}"


def python39():
    found = [*Path.home().glob(".pyenv/versions/3.9.*/bin/python3.9"), Path("/usr/bin/python3.9")]
    return next((path for path in found if path.exists()), None)


@pytest.mark.skipif(python39() is None, reason="no Python 3.9 on this machine")
def test_it_runs_in_python_3_9(tmp_path):
    script = """
import sys
sys.path.insert(0, sys.argv[1])
from internal_inpaint_plugin import Run, run_for, PluginError
run = run_for(sys.argv[2], {"plate": "p.exr", "output": "o.exr"}, ["x"])
print(run.begin({"plate": "p.exr", "output": "o.exr"}, sys.argv[3], ["x"]))
import time
while run.look().busy:
    time.sleep(0.05)
print(run.look())
"""
    done = subprocess.run(
        [python39(), "-c", script, str(PLUGIN.parent), str(tmp_path), "/bin/true"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "started" in done.stdout
    assert "without a message" in done.stdout

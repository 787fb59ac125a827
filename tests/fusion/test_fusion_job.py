"""What the Fuse writes into the job, and what it refuses in one sentence. Checked against the stand-in of Fusion."""

import contextlib
import json
import sys

import numpy as np
import pytest
from fusion_driving import run_folder, settle, wait
from fusion_standin import Host, Tool
from fusion_standin.shots import make_shot, quick_worker, write

pytest.importorskip(
    "lupa", reason="lupa is not installed, so there is no LuaJIT to run the Fuse with: install .[dev]"
)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in starts POSIX launchers")


def test_the_jobs_keys(quick, tmp_path):
    """Every control reaches the job, as the engine reads it."""
    from internal_inpaint.job import read_job

    _, node = quick
    node.set(FrameRange=" 1001-1003 ", MatteFrames="1002", Quality=2, TimeLimit=1.5, Steps=30, Grow=4, Feather=0)
    node.set(Device=1, GuideFile=f"{tmp_path}/clean.1001.exr", Grain=0.5)
    node.press("StartTraining")
    job = read_job(run_folder(tmp_path) / "job.json")
    assert job.guide == f"{tmp_path}/clean.1001.exr"
    assert (job.plate, job.matte) == (f"{tmp_path}/plate.####.exr", f"{tmp_path}/matte.####.exr")
    assert (job.frames, job.matte_frame, job.quality, job.device) == ("1001-1003", "1002", "final", "cpu")
    assert (job.time, job.steps, job.grow, job.feather, job.grain) == (90, 30, 4, 0, 0.5)
    assert job.elements == str(run_folder(tmp_path) / "elements")
    assert job.output == str(run_folder(tmp_path) / "result/result.####.exr")
    wait(node, "Done")


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
@pytest.mark.parametrize("tells", [True, "fusion"])
def test_the_plate_is_found_at_what_is_connected(tmp_path, loader, plate, offset, tells):
    make_shot(tmp_path)
    loader = {k: v.format(tmp_path) if isinstance(v, str) else v for k, v in loader.items()}
    tools = [
        Tool("Fuse.InternalInpaint", "InternalInpaint1", input="Router1"),
        Tool("PipeRouter", "Router1", input="Plate1"),
        Tool(name="Plate1", **loader),
    ]
    node = settle(Host(tmp_path, tools=tools, tells=tells).node(), tmp_path, quick_worker(tmp_path), PlateFile="")
    node.press("StartTraining")
    wait(node, "Done")
    assert json.loads((run_folder(tmp_path) / "job.json").read_text())["plate"] == f"{tmp_path}/{plate}"
    assert node.value("FrameOffset") == offset
    node.process(1001 - offset)  # in which no comp of scripts may be asked for


def test_what_is_no_file_is_asked_to_be_rendered(tmp_path):
    make_shot(tmp_path)
    tools = [
        Tool("Fuse.InternalInpaint", "InternalInpaint1", input="Loader1", matte="Polygon1"),
        Tool("Loader", "Loader1", clip=f"{tmp_path}/plate.1001.exr"),
        Tool("PolylineMask", "Polygon1"),
    ]
    host = Host(tmp_path, tools=tools, tells=True)
    node = settle(host.node(), tmp_path, quick_worker(tmp_path), PlateFile="", MatteFile="")
    assert node.press("StartTraining") == (
        "The matte comes from Polygon1, which is not a file: render it with a Saver and choose the files in "
        "Matte File"
    )


def test_a_host_that_does_not_tell_what_is_connected(tmp_path):
    """A connected matte that is not seen must not become the plate's alpha."""
    make_shot(tmp_path)
    tools = [
        Tool("Fuse.InternalInpaint", "InternalInpaint1", input="Loader1", matte="Loader2"),
        Tool("Loader", "Loader1", clip=f"{tmp_path}/plate.1001.exr"),
        Tool("Loader", "Loader2", clip=f"{tmp_path}/matte.1001.exr"),
    ]
    host = Host(tmp_path, tools=tools)
    node = settle(host.node(), tmp_path, quick_worker(tmp_path), MatteFile="")
    sentence = "This host does not report what is connected to the node: choose the {0}'s first frame in {1} File"
    assert node.press("StartTraining") == sentence.format("matte", "Matte")
    node.set(PlateFile="", MatteFile=f"{tmp_path}/matte.1001.exr")
    assert node.press("StartTraining") == sentence.format("plate", "Plate")
    assert not host.commands
    host.tools["InternalInpaint1"] = Tool("Fuse.InternalInpaint", "InternalInpaint1")
    assert node.press("StartTraining").startswith("There is no plate: connect a Loader")
    node.set(PlateFile=f"{tmp_path}/plate.1001.exr", MatteFile="").press("StartTraining")
    assert "matte" not in json.loads((run_folder(tmp_path) / "job.json").read_text()), "none: the plate's alpha"
    wait(node, "Done")


def test_a_version_number_is_no_frame_number(tmp_path):
    make_shot(tmp_path)
    write(tmp_path / "still_v003.exr", np.zeros((48, 64, 4)))
    node = settle(Host(tmp_path).node(), tmp_path, quick_worker(tmp_path), PlateFile=str(tmp_path / "still_v003.exr"))
    node.press("StartTraining")
    assert json.loads((run_folder(tmp_path) / "job.json").read_text())["plate"] == f"{tmp_path}/still_v003.exr"


def test_a_worker_that_cannot_be_found(quick, tmp_path, monkeypatch):
    host, node = quick
    node.set(Worker=str(tmp_path / "nothing"))
    assert node.press("StartTraining") == (
        f"The Worker control names {tmp_path}/nothing, which is not an internal-inpaint program: give the full "
        "path of one program, without quotes or arguments"
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


def test_a_painted_frame_and_the_same_one_repainted_are_versions_of_their_own(quick, tmp_path):
    _, node = quick
    guide = tmp_path / "clean.1001.exr"

    def version(value):
        node.set(GuideFile=value).press("StartTraining")
        wait(node, "Done")
        return node.value("RunVersion")

    write(guide, np.full((48, 64, 4), 0.25))
    assert [version(""), version("Comp:/clean.1001.exr"), version(str(guide))] == ["v001", "v002", "v002"]
    write(guide, np.random.default_rng(0).random((48, 64, 4)))
    assert [version(str(guide)), version("")] == ["v003", "v001"]
    assert node.set(GuideFile="clean.1001.exr").press("StartTraining") == (
        "The guide clean.1001.exr is not a full path: choose it with the file browser"
    )


def test_a_worker_that_is_not_to_be_executed(quick, tmp_path):
    _, node = quick
    (tmp_path / "text").write_text("no program")
    node.set(Worker=str(tmp_path / "text")).press("StartTraining")
    assert "ermission denied" in wait(node, "ermission")


@pytest.mark.parametrize(
    ("comp", "work", "sentence"),
    [
        (None, None, "The Work Folder Comp:/InternalInpaint has no path yet: save the comp, or choose a folder"),
        ("here", "", "The Work Folder is not set: choose a folder for the job and the finished frames"),
        (
            "here",
            "/proc/nothing",
            "The Work Folder /proc/nothing/InternalInpaint1/v001 cannot be created: choose another",
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
    assert line == f"{disk}/InternalInpaint1/v001/job.json cannot be written: check whether the disk is full"
    assert not host.commands


def test_buttons_without_a_run(quick, tmp_path):
    _, node = quick
    assert node.press("StopTraining") == "Nothing is running"
    assert node.press("ResumeTraining") == "Nothing has been trained here yet: press Start Training"
    assert node.press("RefreshStatus") == "Not trained yet: press Start Training"
    node.set(PlateFile="plate.1001.exr")
    assert (
        node.press("StartTraining") == "The plate plate.####.exr is not a full path: choose it with the file browser"
    )
    node.set(PlateFile="", MatteFile="")
    assert node.press("StartTraining").startswith("There is no plate: connect a Loader")


def test_a_sandbox_without_files_says_so(tmp_path):
    host = Host(tmp_path, sandboxed=True)
    node = settle(host.node(), tmp_path, "x")
    assert node.press("StartTraining").startswith(
        "This host does not let a node open files: use the InternalInpaint macro"
    )
    assert node.process(0, np.zeros((24, 32, 4))) is not None

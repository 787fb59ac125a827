"""Which version a start takes, and which one's frames the node shows."""

import json
import os
import shutil

import numpy as np
import pytest
from nuke_driving import begun, job, run_folder, started, versions
from nuke_shots import FRAMES, make_shot, matte_plane, node_on, write_exr


def test_a_renamed_node_keeps_its_frames_and_a_copy_shares_them(host, shot, dumb):
    node = node_on(host, shot, dumb)
    first = started(host, node)
    node.setName("RemoveTheBall")
    assert run_folder(host, node) == first
    host.press(node, "start")
    assert node["run"].value() == "v001"

    copy = node_on(host, shot, dumb)
    host.change(copy, id=node["id"].value(), run=node["run"].value(), quality="final")
    host.press(copy, "start")
    assert (copy["run"].value(), node["run"].value()) == ("v002", "v001")
    assert begun(host, copy) == first.parent / "v002"


def test_while_it_trains_the_same_node_starts_no_second_version(host, shot, dumb):
    node = node_on(host, shot, dumb)
    started(host, node)
    host.change(node, quality="final")
    assert host.press(node, "start") == (
        "v001 is still training: press Stop or let it finish, then press Start Training again"
    )


def test_what_makes_a_new_version_and_what_does_not(host, tmp_path, dumb):
    folder = make_shot(tmp_path / "shot")
    node = node_on(host, folder, dumb)
    grade = host.create("Grade", "name RotoGrade", [node.input(1)])
    host.change(grade, multiply=1.0)

    def files():
        write_exr(folder / "matte.1003.exr", {"A": matte_plane(1003, size=9)})

    def playhead():
        host.frame = 1003.0

    assert versions(
        host,
        node,
        lambda: None,
        lambda: host.change(node, time_limit=1.0, device="automatic"),
        files,
        lambda: node.setInput(1, grade),
        playhead,
        lambda: host.change(grade, xpos=50, label="hello", tile_color=7, multiply_panelDropped=True),
        lambda: grade["multiply"].setValueAt(0.5, 1001),
        lambda: grade["multiply"].setValueAt(0.9, 1004),  # a key on a frame that is not shown
        lambda: write_exr(folder / "matte.1004.exr", {"A": matte_plane(1004, size=9)}),
        lambda: host.change(node, quality="standard"),
        lambda: host.change(node, quality="draft"),
    ) == ["v001", "v001", "v002", "v003", "v003", "v003", "v004", "v005", "v006", "v007", "v006"]


def test_a_start_that_failed_is_tried_again_in_the_same_version(host, shot, tmp_path, dumb):
    worker = tmp_path / "bin/internal-inpaint"
    worker.parent.mkdir()
    shutil.copy(dumb, worker)
    worker.write_text("#!/nowhere/python\n")
    worker.chmod(0o755)
    node = node_on(host, shot, str(worker))
    node.setInput(0, host.create("Grade", "name Grade1", [node.input(0)]))
    host.press(node, "start")
    assert host.pump(lambda: "cannot be started" in host.says(node), 10), host.says(node)
    rendered = len(host.executed)
    host.change(node, worker=dumb)
    assert started(host, node).name == "v001"
    assert len(host.executed) == rendered, "not rendered again"


def test_a_version_that_is_not_there_is_a_sentence(host, shot, dumb):
    node = node_on(host, shot, dumb)
    started(host, node)
    host.change(node, run="v007")
    assert "There is no version v007" in host.says(node)
    host.change(node, run="../../etc")
    assert "type one such as v001" in host.says(node)
    host.change(node, run="v001")
    assert host.pump(lambda: host.says(node) == "Starting the worker", 10)


def test_two_artists_who_start_at_once_get_a_version_each(host, shot, dumb, monkeypatch):
    node = node_on(host, shot, dumb)
    node.setInput(0, host.create("Grade", "name Grade1", [node.input(0)]))
    from internal_inpaint_plugin import nuke_node

    run_for = nuke_node.run_for

    def meanwhile(base, job, inputs):
        run = run_for(base, job, inputs)
        if run.folder.name == "v001":
            (run.folder / "inputs").mkdir(parents=True)
            (run.folder / "inputs/plate.1001.exr").write_text("another artist's")
        return run

    monkeypatch.setattr(nuke_node, "run_for", meanwhile)
    folder = started(host, node)
    assert folder.name == "v002"
    assert (folder.parent / "v001/inputs/plate.1001.exr").read_text() == "another artist's"


def test_a_relative_work_folder_shows_its_frames(host, shot, dumb, tmp_path):
    host.root["project_directory"].setValue(str(tmp_path / "project"))
    node = node_on(host, shot, dumb, work_folder="inpaint")
    host.press(node, "start")
    result = tmp_path / "project/inpaint/InternalInpaint1/v001/result/result.1002.exr"
    write_exr(result, {name: np.full((48, 64), 0.5, np.float32) for name in "RGB"})
    assert str(result) in host.show(node, 1002).files


def test_a_frame_that_was_not_trained_shows_no_other_ones_picture(host, shot, dumb):
    node = node_on(host, shot, dumb, range="custom", first=1002, last=1003)
    folder = started(host, node)
    for frame in FRAMES:  # 1001 and 1004 as an earlier, longer job has left them
        write_exr(folder / f"result/result.{frame}.exr", {name: np.full((48, 64), 0.5, np.float32) for name in "RGB"})
    assert any("result.1003" in file for file in host.show(node, 1003).files)
    for frame in (1001, 1004):
        assert host.show(node, frame).files == host.show(node.input(0), frame).files
    host.module.tcl("set ::internal_inpaint_render 1")
    with pytest.raises(RuntimeError, match="only 1002 to 1003 can be finished"):
        host.show(node, 1004)
    host.change(node, without_frames="pass through")
    assert host.show(node, 1004).files == host.show(node.input(0), 1004).files


def test_a_silent_worker_does_not_hold_up_a_new_version(host, shot, dumb):
    node = node_on(host, shot, dumb)
    folder = started(host, node)
    status = {"version": 1, "state": "running", "stage": "train", "pid": os.getpid()}  # its number is another's now
    status |= {"host": __import__("socket").gethostname(), "updated": "2020-01-01T00:00:00+00:00"}
    (folder / "status.json").write_text(json.dumps(status))
    record = json.loads((folder / "worker.json").read_text())
    (folder / "worker.json").write_text(json.dumps(dict(record, started=0)))
    host.change(node, quality="final")
    assert started(host, node).name == "v002"


def test_saved_into_another_folder_while_it_trains(host, shot, dumb, tmp_path):
    node = node_on(host, shot, dumb)
    started(host, node)
    host.root["name"]._held = str(tmp_path / "elsewhere/comp.nk")
    assert host.pump(lambda: "The work folder has changed: v001 is in" in host.says(node), 5), host.says(node)
    assert str(tmp_path / "internal_inpaint") in host.says(node)


def test_painted_frames_are_in_the_job_and_a_repainted_one_is_another_version(host, tmp_path, dumb):
    folder = make_shot(tmp_path / "shot, take 2")
    host.root["project_directory"].setValue(str(folder))
    node = node_on(host, folder, dumb)

    def paint(name, value=0.5):
        write_exr(folder / name, {channel: np.full((48, 64), value, np.float32) for channel in "RGB"})

    paint("clean.1002.exr")
    paint("other.1003.exr")
    assert versions(
        host,
        node,
        lambda: None,
        lambda: host.change(node, guide="clean.####.exr"),
        lambda: host.change(node, guide=f"clean.1002.exr, {folder}/other.1003.exr"),
        lambda: None,
        lambda: paint("other.1003.exr", 0.7),
        lambda: host.change(node, guide=""),
    ) == ["v001", "v002", "v003", "v003", "v004", "v001"]
    node_folder = run_folder(host, node).parent
    assert job(node_folder / "v001").get("guide") is None
    assert job(node_folder / "v002")["guide"] == f"{folder}/clean.####.exr"
    assert job(node_folder / "v003")["guide"] == f"{folder}/clean.1002.exr,{folder}/other.1003.exr"
    from internal_inpaint.job_fields import paths_in

    assert paths_in(job(node_folder / "v003")["guide"]) == [f"{folder}/clean.1002.exr", f"{folder}/other.1003.exr"]


def test_a_painted_frame_that_is_not_there_is_a_sentence(host, shot, dumb):
    node = node_on(host, shot, dumb, guide="clean.####.exr")
    assert "Guide frames: there is no file" in host.press(node, "start")
    host.change(node, guide="[value root.name].exr")
    assert "without (expressions)" in host.press(node, "start")
    assert not node["run"].value()
    del node._knobs["guide"]  # a node that an older version has saved
    assert started(host, node).name == "v001"

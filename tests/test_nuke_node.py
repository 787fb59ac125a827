"""The node's buttons in a stand-in of Nuke, with a worker that never answers: what is asked of it and said."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from nuke_shots import FRAMES, make_shot, matte_plane, node_on, pixels, read_node, write_exr
from nuke_standin import Host


@pytest.fixture(scope="module")
def shot(tmp_path_factory):
    return make_shot(tmp_path_factory.mktemp("shot"))


@pytest.fixture
def host(tmp_path):
    with Host(tmp_path / "comp v1.nk") as host:
        yield host
        assert host.violations == []
        assert host.slowest < 1.0, "Nuke's main thread waited"


@pytest.fixture(scope="module")
def dumb(tmp_path_factory):
    """A worker that starts and never says a word; all are ended afterwards."""
    path = tmp_path_factory.mktemp("dumb") / "internal-inpaint"
    noted = f"open({str(path) + '.pids'!r}, 'a').write(str(os.getpid()) + ' ')"
    path.write_text(f"#!{sys.executable}\nimport os, time\n{noted}\ntime.sleep(120)\n")
    path.chmod(0o755)
    yield str(path)
    noted = Path(str(path) + ".pids")
    for pid in noted.read_text().split() if noted.exists() else ():
        os.kill(int(pid), signal.SIGKILL)


def begun(host, node):
    """Wait until the worker was started; returns the job folder."""
    folder = run_folder(host, node)

    def is_begun():  # a version that is used again has its worker.json from before
        beginning = sys.modules["internal_inpaint_plugin.nuke_watch"].beginning(node)
        return beginning is None and (folder / "worker.json").exists()

    assert host.pump(is_begun, 10), host.says(node)
    return folder


def run_folder(host, node):
    base = Path(host.root["name"].value()).parent / "internal_inpaint"
    return base / node["id"].value() / node["run"].value()


def job(folder):
    return json.loads((folder / "job.json").read_text())


def started(host, node):
    host.press(node, "start")
    return begun(host, node)


def test_untouched_files_are_used_as_they_are(host, shot, dumb):
    node = node_on(host, shot, dumb)
    folder = started(host, node)
    assert folder.name == "v001"
    assert folder.parent.name == "InternalInpaint1"
    assert job(folder) == {
        "version": 1,
        "plate": str(shot / "plate.####.exr"),
        "matte": str(shot / "matte.####.exr"),
        "matte_channel": "A",
        "output": "result/result.####.exr",
        "frames": "1001-1004",
        "quality": "draft",
        "time": 1.2,
        "device": "cpu",
        "fill_layer": True,
        "confidence_layer": True,
    }
    assert host.executed == []
    assert host.says(node) == "Starting the worker"


def test_all_settings_reach_the_job(host, shot, dumb):
    node = node_on(
        host, shot, dumb, range="custom", first=1002, last=1004, quality="final", time_limit=0, device="GPU"
    )
    host.change(node, auto_edges=False, grow=3.0, feather=1.5, one_frame=True, matte_frames="1003, 1002")
    told = job(started(host, node))
    assert (told["frames"], told["matte_frame"], told["quality"]) == ("1002-1004", "1002,1003", "final")
    assert (told["grow"], told["feather"], told["device"]) == (3.0, 1.5, "cuda")
    assert "time" not in told, "0 minutes: the quality's own"


@pytest.mark.parametrize(
    "change",
    [
        {"colorspace": "sRGB"},
        {"frame": "1001"},
        {"premultiplied": True},
        {"auto_alpha": True},
        {"first": 1002},
        {"disable": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_read_that_changes_its_files_is_rendered(host, shot, dumb, change):
    node = node_on(host, shot, dumb, range="custom", first=1001, last=1004)
    host.change(node.input(0), **change)
    folder = started(host, node)
    assert job(folder)["plate"] == "inputs/plate.####.exr"
    assert sorted(path.name for path in (folder / "inputs").glob("plate*")) == [f"plate.{n}.exr" for n in FRAMES]


def test_raw_files_of_another_colour_space_are_untouched(host, shot, dumb):
    node = node_on(host, shot, dumb)
    host.change(node.input(0), colorspace="sRGB", raw=True)
    assert job(started(host, node))["plate"] == str(shot / "plate.####.exr")


def test_a_changed_plate_is_rendered_as_float_in_full(host, shot, dumb):
    node = node_on(host, shot, dumb)
    grade = host.create("Grade", "name Grade1", [node.input(0)])
    host.change(grade, multiply=1.7)
    node.setInput(0, grade)
    host.root["proxy"].setValue(True)
    folder = started(host, node)
    assert host.root["proxy"].value() is True, "as the artist had it"
    rendered, names = pixels(folder / "inputs/plate.1002.exr")
    assert names == ("R", "G", "B"), "the matte comes from its own input"
    assert np.array_equal(rendered, host.show(grade, 1002).rgb())
    assert rendered.dtype == np.float32
    assert job(folder)["matte"] == str(shot / "matte.####.exr")
    assert node["preparing"].value() == ""
    assert all(node.node(name)["disable"].value() for name in ("PlateToFiles", "MatteToFiles"))


def test_of_a_matte_on_one_frame_that_frame_is_rendered(host, shot, dumb):
    node = node_on(host, shot, dumb, one_frame=True, matte_frames="1002", matte_channel="red")
    grade = host.create("Grade", "name Invert", [node.input(1)])
    host.change(grade, add=1.0)
    node.setInput(1, grade)
    folder = started(host, node)
    assert [Path(path).name for path in host.executed] == ["matte.1002.exr"]
    assert pixels(folder / "inputs/matte.1002.exr")[1] == ("R",)
    assert (job(folder)["matte_frame"], job(folder)["matte_channel"]) == ("1002", "R")


def test_without_a_matte_the_plates_alpha_is_rendered_too(host, tmp_path, dumb):
    node = node_on(host, make_shot(tmp_path / "shot"), dumb, matte=False)
    node.setInput(0, host.create("Grade", "name Grade1", [node.input(0)]))
    folder = started(host, node)
    assert pixels(folder / "inputs/plate.1001.exr")[1] == ("R", "G", "B", "A")
    assert "matte" not in job(folder)


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"range": "custom", "first": 1004, "last": 1001}, "The frame range 1004-1001 ends before it starts"),
        ({"one_frame": True}, "name the frame"),
        ({"one_frame": True, "matte_frames": "1012"}, "1012 is not in the frame range 1001-1004"),
        ({"one_frame": True, "matte_frames": "all"}, "all is no frame number"),
        ({"time_limit": -1.0}, "The time limit is negative"),
        ({"work_folder": " "}, "The work folder is empty"),
        ({"worker": "/nowhere/internal-inpaint"}, "names /nowhere/internal-inpaint"),
    ],
)
def test_a_wrong_setting_is_a_sentence_and_starts_nothing(host, shot, dumb, tmp_path, knobs, sentence):
    node = node_on(host, shot, dumb, **knobs)
    assert sentence in host.press(node, "start")
    assert list(tmp_path.iterdir()) == []
    assert "\n" not in host.says(node)


def test_not_connected_and_not_saved_are_sentences(host, shot, dumb):
    node = host.create("InternalInpaint")
    host.change(node, worker=dumb)
    assert host.press(node, "start").startswith("The plate is not connected")
    assert host.press(node, "stop").startswith("Nothing was trained here yet")
    assert host.press(node, "resume").startswith("Nothing was trained here yet")
    host.root["name"]._held = ""
    node = node_on(host, shot, dumb)
    assert host.press(node, "start").startswith("Save the script first, or set the work folder")


def test_a_script_never_saved_works_with_a_work_folder(host, shot, dumb, tmp_path):
    host.root["name"]._held = ""
    node = node_on(host, shot, dumb, work_folder=str(tmp_path / "außen" / "work"))
    host.press(node, "start")
    assert host.pump((tmp_path / "außen/work/InternalInpaint1/v001/worker.json").exists, 10)


def test_a_relative_work_folder_starts_at_the_project(host, shot, dumb, tmp_path):
    host.root["project_directory"].setValue(str(tmp_path / "project"))
    node = node_on(host, shot, dumb, work_folder="comp/inpaint")
    host.press(node, "start")
    assert host.pump((tmp_path / "project/comp/inpaint/InternalInpaint1/v001/worker.json").exists, 10)


def test_cancelling_the_render_leaves_nothing(host, shot, dumb, tmp_path):
    node = node_on(host, shot, dumb)
    node.setInput(0, host.create("Grade", "name Grade1", [node.input(0)]))
    host.cancel_after = 2
    assert host.press(node, "start") == "Rendering the plate was cancelled: nothing was started"
    assert list(tmp_path.iterdir()) == [], "not even a folder"
    assert (node["run"].value(), node["preparing"].value()) == ("", "")
    host.cancel_after = None
    assert started(host, node).name == "v001"


def test_a_cancelled_second_version_leaves_the_first(host, shot, dumb):
    node = node_on(host, shot, dumb)
    first = started(host, node)
    finish(first)
    grade = host.create("Grade", "name Grade1", [node.input(0)])
    node.setInput(0, grade)
    host.cancel_after = 1
    assert "cancelled" in host.press(node, "start")
    assert node["run"].value() == "v001"
    assert sorted(path.name for path in first.parent.iterdir()) == ["v001"]


def test_a_file_where_the_work_folder_should_be(host, shot, dumb, tmp_path):
    (tmp_path / "internal_inpaint").write_text("not a folder")
    node = node_on(host, shot, dumb)
    assert "cannot be made" in host.press(node, "start")
    node.setInput(0, host.create("Grade", "name Grade1", [node.input(0)]))
    assert "cannot be made" in host.press(node, "start")
    assert "choose another work folder" in host.says(node)
    assert (tmp_path / "internal_inpaint").read_text() == "not a folder"


def test_a_worker_that_never_answers_does_not_hold_nuke(host, shot, dumb):
    """``host`` asserts at its end that no call on the main thread took a second."""
    node = node_on(host, shot, dumb)
    started(host, node)
    host.pump(seconds=2.5)
    assert host.says(node) == "Starting the worker"
    host.press(node, "start")
    host.press(node, "stop")
    assert host.pump(lambda: "Stopping" in host.says(node), 10)
    host.press(node, "resume")
    assert host.pump(lambda: "under way already" in host.says(node), 10)
    host.delete(node)


def test_a_deleted_node_is_watched_no_more_and_its_worker_goes_on(host, shot, dumb):
    node = node_on(host, shot, dumb)
    folder = started(host, node)
    pid = json.loads((folder / "worker.json").read_text())["pid"]
    watching = host.module.toNode and sys.modules["internal_inpaint_plugin.nuke_watch"]._watchers[-1]
    host.delete(node)
    assert host.pump(lambda: not watching.is_alive(), 10)
    os.kill(pid, 0)


def test_a_script_that_vanishes_without_a_callback_ends_the_watching(host, shot, dumb):
    node = node_on(host, shot, dumb)
    started(host, node)
    watching = sys.modules["internal_inpaint_plugin.nuke_watch"]._watchers[-1]
    node._gone = True
    assert host.pump(lambda: not watching.is_alive(), 10)


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
    assert host.press(node, "start") == "v001 is still training: Stop it, or let it finish, then start again"


def finish(folder):
    """As if the worker had done it."""
    status = {"version": 1, "state": "done", "updated": "2999-01-01T00:00:00+00:00"}
    (folder / "status.json").write_text(json.dumps(status))


def versions(host, node, *steps):
    """The version that a start after each step takes."""
    found = []
    for step in steps:
        step()
        host.press(node, "start")
        folder = begun(host, node)
        finish(folder)
        found.append(folder.name)
    return found


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
        lambda: host.change(grade, xpos=50, label="hello", tile_color=7),
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


def test_knobs_that_do_nothing_are_grey(host, shot, dumb):
    node = node_on(host, shot, dumb)
    names = ("first", "last", "matte_frames", "grow", "feather")
    assert [node[name].enabled() for name in names] == [False] * 5
    host.change(node, range="custom", one_frame=True, auto_edges=False)
    assert [node[name].enabled() for name in names] == [True] * 5
    host.frame = 1003.0
    host.press(node, "this_frame")
    host.press(node, "this_frame")
    assert node["matte_frames"].value() == "1003"


def test_a_version_that_is_not_there_is_a_sentence(host, shot, dumb):
    node = node_on(host, shot, dumb)
    started(host, node)
    host.change(node, run="v007")
    assert "There is no version v007" in host.says(node)
    host.change(node, run="../../etc")
    assert "type one such as v001" in host.says(node)
    host.change(node, run="v001")
    assert host.pump(lambda: host.says(node) == "Starting the worker", 10)


def test_messages_hold_nothing_that_nuke_would_run_or_draw(host, tmp_path, dumb):
    folder = make_shot(tmp_path / "shot [b] <i>")
    from internal_inpaint_plugin.nuke_watch import plain

    assert plain("a [file delete x] <b>\nc") == "a (file delete x) (b) c"
    node = node_on(host, folder, "/nowhere [exit] <b>/internal-inpaint")
    assert "[" not in host.press(node, "start")


def test_the_engines_options_are_said_as_knobs(host):
    host.create("InternalInpaint")
    from internal_inpaint_plugin.nuke_watch import in_knobs

    said = "try --quality draft, --matte-frame 3, --matte-time 5 or another --work folder than --work"
    knobs = "try quality draft, matte from one frame 3, --matte-time 5 or another work folder than work folder"
    assert in_knobs(said) == knobs


def test_in_a_render_nothing_is_trained_and_no_node_is_edited(tmp_path, shot, dumb):
    with Host(tmp_path / "comp.nk", gui=False) as host:
        node = node_on(host, shot, dumb)
        before = host.save()
        for button in ("start", "resume", "stop"):
            host.press(node, button)
        assert host.save() == before
        assert all("trains only in Nuke's own window" in line for line in host.printed)
        assert len(host.printed) == 3
        assert not any(tmp_path.iterdir())
        assert not sys.modules["internal_inpaint_plugin.nuke_watch"]._watchers
        assert host.violations == []


def test_while_nuke_renders_its_window_trains_nothing(host, shot, dumb):
    node = node_on(host, shot, dumb)
    host.executing = True
    host.press(node, "start")
    host.executing = False
    assert "trains only" in host.printed[0]
    assert host.says(node) == ""


def test_one_press_on_a_slow_day(host, shot, dumb, monkeypatch):
    """Looking at the run takes long, as on a bad network drive: only the child thread waits."""
    node = node_on(host, shot, dumb)
    from internal_inpaint_plugin.run import Run

    look = Run.look
    monkeypatch.setattr(Run, "begin", lambda *_: time.sleep(2) or "started")
    monkeypatch.setattr(Run, "look", lambda run: time.sleep(1.5) or look(run))
    host.press(node, "start")
    host.pump(seconds=2)
    assert host.slowest < 1


def test_paths_as_windows_writes_them_stay_whole(host, shot, dumb):
    read = read_node(host, str(shot / "plate.%04d.exr"), name="Plate")
    node = node_on(host, shot, dumb)
    node.setInput(0, read)
    assert job(started(host, node))["plate"] == str(shot / "plate.%04d.exr")


@pytest.fixture
def slow_begin(monkeypatch, host):
    """Starting the worker takes as long as a bad network drive makes it; set it to let it go on."""
    import threading

    host.create("InternalInpaint")
    from internal_inpaint_plugin.run import Run

    begin, go_on = Run.begin, threading.Event()
    monkeypatch.setattr(Run, "begin", lambda *given: go_on.wait(20) and begin(*given))
    yield go_on
    go_on.set()


def test_start_pressed_twice_starts_one_worker(host, shot, dumb, slow_begin):
    node = node_on(host, shot, dumb)
    node.setInput(0, host.create("Grade", "name Grade1", [node.input(0)]))
    host.press(node, "start")
    rendered = len(host.executed)
    for button in ("start", "resume"):
        assert host.press(node, button) == "The worker is being started: wait a moment"
    slow_begin.set()
    folder = begun(host, node)
    assert len(host.executed) == rendered
    assert [path.name for path in folder.parent.iterdir()] == ["v001"]


def test_stop_pressed_while_it_starts_is_not_lost(host, shot, dumb, slow_begin):
    node = node_on(host, shot, dumb)
    host.press(node, "start")
    host.press(node, "stop")
    slow_begin.set()
    folder = begun(host, node)
    assert host.pump((folder / "stop").exists, 10)
    (folder / "stop").unlink()  # as a worker that came up slowly takes it for an old one
    assert host.pump((folder / "stop").exists, 10)


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


def test_in_proxy_mode_the_full_files_are_used(host, shot, dumb):
    node = node_on(host, shot, dumb)
    node.input(0)["proxy"].setValue(str(shot / "small.####.exr"))
    host.root["proxy"].setValue(True)
    assert job(started(host, node))["plate"] == str(shot / "plate.####.exr")
    assert host.root["proxy"].value() is True


def test_the_folder_is_listed_once_however_many_frames(host, shot, dumb, monkeypatch):
    node = node_on(host, shot, dumb)
    node.setInput(0, host.create("Grade", "name Grade1", [node.input(0)]))
    looks = []
    monkeypatch.setattr(os, "scandir", lambda place, look=os.scandir: looks.append(str(place)) or look(place))
    folder = started(host, node)
    assert looks.count(str(folder / "inputs")) == 1, "a thousand frames would be a million looks"


def test_files_of_another_padding_are_not_the_pattern(host, tmp_path, dumb):
    frames = (1, 2, 3)
    node = node_on(host, make_shot(tmp_path / "shot", frames), dumb, frames=frames)
    assert "No such file" in host.press(node, "start"), "Nuke reads plate.0001.exr, and only plate.1.exr is there"


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


def test_while_nuke_renders_no_node_is_edited_and_the_last_word_comes_later(host, shot, dumb):
    node = node_on(host, shot, dumb)
    folder = started(host, node)
    host.pump(seconds=0.5)
    host.executing = True
    finish(folder)
    reloads = list(host.reloads)
    host.pump(seconds=2.5)
    assert host.says(node) == "Starting the worker"
    assert host.reloads == reloads
    host.executing = False
    assert host.pump(lambda: host.says(node) == "Done", 5)
    assert host.reloads != reloads


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


def test_a_work_folder_that_nuke_would_number_is_a_sentence(host, shot, dumb, tmp_path):
    node = node_on(host, shot, dumb, work_folder=str(tmp_path / "take#3"))
    assert "The work folder has # in its name" in host.press(node, "start")
    host.change(node, work_folder="[file dirname [value root.name]]/inpaint")
    host.root["name"]._held = str(tmp_path / "v%02d/comp.nk")
    assert "The work folder has %02d in its name" in host.press(node, "start")
    assert list(tmp_path.iterdir()) == []


def test_a_very_long_message_is_cut(host):
    host.create("InternalInpaint")
    from internal_inpaint_plugin.nuke_watch import LONGEST, plain

    assert len(plain("word " * 1000)) == LONGEST


def test_undo_takes_back_the_artists_step_and_none_of_the_nodes(host, shot, dumb):
    node = node_on(host, shot, dumb)
    node.setInput(0, host.create("Grade", "name Grade1", [node.input(0)]))
    host.root["proxy"].setValue(True)
    host.undoable.clear()
    folder = started(host, node)
    finish(folder)
    assert host.pump(lambda: host.says(node) == "Done", 5)
    assert host.reloads
    assert host.undoable == []


def test_after_a_render_that_was_broken_off_the_viewer_shows_the_plate_again(host, shot, dumb):
    node = node_on(host, shot, dumb)
    host.module.tcl("set ::internal_inpaint_render 1")
    with pytest.raises(RuntimeError):
        host.show(node, 1001)
    host.change(node, output="matte")
    assert host.show(node, 1001).files == host.show(node.input(0), 1001).files

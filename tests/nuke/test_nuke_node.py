"""The node's buttons in a stand-in of Nuke, with a worker that never answers: what is started, watched and said."""

import json
import os
import sys
import threading

import pytest
from nuke_driving import begun, finish, started
from nuke_shots import make_shot, node_on
from nuke_standin import Host
from nuke_standin.host import GIZMOS


def test_a_worker_that_never_answers_does_not_hold_nuke(host, shot, dumb):
    """``host`` asserts at its end that nothing on the main thread waited."""
    node = node_on(host, shot, dumb)
    started(host, node)
    host.pump(seconds=2.5)
    assert host.says(node) == "Starting the worker"
    host.press(node, "start")
    host.press(node, "stop")
    assert host.pump(lambda: "Stopping" in host.says(node), 10)
    host.press(node, "resume")
    assert host.pump(lambda: "already running" in host.says(node), 10)
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
        assert all("training starts only in Nuke's own window" in line for line in host.printed)
        assert len(host.printed) == 3
        assert not any(tmp_path.iterdir())
        assert not sys.modules["internal_inpaint_plugin.nuke_watch"]._watchers
        assert host.violations == []


def test_while_nuke_renders_its_window_trains_nothing(host, shot, dumb):
    node = node_on(host, shot, dumb)
    host.executing = True
    host.press(node, "start")
    host.executing = False
    assert "training starts only" in host.printed[0]
    assert host.says(node) == ""


def test_one_press_on_a_slow_day(host, shot, dumb, monkeypatch):
    """Starting the worker and looking at the run do not return, as on a dead network drive: Nuke goes on."""
    node = node_on(host, shot, dumb)
    from internal_inpaint_plugin.run import Run

    entered, go_on = [], {"begin": threading.Event(), "look": threading.Event()}

    def held(name, call):
        def wait(*given):
            entered.append((name, threading.current_thread() is host.main))
            assert go_on[name].wait(60)
            return call(*given)

        return wait

    for name in go_on:
        monkeypatch.setattr(Run, name, held(name, getattr(Run, name)))
    host.press(node, "start")
    for name, event in go_on.items():
        assert host.pump(lambda name=name: (name, False) in entered, 10)
        host.frame += 1
        host.press(node, "this_frame")
        assert str(int(host.frame)) in node["matte_frames"].value(), "the main thread is free"
        event.set()
    assert not any(on_main for _, on_main in entered)


@pytest.fixture
def slow_begin(monkeypatch, host):
    """Starting the worker takes as long as a bad network drive makes it; set it to let it go on."""
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
        assert host.press(node, button) == "The worker is starting: wait a moment"
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


def test_after_a_cancelled_start_the_viewer_shows_the_plate(host, shot, dumb):
    """Nuke calls afterRender when all frames are finished; whether of a cancelled render, no document says."""
    host.tells_of_broken_renders = False
    exec(compile((GIZMOS / "init.py").read_text(), "init.py", "exec"), {"__file__": str(GIZMOS / "init.py")})
    node = node_on(host, shot, dumb)
    node.setInput(0, host.create("Grade", "name Grade1", [node.input(0)]))
    host.cancel_after = 2
    assert "cancelled" in host.press(node, "start")
    assert host.show(node, 1001).files == host.show(node.input(0), 1001).files


def test_what_a_run_says_is_no_change_of_the_script(host, shot, dumb):
    node = node_on(host, shot, dumb)
    folder = started(host, node)
    assert host.root.modified(), "which version is shown is to be saved"
    host.root.setModified(False)  # saved
    finish(folder)
    assert host.pump(lambda: host.says(node) == "Done", 5)
    assert host.reloads
    assert not host.root.modified()
    host.change(node, quality="final")
    host.press(node, "stop")
    assert host.root.modified(), "what the artist has changed stays to be saved"

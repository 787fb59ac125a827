"""The node with the real worker on real files, in a stand-in of Nuke: what an artist sees and a farm renders."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from nuke_shots import FRAMES, make_shot, node_on, pixels, write_exr
from nuke_standin import Host
from nuke_standin.host import GIZMOS

from clips import shared_folder

DONE = "Done: validation PSNR"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the worker's, too


def checked(host):
    """A host that was used as Nuke may be used."""
    assert host.violations == []


def wait(host, node, words, seconds=180):
    assert host.pump(lambda: words in host.says(node), seconds), f"waited for {words!r}: {host.says(node)!r}"


def assert_clean(host, node, frames=FRAMES, plate=None, view="main"):
    """Every frame is finished; outside the matte it is the plate bit for bit, inside it is not."""
    plate = plate or node.input(0)
    for frame in frames:
        host.change(node, output="result")
        shown, before = host.show(node, frame, view), host.show(plate, frame, view)
        assert any("/result/" in path for path in shown.files), f"{frame} is the plate passed through"
        host.change(node, output="matte")
        matte = host.show(node, frame, view).over(shown.data).plane("rgba.alpha")
        before = before.over(shown.data)
        assert matte.max() == 1
        assert 0 < (matte == 0).mean() < 1
        outside = matte == 0
        assert np.array_equal(shown.rgb()[outside], before.rgb()[outside]), f"frame {frame}"
        assert not np.array_equal(shown.rgb()[matte == 1], before.rgb()[matte == 1])
    host.change(node, output="result")


def worker_of(folder, version="v001"):
    status = folder / "internal_inpaint/InternalInpaint1" / version / "status.json"
    return json.loads(status.read_text())["pid"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, worker):
    """A run seen from the first press to the last frame: a folder, and the saved script in it."""
    folder = tmp_path_factory.mktemp("finished") / "shot ü 1"
    make_shot(folder / "in")
    seen = []
    with Host(folder / "comp.nk") as host:
        node = node_on(host, folder / "in", worker)
        assert host.press(node, "start") == "Starting the worker"

        def look():
            seen.append(tuple(host.says(node, name) for name in ("message", "progress", "psnr")))
            return seen[-1][0].startswith("Done")

        assert host.pump(look, 180), seen[-1]
        shown = {"InternalInpaint1.Result", "InternalInpaint1.Preview"}
        assert shown <= set(host.reloads), "new pictures reach the Viewer by themselves"
        checked(host)
        script = host.save()
    return folder, script, seen


@pytest.fixture
def reopened(finished, tmp_path):
    """A copy of the finished shot, its script open in a fresh Nuke; the copy also proves that it can be moved."""
    folder = tmp_path / "moved"
    shutil.copytree(finished[0], folder)
    with Host(folder / "comp.nk") as host:
        host.open(finished[1])
        yield host, host._to_node("InternalInpaint1"), folder
        checked(host)


def test_from_start_to_finish_it_says_how_it_goes(finished):
    messages = list(dict.fromkeys(message for message, _, _ in finished[2]))
    assert messages[0] == "Starting the worker"
    assert messages[-1].startswith(DONE)
    assert len(messages) >= 3, "stages in between, as far as a look a second catches them"
    percent = [int(text.split()[0]) for _, text, _ in finished[2] if text]
    assert percent == sorted(percent)
    assert finished[2][-1][1] == "100 %"
    assert finished[2][-1][2].endswith(" dB")


def test_reopened_it_finds_its_frames(reopened):
    host, node, _ = reopened
    wait(host, node, DONE)
    assert_clean(host, node)
    assert host.show(node, 1002).data == (0, 0, 64, 48)


def test_what_the_output_menu_shows(reopened, finished):
    host, node, folder = reopened
    result = folder / "internal_inpaint/InternalInpaint1/v001/result/result.1002.exr"
    held, names = pixels(result)
    channel = {name: held[..., index] for index, name in enumerate(names)}
    expected = {
        "result": ("R", "G", "B"),
        "fill only": ("inpaint.R", "inpaint.G", "inpaint.B"),
        "matte": ("inpaint.A",) * 3,
        "confidence": ("confidence.Y",) * 3,
    }
    for output, wanted in expected.items():
        host.change(node, output=output)
        shown = host.show(node, 1002)
        assert str(result) in shown.files
        assert np.array_equal(shown.rgb(), np.stack([channel[name] for name in wanted], -1)), output
    host.change(node, output="fill only")
    assert np.array_equal(host.show(node, 1002).plane("rgba.alpha"), channel["inpaint.A"]), "premultiplied"
    host.change(node, output="preview")
    (sheet,) = host.show(node, 1002).files
    assert sheet.endswith("preview/contact_sheet.png")


def test_where_no_frame_is_the_viewer_shows_the_plate(reopened):
    host, node, folder = reopened
    (folder / "internal_inpaint/InternalInpaint1/v001/result/result.1003.exr").unlink()
    shutil.rmtree(folder / "internal_inpaint/InternalInpaint1/v001/preview")
    for output in ("result", "fill only", "matte", "confidence", "preview"):
        host.change(node, output=output)
        shown = host.show(node, 1003)
        assert shown.files == host.show(node.input(0), 1003).files, output


def test_a_second_node_on_the_plate_has_frames_of_its_own(reopened, worker):
    host, node, folder = reopened
    second = node_on(host, folder / "in", worker)
    assert second.name() == "InternalInpaint2"
    assert host.show(second, 1002).files == host.show(second.input(0), 1002).files
    host.change(second, worker="/nowhere/internal-inpaint")
    assert "/nowhere/internal-inpaint" in host.press(second, "start")
    assert host.says(node) != host.says(second)


def test_pressed_again_it_is_done_already(finished):
    folder, script, _ = finished
    with Host(folder / "comp.nk") as host:
        host.open(script)
        node = host._to_node("InternalInpaint1")
        wait(host, node, DONE)
        before = worker_of(folder)
        host.press(node, "start")
        wait(host, node, DONE)
        assert worker_of(folder) == before
        assert sorted(path.name for path in (folder / "internal_inpaint/InternalInpaint1").iterdir()) == ["v001"]
        checked(host)


def write_after(host, node, folder):
    """A Write under the node, as a comp ends."""
    write = host.create("Write", "file_type exr\n raw true\n channels rgb\n create_directories true", [node])
    write["file"].setValue(str(folder / "out/comp.####.exr"))
    return write


def install_callbacks():
    exec(compile((GIZMOS / "init.py").read_text(), "init.py", "exec"), {"__file__": str(GIZMOS / "init.py")})


@pytest.mark.parametrize("plugin", [True, False], ids=["with the plugin", "without"])
def test_a_farm_renders_the_finished_frames(finished, tmp_path, plugin, monkeypatch):
    folder, script, _ = finished
    if not plugin:
        monkeypatch.setitem(sys.modules, "internal_inpaint_plugin.nuke_node", None)  # importing it fails
    with Host(folder / "comp.nk", gui=False) as host:
        host.open(script)
        if plugin:
            install_callbacks()
        node = host._to_node("InternalInpaint1")
        host.execute(write_after(host, node, tmp_path), 1001, 1004)
        for frame in FRAMES:
            written, _ = pixels(tmp_path / f"out/comp.{frame}.exr")
            result, _ = pixels(folder / f"internal_inpaint/InternalInpaint1/v001/result/result.{frame}.exr")
            assert np.array_equal(written, result[..., :3])
        checked(host)


@pytest.mark.parametrize("gui", [True, False], ids=["in the window", "on a farm"])
def test_a_render_without_frames_fails_with_a_sentence_or_passes_through(finished, tmp_path, gui):
    folder, script, _ = finished
    shutil.copytree(folder / "in", tmp_path / "in")
    with Host(tmp_path / "comp.nk", gui=gui) as host:
        host.open(script)
        install_callbacks()
        node = host._to_node("InternalInpaint1")
        write = write_after(host, node, tmp_path)
        with pytest.raises(
            RuntimeError, match=r"^InternalInpaint1 has no finished frames in .*: wait until its training"
        ):
            host.execute(write, 1001, 1004)
        assert not (tmp_path / "out").exists()
        host.change(node, without_frames="pass through")
        host.execute(write, 1001, 1004)
        passed, _ = pixels(tmp_path / "out/comp.1002.exr")
        assert np.array_equal(passed, host.show(node.input(0), 1002).rgb())
        checked(host)


def test_a_render_that_meets_one_missing_frame_names_it(finished, tmp_path):
    folder, script, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    gone = copy / "internal_inpaint/InternalInpaint1/v001/result/result.1003.exr"
    gone.unlink()
    for gui in (True, False):
        with Host(copy / "comp.nk", gui=gui) as host:
            host.open(script)
            install_callbacks()
            node = host._to_node("InternalInpaint1")
            with pytest.raises(RuntimeError, match=r"result\.1003\.exr: Read error"):
                host.execute(write_after(host, node, tmp_path), 1001, 1004)
            if gui:
                assert host.show(node, 1003).files, "the Viewer shows the plate again"
            checked(host)


def test_a_render_that_does_not_use_the_node_does_not_care(finished, tmp_path):
    with Host(tmp_path / "comp.nk", gui=False) as host:
        host.open(finished[1])
        install_callbacks()
        node = host._to_node("InternalInpaint1")
        switch = host.create("Switch", "name Switch1", [node.input(0), node])
        host.execute(write_after(host, switch, tmp_path), 1001, 1001)
        switch["which"].setValue(1)
        with pytest.raises(RuntimeError, match="no finished frames"):
            host.execute(write_after(host, switch, tmp_path), 1001, 1001)
        checked(host)


def test_killed_stopped_and_reopened_it_ends_in_the_picture(tmp_path, worker):
    folder = tmp_path / "shot"
    make_shot(folder / "in")
    with Host(folder / "comp.nk") as host:
        node = node_on(host, folder / "in", worker, time_limit=5.0)
        host.press(node, "start")
        wait(host, node, "step")
        script = host.save()
        pid = worker_of(folder)
        checked(host)
    # Nuke has crashed; the worker goes on, and the script that is opened again finds it.
    os.kill(pid, 0)
    with Host(folder / "comp.nk") as host:
        host.open(script)
        node = host._to_node("InternalInpaint1")
        wait(host, node, "step")
        host.press(node, "start")
        wait(host, node, "step")
        assert (node["run"].value(), worker_of(folder)) == ("v001", pid), "pressed again, nothing is started"

        os.kill(pid, signal.SIGKILL)
        wait(host, node, "no longer running")
        assert "press Resume to continue" in host.says(node)

        rendered = len(host.executed)
        host.press(node, "resume")
        wait(host, node, "step")
        host.press(node, "stop")
        wait(host, node, "Stopped: press Resume to continue")

        host.change(node, time_limit=0.02)
        host.press(node, "resume")
        wait(host, node, DONE)
        assert len(host.executed) == rendered, "Resume renders nothing"
        assert_clean(host, node)
        host.press(node, "resume")
        host.pump(seconds=1.5)
        assert DONE in host.says(node)
        host.press(node, "stop")
        wait(host, node, "nothing is running")
        checked(host)


def test_two_views_of_a_changed_plate_whose_window_moves_and_then_another_matte(tmp_path, worker):
    folder = tmp_path / "stereo"
    views = ("left", "right")
    make_shot(folder / "in", views=views, moving=True)
    with Host(folder / "comp.nk", views=views) as host:
        node = node_on(host, folder / "in", worker)
        grade = host.create("Grade", "name Grade1", [node.input(0)])
        host.change(grade, multiply=1.25)
        node.setInput(0, grade)
        host.press(node, "start")
        wait(host, node, DONE)
        for view in views:
            assert_clean(host, node, view=view)
        left, right = (host.show(node, 1002, view).rgb() for view in views)
        assert not np.array_equal(left, right)
        assert host.show(node, 1003, "left").data == (8, -1, 64, 48)

        make_shot(folder / "in", views=views, moving=True, hole=8)
        host.press(node, "start")
        assert node["run"].value() == "v002"
        assert host.show(node, 1002, "left").files == host.show(grade, 1002, "left").files, "nothing finished yet"
        wait(host, node, "Training")
        os.kill(worker_of(folder, "v002"), signal.SIGKILL)
        host.change(node, run="v001")
        wait(host, node, DONE)
        assert np.array_equal(host.show(node, 1002, "left").rgb(), left), "the old version stays"
        checked(host)


def test_the_beachball_whose_window_leaves_the_display(tmp_path, worker):
    plate = shared_folder() / "exr/beachball/singlepart.####.exr"
    if not plate.parent.is_dir():
        pytest.skip(f"{plate.parent} is missing: set INTERNAL_INPAINT_SHARED")
    frames, views = (1, 2), ("right", "left")
    for frame in frames:
        matte = np.zeros((1556, 2048), np.float32)
        matte[560:660, 1100:1180] = 1
        write_exr(tmp_path / f"in/matte.{frame:04d}.exr", {"A": matte})
    with Host(tmp_path / "comp.nk", views=views) as host:
        node = node_on(host, tmp_path / "in", worker, frames=frames)
        node.input(0)["file"].setValue(str(plate))
        host.press(node, "start")
        first = tmp_path / "internal_inpaint/InternalInpaint1/v001/result/result.0001.exr"
        assert host.pump(first.exists, 180), host.says(node)
        os.kill(worker_of(tmp_path), signal.SIGKILL)
        for view in views:
            assert_clean(host, node, (1,), view=view)
        assert host.show(node, 1, "left").data == (654, 245, 911, 876)
        checked(host)


def test_what_the_worker_refuses_is_said_in_its_sentence(tmp_path, worker):
    folder = tmp_path / "empty"
    make_shot(folder / "in")
    for frame in FRAMES:
        write_exr(folder / f"in/matte.{frame}.exr", {"A": np.zeros((48, 64), np.float32)})
    with Host(folder / "comp.nk") as host:
        node = node_on(host, folder / "in", worker)
        host.press(node, "start")
        assert host.pump(lambda: "matte" in host.says(node), 120), host.says(node)
        assert host.says(node).endswith("is empty on all frames; check the file and matte channel")
        assert host.show(node, 1001).files == host.show(node.input(0), 1001).files
        checked(host)


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1536k", "none", str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a small tmpfs cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_a_sentence_and_what_was_there_stays(small_disk, tmp_path, worker):
    make_shot(tmp_path / "in")
    with Host(tmp_path / "comp.nk") as host:
        node = node_on(host, tmp_path / "in", worker, work_folder=str(small_disk / "work"))
        plate = host.create("Grade", "name Grade1", [node.input(0)])
        node.setInput(0, plate)
        (small_disk / "filler").write_bytes(b"x" * 1_520_000)
        host.press(node, "start")
        assert host.says(node).startswith("The disk is full, so the plate could not be rendered"), host.says(node)
        assert sorted(path.name for path in small_disk.iterdir()) == ["filler"]

        (small_disk / "filler").write_bytes(b"x" * 1_150_000)
        host.press(node, "start")
        host.pump(
            lambda: node["run"].value() and not host.says(node).startswith(("Start", "Open", "Read", "Train")), 120
        )
        assert host.says(node).endswith("free disk space or choose another work folder")
        (small_disk / "filler").unlink()
        checked(host)

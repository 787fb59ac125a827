"""The Fuse's pictures: which file each frame of the comp shows, the right way up, and what stands in for one
that is missing. Checked against the stand-in of Fusion with a numbered chart."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from fusion_standin import FUSE, NUMBERINGS, ROOT, Host, read
from fusion_standin.chart import write_chart
from fusion_standin.shots import chart, finished_run, write

pytest.importorskip(
    "lupa", reason="lupa is not installed, so there is no LuaJIT to run the Fuse with: install .[dev]"
)


def node_of(tmp_path, frames, offset=0, states=None, **host_options):
    """A host and a node that shows a finished run of these frames."""
    finished_run(tmp_path / "InternalInpaint/InternalInpaint1/v001", frames, states)
    host = Host(tmp_path, **host_options)
    node = host.node(saved={"RunVersion": "v001", "NodeFolder": "InternalInpaint1", "FrameOffset": offset})
    return host, node


def plate():
    return np.full((24, 32, 4), 0.25, np.float32)


@pytest.mark.parametrize("numbering", NUMBERINGS)
@pytest.mark.parametrize("first", [0, 1, 1001])
def test_every_frame_is_found_whatever_number_the_host_wants(tmp_path, numbering, first):
    frames = range(first, first + 5)
    _, node = node_of(tmp_path, frames, numbering=numbering)
    for frame in frames:
        assert np.array_equal(node.process(frame), chart(frame)), f"frame {frame} is another, or upside down"


@pytest.mark.parametrize("numbering", NUMBERINGS)
def test_one_finished_frame_alone(tmp_path, numbering):
    _, node = node_of(tmp_path, [1005], numbering=numbering)
    assert np.array_equal(node.process(1005), chart(1005))


@pytest.mark.parametrize("numbering", NUMBERINGS)
def test_frames_that_come_one_after_the_other(tmp_path, numbering):
    _, node = node_of(tmp_path, [1], numbering=numbering)
    assert np.array_equal(node.process(1), chart(1))
    for frame in (2, 3, 4):
        write(tmp_path / f"InternalInpaint/InternalInpaint1/v001/result/result.{frame:04d}.exr", chart(frame))
        for shown in range(1, frame + 1):
            assert np.array_equal(node.process(shown), chart(shown))


def test_a_comp_from_0_shows_files_from_1001(tmp_path):
    _, node = node_of(tmp_path, range(1001, 1005), offset=1001)
    assert np.array_equal(node.process(0), chart(1001))
    assert np.array_equal(node.process(3), chart(1004))
    node.set(FrameOffset=1000)
    assert np.array_equal(node.process(1), chart(1001))


@pytest.mark.parametrize(("control", "numbering"), [(1, "number"), (2, "count"), (3, "alone"), (3, "given")])
def test_the_numbering_can_be_set_by_hand(tmp_path, control, numbering):
    _, node = node_of(tmp_path, range(1001, 1005), numbering=numbering)
    node.set(FileNumbers=control)
    for frame in range(1001, 1005):
        assert np.array_equal(node.process(frame), chart(frame))


def test_what_an_image_says_of_its_file_is_believed_over_the_number(tmp_path):
    _, node = node_of(tmp_path, range(1001, 1005), numbering="count", metadata=True)
    node.set(FileNumbers=3)  # wrong for this host: frame 1001 for every one of them
    assert np.array_equal(node.process(1001), chart(1001))
    assert not np.array_equal(node.process(1003, plate()), chart(1001)), "another frame's picture is shown"


def test_a_missing_frame_shows_the_plate_with_a_label(tmp_path):
    _, node = node_of(tmp_path, [1001, 1002, 1004])
    given = plate()
    out = node.process(1003, given)
    assert np.array_equal(out[10:], given[10:]), "the plate below the label is as it was"
    assert not np.array_equal(out[:10], given[:10]), "there is a label"
    assert np.array_equal(given, plate()), "the host's own picture is not drawn on"


@pytest.mark.parametrize("window", [(4, 3, 28, 21), (-8, -6, 40, 30), (0, 0, 2, 2), (40, 0, 50, 24)])
def test_the_label_stays_on_the_pixels_that_are_there(tmp_path, window):
    """One outside the plate's data window would crash the host; the stand-in raises."""
    _, node = node_of(tmp_path, [1001])
    out = node.process(1003, plate(), window=window)
    left, bottom, right, top = window
    inside = np.zeros((24, 32), bool)
    inside[max(0, 24 - top) : max(0, 24 - bottom), max(0, left) : max(0, right)] = True
    drawn = np.any(out != plate(), axis=-1)
    assert not drawn[~inside].any()
    assert drawn.any() == (right - left > 10 and left < 32)


def test_asked_for_the_size_alone_the_plate_is_passed_as_it_is(tmp_path):
    _, node = node_of(tmp_path, [1001])
    assert np.array_equal(node.process(1003, plate(), size_only=True), plate())
    assert np.array_equal(node.process(1001, size_only=True), chart(1001)), "without a plate, the frame's own size"


def test_a_missing_frame_in_a_render_fails_with_a_sentence_or_passes_the_plate(tmp_path):
    host, node = node_of(tmp_path, [1001])
    assert node.process(1003, plate(), final=True) is None
    assert "frame 1003: no finished frame: train the shot first" in host.printed[-1]
    node.set(MissingInRender=1)
    assert np.array_equal(node.process(1003, plate(), final=True), plate()), "no label in a render"
    assert np.array_equal(node.process(1001, plate(), final=True), chart(1001))
    assert not host.commands, "a render never starts anything"


def test_without_anything_the_node_passes_the_plate_on(tmp_path):
    node = Host(tmp_path).node()
    out = node.process(5, plate())
    assert np.array_equal(out[10:], plate()[10:])
    assert node.process(5) is None


def test_a_still_is_there_at_all_times(tmp_path):
    _, node = node_of(tmp_path, [1], offset=1001)
    job = {"version": 1, "plate": "/shots/still_v003.exr", "output": "result/result.####.exr"}
    (tmp_path / "InternalInpaint/InternalInpaint1/v001/job.json").write_text(json.dumps(job))
    for time in (0, 1, 86):
        assert np.array_equal(node.process(time, final=True), chart(1))


def test_a_damaged_frame_is_no_crash(tmp_path):
    _, node = node_of(tmp_path, [1001, 1002])
    (tmp_path / "InternalInpaint/InternalInpaint1/v001/result/result.1002.exr").write_bytes(b"nothing")
    assert node.process(1002, plate()) is not None


def test_every_element_is_shown_from_its_own_files_or_it_says_how_to_get_them(tmp_path):
    _, node = node_of(tmp_path, [1001])
    run = tmp_path / "InternalInpaint/InternalInpaint1/v001"
    for show, name in enumerate(("fill", "matte", "confidence"), 1):
        node.set(Show=show)
        assert not np.array_equal(node.process(1001, plate()), chart(1001)), "the result is not passed off as another"
        assert f"no files of the {name}: press Resume to write them" in node.status
        write(run / f"elements/{name}.1001.exr", chart(7 + show))
        assert np.array_equal(node.process(1001), chart(7 + show))


def test_the_chart_that_the_checklist_names(tmp_path):
    run = write_chart(tmp_path, 1001, 2)
    node = Host(tmp_path).node(saved={"NodeFolder": "Chart", "RunVersion": "v001", "WorkFolder": str(tmp_path)})
    assert np.array_equal(node.process(1002), read(run / "result/result.1002.exr"))
    assert node.press("RefreshStatus") == "Done"


def test_newer_and_damaged_files_end_in_a_sentence(tmp_path):
    _, node = node_of(tmp_path, [1001])
    status = tmp_path / "InternalInpaint/InternalInpaint1/v001/status.json"
    status.write_text("{ nothing")
    assert "is damaged" in node.press("RefreshStatus")
    status.write_text(json.dumps({"state": "done", "version": 2}))
    assert "was written by a newer version of Internal Inpaint: update the node" in node.press("RefreshStatus")
    status.write_text(json.dumps({"state": "pondering"}))
    assert node.press("RefreshStatus") == "The worker reports the unknown state pondering: update the node"


def test_what_a_status_says_wrongly_is_left_out(tmp_path):
    _, node = node_of(tmp_path, [1001])
    status = tmp_path / "InternalInpaint/InternalInpaint1/v001/status.json"
    said = {"state": "done", "psnr": None, "eta_s": None, "step": None, "error": None, "message": None}
    for wrong in ({}, {"psnr": "x"}, {"psnr": float("nan")}, {"pid": "12", "host": 7, "updated": 5}):
        status.write_text(json.dumps(said | wrong))
        assert node.press("RefreshStatus") == "Done"
    status.write_text(json.dumps({"state": "running", "stage": "train", "eta_s": "soon", "percent": True, "step": 7}))
    assert node.press("RefreshStatus").startswith("No update from the worker")


def test_the_workers_last_warning_is_behind_the_status(tmp_path):
    _, node = node_of(tmp_path, [1001])
    status = tmp_path / "InternalInpaint/InternalInpaint1/v001/status.json"
    status.write_text(json.dumps({"state": "done", "warnings": ["the object may be lost in frame(s) 7"]}))
    assert node.press("RefreshStatus") == "Done. Warning: the object may be lost in frame(s) 7"
    status.write_text(json.dumps({"state": "done", "warnings": ["one", "two"]}))
    node.process(1002, plate())
    assert node.status == "Done. The last of 2 warnings: two"
    status.write_text(json.dumps({"state": "done", "warnings": [7]}))
    assert node.press("RefreshStatus") == "Done"


@pytest.mark.skipif(shutil.which("luacheck") is None, reason="luacheck is not installed (Debian: lua-check)")
def test_luacheck_has_nothing_to_say():
    done = subprocess.run(
        ["luacheck", "--config", str(ROOT / ".luacheckrc"), "--no-color", str(FUSE)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout

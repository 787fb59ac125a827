"""What the node gives to its job: files as they are or rendered, every setting, or one sentence."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from nuke_driving import finish, job, started
from nuke_shots import FRAMES, make_shot, matte_plane, node_on, pixels, read_node, write_exr


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
    host.change(node, grain=0.5, auto_edges=False, grow=3.0, feather=1.5, one_frame=True, matte_frames="1003, 1002")
    told = job(started(host, node))
    assert (told["frames"], told["matte_frame"], told["quality"]) == ("1002-1004", "1002,1003", "final")
    assert (told["grow"], told["feather"], told["grain"], told["device"]) == (3.0, 1.5, 0.5, "cuda")
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


@pytest.mark.parametrize(
    ("working", "read", "untouched"),
    [
        ("scene_linear (ACES - ACEScg)", "default (ACES - ACEScg)", True),
        ("ACES - ACEScg", "scene_linear (ACES - ACEScg)", True),
        ("ACES - ACEScg", "ACES - ACEScc", False),
        ("Linear Rec.709 (sRGB)", "scene_linear (Linear Rec.709 (sRGB))", True),
        ("Linear Rec.709 (sRGB)", "sRGB Encoded Rec.709 (sRGB)", False),
        ("scene_linear (Linear Rec.709 (sRGB))", "sRGB", False),
    ],
)
def test_only_files_in_the_working_space_are_untouched(host, shot, dumb, working, read, untouched):
    node = node_on(host, shot, dumb)
    host.root["colorManagement"].setValue("OCIO")
    host.root["workingSpaceLUT"].setValue(working)
    for above in (node.input(0), node.input(1)):
        host.change(above, colorspace=read)
    nuke_inputs = sys.modules["internal_inpaint_plugin.nuke_inputs"]
    assert (nuke_inputs.untouched(node.input(0), list(FRAMES)) is not None) == untouched


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
        ({"one_frame": True}, "type the frame"),
        ({"one_frame": True, "matte_frames": "1012"}, "1012 is outside the frame range 1001-1004"),
        ({"one_frame": True, "matte_frames": "all"}, "all is not a frame number"),
        ({"time_limit": -1.0}, "The time limit is negative"),
        ({"work_folder": " "}, "The work folder is not set"),
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
    assert host.press(node, "stop").startswith("Nothing has been trained here yet")
    assert host.press(node, "resume").startswith("Nothing has been trained here yet")
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
    assert host.press(node, "start") == "Rendering the plate was cancelled: training was not started"
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
    assert "cannot be created" in host.press(node, "start")
    node.setInput(0, host.create("Grade", "name Grade1", [node.input(0)]))
    assert "cannot be created" in host.press(node, "start")
    assert "choose another work folder" in host.says(node)
    assert (tmp_path / "internal_inpaint").read_text() == "not a folder"


def test_paths_as_windows_writes_them_stay_whole(host, shot, dumb):
    read = read_node(host, str(shot / "plate.%04d.exr"), name="Plate")
    node = node_on(host, shot, dumb)
    node.setInput(0, read)
    assert job(started(host, node))["plate"] == str(shot / "plate.%04d.exr")


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


def test_a_work_folder_that_nuke_would_number_is_a_sentence(host, shot, dumb, tmp_path):
    node = node_on(host, shot, dumb, work_folder=str(tmp_path / "take#3"))
    assert "The work folder has # in its name" in host.press(node, "start")
    host.change(node, work_folder="[file dirname [value root.name]]/inpaint")
    host.root["name"]._held = str(tmp_path / "v%02d/comp.nk")
    assert "The work folder has %02d in its name" in host.press(node, "start")
    assert list(tmp_path.iterdir()) == []


def test_files_read_inside_a_studios_gizmo_are_inputs(host, tmp_path):
    folder = make_shot(tmp_path / "shot")
    read = f" Read {{\n  inputs 0\n  file {folder}/matte.####.exr\n  name Inside\n }}\n"
    (gizmo,) = host.paste(f"Group {{\n inputs 0\n name Roto1\n}}\n{read} Output {{\n  name Output1\n }}\nend_group\n")
    gizmo._cls = "StudioRoto"
    host.create("InternalInpaint")
    from internal_inpaint_plugin.nuke_inputs import upstream

    before = upstream(gizmo)
    assert upstream(gizmo) == before
    write_exr(folder / "matte.1003.exr", {"A": matte_plane(1003, size=9)})
    assert upstream(gizmo) != before

"""Elements: fill, matte and confidence as sequences of their own, for hosts that read one layer only."""

import json
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest
from running import internal_inpaint
from shot_files import make_shot
from test_confidence_layer import judged

from internal_inpaint.errors import BadInput
from internal_inpaint.shot import ElementWriter, FrameWriter, ShotSettings, open_shot


def read(path):
    """Pixels ``[h, w, channels]`` float32, channel names and spec."""
    picture = oiio.ImageBuf(str(path))
    return picture.get_pixels(oiio.FLOAT), picture.spec().channelnames, picture.spec()


def window_of(spec):
    return (spec.x, spec.y, spec.width, spec.height, spec.full_x, spec.full_y, spec.full_width, spec.full_height)


def test_fill_over_the_plate_is_the_result_and_the_matte_is_what_was_composited_with(tmp_path):
    shot = make_shot(tmp_path, grow=1, feather=2)
    picture = shot.pictures[1]
    patches = {"": judged(shot, picture)}
    writer = ElementWriter(shot, str(tmp_path / "elements"))
    assert not writer.has(picture.frame)
    writer.write(picture.frame, patches)
    assert writer.has(picture.frame)
    assert sorted(path.name for path in (tmp_path / "elements").iterdir()) == [
        f"{name}.{picture.frame}.exr" for name in ("confidence", "fill", "matte")
    ]
    (fill, names, spec), (matte, _, _), (sure, sure_names, _) = (
        read(tmp_path / "elements" / f"{name}.{picture.frame}.exr") for name in ("fill", "matte", "confidence")
    )
    assert (names, sure_names) == (("R", "G", "B", "A"), ("R", "G", "B"))
    assert window_of(spec) == window_of(read(shot.plate_header(picture.frame).path)[2])
    layered = FrameWriter(shot, str(tmp_path / "clean.####.exr"), fill_layer=True).write(picture.frame, patches)
    pixels, channels, _ = read(layered)
    layer = pixels[..., [channels.index(f"inpaint.{c}") for c in "RGBA"]]
    np.testing.assert_array_equal(fill, layer)
    alpha = fill[..., 3]
    assert (alpha > 0).any()
    assert (alpha == 0).any()
    np.testing.assert_array_equal(matte, np.repeat(alpha[..., None], 4, axis=2))
    assert (sure[alpha > 0] == 0.25).all()
    assert (sure[alpha == 0] == 1).all()


def test_names_that_are_taken_are_refused_before_any_work(tmp_path):
    shot = make_shot(tmp_path, grow=0, feather=0)
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="is a file"):
        ElementWriter(shot, str(tmp_path / "file"))
    writer = FrameWriter(shot, str(tmp_path / "e" / "fill.####.exr"))
    with pytest.raises(BadInput, match="is also the fill file of --elements"):
        ElementWriter(shot, str(tmp_path / "e")).refuse_result(writer)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / f"matte.{shot.frames[0]}.exr").symlink_to(Path(shot.plate_header(shot.frames[0]).path))
    with pytest.raises(BadInput, match=r"--elements .* would overwrite the plate"):
        ElementWriter(shot, str(tmp_path / "taken"))


def test_no_second_sequence_comes_into_a_folder_that_is_an_input(sample):
    """The same job could not be run again: a folder names its only sequence."""
    plates, mattes = Path(sample.plate).parent, Path(sample.matte).parent
    by_folder = open_shot(ShotSettings(str(plates), str(mattes)))
    for what, folder in (("plate", plates), ("matte", mattes)):
        with pytest.raises(BadInput, match=f"given as the {what}"):
            ElementWriter(by_folder, str(folder))
        with pytest.raises(BadInput, match=f"given as the {what}"):
            FrameWriter(by_folder, str(folder / "clean.####.exr"))
    FrameWriter(open_shot(ShotSettings(str(sample.plate), str(sample.matte))), str(plates / "clean.####.exr"))


def test_a_run_writes_them_and_writes_again_what_is_missing(sample, tmp_path):
    arguments = ["run", "--plate", sample.plate, "--matte", sample.matte, "--output", tmp_path / "clean.####.exr"]
    arguments += ["--quality", "draft", "--steps", "2", "--device", "cpu", "--elements", tmp_path / "elements"]
    done = internal_inpaint(*arguments)
    assert done.returncode == 0, done.stderr
    names = ("fill", "matte", "confidence", "source")
    assert all(len(list((tmp_path / "elements").glob(f"{name}.*.exr"))) == 6 for name in names)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("clean.*.exr")}
    gone = sorted((tmp_path / "elements").glob("confidence.*.exr"))[2]
    gone.unlink()
    assert internal_inpaint(*arguments).returncode == 0
    assert gone.exists()
    assert sum(path.stat().st_mtime_ns > time for path, time in before.items()) == 1, "only that frame"


def test_a_folder_that_was_moved_keeps_its_frames(sample, tmp_path):
    job = {"plate": str(sample.plate), "matte": str(sample.matte), "output": "result/r.####.exr"}
    job |= {"elements": "elements", "quality": "draft", "steps": 1, "device": "cpu"}
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "job.json").write_text(json.dumps(job))
    assert internal_inpaint("run", tmp_path / "here").returncode == 0
    (tmp_path / "here").rename(tmp_path / "there")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "there").glob("*/*.exr")}
    assert len(before) == 30
    assert internal_inpaint("run", tmp_path / "there").returncode == 0
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())

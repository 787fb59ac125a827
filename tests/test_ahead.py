"""Frames that are made ahead: in order, stopped cleanly, the same however many are made at once, and none stale."""

import json
import shutil
import threading
from contextlib import closing
from pathlib import Path

import OpenImageIO as oiio
import pytest
from running import frame, internal_inpaint, shot_options

from internal_inpaint import ahead
from internal_inpaint.ahead import at_once, made_ahead


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_made_comes_in_order(count):
    # The first is ready last.
    ready = threading.Event()

    def make(item):
        if count > 1 and item == 0:
            assert ready.wait(10)
        ready.set()
        return item * item

    assert list(made_ahead(make, range(7), count)) == [(item, item * item) for item in range(7)]


def test_no_more_is_made_than_is_asked_for():
    made = []
    with closing(made_ahead(made.append, range(100), 2)) as coming:
        next(coming)
    assert len(made) <= 4, "one that was used, two at once, one in the queue"


def test_an_error_reaches_whoever_waits_for_it():
    def make(item):
        if item == 2:
            raise OSError("the disk is full")
        return item

    before, used = threading.active_count(), []
    with pytest.raises(OSError, match="full"), closing(made_ahead(make, range(9), 2)) as coming:
        used.extend(item for item, _ in coming)
    assert used == [0, 1]
    assert threading.active_count() == before, "its threads have ended"


def test_large_pictures_are_made_one_by_one():
    assert at_once(16, 1920 * 1080) == 2
    assert at_once(16, 4096 * 2160) == 1
    assert at_once(2, 854 * 480) == 2
    assert at_once(1, 100) == 1


def test_frames_have_the_same_bytes_however_many_are_made_at_once(sample, tmp_path, monkeypatch):
    output, work = tmp_path / "clean.####.exr", tmp_path / "job"
    options = ["--quality", "draft", "--steps", "2", "--device", "cpu", "--threads", "2"]
    done = internal_inpaint("run", *shot_options(sample, output, work), *options)
    assert done.returncode == 0, done.stderr
    together = {number: frame(output, number).read_bytes() for number in sample.frames}
    for number in sample.frames:
        frame(output, number).unlink()
    monkeypatch.setattr(ahead, "AT_ONCE_PIXELS", 1)
    # Another number of threads, too.
    done = internal_inpaint("render", work, "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert {number: frame(output, number).read_bytes() for number in sample.frames} == together


def test_a_small_repair_in_one_frame_reaches_the_frames_that_copy_from_it(sample, tmp_path):
    """The content of a plate is told by samples: whatever a fix of a few pixels touches, no frame may stay stale."""
    plates = tmp_path / "plate"
    shutil.copytree(Path(sample.plate).parent, plates, copy_function=shutil.copy2)
    pattern, output, work = str(plates / Path(sample.plate).name), tmp_path / "clean.####.exr", tmp_path / "job"
    job = ["--plate", pattern, "--matte", sample.matte, "--output", output, "--work", work]
    options = ["--quality", "draft", "--steps", "2", "--device", "cpu", "--grain", "off"]
    assert internal_inpaint("run", *job, *options).returncode == 0
    before = json.loads((work / "rendered.json").read_text())["frames"]
    fixed = frame(pattern, sample.frames[2])
    picture = oiio.ImageBuf(str(fixed))
    picture.setpixel(3, 3, 0, [0.5] * picture.nchannels)
    picture.write(str(fixed))
    assert internal_inpaint("run", *job, *options).returncode == 0
    after = json.loads((work / "rendered.json").read_text())["frames"]
    assert all(after[str(number)][2] != before[str(number)][2] for number in sample.frames)

"""The frame store: what is in it, reuse, stopping, bounded memory, disk space told before it starts."""

import collections
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from shot_files import make_shot, write_image, write_matte, write_plate

from internal_inpaint.errors import BadInput, OutOfResources, Stopped
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.shot import ShotSettings, build_store, open_shot, open_store

KNOWN, HOLE, OUTSIDE = PixelState
REPOSITORY = Path(__file__).resolve().parents[1]


def test_at_full_size_the_store_is_the_plate_in_the_working_space(tmp_path):
    shot = make_shot(tmp_path, grow=1, feather=1)
    store = build_store(shot, tmp_path / "store", (24, 32))
    assert (store.size, store.frames.shape, store.frames.dtype) == ((24, 32), (3, 24, 32, 3), np.float16)
    assert isinstance(store.frames, np.memmap)
    data = shot.load(2)
    known = store.state[2] == KNOWN
    np.testing.assert_array_equal(known, ~data.hole)
    expected = store.working_space.to_working(data.rgb)
    np.testing.assert_allclose(store.frames[2][known], expected[known], atol=1.5e-3)
    # Under the matte nothing of the plate, but what continues its surroundings.
    hidden = store.frames[2][~known].astype(np.float32)
    assert np.abs(hidden - expected[~known]).mean() > 0.1
    surroundings = store.frames[2][known].astype(np.float32)
    assert surroundings.min() <= hidden.min()
    assert hidden.max() <= surroundings.max()
    assert -1 <= store.frames[...].min() < -0.8
    assert 0.8 < store.frames[...].max() <= 1


def test_shrinking_averages_known_pixels_only(tmp_path):
    plane = np.full((8, 8), 0.25, np.float16)
    plane[2:4, 2:4] = 60000.0  # under the matte: must not leak
    plane[4, 4] = 0.5
    write_image(tmp_path / "p.exr", dict.fromkeys("RGB", plane))
    write_matte(tmp_path / "m.exr", 8, 8, box=(2, 4, 2, 4))
    shot = open_shot(ShotSettings(str(tmp_path / "p.exr"), str(tmp_path / "m.exr"), grow=0, feather=0))
    store = build_store(shot, tmp_path / "store", (4, 4))
    assert store.state[0].sum() == HOLE
    assert store.state[0, 1, 1] == HOLE
    linear = store.working_space.to_linear(store.frames[0])
    assert linear[0, 0, 0] == pytest.approx(0.25, rel=2e-3)
    space = store.working_space
    mixed = (3 * space.to_working(np.float32(0.25)) + space.to_working(np.float32(0.5))) / 4
    assert store.frames[0, 2, 2, 0] == pytest.approx(mixed, abs=1e-3)
    assert space.to_working(np.float32(60000)) > 5  # the range is the known region's


def test_shrinking_by_a_fraction_marks_every_touched_pixel(tmp_path):
    write_plate(tmp_path / "p.exr", 10, 15, origin=(0, 0), display=(0, 0, 15, 10))
    write_matte(tmp_path / "m.exr", 10, 15, box=(5, 6, 7, 8))
    shot = open_shot(ShotSettings(str(tmp_path / "p.exr"), str(tmp_path / "m.exr"), grow=0, feather=0))
    store = build_store(shot, tmp_path / "store", (7, 10))
    holes = np.argwhere(store.state[0] == HOLE)
    # Row 5 covers 3.5 to 4.2 of the new rows, column 7 covers 4.67 to 5.33 of the new columns.
    assert sorted(map(tuple, holes)) == [(3, 4), (3, 5), (4, 4), (4, 5)]


def test_outside_is_what_no_frame_pixel_touches(tmp_path):
    for frame, x in ((1, 0), (2, 6)):
        write_plate(tmp_path / f"p.{frame}.exr", 8, 10, seed=frame, origin=(x, 0), display=(0, 0, 16, 8))
        write_matte(tmp_path / f"m.{frame}.exr", 8, 16, box=(0, 2, 6, 8))
    shot = open_shot(ShotSettings(str(tmp_path / "p.#.exr"), str(tmp_path / "m.#.exr"), grow=0, feather=0))
    store = build_store(shot, tmp_path / "store", (2, 4))
    np.testing.assert_array_equal(store.state[0], [[KNOWN, HOLE, KNOWN, OUTSIDE], [KNOWN, KNOWN, KNOWN, OUTSIDE]])


def test_outside_the_data_window_does_not_darken_the_pixels_beside_it(tmp_path):
    for frame, x in ((1, 0), (2, 5)):
        planes = dict.fromkeys("RGB", np.full((8, 11), 0.25 * frame, np.float16))
        write_image(tmp_path / f"p.{frame}.exr", planes, origin=(x, 0), display=(0, 0, 16, 8))
        write_matte(tmp_path / f"m.{frame}.exr", 8, 16, box=(0, 2, 6, 8))
    shot = open_shot(ShotSettings(str(tmp_path / "p.#.exr"), str(tmp_path / "m.#.exr"), grow=0, feather=0))
    store = build_store(shot, tmp_path / "store", (2, 4))
    # Column 2 is half inside the first frame's data window.
    assert store.state[0, 1, 2] == KNOWN
    assert store.working_space.to_linear(store.frames[0, 1, 2])[0] == pytest.approx(0.25, rel=5e-3)


def test_a_complete_store_is_reused_and_a_changed_shot_is_not(tmp_path):
    shot = make_shot(tmp_path)
    reads = []
    first = build_store(shot, tmp_path / "store", (12, 16), lambda *step: reads.append(step))
    assert len(reads) == 3
    again = build_store(shot, tmp_path / "store", (12, 16), lambda *step: reads.append(step))
    assert len(reads) == 3
    assert again.fingerprint == first.fingerprint
    build_store(shot, tmp_path / "store", (10, 16), lambda *step: reads.append(step))
    assert len(reads) == 6
    write_plate(tmp_path / "plate.1002.exr", seed=99)
    changed = build_store(shot, tmp_path / "store", (10, 16), lambda *step: reads.append(step))
    assert len(reads) == 9
    assert changed.fingerprint != first.fingerprint
    regrown = make_shot(tmp_path, grow=3)
    build_store(regrown, tmp_path / "store", (10, 16), lambda *step: reads.append(step))
    assert len(reads) == 12


def test_the_fingerprint_is_of_the_content_not_the_place(tmp_path):
    one = build_store(make_shot(tmp_path / "a"), tmp_path / "a" / "store", (12, 16))
    two = build_store(make_shot(tmp_path / "b"), tmp_path / "b" / "elsewhere", (12, 16))
    assert one.fingerprint == two.fingerprint
    shifted = make_shot(tmp_path / "c", matte_options={"box": (8, 16, 12, 20)})
    assert build_store(shifted, tmp_path / "c" / "store", (12, 16)).fingerprint != one.fingerprint


def test_stopping_leaves_no_store_and_the_next_run_makes_it(tmp_path):
    shot = make_shot(tmp_path)
    polls = iter([False, True])
    with pytest.raises(Stopped):
        build_store(shot, tmp_path / "store", (12, 16), should_stop=lambda: next(polls))
    assert not (tmp_path / "store").exists()
    assert not list(tmp_path.glob(".store*"))
    build_store(shot, tmp_path / "store", (12, 16))


def test_a_half_made_store_of_a_killed_run_is_replaced(tmp_path):
    shot = make_shot(tmp_path)
    (tmp_path / ".store.part").mkdir()
    (tmp_path / ".store.part" / "frames.npy").write_bytes(b"torn")
    (tmp_path / "store" / "16x12").mkdir(parents=True)
    (tmp_path / "store" / "16x12" / "store.json").write_text("{")
    assert build_store(shot, tmp_path / "store", (12, 16)).frames.shape == (3, 12, 16, 3)
    assert not (tmp_path / ".store.part").exists()


def test_a_full_disk_is_told_before_anything_is_read(tmp_path, monkeypatch):
    shot = make_shot(tmp_path)
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    monkeypatch.setattr(shot, "load", lambda *index: pytest.fail("read although the disk is full"))
    with pytest.raises(OutOfResources, match=r"needs 64 MiB and 0 MiB are free"):
        build_store(shot, tmp_path / "store", (24, 32))
    assert not list(tmp_path.glob("*store*"))


def test_damaged_stores_are_refused(tmp_path):
    with pytest.raises(BadInput, match="frame store"):
        open_store(tmp_path)
    build_store(make_shot(tmp_path), tmp_path / "store", (12, 16))
    open_store(tmp_path / "store" / "16x12")
    (tmp_path / "store" / "16x12" / "frames.npy").write_bytes(b"")
    with pytest.raises(BadInput, match="frame store"):
        open_store(tmp_path / "store" / "16x12")


def test_empty_and_full_mattes_are_errors(tmp_path):
    with pytest.raises(BadInput, match="empty on all frames"):
        build_store(make_shot(tmp_path, matte_options={"box": (0, 0, 0, 0)}), tmp_path / "store", (12, 16))
    with pytest.raises(BadInput, match="no frame has a known pixel"):
        build_store(make_shot(tmp_path, matte_options={"box": (0, 24, 0, 32)}), tmp_path / "store", (12, 16))
    assert not list(tmp_path.glob("*store*"))


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    """40 frames may not take noticeably more private memory than 4 (their store is 20 MB larger)."""
    rows = np.linspace(0, 1, 300, dtype=np.float16)
    plane = np.repeat(rows[:, None], 400, axis=1)
    for frame in range(40):
        write_image(tmp_path / f"p.{frame:04}.exr", dict.fromkeys("RGB", plane))
    write_matte(tmp_path / "m.exr", 300, 400)
    script = """
import resource, sys
from pathlib import Path
from internal_inpaint.shot import ShotSettings, build_store, open_shot
folder, frames = Path(sys.argv[1]), sys.argv[2]
shot = open_shot(ShotSettings(str(folder / "p.####.exr"), str(folder / "m.exr"), frames=frames))
build_store(shot, folder / f"store{frames}", (300, 400))
for line in open("/proc/self/status"):
    if line.startswith(("RssAnon", "VmHWM")):
        print(line.split()[1])
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc to measure memory")

    def anonymous(frames):
        result = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), frames],
            env={"PYTHONPATH": str(REPOSITORY / "core"), "PATH": "/usr/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        return int(result.stdout.split()[-1])

    # Half of what the larger store holds; a few megabytes come and go with OpenImageIO's threads.
    assert anonymous("0-39") < anonymous("0-3") + 12 * 1024

"""A disk that is full, for real: one sentence, exit 4, and once there is room the run goes on."""

import json

import numpy as np
import pytest
from running import internal_inpaint

from internal_inpaint.files import new_memory_map

FULL = ["--quality", "draft", "--steps", "4", "--device", "cpu", "--confidence-layer"]


def test_a_mapped_file_takes_its_place_at_once(small_disk):
    disk = small_disk(2)
    fits = new_memory_map(disk / "fits.npy", np.uint8, (1000, 1000))
    assert not fits.any()
    with pytest.raises(OSError, match="space"):
        new_memory_map(disk / "too_large.npy", np.float16, (1000, 1000))
    assert [path.name for path in disk.iterdir()] == ["fits.npy"]
    fits[:] = 255  # its place is its own


@pytest.mark.parametrize("full", ["work", "output"])
def test_a_run_on_a_full_disk_says_so_and_goes_on_when_there_is_room(sample, small_disk, tmp_path, full):
    disk, work, output = small_disk(8), tmp_path / "work", tmp_path / "output"
    (disk / "here").mkdir()
    (tmp_path / full).symlink_to(disk / "here", target_is_directory=True)
    (tmp_path / ("output" if full == "work" else "work")).mkdir()
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(8 * 2**20 - 2**17))
    arguments = ["run", "--plate", sample.plate, "--matte", sample.matte, "--work", work]
    arguments += ["--output", output / "clean.####.exr", "--matte-frame", "1003", "--matte-steps", "2", *FULL]
    done = internal_inpaint(*arguments)
    assert done.returncode == 4, f"{done.returncode}: {done.stderr}"
    assert "free disk space" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(output.glob(".*")), "nothing half written"
    ballast.unlink()
    if full == "work":  # 8 MB are not enough to work in: the folder moves to where there is room
        work.unlink()
    done = internal_inpaint(*arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads((work / "status.json").read_text())["state"] == "done"
    assert len(list(output.glob("clean.*.exr"))) == 6

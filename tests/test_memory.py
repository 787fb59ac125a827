"""Memory is bounded: at 4K, and whatever the length of the shot. Real runs, their peaks as the system saw them."""

import subprocess
import sys
from pathlib import Path

MEMORY = Path(__file__).resolve().parents[1] / "benchmarks" / "memory.py"


def peaks(column, *options):
    """Peak GiB by number of frames, from the benchmark's table: ``resident``, or the process's ``own``.

    Files that are mapped are resident too, as far as the system has room for them.
    """
    done = subprocess.run([sys.executable, str(MEMORY), *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    return [float(row[{"resident": 2, "own": 3}[column]]) for row in rows]


def test_4k_half_float_frames_stay_under_4_gib():
    (peak,) = peaks("resident", "--frames", "2", "--steps", "4", "--size", "4096x2160")
    assert peak < 4


def test_memory_does_not_depend_on_the_number_of_frames():
    short, long = peaks("own", "--frames", "9,27", "--steps", "2", "--size", "1024x540", "--quality", "draft")
    all_frames = 18 * 1024 * 540 * 3 * 4 / 2**30  # what 18 more frames would take as float32
    # Masks of the pictures that were looked at last are kept, up to a bound: a byte or two a pixel.
    assert long - short < 0.8 * all_frames

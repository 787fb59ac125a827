"""What `internal-inpaint check` foretells, and what the same job then takes: processor time and peak memory.

    python benchmarks/check.py [--jobs "draft 432x240 8,standard 432x240 8"] [--frames 12] [--repeat 1]

A job is a quality, the size of the sample shot and a number of steps. The estimate and the run are processes of their
own on one thread of the CPU, one right after the other, so that whatever else the machine does meets both; compared
are user and system time, and the peak of the resident memory. Medians where repeated. What `check` says in full goes
to the standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from internal_inpaint.demo import SampleShot, make_sample_shot

JOBS = (
    "draft 432x240 12",
    "standard 432x240 12",
    "final 432x240 6",
    "draft 864x480 12",
    "standard 864x480 12",
    "final 864x480 6",
    "paper 320x180 4",
    "standard 1280x720 12",
)
ESTIMATE = """
import json, sys, time
from pathlib import Path
from internal_inpaint.estimate import check
from internal_inpaint.job import read_job
print(json.dumps(check(read_job(Path(sys.argv[1])), clock=time.process_time)["estimate"]))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the estimate of `check` with real runs.")
    parser.add_argument("--jobs", default=",".join(JOBS), help="quality, size and steps of each, separated by commas")
    parser.add_argument("--frames", type=int, default=12, help="of the sample shot")
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    heads = (
        "quality",
        "size",
        "steps",
        "estimate s",
        "run s",
        "ratio",
        "estimate MiB",
        "run MiB",
        "ratio",
        "check s",
    )
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    with tempfile.TemporaryDirectory() as folder:
        for job in options.jobs.split(","):
            quality, size, steps = job.split()
            width, height = map(int, size.split("x"))
            place = Path(folder) / size
            shot = make_sample_shot(place, options.frames, width, height)
            turns = [
                compared(shot, quality, int(steps), place / f"{quality}{turn}") for turn in range(options.repeat)
            ]
            told, took, foretold, peak, checked = (statistics.median(column) for column in zip(*turns, strict=True))
            cells = [quality, size, steps, f"{told:.0f}", f"{took:.0f}", f"{told / took:.2f}"]
            cells += [f"{foretold:.0f}", f"{peak:.0f}", f"{foretold / peak:.2f}", f"{checked:.0f}"]
            print(f"| {' | '.join(cells)} |", flush=True)
    return 0


def compared(shot: SampleShot, quality: str, steps: int, folder: Path) -> tuple[float, float, float, float, float]:
    """Estimated and real seconds, estimated and real peak MiB, and the seconds of the check itself."""
    folder.mkdir()
    job = {"plate": shot.plate, "matte": shot.matte, "output": "clean/clean.####.exr"}
    job |= {"quality": quality, "steps": steps, "device": "cpu"}
    (folder / "job.json").write_text(json.dumps(job))
    printed, checked, _ = measured([sys.executable, "-c", ESTIMATE, str(folder / "job.json")])
    estimate = json.loads(printed)
    run = [sys.executable, "-m", "internal_inpaint", "run", str(folder / "job.json"), "--progress", "plain"]
    _, took, peak = measured(run)
    print(estimate, file=sys.stderr)
    return estimate["total_s"], took, estimate["memory_bytes"] / 2**20, peak, checked


def measured(command: list[str]) -> tuple[str, float, float]:
    """What a process printed, its user and system seconds, and its peak resident MiB."""
    # A child of a child, so that each measurement has a process whose peak is its own.
    child = [sys.executable, __file__, "--child", *command]
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    done = subprocess.run(child, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode} (a signal: 256 less): {done.stderr}")
    printed, _, figures = done.stdout.rstrip().rpartition("\n")
    seconds, kibibytes = map(float, figures.split())
    return printed, seconds, kibibytes / 1024


def run_child(command: list[str]) -> int:
    """Run a command, then print its processor seconds and its peak resident size in KiB."""
    code = subprocess.run(command, check=False).returncode
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\n{usage.ru_utime + usage.ru_stime} {usage.ru_maxrss}")
    return code


if __name__ == "__main__":
    sys.exit(run_child(sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main())

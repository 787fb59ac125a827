"""What a run costs before and beside its training: seconds of whole processes, and the most memory they had.

    python benchmarks/start.py [--core core] [--core ../before/core] [--repeat 5]

Each line is a process of its own on one thread: ``--help``; a job that is refused (its plate is not there); a run of
one step on the sample shot (6 frames, 160x96, ``draft``). Medians. With several ``--core`` folders, those of other
versions of this repository, the versions take turns, so that a busy moment meets all of them.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CORE = Path(__file__).resolve().parents[1] / "core"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what a run costs beside its training.")
    parser.add_argument("--core", action="append", help="the core folder of a version (default: this one's)")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    cores = [Path(core).resolve() for core in options.core or [CORE]]
    with tempfile.TemporaryDirectory() as folder:
        jobs = prepared(Path(folder))
        print("| core | process | seconds | peak MiB |\n|---|---|---|---|")
        for name, arguments in jobs.items():
            measured: dict[Path, list[tuple[float, float]]] = {core: [] for core in cores}
            for turn in range(options.repeat):
                for core in cores:
                    own = [word.format(turn=f"{turn}-{cores.index(core)}") for word in arguments]
                    measured[core].append(once(core, own))
            for core, figures in measured.items():
                seconds, mebibytes = (statistics.median(figure) for figure in zip(*figures, strict=True))
                print(f"| {core.parent.name} | {name} | {seconds:.2f} | {mebibytes:.0f} |", flush=True)
    return 0


def prepared(folder: Path) -> dict[str, list[str]]:
    """The sample shot, and the command lines by name; ``{turn}`` stands for something new each time."""
    make = "import sys; from pathlib import Path; from internal_inpaint.demo import make_sample_shot; "
    make += "make_sample_shot(Path(sys.argv[1]), frames=6, width=160, height=96)"
    subprocess.run([sys.executable, "-c", make, str(folder)], check=True, env=dict(os.environ, PYTHONPATH=str(CORE)))
    shot = ["--matte", f"{folder}/matte/matte.####.exr", "--output", f"{folder}/{{turn}}/clean.####.exr"]
    recipe = ["--quality", "draft", "--steps", "1", "--device", "cpu", "--progress", "plain"]
    return {
        "--help": ["--help"],
        "a refused job": ["run", "--plate", f"{folder}/nowhere.####.exr", *shot],
        "a run of one step": ["run", "--plate", f"{folder}/plate/plate.####.exr", *shot, *recipe],
    }


def once(core: Path, arguments: list[str]) -> tuple[float, float]:
    """Seconds and peak resident MiB of one process."""
    environment = dict(os.environ, PYTHONPATH=str(core), OMP_NUM_THREADS="1")
    # A child of a child, so that each measurement has a process whose peak is its own.
    command = [sys.executable, __file__, "--child", sys.executable, "-m", "internal_inpaint", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    seconds, kibibytes, code = map(float, done.stdout.split()[-3:])
    if code != (2 if "nowhere" in str(arguments) else 0):
        sys.exit(f"{' '.join(arguments)} ended with {code:.0f}: {done.stderr}")
    return seconds, kibibytes / 1024


def child(command: list[str]) -> None:
    began = time.monotonic()
    code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    print(time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, code)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
    else:
        sys.exit(main())

"""Resident memory of a whole run at 4096x2160, for shots of different lengths.

python benchmarks/memory.py [--frames 3,12] [--steps 5] [--size 4096x2160] [--quality standard]

"Resident" counts the mapped files of the shot as well, as far as they happen to be in memory; the system takes
those pages back when it needs them. "Own" is without them (Linux; looked at five times a second).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import OpenImageIO as oiio


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure a run's peak resident memory.")
    parser.add_argument("--frames", default="3,12")
    parser.add_argument("--steps", default="5")
    parser.add_argument("--size", default="4096x2160")
    parser.add_argument("--quality", default="standard")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    print("| frames | size | peak resident GiB | peak own GiB | seconds |\n|---|---|---|---|---|")
    for frames in map(int, options.frames.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            write_plate(Path(folder), frames, width, height)
            command = [sys.executable, "-m", "internal_inpaint", "run", "--plate", f"{folder}/plate.####.exr"]
            command += ["--output", f"{folder}/clean/clean.####.exr", "--steps", options.steps]
            command += ["--quality", options.quality, "--device", "cpu", "--progress", "plain"]
            began = time.monotonic()
            # A child of a child, so that each measurement has a process whose peak is its own.
            measured = subprocess.run([sys.executable, __file__, "--child", *command], capture_output=True, text=True)
            if measured.returncode:
                print(measured.stderr, file=sys.stderr)
                return 1
            own, peak = (int(figure) / 2**20 for figure in measured.stdout.split()[-2:])
            seconds = time.monotonic() - began
            print(f"| {frames} | {width}x{height} | {peak:.2f} | {own:.2f} | {seconds:.0f} |", flush=True)
    return 0


def write_plate(folder: Path, frames: int, width: int, height: int) -> None:
    """Half-float RGBA frames with highlights; alpha is a moving box of about a tenth of the frame."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for index in range(frames):
        x = columns + 20 * index
        picture = np.stack(
            [
                0.2 + 0.15 * np.sin(x / 37) * np.cos(rows / 53),
                0.3 + 0.2 * np.sin(x / 91 + rows / 70),
                0.1 + 0.1 * np.cos(rows / 33),
                np.zeros_like(x),
            ],
            axis=-1,
        )
        picture[height // 20 : height // 15, width // 12 : width // 10, :3] = 40
        left = width * 3 // 10 + 40 * index % (width // 4)
        picture[height // 3 : height * 2 // 3, left : left + width // 4, 3] = 1
        spec = oiio.ImageSpec(width, height, 4, "half")
        spec.channelnames = ("R", "G", "B", "A")
        output = oiio.ImageOutput.create("plate.exr")
        if not (output.open(str(folder / f"plate.{1001 + index}.exr"), spec) and output.write_image(picture)):
            raise OSError(output.geterror())
        output.close()


def run_child(command: list[str]) -> int:
    """Run a command and print its peak of own memory and its peak resident size, in KiB."""
    child, own = subprocess.Popen(command, stdout=subprocess.DEVNULL), 0
    while child.poll() is None:
        own = max(own, own_memory(child.pid))
        time.sleep(0.2)
    print(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    return child.returncode


def own_memory(pid: int) -> int:
    """Resident KiB of a process that are no file's; 0 where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)


if __name__ == "__main__":
    sys.exit(run_child(sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main())

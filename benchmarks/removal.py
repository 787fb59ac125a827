"""The main job on real clips: half-float EXR shots, their objects removed, as a user would run it.

    python benchmarks/removal.py [--clips blackswan,bmx-trees,schoolgirls] [--time 10m] [--quality standard]

Nobody knows what is behind a removed object, so the figure is the run's own: PSNR inside holes kept from
training. The contact sheets are for looking at; their paths are printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from clips import CACHE, parse_clips, prepare

SIZES = {"schoolgirls": (432, 240)}
SIZE = (854, 480)


def main() -> int:
    parser = argparse.ArgumentParser(description="Remove the objects of real clips.")
    parser.add_argument("--clips", type=parse_clips, default="blackswan,bmx-trees,schoolgirls")
    parser.add_argument("--time", default="10m")
    parser.add_argument("--quality", default="standard")
    options = parser.parse_args()
    print("| clip | plate | frames | learned at | steps | validation PSNR (dB) | training s | whole run s |")
    print("|---|---|---|---|---|---|---|---|")
    failed = 0
    for clip in options.clips:
        shot = prepare(clip, "removal", SIZES.get(clip, SIZE), None)
        folder = CACHE / "removal" / f"{clip}-{options.quality}-{options.time}"
        command = [sys.executable, "-m", "internal_inpaint", "run", "--plate", shot.plate, "--matte", shot.matte]
        command += ["--output", str(folder / "clean" / "clean.####.exr"), "--work", str(folder / "job")]
        command += ["--quality", options.quality, "--time", options.time, "--device", "cpu"]
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "log.txt", "w") as log:
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
        if code:
            failed += 1
            print(f"{clip}: exit code {code}, see {folder / 'log.txt'}", file=sys.stderr)
            continue
        summary = json.loads((folder / "job" / "summary.json").read_text())
        levels = sorted(
            (path.name for path in (folder / "job" / "store").iterdir()), key=lambda name: int(name.split("x")[0])
        )
        print(
            f"| {clip} | {'x'.join(map(str, SIZES.get(clip, SIZE)))} | {summary['frames']} | {', '.join(levels)} | "
            f"{summary['steps']} | {summary['psnr']:.2f} | {summary['training_s']:.0f} | {summary['total_s']:.0f} |",
            flush=True,
        )
        print(f"  {Path(summary['contact_sheet'])}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

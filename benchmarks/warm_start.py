"""What does a training gain that continues from weights of before, after the matte or the frame range has changed?

The sample shot is trained once. Then its matte grows and its range gets longer, and the changed shot is trained from
those weights and untrained, for the same steps. The figure is the true PSNR inside the hole, against the clean plate.

    python benchmarks/warm_start.py                     # 400 steps, then 120
    python benchmarks/warm_start.py --steps 200 --size 216x120
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from internal_inpaint.demo import make_sample_shot, score_against_truth
from internal_inpaint.job import Job
from internal_inpaint.plan import WARM
from internal_inpaint.run import run

FIRST, LAST = 1001, 1016
CHANGES = {"grow": {"grow": 6.0}, "frames": {"frames": f"{FIRST}-{LAST + 8}"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="of the first training (default: 400)")
    parser.add_argument("--size", default="216x120", help="of the sample shot (default: 216x120)")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    few = round(WARM * options.steps)
    print(f"| changed | untrained, {options.steps} steps | untrained, {few} steps | from the weights, {few} steps |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sample = make_sample_shot(folder, frames=24, width=width, height=height)
        settings = {"plate": sample.plate, "matte": sample.matte, "frames": f"{FIRST}-{LAST}", "quality": "draft"}
        first = Job(**settings, device="cpu", steps=options.steps, output=str(folder / "first" / "clean.####.exr"))
        run(first, folder / "first" / "job")
        for name, change in CHANGES.items():
            found = []
            for steps, start in ((options.steps, None), (few, None), (few, str(folder / "first" / "job"))):
                place = folder / f"{name}-{len(found)}"
                changed = {**settings, **change, "device": "cpu", "steps": steps, "start_from": start}
                job = Job(**changed, output=str(place / "clean.####.exr"))
                run(job, place / "job")
                frames = tuple(number for number in sample.frames if number <= int(job.frames.split("-")[1]))
                found.append(score_against_truth(job.output, replace(sample, frames=frames))["psnr_hole"])
            print(f"| {name} | " + " | ".join(f"{value:.2f} dB" for value in found) + " |", flush=True)


if __name__ == "__main__":
    main()

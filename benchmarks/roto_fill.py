"""The fill from a propagated matte against the fill from the full roto, on the sample shot, whose truth is known.

    python benchmarks/roto_fill.py --steps 150 --matte-steps 250

Both through the command line, with the same training steps for the fill. The score counts every pixel of the true
matte, so a piece of the object that the propagated matte missed, and that therefore still stands there, counts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from clips import frame_path
from internal_inpaint.demo import SampleShot, make_sample_shot, score_against_truth
from internal_inpaint.demo.score import display_window


def overlap(mattes: str, shot: SampleShot) -> tuple[float, float]:
    """Mean intersection over union, and recall, of a matte sequence over the frames with an object."""
    figures = []
    for number in shot.frames:
        found, true = (display_window(frame_path(p, number), "A")[..., 0] > 0.5 for p in (mattes, shot.matte))
        if true.any():
            common = (found & true).sum()
            figures.append((common / (found | true).sum(), common / true.sum()))
    return tuple(np.mean(figures, axis=0))


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare fills from one drawn matte and from all.")
    parser.add_argument("--steps", default="150", help="of training, for each fill")
    parser.add_argument("--matte-steps", default="250", help="of training, for the matte")
    parser.add_argument("--quality", default="draft")
    options = parser.parse_args()
    print("| mattes drawn | IoU | recall | PSNR in the hole (dB) |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        shot = make_sample_shot(Path(folder))
        first, middle = shot.frames[0], shot.frames[len(shot.frames) // 2]
        for drawn in ("", f"{first}", f"{middle}"):
            work, output = Path(folder) / f"job{drawn}", str(Path(folder) / f"out{drawn}" / "clean.####.exr")
            command = [sys.executable, "-m", "internal_inpaint", "run", "--plate", shot.plate, "--matte", shot.matte]
            command += [
                "--output",
                output,
                "--work",
                str(work),
                "--steps",
                options.steps,
                "--quality",
                options.quality,
            ]
            if drawn:
                command += ["--matte-frame", drawn, "--matte-steps", options.matte_steps]
            done = subprocess.run([*command, "--progress", "plain"], capture_output=True, text=True)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                return 1
            mattes = str(work / "matte" / "frames" / "matte.####.exr") if drawn else shot.matte
            shares = " | ".join(f"{share:.2f}" for share in overlap(mattes, shot))
            name = f"frame {drawn}" if drawn else "all"
            print(f"| {name} | {shares} | {score_against_truth(output, shot)['psnr_hole']:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The sample shot's fill against OpenCV's Telea inpainting, both against the true clean plate.

    make demo && python benchmarks/demo.py [demo_shot]

PSNR in dB inside the matte, overscan included, sRGB-encoded.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from baselines import BASELINES
from clips import Shot, frame_path, read_display
from metrics import psnr_in_hole

FRAMES = range(1001, 1041)


def main(folder: str = "demo_shot") -> None:
    def pattern(name: str) -> str:
        return str(Path(folder) / name / f"{name}.####.exr")

    def read(name: str) -> np.ndarray:
        return np.stack([read_display(frame_path(pattern(name), number)) for number in FRAMES])

    plate, clean, result = read("plate"), read("clean"), read("result")
    hole = Shot("demo", "removal", pattern("plate"), pattern("matte"), tuple(FRAMES)).holes()
    print("| fill | PSNR in the hole (dB) |\n|---|---|")
    print(f"| internal-inpaint demo | {psnr_in_hole(result, clean, hole):.2f} |")
    for name in ("telea", "navier-stokes", "median", "flow"):
        print(f"| {name} | {psnr_in_hole(BASELINES[name](plate, hole), clean, hole):.2f} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

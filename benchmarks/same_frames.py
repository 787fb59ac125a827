"""Does this checkout give the same frames as another one, bit for bit?

Five short jobs on the sample shot (the three recipes, a plate learned at two sizes, one-frame roto) run in both
checkouts, on one thread in float32, and every channel of every frame is compared.

    python benchmarks/same_frames.py ../other-checkout            # runs both
    python benchmarks/same_frames.py ../other-checkout --into DIR # keeps the other's frames for the next time
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import OpenImageIO as oiio

HERE = Path(__file__).parents[1]
SIZES = {"small": (216, 120, 12), "usual": (432, 240, 12), "large": (640, 360, 8)}  # width, height, frames
JOBS = {
    "draft": ("usual", "--quality draft --steps 40"),
    "standard": ("usual", "--quality standard --steps 40"),
    "paper": ("small", "--quality paper --steps 40"),
    "progressive": ("large", "--quality standard --steps 40"),
    "roto": ("usual", "--quality draft --steps 40 --matte-frame 1006 --matte-steps 40"),
}
ALWAYS = "--fill-layer --confidence-layer --seed 3 --device cpu --progress plain"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="checkout to compare with")
    parser.add_argument(
        "--into", type=Path, help="folder for shots and frames; what is there already is not run again"
    )
    parser.add_argument("--jobs", default=",".join(JOBS), help=f"of {', '.join(JOBS)}")
    parser.add_argument("--only-other", action="store_true", help="run the other checkout and compare nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.into or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        different = 0
        for name in options.jobs.split(","):
            size, arguments = JOBS[name]
            shot = _shot(options.other, folder / size, SIZES[size])
            before = _frames(options.other, name, folder / "before" / name, shot, arguments, again=False)
            if options.only_other:
                continue
            after = _frames(HERE, name, folder / "after" / name, shot, arguments, again=True)
            found = compare(before, after)
            different += bool(found)
            print(f"{name:12} {found or 'the same, bit for bit'}", flush=True)
    sys.exit(different > 0)


def _shot(checkout: Path, folder: Path, size: tuple[int, int, int]) -> Path:
    if not (folder / "plate").is_dir():
        width, height, frames = size
        code = "import sys; from pathlib import Path; from internal_inpaint.demo.files import make_sample_shot as m; "
        code += f"m(Path(sys.argv[1]), frames={frames}, width={width}, height={height})"
        subprocess.run([sys.executable, "-c", code, str(folder)], env=_environment(checkout), check=True)
    return folder


def _frames(checkout: Path, name: str, folder: Path, shot: Path, arguments: str, again: bool) -> list[Path]:
    frames = folder / "frames"
    if again or not (folder / "done").exists():
        subprocess.run(["rm", "-rf", str(folder)], check=True)
        frames.mkdir(parents=True)
        where = f"--plate {shot}/plate --matte {shot}/matte --output {frames}/clean.####.exr --work {folder}/job"
        command = [
            sys.executable,
            "-m",
            "internal_inpaint",
            "run",
            *where.split(),
            *arguments.split(),
            *ALWAYS.split(),
        ]
        began = time.perf_counter()
        with open(folder / "log", "w") as log:
            subprocess.run(command, env=_environment(checkout), check=True, stdout=log)
        (folder / "done").write_text(f"{time.perf_counter() - began:.1f} s\n")
    return sorted(frames.glob("*.exr"))


def _environment(checkout: Path) -> dict[str, str]:
    path = f"{checkout.absolute() / 'core'}:{checkout.absolute() / 'plugin'}"
    # float32 whatever the CPU; one thread, since the order of sums depends on their number.
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "INTERNAL_INPAINT_PRECISION": "float32"}


def compare(before: list[Path], after: list[Path]) -> str:
    """What differs, in a few words; empty where nothing does."""
    if [path.name for path in before] != [path.name for path in after]:
        return f"{len(before)} frames before, {len(after)} after"
    worst, pixels, frames = 0.0, 0, 0
    for one, other in zip(before, after, strict=True):
        a, b = (oiio.ImageInput.open(str(path)).read_image("float") for path in (one, other))
        if a.shape != b.shape:
            return f"{one.name} has other channels or another size"
        apart = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        if apart.any():
            frames += 1
            pixels += int(apart.any(axis=-1).sum())
            worst = max(worst, float(np.abs(a - b)[apart].max()))
    return f"{pixels} pixels in {frames} of {len(before)} frames, by up to {worst:.3g}" if frames else ""


if __name__ == "__main__":
    main()

"""Small shots and workers for the tests of the Fuse."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]


def write(path: Path, pixels: np.ndarray, names=("R", "G", "B", "A"), window=None) -> None:
    """A half-float EXR of ``pixels`` [height, width, channels]; ``window``: x, y of its data window and width and
    height of its display window."""
    import OpenImageIO as oiio

    path.parent.mkdir(parents=True, exist_ok=True)
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], len(names), oiio.HALF)
    spec.channelnames = names
    if window is not None:
        spec.x, spec.y, spec.full_width, spec.full_height = window
    output = oiio.ImageOutput.create(str(path))
    assert output.open(str(path), spec), path
    output.write_image(np.ascontiguousarray(pixels, dtype=np.float32))
    output.close()


def make_shot(folder: Path, frames=4, first=1001, matte_at=20, windows=False) -> None:
    """plate.####.exr, a texture that moves a pixel a frame, and matte.####.exr, a box that moves along.

    ``windows``: the plates' data window moves too, and lies partly outside the display window."""
    texture = np.random.default_rng(0).random((48, 96, 4)).astype(np.float32)
    for i in range(frames):
        plate = texture[:, i : i + 64].copy()
        plate[..., 3] = 1
        window = (3 * i - 5, 2 - i, 64, 48) if windows else None
        write(folder / f"plate.{first + i:04d}.exr", plate, window=window)
        make_matte(folder, first + i, matte_at + i)


def make_matte(folder: Path, frame: int, left: int) -> None:
    matte = np.zeros((48, 64, 1), np.float32)
    matte[18:28, left : left + 12] = 1
    write(folder / f"matte.{frame:04d}.exr", matte, ("A",))


def chart(number: int, height=24, width=32) -> np.ndarray:
    """A numbered chart: the number in red, so that no frame is like another; the top half is green,
    the left half blue, so that a flip shows."""
    pixels = np.zeros((height, width, 4), np.float32)
    pixels[..., 0] = number / 2048  # exact in a half
    pixels[: height // 2, :, 1] = 1
    pixels[:, : width // 2, 2] = 1
    pixels[..., 3] = 1
    return pixels


def _script(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def real_worker(folder: Path) -> Path:
    """The engine of this checkout as one executable, as an installation has it."""
    return _script(
        folder / "internal-inpaint",
        # At the tests' own priority: beside other tests, a lower one waits for them.
        "#!/bin/sh\nexport INTERNAL_INPAINT_NICE=0\n"
        f"OMP_NUM_THREADS=1 PYTHONPATH='{ROOT}/core' exec '{sys.executable}' -m internal_inpaint \"$@\"\n",
    )


def quick_worker(folder: Path, state="done", says="", code=0) -> Path:
    """A worker that keeps to the job folder's contract and trains nothing: it writes one status and a chart
    for every frame of the plate. ``says``: its last line, instead of a status."""
    program = f"""
import json, os, re, shutil, socket, sys
from datetime import datetime, timezone
from pathlib import Path
assert not [n for n in os.environ if n.startswith(("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH"))], "leaked"
assert os.environ.get("INTERNAL_INPAINT_NICE") == "10", "not at a lower priority than the host"
job_file = Path(sys.argv[2])
assert sys.argv[1] == "run" and job_file.name == "job.json", sys.argv
folder, job = job_file.parent, json.loads(job_file.read_text(encoding="utf-8"))
with open(folder / "starts.txt", "a") as starts: starts.write("x")
if {says!r}: sys.exit({says!r})
plate = Path(job["plate"])
for file in sorted(plate.parent.glob(plate.name.replace("####", "*"))):
    target = folder / "result" / ("result." + file.name.split(".")[-2] + ".exr")
    target.parent.mkdir(exist_ok=True)
    shutil.copy(file, target)
status = dict(state={state!r}, stage="train", step=7, steps=20, psnr=21.25, eta_s=185, percent=33.4, pid=os.getpid(),
    host=socket.gethostname(), updated=datetime.now(timezone.utc).isoformat(timespec="milliseconds"))
(folder / ".status").write_text(json.dumps(status))
os.replace(folder / ".status", folder / "status.json")
(folder / "summary.json").write_text(json.dumps(dict(frames=4)))
if {state!r} == "running":
    import time
    time.sleep(60)
sys.exit({code})
"""
    source = folder / "quick.py"
    source.write_text(program, encoding="utf-8")
    return _script(
        folder / "quick-worker", f"#!/bin/sh\nexec '{sys.executable}' -S {shlex.quote(str(source))} \"$@\"\n"
    )


def finished_run(folder: Path, frames, states=None) -> Path:
    """A finished run of charts under ``folder``, as the node would find it."""
    for frame in frames:
        write(folder / "result" / f"result.{frame:04d}.exr", chart(frame))
    (folder / "job.json").write_text(
        json.dumps({"version": 1, "plate": "/p.####.exr", "output": "result/result.####.exr"})
    )
    state = {"state": "done", "psnr": 20.0, "pid": 1, "host": "elsewhere", "updated": "2026-01-01T00:00:00+00:00"}
    (folder / "status.json").write_text(json.dumps(state | (states or {})))
    return folder

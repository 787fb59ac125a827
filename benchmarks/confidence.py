"""Does low confidence predict large error? On shots whose truth is known: learn, fill, compare.

    python benchmarks/confidence.py [--time 90] [--shots demo,demo-static,demo-covered,goat,blackswan,dog]
    python benchmarks/confidence.py --frames 100 [--size 432x240]      time and memory on so many frames of goat

`demo` is the sample shot. `demo-static` is the same with a camera that stands still; `demo-covered` has, on top,
a ball that hardly moves, so that the ground under it is never seen. The clips are those of the shared folder with
another clip's mattes (the `object` protocol of benchmarks/clips.py), at 240x136.

Error: mean over the channels of |result - truth|, display-encoded, in 8-bit code values, at plate size, over the
pixels that the matte covers by more than half. It must be larger where the confidence is lower: Spearman's rank
correlation between the two (-1 would be perfect) and the mean error by fifths of the pixels, the least confident
first. Beside it what two simpler planes come to: the distance to the nearest known pixel of the same frame, and
in how many directions of time the motion alone (0, 1, 2) leads to where the shot shows it. Last, the mean
confidence of the fill, and what it would be if the fill were the truth: how far the shot can bear out anything.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch
from scipy.stats import rankdata

from clips import CACHE, _read, frame_path, parse_size, prepare, read_display
from internal_inpaint import checkpoints
from internal_inpaint.confidence.array_file import write_fills
from internal_inpaint.confidence.metric import write_confidence
from internal_inpaint.demo.files import make_sample_shot
from internal_inpaint.demo.scene import SampleScene
from internal_inpaint.job import Job
from internal_inpaint.job_folder import JobFolder
from internal_inpaint.motion.reprojection import reproject
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.rendering.trained_shot import TrainedLevel, TrainedShot
from internal_inpaint.resample import enlarge_bilinear
from internal_inpaint.run import run
from internal_inpaint.shot import FrameStore, ShotSettings, build_store, open_shot
from internal_inpaint.shot.colour import curve
from internal_inpaint.shot.store import open_store

CLIP_SIZE = (240, 136)
SHOTS = ("demo", "demo-static", "demo-covered", "goat", "blackswan", "dog")
FOLDER = CACHE / "confidence"


class StaticScene(SampleScene):
    """The sample scene seen by a camera that does not move."""

    def _camera(self, time):
        return super()._camera(0.5)


class CoveredScene(StaticScene):
    """... and a ball that hardly moves: most of the ground under it is never seen."""

    def _ball(self, view, time, share, depth):
        return super()._ball(view, 0.5 + 0.12 * (time - 0.5), share, depth)


SCENES = {"demo": SampleScene, "demo-static": StaticScene, "demo-covered": CoveredScene}


@dataclass(frozen=True)
class Case:
    """A shot with its truth: patterns and frame numbers."""

    name: str
    plate: str
    matte: str
    clean: str
    frames: tuple[int, ...]


def prepared(name: str) -> Case:
    """Make the shot, once."""
    if name not in SCENES:
        clip = prepare(name, "object", CLIP_SIZE)
        return Case(name, clip.plate, clip.matte, clip.plate, clip.frames)
    folder = FOLDER / name / "shot"
    if not (folder / "done").exists():
        with mock.patch("internal_inpaint.demo.files.SampleScene", SCENES[name]):
            make_sample_shot(folder)
        (folder / "done").touch()
    pattern = {kind: str(folder / kind / f"{kind}.####.exr") for kind in ("plate", "matte", "clean")}
    return Case(name, frames=tuple(range(1001, 1041)), **pattern)


def learned(case: Case, seconds: float) -> tuple[FrameStore, np.ndarray, Path]:
    """Run the engine, once; the store, the fills ``[N, h, w, 3]`` float16 and the folder."""
    folder = FOLDER / case.name / f"{seconds:g}s"
    output = str(folder / "clean.####.exr")
    job = Job(plate=case.plate, matte=case.matte, output=output, quality="draft", time=seconds, device="cpu")
    if not (folder / "fills.npy").exists():
        run(job, folder)
        store = _store(folder)
        newest = checkpoints.newest(JobFolder(folder).level(store.folder.name))
        method, network = checkpoints.load_best(newest, torch.device("cpu"))
        level = TrainedLevel(method, network, store.frames, store.state)
        trained = TrainedShot((level,), store.working_space, store.size)

        def fill(index: int) -> np.ndarray:
            return trained.fill(index, torch.from_numpy(np.asarray(store.state[index]) == PixelState.HOLE)).numpy()

        write_fills(fill, store.state.shape, folder / "fills.npy")
    return _store(folder), np.load(folder / "fills.npy", mmap_mode="r"), folder


def _store(folder: Path) -> FrameStore:
    """The one store of a job that was learned at one level."""
    return open_store(next(JobFolder(folder).store.iterdir()))


def errors(case: Case, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Error ``[N, H, W]`` in code values, and where the matte covers more than half."""
    error, hole = [], []
    for frame in case.frames:
        result, truth = read_display(folder / f"clean.{frame:04d}.exr"), read_display(frame_path(case.clean, frame))
        error.append(255 * np.abs(result - truth).mean(axis=2))
        hole.append(_read(frame_path(case.matte, frame))[..., 0] > 0.5)
    return np.stack(error), np.stack(hole)


def visibility(store: FrameStore, fills: np.ndarray) -> np.ndarray:
    """In how many directions of time each pixel is seen, ``[N, h, w]``; 3 where it is known."""

    def filled(index: int) -> np.ndarray:
        hole = np.asarray(store.state[index])[..., None] == PixelState.HOLE
        return np.where(hole, fills[index], store.frames[index]).astype(np.float32)

    planes = np.where(np.asarray(store.state) == PixelState.KNOWN, 3, 0).astype(np.float32)
    for order in (range(len(planes)), range(len(planes) - 1, -1, -1)):
        for index, reprojection in reproject(filled, store.state, order):
            planes[index][reprojection.rows, reprojection.columns] += reprojection.observed
    return planes


def perfect(case: Case, store: FrameStore) -> np.ndarray:
    """The truth as a fill at working size: ``[N, h, w, 3]`` float16."""
    fills = []
    for frame in case.frames:
        values = cv2.resize(
            curve(_read(frame_path(case.clean, frame), "RGB")), store.size[::-1], interpolation=cv2.INTER_AREA
        )
        fills.append(store.working_space.from_curve(values).astype(np.float16))
    return np.stack(fills)


def judged(planes: np.ndarray, error: np.ndarray, hole: np.ndarray) -> tuple[float, list[float]]:
    """Rank correlation with the error, and mean error by fifths, of planes that should be high where it is low."""
    values = np.stack([enlarge_bilinear(plane, error.shape[1:]) for plane in planes])[hole]
    correlation = float(np.corrcoef(rankdata(values), rankdata(error[hole]))[0, 1])
    fifths = np.array_split(error[hole][np.argsort(values, kind="stable")], 5)
    return correlation, [float(part.mean()) for part in fifths]


def speed(frames: int, size: tuple[int, int]) -> None:
    """Time and memory of the measurement alone, one thread; the clip is played forth and back."""
    folder = Path(tempfile.mkdtemp(prefix="speed", dir=FOLDER.parent))
    try:
        job = prepare("goat", "object", size)
        store = build_store(open_shot(ShotSettings(job.plate, job.matte)), folder / "store", size[::-1])
        order = np.abs((np.arange(frames) + len(store.state) - 1) % (2 * len(store.state) - 2) - len(store.state) + 1)
        kinds = {"frames": store.frames, "state": store.state, "fills": store.frames}
        for name, planes in kinds.items():
            whole = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", planes.dtype, (frames, *planes.shape[1:]))
            for index, source in enumerate(order):
                whole[index] = planes[source]
            whole.flush()
            del whole
        planes = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in kinds]
        began, most = time.perf_counter(), 0.0

        def watch(*_) -> None:
            # Without the pages of mapped files, which the system takes back when it needs them.
            nonlocal most
            status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            most = max(most, int(status["RssAnon"].split()[0]) / 1024)

        write_confidence(*planes, folder / "confidence.npy", progress=watch)
        taken = time.perf_counter() - began
        print(f"{frames} frames at {size[0]}x{size[1]}: {taken:.1f} s, at most {most:.0f} MiB of memory")
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description="Does low confidence predict large error?")
    parser.add_argument("--time", type=float, default=90, help="seconds of training")
    parser.add_argument("--shots", default=",".join(SHOTS), help="names separated by commas")
    parser.add_argument("--frames", type=int, help="measure time and memory instead")
    parser.add_argument("--size", type=parse_size, default="432x240", metavar="WIDTHxHEIGHT")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.frames:
        speed(options.frames, options.size)
        return
    heads = (
        "shot",
        "error",
        "confidence",
        "distance",
        "motion only",
        "error by fifths",
        "mean, truth's",
        "s (of a run)",
    )
    print(f"| {' | '.join(heads)} |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.shots.split(","):
        case = prepared(name)
        store, fills, folder = learned(case, options.time)
        began = time.perf_counter()
        confidence = write_confidence(store.frames, store.state, fills, folder / "confidence.npy")
        seconds = time.perf_counter() - began
        whole = json.loads((folder / "summary.json").read_text())["total_s"]
        error, hole = errors(case, folder)
        correlation, fifths = judged(confidence, error, hole)
        apart = [
            -cv2.distanceTransform((plane != PixelState.KNOWN).astype(np.uint8), cv2.DIST_L2, 5)
            for plane in store.state
        ]
        others = [judged(planes, error, hole)[0] for planes in (np.stack(apart), visibility(store, fills))]
        of_truth = write_confidence(store.frames, store.state, perfect(case, store), folder / "perfect.npy")
        unknown = np.asarray(store.state) == PixelState.HOLE
        means = [np.asarray(planes)[unknown].astype(np.float32).mean() for planes in (confidence, of_truth)]
        cells = [name, f"{error[hole].mean():.1f}", f"{correlation:+.2f}", *(f"{other:+.2f}" for other in others)]
        cells += [", ".join(f"{part:.1f}" for part in fifths), ", ".join(f"{mean:.2f}" for mean in means)]
        print(f"| {' | '.join(cells)} | {seconds:.1f} ({whole:.0f}) |", flush=True)


if __name__ == "__main__":
    main()

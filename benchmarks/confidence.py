"""Does low confidence predict large error? On shots whose truth is known: learn, fill, compare.

    python benchmarks/confidence.py [--time 90] [--shots demo,demo-static,demo-covered,goat,blackswan,dog]
                                    [--method copy] [--length 40]
    python benchmarks/confidence.py --frames 100 [--size 432x240]      time and memory on so many frames of goat

`demo` is the sample shot. `demo-static` is the same with a camera that stands still; `demo-covered` has, on top,
a ball that hardly moves, so that the ground under it is never seen. The clips are those of the shared folder with
another clip's mattes (the `object` protocol of benchmarks/clips.py), at 240x136; `--length`: so many of their frames.

Error: mean over the channels of |result - truth|, display-encoded, in 8-bit code values, at plate size, over the
pixels that the matte covers by more than half. It must be larger where the confidence is lower: Spearman's rank
correlation between the two (-1 would be perfect) and the mean error by fifths of the pixels, the least confident
first. Beside it what other planes come to: of a fill that copies, the measure that is meant for an invented one, with
its fifths; the distance to the nearest known pixel of the same frame; and in how many directions of time the motion
alone (0, 1, 2) leads to where the shot shows it. Last, the mean confidence of the fill, and what it would be if the
fill were the truth: how far the shot can bear out anything.
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
from internal_inpaint.confidence.array_file import write_fills
from internal_inpaint.confidence.copies import CopiedFill
from internal_inpaint.confidence.measure import measure_copied_confidence
from internal_inpaint.confidence.metric import write_confidence
from internal_inpaint.context import Context
from internal_inpaint.control import StopRequest
from internal_inpaint.demo.files import make_sample_shot
from internal_inpaint.demo.scene import SampleScene
from internal_inpaint.events import Events
from internal_inpaint.fit import load_trained
from internal_inpaint.ingest import ingest
from internal_inpaint.job import METHODS, Job
from internal_inpaint.job_folder import JobFolder
from internal_inpaint.motion.reprojection import reproject
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.rendering.trained_shot import TrainedShot
from internal_inpaint.resample import enlarge_bilinear
from internal_inpaint.run import Mode, open_, run
from internal_inpaint.shot import FrameStore, ShotSettings, build_store, open_shot
from internal_inpaint.shot.colour import curve

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


def prepared(name: str, length: int | None) -> Case:
    """Make the shot, once."""
    if name not in SCENES:
        clip = prepare(name, "object", CLIP_SIZE, length)
        return Case(name, clip.plate, clip.matte, clip.plate, clip.frames)
    folder = FOLDER / name / "shot"
    if not (folder / "done").exists():
        with mock.patch("internal_inpaint.demo.files.SampleScene", SCENES[name]):
            make_sample_shot(folder)
        (folder / "done").touch()
    pattern = {kind: str(folder / kind / f"{kind}.####.exr") for kind in ("plate", "matte", "clean")}
    return Case(name, frames=tuple(range(1001, 1041)), **pattern)


@dataclass(frozen=True)
class Filled:
    """A shot that was learned: what it was stored as, its fills ``[N, h, w, 3]`` float16, and the job folder."""

    trained: TrainedShot
    store: FrameStore
    fills: np.ndarray
    folder: Path


def learned(case: Case, seconds: float, method: str) -> Filled:
    """Run the engine, once."""
    folder = FOLDER / case.name / f"{method}-{len(case.frames)}-{seconds:g}s"
    output, numbers = str(folder / "clean.####.exr"), f"{case.frames[0]}-{case.frames[-1]}"
    # Errors are those of the fill: grain that is added is none.
    rest = {"quality": "draft", "method": method, "time": seconds, "device": "cpu", "grain": 0.0}
    job = Job(plate=case.plate, matte=case.matte, frames=numbers, output=output, **rest)
    if not (folder / "summary.json").exists():
        run(job, folder)
    home = JobFolder(folder)
    context = Context(job, home, torch.device("cpu"), Events(home), StopRequest())
    shot, _ = open_(job, Mode(train=False))
    ready = ingest(context, shot)
    trained, store = load_trained(home, ready, shot, context.device).coarsest(), ready.stores[0]
    if not (folder / "fills.npy").exists():

        def fill(index: int) -> np.ndarray:
            return trained.fill(index, torch.from_numpy(np.asarray(store.state[index]) == PixelState.HOLE)).numpy()

        write_fills(fill, store.state.shape, folder / "fills.npy")
    return Filled(trained, store, np.load(folder / "fills.npy", mmap_mode="r"), folder)


def measured(filled: Filled, name: str, truth: np.ndarray | None = None) -> np.ndarray:
    """The confidence ``[N, h, w]`` as a run measures it, of the fill or of the truth in its place."""
    store, copies = filled.store, filled.trained.copies
    if copies is None:
        fills = filled.fills if truth is None else truth
        return write_confidence(store.frames, store.state, fills, filled.folder / f"{name}.npy")
    pictures = [(index, "") for index in range(len(store.state))]

    def copied(index: int) -> CopiedFill | None:
        found = copies.candidates(index)
        if found is None:
            return None
        picture = np.asarray((filled.fills if truth is None else truth)[index], np.float32)[found.found.box]
        return CopiedFill(found, picture, np.ones(picture.shape[:2], np.float32))

    files = filled.folder / f"{name}.npy", filled.folder / f"{name}.json"
    # A new key: what an earlier version of the measure came to is not read.
    return measure_copied_confidence(copied, store.state, pictures, copies.contrast, *files, str(time.time())).planes


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
    parser.add_argument("--method", choices=METHODS, default="copy", help="of the fill")
    parser.add_argument("--length", type=int, help="frames of a clip (default: all)")
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
        "as invented",
        "distance",
        "motion only",
        "error by fifths",
        "as invented",
        "mean, truth's",
        "s (of a run)",
    )
    print(f"| {' | '.join(heads)} |")
    print("|" + "---|" * len(heads))
    for name in options.shots.split(","):
        case = prepared(name, options.length)
        filled = learned(case, options.time, options.method)
        store, fills, folder = filled.store, filled.fills, filled.folder
        began = time.perf_counter()
        confidence = measured(filled, "benchmark")
        seconds = time.perf_counter() - began
        whole = json.loads((folder / "summary.json").read_text())["total_s"]
        error, hole = errors(case, folder)
        correlation, fifths = judged(confidence, error, hole)
        apart = [
            -cv2.distanceTransform((plane != PixelState.KNOWN).astype(np.uint8), cv2.DIST_L2, 5)
            for plane in store.state
        ]
        others = [judged(planes, error, hole)[0] for planes in (np.stack(apart), visibility(store, fills))]
        as_invented = by_it = "same"
        if filled.trained.copies is not None:
            planes = write_confidence(store.frames, store.state, fills, folder / "as_invented.npy")
            found, its_fifths = judged(planes, error, hole)
            as_invented, by_it = f"{found:+.2f}", ", ".join(f"{part:.1f}" for part in its_fifths)
        of_truth = measured(filled, "perfect", perfect(case, store))
        unknown = np.asarray(store.state) == PixelState.HOLE
        means = [np.asarray(planes)[unknown].astype(np.float32).mean() for planes in (confidence, of_truth)]
        cells = [name, f"{error[hole].mean():.1f}", f"{correlation:+.2f}", as_invented]
        cells += [*(f"{other:+.2f}" for other in others), ", ".join(f"{part:.1f}" for part in fifths), by_it]
        cells += [", ".join(f"{mean:.2f}" for mean in means)]
        print(f"| {' | '.join(cells)} | {seconds:.1f} ({whole:.0f}) |", flush=True)


if __name__ == "__main__":
    main()

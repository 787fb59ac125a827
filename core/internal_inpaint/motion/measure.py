"""The motion of a whole shot, measured once into files: in parallel, resumable, in bounded memory.

Pairs of pictures are measured in blocks. A block that is complete is marked, so that a measurement that was stopped
or killed goes on with the next one, and gives the same files.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from internal_inpaint.files import new_memory_map, write_atomically
from internal_inpaint.motion.camera import camera_motion, resized_camera
from internal_inpaint.motion.completion import SMALLEST, away_from_holes, trusted
from internal_inpaint.motion.field import FUTURE, PAST, MotionField
from internal_inpaint.motion.flow import grey_codes, optical_flow_of_codes, warp
from internal_inpaint.resample import push_pull, reduce_area

FORMAT = 2
BLOCK = 8  # pairs of pictures
# A pair of pictures in which a smaller share of what both know moves consistently is a cut. Measured: neighbours of
# real shots 0.5 and more, also with heavy grain, pairs of different ones 0.06 at most (in pictures of 180 rows).
CUT = 0.2
_ABOUT = "motion.json"
_LOOKED = 3  # every how many rows and columns sharpness is looked at
_FLAT = 0.5  # codes per pixel: what has no detail cannot be sharp
_STRIDE = 7  # of the rows that tell whether a file still holds what was written to it


@dataclass(frozen=True)
class MotionSource:
    """What the motion of a shot is measured from.

    Attributes:
        picture: ``[H, W, 3]`` working space of a picture by index, with something smooth in the holes: the edge of an
            empty hole disturbs the flow.
        state: ``[H, W]`` uint8 ``PixelState`` of a picture by index.
        count: number of pictures.
        size: (height, width) of ``picture``.
        views: pictures per frame.
        key: identifies the content of the pictures.
    """

    picture: Callable[[int], np.ndarray]
    state: Callable[[int], np.ndarray]
    count: int
    size: tuple[int, int]
    views: int
    key: str


def measure_motion(
    source: MotionSource,
    folder: Path,
    smaller: Sequence[tuple[int, int]] = (),
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> tuple[MotionField, ...]:
    """Measure the motion between all neighbouring pictures, or open what is measured already.

    Args:
        source: the shot.
        folder: for the files, which belong to this function.
        smaller: further sizes, (height, width), that the measured motion is reduced to.
        threads: pairs that are measured at once. The result does not depend on it.
        progress: called with (pairs done, all pairs).
        should_stop: called between blocks.

    Returns:
        the motion at ``source.size``, then at each size of ``smaller``; if a stop was asked for, it is not complete.

    Raises:
        OSError: the files cannot be written, for example because the disk is full.
    """
    sizes = list(dict.fromkeys([tuple(source.size), *map(tuple, smaller)]))
    files = _Files(folder, sizes, source)
    blocks = [block for block in _blocks(source.count, source.views) if not files.has(block)]
    done = files.done
    report = progress or (lambda done, total: None)
    report(done, files.pairs)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        running: set[Future] = set()
        waiting = iter(blocks)
        while True:
            stopping = should_stop is not None and should_stop()
            # No more blocks at once than threads: a stop need not wait for more than those.
            while not stopping and len(running) < max(1, threads) and (block := next(waiting, None)) is not None:
                running.add(pool.submit(_measure_block, source, files, block))
            if not running:
                break
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                block = future.result()
                files.mark(block)
                done += len(block)
                report(done, files.pairs)
    fields = files.fields()
    return tuple(fields[tuple(size)] for size in [source.size, *smaller])


def _blocks(count: int, views: int) -> Iterator[range]:
    """The pairs in blocks, each pair by the index of its earlier picture."""
    for view in range(views):
        track = range(view, count - views, views)
        for start in range(0, len(track), BLOCK):
            yield track[start : start + BLOCK]


class _Files:
    """The files of a motion, open for writing."""

    def __init__(self, folder: Path, sizes: list[tuple[int, int]], source: MotionSource) -> None:
        self._folder, self.sizes, self._views = folder, sizes, source.views
        self.pairs = max(0, source.count - source.views)
        about = {"format": FORMAT, "key": source.key, "sizes": [list(size) for size in sizes], "views": source.views}
        self._kinds = {
            "linked": (np.uint8, (source.count, 2)),
            "measured": (np.uint8, (source.count,)),
            "digests": (np.uint32, (source.count,)),
            "sharper": (np.float32, (source.count, 2)),
        }
        for size in sizes:
            place = self._place(size).name
            self._kinds[f"{place}/flow"] = np.float16, (source.count, 2, *size, 2)
            self._kinds[f"{place}/trusted"] = np.uint8, (source.count, 2, *size)
            self._kinds[f"{place}/cameras"] = np.float64, (source.count, 2, 3, 3)
        if not self._is(about):
            self._make(about)
        self._all = arrays = {name: np.load(self._path(name), mmap_mode="r+") for name in self._kinds}
        self._linked, self._measured, self._sharper = arrays["linked"], arrays["measured"], arrays["sharper"]
        self._arrays = {size: {name: arrays[f"{self._place(size).name}/{name}"] for name in _NAMES} for size in sizes}

    def _is(self, about: dict) -> bool:
        """Whether all files are there, those of this motion, and hold what was written to them."""
        with suppress(OSError, EOFError, IndexError, ValueError):
            if json.loads((self._folder / _ABOUT).read_text(encoding="utf-8")) != about:
                return False
            # Opened for writing, a file that is too short would be lengthened with zeros.
            arrays = {name: np.load(self._path(name), mmap_mode="r") for name in self._kinds}
            if any((arrays[name].dtype, arrays[name].shape) != kind for name, kind in self._kinds.items()):
                return False
            measured = np.flatnonzero(arrays["measured"])
            return all(self._digest(arrays, index) == arrays["digests"][index] for index in measured.tolist())
        return False

    def _digest(self, arrays: dict[str, np.ndarray], index: int) -> int:
        """Of the motion between a picture and the next of its view; of every few rows of it."""
        digest = 0
        for picture, direction in ((index, FUTURE), (index + self._views, PAST)):
            for name in self._kinds:
                if name not in ("measured", "digests"):
                    plane = np.atleast_1d(arrays[name][picture, direction])
                    rows = plane[index % _STRIDE :: _STRIDE] if len(plane) > _STRIDE else plane
                    digest = zlib.crc32(rows.tobytes(), digest)
        return digest

    def _make(self, about: dict) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, (dtype, shape) in self._kinds.items():
            self._path(name).parent.mkdir(exist_ok=True)
            new_memory_map(self._path(name), dtype, shape)
        # Last, so that files that were not made to the end are not taken for what they should be.
        write_atomically(self._folder / _ABOUT, json.dumps(about))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npy"

    def _place(self, size: tuple[int, int]) -> Path:
        return self._folder / f"{size[1]}x{size[0]}"

    def has(self, block: range) -> bool:
        return bool(self._measured[list(block)].all())

    @property
    def done(self) -> int:
        return int(self._measured.sum())

    def put(self, index: int, direction: int, flow: np.ndarray, kept: np.ndarray, camera: np.ndarray) -> None:
        """Write the motion from one picture to one neighbour, at all sizes."""
        own = flow.shape[:2]
        for size, arrays in self._arrays.items():
            vertical, horizontal = (new / old for new, old in zip(size, own, strict=True))
            reduced = reduce_area(flow, size) * np.array([horizontal, vertical], np.float32)
            arrays["flow"][index, direction] = reduced
            arrays["trusted"][index, direction] = reduce_area(kept.astype(np.float32), size) > 0.99
            arrays["cameras"][index, direction] = resized_camera(camera, (vertical, horizontal))

    def link(self, index: int, direction: int, linked: bool, sharper: float) -> None:
        """Write whether a neighbour shows the same scene, and how much sharper it is, as a logarithm."""
        self._linked[index, direction], self._sharper[index, direction] = linked, sharper

    def mark(self, block: range) -> None:
        """Everything of this block is in the files, and stays there even if the power fails now."""
        for index in block:
            self._all["digests"][index] = self._digest(self._all, index)
        for array in self._all.values():
            array.flush()
        self._measured[list(block)] = 1
        self._measured.flush()

    def fields(self) -> dict[tuple[int, int], MotionField]:
        linked, sharpnesses = np.array(self._linked, bool), np.zeros(len(self._linked))
        for index in range(self._views, len(linked)):
            before = index - self._views
            sharpnesses[index] = sharpnesses[before] + self._sharper[before, FUTURE]
        sharpnesses = np.exp(sharpnesses)
        found = {}
        for size in self.sizes:
            flow, kept, cameras = (np.load(self._place(size) / f"{name}.npy", mmap_mode="r") for name in _NAMES)
            found[size] = MotionField(flow, kept, np.array(cameras), linked, sharpnesses, self._views)
        return found


_NAMES = ("flow", "trusted", "cameras")


def _measure_block(source: MotionSource, files: _Files, block: range) -> range:
    before = _Looked(source, block[0])
    for index in block:
        after = _Looked(source, index + source.views)
        forward, backward = _flow(before, after), _flow(after, before)
        consistent = []
        for direction, here, there, flow, back in (
            (FUTURE, before, after, forward, backward),
            (PAST, after, before, backward, forward),
        ):
            kept = trusted(flow, back, here.clear, there.clear)
            # A hole that moves must not look like a cut: only what is known in both counts.
            known = here.clear & (warp(there.clear.astype(np.float32), flow) > 0.99)
            consistent.append(kept.sum() / max(1, known.sum()))
            camera = camera_motion(flow, kept)
            files.put(here.index, direction, push_pull(flow, kept), kept, camera)
            if direction == FUTURE:
                sharper = _sharper(before, after, flow, kept)
        linked = min(consistent) >= CUT
        files.link(before.index, FUTURE, linked, sharper)
        files.link(after.index, PAST, linked, -sharper)
        before = after
    return block


class _Looked:
    """A picture as the flow sees it."""

    def __init__(self, source: MotionSource, index: int) -> None:
        self.index = index
        self.codes, self.clear = grey_codes(source.picture(index)), away_from_holes(source.state(index))


def _sharper(source: _Looked, target: _Looked, flow: np.ndarray, trusted: np.ndarray) -> float:
    """How much more detail the target picture has of what both show: the logarithm of the ratio of the gradients."""
    rows, columns = np.nonzero(trusted[::_LOOKED, ::_LOOKED])
    if not len(rows):
        return 0.0
    rows, columns = rows * _LOOKED, columns * _LOOKED
    there = np.rint(np.stack([columns, rows], axis=1) + flow[rows, columns]).astype(np.int64)
    height, width = trusted.shape
    there_rows, there_columns = there[:, 1].clip(0, height - 1), there[:, 0].clip(0, width - 1)
    before, after = _gradient(source.codes)[rows, columns], _gradient(target.codes)[there_rows, there_columns]
    return float(np.log((after.mean() + _FLAT) / (before.mean() + _FLAT)))


def _gradient(codes: np.ndarray) -> np.ndarray:
    """``[H, W]`` float32: the length of the gradient, in codes per pixel."""
    return cv2.magnitude(*(cv2.Sobel(codes, cv2.CV_32F, *order, ksize=1, scale=0.5) for order in ((1, 0), (0, 1))))


def _flow(source: _Looked, target: _Looked) -> np.ndarray:
    if min(source.codes.shape) < SMALLEST:
        return np.zeros((*source.codes.shape, 2), np.float32)
    return optical_flow_of_codes(source.codes, target.codes)

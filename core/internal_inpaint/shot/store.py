"""The frame store: a whole shot at working size in memory-mapped files.

A store is a folder of `frames.npy` (float16 [N, h, w, 3], working space), `state.npy` (uint8
[N, h, w]) and `store.json`. Its memory does not grow with the length of the shot: one picture is
read at a time, and whoever uses it maps the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from internal_inpaint.errors import BadInput, OutOfResources, Stopped
from internal_inpaint.files import as_user_error
from internal_inpaint.shot.colour import WorkingSpace, curve
from internal_inpaint.shot.shot import PictureData, Shot, require_fillable

KNOWN, HOLE, VOID = 0, 1, 2

_FORMAT = 1
_FRAMES, _STATE, _DESCRIPTION = "frames.npy", "state.npy", "store.json"
# Left free on the disk besides the store itself, for checkpoints and previews.
_SPARE_BYTES = 64 * 2**20
# Every how many rows and columns the fingerprint looks at a frame's pixels.
_FINGERPRINT_STRIDE = 7


@dataclass(frozen=True)
class FrameStore:
    """A complete store, opened.

    frames: float16 memory map [N, h, w, 3] in `working_space`, 0 where the pixel is not known.
    state: uint8 memory map [N, h, w]: KNOWN 0, HOLE 1, VOID 2 (outside the frame's data window).
    size: (h, w). fingerprint: sha256 of the content, whatever folder or files it came from.
    source: sha256 of what it was made from: files by name, size and time, and settings.
    """

    folder: Path
    frames: np.memmap
    state: np.memmap
    working_space: WorkingSpace
    size: tuple[int, int]
    fingerprint: str
    source: str


def build_store(
    shot: Shot,
    folder: Path,
    size: tuple[int, int],
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> FrameStore:
    """Reads the whole shot into `folder` at `size` (h, w), or reuses the complete store that is there.

    A store is reused when it was made from the same files (names, sizes, times) with the same settings.
    Raises OutOfResources before it starts when the disk is too small, BadInput for damaged files, an
    empty matte or no known pixels, and Stopped (leaving no store) when `should_stop` says so.
    """
    source = _source_key(shot, size)
    if (existing := _reusable(folder, source)) is not None:
        return existing
    unfinished = folder.with_name(f".{folder.name}.part")
    _remove(unfinished)
    _make_room(unfinished, len(shot.pictures), size)
    try:
        description = _fill(shot, unfinished, size, progress, should_stop)
        description["source"] = source
        (unfinished / _DESCRIPTION).write_text(json.dumps(description, indent=1))
        _remove(folder)
        os.replace(unfinished, folder)
    except OSError as error:
        _remove(unfinished)
        raise as_user_error(error, f"the frame store {folder}") from error
    except BaseException:
        _remove(unfinished)
        raise
    return open_store(folder)


def open_store(folder: Path) -> FrameStore:
    """Opens a complete store read-only; BadInput when there is none or it is damaged."""
    folder = Path(folder)
    try:
        description = json.loads((folder / _DESCRIPTION).read_text())
        if description["format"] != _FORMAT:
            raise ValueError(f"format {description['format']}")
        frames = np.load(folder / _FRAMES, mmap_mode="r")
        state = np.load(folder / _STATE, mmap_mode="r")
        size = tuple(description["size"])
        if frames.shape != (description["pictures"], *size, 3) or state.shape != frames.shape[:3]:
            raise ValueError("its arrays have other sizes than it says")
        space = WorkingSpace(**description["working_space"])
        return FrameStore(folder, frames, state, space, size, description["fingerprint"], description["source"])
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"frame store {folder} cannot be used ({error}); delete it and run again") from error


def _fill(shot: Shot, folder: Path, size, progress, should_stop) -> dict:
    """One pass over the shot, then one over the store to scale it to the range that was found.

    The first pass already scales to the first picture's range: half floats are finest near 0.
    """
    count = len(shot.pictures)
    frames = np.lib.format.open_memmap(folder / _FRAMES, "w+", np.float16, (count, *size, 3))
    state = np.lib.format.open_memmap(folder / _STATE, "w+", np.uint8, (count, *size))
    shrink = _Shrink((shot.canvas.height, shot.canvas.width), size)
    low, high, any_hole = np.inf, -np.inf, False
    first_space = WorkingSpace.for_range(0.0, 1.0)
    for picture in shot.pictures:
        if should_stop and should_stop():
            raise Stopped("stopped while reading the plate; run again to start over with it")
        data = shot.load(picture.index)
        known = ~(data.hole | data.void)
        if known.any():
            values = data.rgb[known]
            first = np.isinf(low)
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            first_space = WorkingSpace.for_range(low, high) if first else first_space
        values, state[picture.index] = shrink(data)
        any_hole = any_hole or bool((state[picture.index] == HOLE).any())
        frames[picture.index] = first_space.from_curve(values)
        if progress:
            progress(picture.index + 1, count)
    require_fillable(any_hole, bool(np.isfinite(low)), shot)
    space = WorkingSpace.for_range(low, high)
    for index in range(count):
        working = space.from_curve(first_space.to_curve(frames[index]))
        frames[index] = np.where(state[index][..., None] == KNOWN, working, np.float32(0.0))
    frames.flush()
    state.flush()
    return {
        "format": _FORMAT,
        "size": list(size),
        "pictures": count,
        "working_space": asdict(space),
        "range": [low, high],
        "fingerprint": _fingerprint(frames, state, space),
    }


class _Shrink:
    """Canvas to working size: the area average of the known pixels, taken on the curve.

    Half of a highlight is not half as dark: averaging on the curve keeps one bright pixel from
    swallowing its neighbours, and keeps what is learned close to what is filled.
    """

    def __init__(self, canvas: tuple[int, int], size: tuple[int, int]):
        if size[0] > canvas[0] or size[1] > canvas[1] or min(size) < 1:
            raise BadInput(f"working size {size[1]}x{size[0]} does not fit the plate {canvas[1]}x{canvas[0]}")
        self._same = tuple(size) == tuple(canvas)
        self._rows = _overlaps(canvas[0], size[0])
        self._columns = _overlaps(canvas[1], size[1])

    def __call__(self, data: PictureData) -> tuple[np.ndarray, np.ndarray]:
        """Curve values [h, w, 3] float32 and state [h, w] uint8."""
        known = ~(data.hole | data.void)
        values = np.where(known[..., None], curve(data.rgb), np.float32(0.0))
        # A NaN pixel away from the matte is unknown, but not a hole to fill or to draw holes after.
        hole = data.hole & ~(data.broken & (data.alpha == 0))
        if self._same:
            return values, np.where(hole, HOLE, np.where(known, KNOWN, VOID)).astype(np.uint8)
        weight = self._average(known)
        share = np.maximum(weight, np.float32(1e-6))
        averaged = np.stack([self._average(values[..., channel]) / share for channel in range(3)], axis=2)
        state = np.where(self._average(hole) > 0, HOLE, np.where(weight > 0, KNOWN, VOID))
        return averaged, state.astype(np.uint8)

    def _average(self, plane: np.ndarray) -> np.ndarray:
        return (self._columns @ (self._rows @ plane.astype(np.float32)).T).T


def _overlaps(count: int, target: int) -> sparse.csr_array:
    """[target, count]: the share of each new pixel that every old one covers; rows sum to 1."""
    edges = np.arange(target + 1) * (count / target)
    matrix = sparse.lil_array((target, count), dtype=np.float32)
    for new in range(target):
        start, end = edges[new], edges[new + 1]
        old = np.arange(int(start), min(count, int(np.ceil(end - 1e-9))))
        covered = np.minimum(old + 1, end) - np.maximum(old, start)
        matrix[new, old] = covered / covered.sum()
    return matrix.tocsr()


def _fingerprint(frames: np.ndarray, state: np.ndarray, space: WorkingSpace) -> str:
    digest = hashlib.sha256(json.dumps([frames.shape, asdict(space)]).encode())
    for index in range(len(frames)):
        digest.update(state[index].tobytes())
        sample = frames[index, index % _FINGERPRINT_STRIDE :: _FINGERPRINT_STRIDE, ::_FINGERPRINT_STRIDE]
        digest.update(sample.tobytes())
    return digest.hexdigest()


def _source_key(shot: Shot, size: tuple[int, int]) -> str:
    """What a store depends on, as a digest: settings in effect and files by name, size and time."""
    settings = asdict(shot.settings)
    for name in ("plate", "matte", "frames"):
        settings.pop(name)
    files = []
    for frame in shot.frames:
        for header in (shot.plate_header(frame), shot.matte_header(frame)):
            status = header.path.stat()
            files.append([frame, header.path.name, status.st_size, status.st_mtime_ns])
    key = [_FORMAT, list(size), settings, shot.grow, shot.feather, shot.colour.name, shot.views, files]
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()


def _reusable(folder: Path, source: str) -> FrameStore | None:
    try:
        if json.loads((folder / _DESCRIPTION).read_text())["source"] != source:
            return None
        store = open_store(folder)
        # A store that no longer holds what it was made with would be learned as if it were the shot.
        intact = store.fingerprint == _fingerprint(store.frames, store.state, store.working_space)
        return store if intact else None
    except (OSError, ValueError, KeyError, TypeError, BadInput):
        return None


def _make_room(folder: Path, pictures: int, size: tuple[int, int]) -> None:
    """Makes the folder if the disk has room for the whole store."""
    needed = pictures * size[0] * size[1] * 7 + _SPARE_BYTES
    try:
        folder.mkdir(parents=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise BadInput(
            f"the work folder {folder.parent} cannot be written ({error.strerror}); choose another"
        ) from error
    if free < needed:
        _remove(folder)
        raise OutOfResources(
            f"the frame store in {folder.parent} needs {_gigabytes(needed)} and {_gigabytes(free)} are free; "
            f"free disk space or choose another --work folder"
        )


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)

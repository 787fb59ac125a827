"""The frame store: a whole shot at working size in memory-mapped files.

A store is a folder of `frames.npy` (float16 [N, h, w, 3], working space), `state.npy` (uint8
[N, h, w]) and `store.json`; a shot that is learned at several sizes has one of each, made in one pass.
Its memory does not grow with the length of the shot: one picture is read at a time, and whoever uses
it maps the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from internal_inpaint.ahead import at_once, made_ahead
from internal_inpaint.errors import BadInput, OutOfResources, Stopped
from internal_inpaint.files import as_user_error, new_memory_map
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.resample import push_pull, reduce_area, reduce_max
from internal_inpaint.shot.colour import WorkingSpace, curve
from internal_inpaint.shot.shot import Picture, PictureData, Shot, require_fillable

_FORMAT = 3
_FRAMES, _STATE, _DESCRIPTION = "frames.npy", "state.npy", "store.json"
# Left free on the disk besides the store itself, for checkpoints and previews.
_SPARE_BYTES = 64 * 2**20
_CONTEXT = 32  # known pixels round the holes that their continuation depends on
# Every how many rows and columns the fingerprint looks at a frame's pixels.
_FINGERPRINT_STRIDE = 7


@dataclass(frozen=True)
class FrameStore:
    """A complete store, opened.

    frames: float16 memory map [N, h, w, 3] in `working_space`; the smooth continuation of the known pixels where one
    is not known.
    state: uint8 memory map [N, h, w]: `PixelState`.
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


def build_store(shot: Shot, folder: Path, size: tuple[int, int], *arguments, **options) -> FrameStore:
    """`build_stores` for one size."""
    return build_stores(shot, folder, [size], *arguments, **options)[0]


def build_stores(
    shot: Shot,
    folder: Path,
    sizes: Sequence[tuple[int, int]],
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    with_mattes: bool = True,
    threads: int = 1,
) -> tuple[FrameStore, ...]:
    """Reads the whole shot into `folder` at each of `sizes` (h, w), or reuses the complete stores there.

    Stores are reused when they were made from the same files (names, sizes, times) with the same settings.
    Without mattes only NaN and Inf pixels are a hole. Up to `threads` pictures are read at once. Raises
    OutOfResources before it starts when the disk is too small, BadInput for damaged files, an empty matte or no
    known pixels, and Stopped (leaving no store) when `should_stop` says so.
    """
    for height, width in sizes:
        if height > shot.canvas.height or width > shot.canvas.width or min(height, width) < 1:
            raise BadInput(
                f"working size {width}x{height} does not fit the plate {shot.canvas.width}x{shot.canvas.height}"
            )
    source = _source_key(shot, sizes, with_mattes)
    if (existing := _reusable(folder, sizes, source)) is not None:
        return existing
    unfinished = folder.with_name(f".{folder.name}.part")
    _remove(unfinished)
    _make_room(unfinished, len(shot.pictures), sizes)
    try:
        _fill(shot, unfinished, sizes, source, progress, should_stop, with_mattes, threads)
        _remove(folder)
        os.replace(unfinished, folder)
    except OSError as error:
        _remove(unfinished)
        raise as_user_error(error, f"the frame store {folder}") from error
    except BaseException:
        _remove(unfinished)
        raise
    return tuple(open_store(_place(folder, size)) for size in sizes)


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


def _place(folder: Path, size: tuple[int, int]) -> Path:
    return folder / f"{size[1]}x{size[0]}"


def _fill(
    shot: Shot, folder: Path, sizes, source: str, progress, should_stop, with_mattes: bool, threads: int
) -> None:
    """One pass over the shot, then one over each store to scale it to the range that was found.

    The first pass already scales to the first picture's range: half floats are finest near 0.
    """
    count = len(shot.pictures)
    writers = [_StoreWriter(_place(folder, size), count, size) for size in sizes]
    low, high, any_hole, painted = np.inf, -np.inf, not with_mattes, []
    first_space = WorkingSpace.for_range(0.0, 1.0)
    canvas = shot.canvas.height * shot.canvas.width
    together = at_once(threads, canvas)

    def read(picture: Picture) -> _Read:
        return _Read.of(shot.load(picture.index, with_mattes), sizes)

    with closing(made_ahead(read, shot.pictures, together, "reading")) as loaded:
        for picture, data in loaded:
            if should_stop and should_stop():
                raise Stopped("stopped while reading the plate; run again to start over with it")
            if data.range is not None:
                first = np.isinf(low)
                low, high = min(low, data.range[0]), max(high, data.range[1])
                first_space = WorkingSpace.for_range(low, high) if first else first_space
            for writer, reduced in zip(writers, data.reduced, strict=True):
                any_hole = writer.put(picture.index, *reduced, first_space) or any_hole
            if data.painted:
                painted.append(picture.index)
            if progress:
                progress(picture.index + 1, count)
    require_fillable(any_hole, bool(np.isfinite(low)), shot, bool(painted))
    space = WorkingSpace.for_range(low, high)
    for writer in writers:
        writer.finish(first_space, space, source, painted, together)


@dataclass(frozen=True)
class _Read:
    """What the stores take of a picture.

    range: the smallest and the largest known value; None without one.
    reduced: (values, state) at each size, of `reduced_pictures`.
    painted: whether a guide covers its hole.
    """

    range: tuple[float, float] | None
    reduced: list[tuple[np.ndarray, np.ndarray]]
    painted: bool

    @classmethod
    def of(cls, data: PictureData, sizes: Sequence[tuple[int, int]]) -> _Read:
        known = ~(data.hole | data.outside)
        # Several times as fast as the minimum of data.rgb[known].
        low, high = (np.where(known[..., None], data.rgb, np.float32(end)) for end in (np.inf, -np.inf))
        limits = (float(low.min()), float(high.max())) if known.any() else None
        return cls(limits, reduced_pictures(data, sizes), data.plate is not None and bool(data.alpha.any()))


class _StoreWriter:
    """Writes one store."""

    def __init__(self, folder: Path, count: int, size: tuple[int, int]):
        folder.mkdir(parents=True)
        self._folder, self._size = folder, size
        self._frames = new_memory_map(folder / _FRAMES, np.float16, (count, *size, 3))
        self._state = new_memory_map(folder / _STATE, np.uint8, (count, *size))

    def put(self, index: int, values: np.ndarray, state: np.ndarray, space: WorkingSpace) -> bool:
        """Adds one picture, of `reduced_pictures`; returns whether it has a hole at this size."""
        self._state[index] = state
        self._frames[index] = space.from_curve(values)
        return bool((state == PixelState.HOLE).any())

    def finish(
        self, first_space: WorkingSpace, space: WorkingSpace, source: str, painted: list[int], together: int
    ) -> None:
        """Rescales from the first picture's range to the shot's, then writes the description that completes it.

        `together` pictures at once.
        """
        frames, state = self._frames, self._state

        def rescaled(index: int) -> np.ndarray:
            working = space.from_curve(first_space.to_curve(frames[index]))
            return _continued(working, state[index] == PixelState.KNOWN)

        with closing(made_ahead(rescaled, range(len(frames)), together, "rescaling")) as made:
            for index, frame in made:
                frames[index] = frame
        frames.flush()
        state.flush()
        description = {
            "format": _FORMAT,
            "size": list(state.shape[1:]),
            "pictures": len(frames),
            "working_space": asdict(space),
            "fingerprint": _fingerprint(frames, state, space, painted),
            "source": source,
            "painted": painted,
        }
        (self._folder / _DESCRIPTION).write_text(json.dumps(description, indent=1))


def reduced_pictures(data: PictureData, sizes: Sequence[tuple[int, int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Reduces a picture to each working size: the area mean of the known pixels, taken on the curve.

    Half of a highlight is not half as dark: averaging on the curve keeps one bright pixel from
    swallowing its neighbours, and keeps what is learned close to what is filled.

    Returns curve values [h, w, 3] float32 and state [h, w] uint8 of each.
    """
    known = ~(data.hole | data.outside)
    values = np.where(known[..., None], curve(data.rgb), np.float32(0.0))
    # A NaN pixel away from the matte is unknown, but not a hole to fill or to draw holes after.
    hole = data.hole & ~(data.broken & (data.alpha == 0))
    reduced = []
    for size in sizes:
        if known.shape == tuple(size):
            reduced.append((values, _states(hole, known)))
            continue
        weight = reduce_area(known, size)
        means = reduce_area(values, size) / np.maximum(weight, np.float32(1e-6))[..., None]
        reduced.append((means, _states(reduce_max(hole, size), weight > 0)))
    return reduced


def _continued(frame: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A frame [h, w, 3] whose unknown pixels are the smooth continuation of the known ones.

    Whatever was under the matte is gone; and nothing that interpolates or estimates motion near a hole sees its edge.
    """
    rows, columns = np.flatnonzero(~known.all(axis=1)), np.flatnonzero(~known.all(axis=0))
    if not len(rows):
        return frame
    # Only the surroundings of the holes: far pixels matter little.
    box = tuple(slice(max(0, int(at[0]) - _CONTEXT), int(at[-1]) + 1 + _CONTEXT) for at in (rows, columns))
    frame = np.array(frame, np.float32)
    frame[box] = push_pull(frame[box], known[box])
    return frame


def _states(hole: np.ndarray, known: np.ndarray) -> np.ndarray:
    state = np.where(known, PixelState.KNOWN, PixelState.OUTSIDE).astype(np.uint8)
    state[hole] = PixelState.HOLE
    return state


def _fingerprint(frames: np.ndarray, state: np.ndarray, space: WorkingSpace, painted: Sequence[int] = ()) -> str:
    """`painted` are the pictures with a guide: every pixel of them counts, because a brush may touch only a few."""
    digest = hashlib.sha256(json.dumps([frames.shape, asdict(space)]).encode())
    for index in range(len(frames)):
        digest.update(state[index].tobytes())
        sample = frames[index, index % _FINGERPRINT_STRIDE :: _FINGERPRINT_STRIDE, ::_FINGERPRINT_STRIDE]
        digest.update(sample.tobytes())
    for index in painted:
        digest.update(frames[index].tobytes())
    return digest.hexdigest()


def _source_key(shot: Shot, sizes: Sequence[tuple[int, int]], with_mattes: bool) -> str:
    """What a store depends on, as a digest: settings in effect and files by name, size and time."""
    settings = asdict(shot.settings)
    for name in ("plate", "matte", "frames", "guide"):
        settings.pop(name)
    files = [source for frame in shot.frames for source in frame_sources(shot, frame, with_mattes)]
    key = [_FORMAT, list(map(list, sizes)), with_mattes, settings]
    key += [shot.grow, shot.feather, shot.colour.name, shot.views, files]
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()


def frame_sources(shot: Shot, frame: int, with_mattes: bool = True) -> list[list]:
    """What tells the files of one frame from others: frame, name, size and time of plate, matte and guide.

    A guide's file type also decides its colour space, so that is added.
    """
    headers = [shot.plate_header(frame)]
    if with_mattes and frame in shot.reference_frames:
        headers.append(shot.matte_header(frame))
    found = [(header.path.name, header.path.stat()) for header in headers]
    sources = [[frame, name, status.st_size, status.st_mtime_ns] for name, status in found]
    if with_mattes and (guide := shot.guides.get(frame)):
        status = guide.header.path.stat()
        name = guide.header.path.name
        sources.append([frame, name, status.st_size, status.st_mtime_ns, "guide", guide.colour.name])
    return sources


def _reusable(folder: Path, sizes: Sequence[tuple[int, int]], source: str) -> tuple[FrameStore, ...] | None:
    stores = []
    for size in sizes:
        try:
            description = json.loads((_place(folder, size) / _DESCRIPTION).read_text())
            if description["source"] != source:
                return None
            store = open_store(_place(folder, size))
            # A store that no longer holds what it was made with would be learned as if it were the shot.
            painted = description.get("painted", ())
            if store.fingerprint != _fingerprint(store.frames, store.state, store.working_space, painted):
                return None
            stores.append(store)
        except (OSError, ValueError, KeyError, TypeError, BadInput):
            return None
    return tuple(stores)


def _make_room(folder: Path, pictures: int, sizes: Sequence[tuple[int, int]]) -> None:
    """Makes the folder if the disk has room for all the stores."""
    needed = store_bytes(pictures, sizes) + _SPARE_BYTES
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


def store_bytes(pictures: int, sizes: Sequence[tuple[int, int]]) -> int:
    """Disk that stores of these sizes take."""
    return pictures * sum(height * width * 7 for height, width in sizes)


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)

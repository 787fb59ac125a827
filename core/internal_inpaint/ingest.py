"""The ingest step of a run: read the shot into stores, and measure how it moves where the method copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from internal_inpaint.context import Context
from internal_inpaint.files import as_user_error
from internal_inpaint.job_folder import JobFolder
from internal_inpaint.motion.contrast import contrast_of
from internal_inpaint.motion.measure import MotionSource, measure_motion
from internal_inpaint.plan import levels_of
from internal_inpaint.rendering.copy_source import CopySource
from internal_inpaint.rendering.copying import ShotCopies
from internal_inpaint.rendering.texture_file import read_keys, write_keys
from internal_inpaint.resample import reduce_area, reduce_max
from internal_inpaint.shot import FrameStore, Shot, build_stores
from internal_inpaint.training.levels import Level, fitted

MOTION_PIXELS = 2048 * 1152  # larger plates' motion is measured at a reduced size
MOTION_MEMORY = 2e9  # bytes that all pairs of pictures that are measured at once take together
_BYTES = 14, 80  # of one pair, per pixel of the plate and of the size that it is measured at (measured)


@dataclass(frozen=True)
class Ingested:
    """A shot that is ready to be learned.

    Attributes:
        levels: the resolutions that it is learned at, the coarsest first.
        stores: its frames at each level.
        copies: what its fills may copy; ``None`` for a method that invents everything.
    """

    levels: tuple[Level, ...]
    stores: tuple[FrameStore, ...]
    copies: ShotCopies | None


def ingest(context: Context, shot: Shot) -> Ingested:
    """Read the whole shot into a store for each level that it is trained at.

    A shot that is copied from also gets a store of the plate's size, and its motion is measured.

    Raises:
        Stopped, BadInput, OutOfResources: what is complete is kept.
    """
    canvas = (shot.canvas.height, shot.canvas.width)
    levels = levels_of(context.job, canvas, context.device, context.folder)
    sizes = stored_sizes(levels, canvas)
    context.events.tell(stage="read", progress=0.0, frames=len(shot.frames), frames_done=0)
    stores = build_stores(
        shot,
        context.folder.store,
        sizes,
        progress=context.progress(),
        should_stop=context.stop,
        threads=torch.get_num_threads(),
    )
    context.check_stop()
    if not levels[0].config.copies:
        return Ingested(levels, stores, None)
    context.events.tell(stage="motion", progress=0.0, frames=None, frames_done=None)
    found = copies_of(stores[0], stores[-1], len(shot.views), context.folder.motion, context.progress(), context.stop)
    context.check_stop()
    return Ingested(levels, stores[: len(levels)], textured(found, context.folder, stores))


def stored_sizes(levels: tuple[Level, ...], canvas: tuple[int, int]) -> list[tuple[int, int]]:
    """The sizes that a shot is stored at: those of its levels and, if it is copied from, the plate's."""
    sizes = [tuple(level.size) for level in levels]
    return [*sizes, canvas] if levels[0].config.copies and canvas not in sizes else sizes


def copies_of(
    level: FrameStore,
    plate: FrameStore,
    views: int,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> ShotCopies:
    """Measure the motion of a shot, or open what an earlier run has measured of it.

    Args:
        level, plate: the shot at the size that it is learned at, and at its own.
        views: pictures per frame.
        folder: for the motion.
        progress: called with (pairs of pictures done, all pairs).
        should_stop: asks for a stop; the motion is then not complete.
    """
    try:
        measured, reduced = measure_motion(
            motion_source(plate, views), folder, [level.size], motion_threads(plate.size), progress, should_stop
        )
    except OSError as error:
        raise as_user_error(error, f"the motion of the shot in {folder}") from error
    small = CopySource(level.frames, level.state, reduced)
    # A level of the plate's own size is the plate: nothing is searched twice.
    large = small if level.size == plate.size else CopySource(plate.frames, plate.state, measured)
    contrast = contrast_of(level.frames, level.state, range(len(level.state)))
    return ShotCopies(small, large, contrast, views)


def textured(copies: ShotCopies, folder: JobFolder, stores: Sequence[FrameStore]) -> ShotCopies:
    """The same with the texture for what no frame shows: that of the job folder, or a new one."""
    files, key = (folder.texture, folder.texture_about), " ".join(store.fingerprint for store in stores)
    keys = read_keys(*files, key, copies.size)
    if keys is None:
        write_keys(*files, key, copies.key_frames())
        keys = read_keys(*files, key, copies.size)
    return copies.textured(keys or [])


def motion_threads(plate: tuple[int, int]) -> int:
    """Pairs of pictures that are measured at once: one a thread, as far as memory allows."""
    height, width = fitted(plate, MOTION_PIXELS)
    of_one = _BYTES[0] * plate[0] * plate[1] + _BYTES[1] * height * width
    return max(1, min(torch.get_num_threads(), int(MOTION_MEMORY // of_one)))


def motion_bytes(pictures: int, canvas: tuple[int, int], level: tuple[int, int]) -> int:
    """Disk that the motion of a shot takes."""
    sizes = {fitted(canvas, MOTION_PIXELS), tuple(level)}
    return pictures * sum(height * width * 2 * (2 * 2 + 1) for height, width in sizes)


def motion_source(plate: FrameStore, views: int) -> MotionSource:
    """What the motion is measured from: the plate, reduced to at most ``MOTION_PIXELS``."""
    size = fitted(plate.size, MOTION_PIXELS)

    def picture(index: int):
        return reduce_area(plate.frames[index], size)

    def state(index: int):
        return reduce_max(plate.state[index], size)

    return MotionSource(picture, state, len(plate.frames), size, views, plate.fingerprint)

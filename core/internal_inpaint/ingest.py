"""The ingest step of a run: read the shot into stores, and measure how it moves where the method copies."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from internal_inpaint.context import Context
from internal_inpaint.files import as_user_error
from internal_inpaint.motion.contrast import contrast_of
from internal_inpaint.motion.measure import MotionSource, measure_motion
from internal_inpaint.plan import levels_of
from internal_inpaint.rendering.copying import ShotCopies, copy_source
from internal_inpaint.resample import reduce_area, reduce_max
from internal_inpaint.shot import FrameStore, Shot, build_stores
from internal_inpaint.training.levels import Level, fitted

MOTION_PIXELS = 2048 * 1152  # larger plates' motion is measured at a reduced size


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
    sizes, copies = [level.size for level in levels], levels[0].config.copies
    if copies and canvas not in sizes:
        sizes.append(canvas)
    context.events.tell(stage="read", progress=0.0, frames=len(shot.frames), frames_done=0)
    stores = build_stores(shot, context.folder.store, sizes, progress=context.progress(), should_stop=context.stop)
    context.check_stop()
    found = measure_copies(context, shot, stores[0], stores[-1]) if copies else None
    return Ingested(levels, stores[: len(levels)], found)


def measure_copies(context: Context, shot: Shot, level: FrameStore, plate: FrameStore) -> ShotCopies:
    """Measure the motion of a shot, or open what an earlier run has measured of it."""
    context.events.tell(stage="motion", progress=0.0, frames=None, frames_done=None)
    source, views = motion_source(plate, len(shot.views)), len(shot.views)
    try:
        measured, reduced = measure_motion(
            source,
            context.folder.motion,
            [level.size],
            threads=torch.get_num_threads(),
            progress=context.progress(),
            should_stop=context.stop,
        )
    except OSError as error:
        raise as_user_error(error, f"the motion of the shot in {context.folder.motion}") from error
    context.check_stop()
    small = copy_source(level.frames, level.state, reduced)
    # A level of the plate's own size is the plate: nothing is searched twice.
    large = small if level.size == plate.size else copy_source(plate.frames, plate.state, measured)
    contrast = contrast_of(level.frames, level.state, range(len(level.state)))
    return ShotCopies(small, large, contrast, views, plate.fingerprint)


def motion_source(plate: FrameStore, views: int) -> MotionSource:
    """What the motion is measured from: the plate, reduced to at most ``MOTION_PIXELS``."""
    size = fitted(plate.size, MOTION_PIXELS)

    def picture(index: int):
        return reduce_area(plate.frames[index], size)

    def state(index: int):
        return reduce_max(plate.state[index], size)

    return MotionSource(picture, state, len(plate.frames), size, views, plate.fingerprint)

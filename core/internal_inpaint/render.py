"""The render step of a run: measure the confidence of the fill, composite it, write the frames."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from internal_inpaint.ahead import at_once, made_ahead
from internal_inpaint.confidence.copies import CopiedFill
from internal_inpaint.confidence.measure import Confidence, measure_confidence, measure_copied_confidence
from internal_inpaint.context import Context
from internal_inpaint.files import as_user_error, write_atomically
from internal_inpaint.job import Job
from internal_inpaint.ledger import Ledger
from internal_inpaint.motion.follow import NOWHERE
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.rendering.composite import composite
from internal_inpaint.rendering.copying import Filled
from internal_inpaint.rendering.frames import Renderer
from internal_inpaint.rendering.grain import GrainModel
from internal_inpaint.rendering.grain_model import measure_grain
from internal_inpaint.rendering.grain_pairs import PlatePicture
from internal_inpaint.rendering.plate_grain import PlateGrain
from internal_inpaint.rendering.trained_shot import TrainedShot
from internal_inpaint.shot import ElementWriter, FrameStore, FrameWriter, Patch, Shot, by_frame, frame_sources
from internal_inpaint.shot.shot import PictureData

GRAIN_PAIRS = 4  # pairs of frames that the plate's grain is measured on


@dataclass(frozen=True)
class Writers:
    """What writes the frames of a job, and, if asked for, its elements."""

    frames: FrameWriter
    elements: ElementWriter | None


def writers_of(job: Job, shot: Shot) -> Writers:
    """The writers of a job. Raises ``BadInput`` before any work is done where an output will not do."""
    frames = FrameWriter(shot, job.output, job.fill_layer, job.confidence_layer, job.source_layer)
    elements = None if job.elements is None else ElementWriter(shot, job.elements, job.learns_by == "copy")
    if elements is not None:
        elements.refuse_result(frames)
    return Writers(frames, elements)


def confidence_of(context: Context, shot: Shot, trained: TrainedShot, store: FrameStore) -> Confidence:
    """How well the fill agrees with what other frames show; what an earlier run measured for the same fill is reused.

    Of a shot that was trained at several levels the coarsest one's fill is measured.

    Raises:
        Stopped, OutOfResources, BadInput.
    """
    events, folder, coarsest = context.events, context.folder, trained.coarsest()
    pictures = [(picture.frame, picture.view) for picture in shot.pictures]
    files, key = (folder.confidence, folder.confidence_about), f"{trained.digest} {store.source}"
    watched = {"progress": lambda share: events.tell(progress=share), "should_stop": context.stop}

    def hole(index: int) -> torch.Tensor:
        return torch.from_numpy(np.asarray(store.state[index]) == PixelState.HOLE)

    def fill(index: int) -> np.ndarray:
        return coarsest.fill(index, hole(index)).numpy()

    def copied(index: int) -> CopiedFill | None:
        filled = coarsest.filled(index, hole(index))[1]
        return None if filled.candidates is None else CopiedFill(filled.candidates, filled.picture, filled.share)

    events.tell(stage="confidence", progress=0.0, frames=None, frames_done=None)
    if (copies := coarsest.copies) is not None:
        key = f"{key} copies"  # the files of all frames are in the key already
        threads = _at_once(context, store.size[0] * store.size[1])
        return measure_copied_confidence(
            copied, store.state, pictures, copies.contrast, *files, key, threads, **watched
        )
    return measure_confidence(fill, store.frames, store.state, pictures, *files, key, **watched)


def grain_of(context: Context, shot: Shot, trained: TrainedShot, fingerprint: str) -> PlateGrain | None:
    """The grain of the shot's plate, measured once; ``None`` where none is wanted.

    Args:
        fingerprint: of the shot's content.
    """
    job, path = context.job, context.folder.grain
    if not job.grain:
        return None
    model = None
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text())
        model = GrainModel.from_plain(kept["model"]) if kept["fingerprint"] == fingerprint else None
    if model is None:
        model = measure_grain(_grain_pairs(shot, trained))
        try:
            write_atomically(path, json.dumps({"fingerprint": fingerprint, "model": model.plain()}))
        except OSError as error:
            raise as_user_error(error, str(path)) from error
    views = len(shot.views)
    return PlateGrain(model, job.grain, job.seed, [(p.frame, p.index % views) for p in shot.pictures])


def _grain_pairs(shot: Shot, trained: TrainedShot) -> Iterator[tuple[PlatePicture, PlatePicture]]:
    """A few pairs of neighbouring frames of one view, spread over the shot."""

    def picture(index: int) -> PlatePicture:
        data = shot.load(index)
        # The matte's soft edge shows some of the object too.
        known = ~(data.hole | data.outside) & (data.alpha == 0)
        return PlatePicture(trained.space.to_working(data.rgb), known)

    views = len(shot.views)
    firsts = range(0, len(shot.pictures) - views, views)
    for place in sorted({round(at) for at in np.linspace(0, len(firsts) - 1, GRAIN_PAIRS)} if firsts else ()):
        yield picture(firsts[place]), picture(firsts[place] + views)


def render(
    context: Context,
    shot: Shot,
    trained: TrainedShot,
    writers: Writers,
    confidence: Confidence,
    grain: PlateGrain | None = None,
    runtime: str = "torch",
) -> None:
    """Fill, composite and write every frame that is not there yet, or was made from something else.

    Args:
        grain: that the fills get.
        runtime: what computes the networks: frames of two runtimes differ in their last bits.

    Raises:
        Stopped, OutOfResources, BadInput: the frames written so far are kept.
    """
    job, events = context.job, context.events
    shown = confidence if job.confidence_layer or job.elements is not None else None
    numbers = np.array([picture.frame for picture in shot.pictures], np.float32)
    ledger, renderer = Ledger(context.folder.rendered, writers.frames), Renderer(trained, grain)
    frames = by_frame(shot.pictures)
    keys = _keys(context, shot, trained, shown is not None, runtime)
    if others := sum(writers.frames.path(frame).exists() and not ledger.wrote(frame) for frame in frames):
        events.tell(warning=f"{others} frame(s) of another origin stand at the output: they are replaced")

    def made(frame: int) -> dict[str, Patch]:
        patches = {}
        for picture in frames[frame]:
            loaded, filled = shot.load(picture.index), None
            if loaded.plate is None:
                result, fill, filled = renderer.rendered(picture.index, loaded.rgb, loaded.alpha)
            else:  # painted by the artist: nothing to fill
                result, fill = composite(loaded.plate, loaded.rgb, loaded.alpha), loaded.rgb
            plane = None if shown is None else shown.plane(picture.index, loaded.alpha.shape)
            source = None
            if job.source_layer or job.elements is not None:
                source = _source_plane(filled, loaded, numbers, numbers[picture.index])
            patches[picture.view] = Patch(result, loaded.alpha, fill, plane, source)
        return patches

    missing = [
        frame
        for frame in frames
        if not (ledger.has(frame, keys[frame]) and (writers.elements is None or writers.elements.has(frame)))
    ]
    done, began = len(frames) - len(missing), time.monotonic()
    events.tell(stage="render", progress=done / len(frames), frames=len(frames), frames_done=done)
    context.check_stop()
    # Copying is work for one thread a frame; a network that invents everything uses them all for one.
    together = 1
    if trained.copies is not None:
        together = _at_once(context, shot.canvas.height * shot.canvas.width * len(shot.views))
    with contextlib.closing(made_ahead(made, missing, together, "frames")) as coming:
        for number, (frame, patches) in enumerate(coming, start=1):
            if writers.elements is not None:
                writers.elements.write(frame, patches)
            writers.frames.write(frame, patches)
            ledger.add(frame, keys[frame])
            eta = (time.monotonic() - began) / number * (len(missing) - number)
            events.tell(progress=(done + number) / len(frames), frames_done=done + number, eta_s=eta)
            context.check_stop()
    events.tell(progress=1.0, frames_done=len(frames), eta_s=None)


def _at_once(context: Context, pixels: int) -> int:
    """Pictures of a copying method to have in work at once. A GPU is not asked to hold many."""
    threads = torch.get_num_threads()
    return at_once(threads if context.device.type == "cpu" else min(threads, 2), pixels)


def _source_plane(filled: Filled | None, loaded: PictureData, numbers: np.ndarray, own: float) -> np.ndarray:
    """``[H, W, 2]`` float32: the frame that was copied from, 0 for none, and the share that was copied.

    Args:
        filled: ``None`` where nothing is copied; what was painted is its own frame's.
        numbers: the shot's own frame number of each picture; own: that of this one.
    """
    if filled is None:
        painted = own if loaded.plate is not None else 0
        return np.full((*loaded.alpha.shape, 2), (painted, 0), np.float32)
    index, share = filled.source(loaded.alpha.shape)
    return np.stack([np.where(index == NOWHERE, 0, numbers[index]), share], axis=2)


def _keys(context: Context, shot: Shot, trained: TrainedShot, with_confidence: bool, runtime: str) -> dict[int, str]:
    """What a frame is made from: its files, the settings of matte and grain, the weights, and what else is written.

    The output's place is none of it: the ledger knows each file by its size and time, so that a folder that was moved
    keeps the frames in it.
    """
    job = context.job
    elements = None if job.elements is None else Path(job.elements)
    if elements is not None and elements.is_relative_to(context.folder.path.absolute()):
        elements = elements.relative_to(context.folder.path.absolute())
    settings = [trained.digest, asdict(trained.space), shot.grow, shot.feather, shot.colour.name]
    settings += [shot.settings.matte_channel]
    settings += [float(job.grain), job.fill_layer, job.confidence_layer, str(elements), runtime]
    if job.source_layer:
        settings.append("source")
    if with_confidence or trained.copies is not None:
        # A copy, and the confidence of a frame, depend on what the others show.
        settings += [frame_sources(shot, frame) for frame in shot.frames]
    shared = json.dumps(settings)
    return {
        frame: hashlib.sha256(f"{shared} {json.dumps(frame_sources(shot, frame))}".encode()).hexdigest()
        for frame in shot.frames
    }

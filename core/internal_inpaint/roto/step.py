"""The roto step of a run: from the few mattes of a job to a matte EXR for every frame (section 4.2)."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, replace

import numpy as np
import torch

from internal_inpaint.context import Context
from internal_inpaint.errors import BadInput
from internal_inpaint.files import write_atomically
from internal_inpaint.job import Job
from internal_inpaint.job_folder import JobFolder
from internal_inpaint.ledger import Ledger
from internal_inpaint.resample import reduce_area, reduce_max, resize_matte
from internal_inpaint.roto.config import RotoConfig, default_budget
from internal_inpaint.roto.propagate import propagate
from internal_inpaint.roto.result import Propagated, finished, inputs_fingerprint
from internal_inpaint.roto.writer import MatteWriter
from internal_inpaint.shot import FrameStore, Picture, Shot, build_stores, by_frame, compact_frames, with_mattes
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.levels import fitted
from internal_inpaint.training.state import Hooks, Progress

READ, FOUND = (
    0.05,
    0.95,
)  # shares of the step by which the shot is read and the mattes are found; then they are written


def roto(context: Context, shot: Shot, train: bool = True) -> tuple[Shot, Propagated]:
    """Find the matte of every frame from those that were drawn, and write them.

    Mattes that this folder's weights were trained with are kept, whatever budget or device this run has.

    Args:
        train: whether mattes may be found anew; otherwise only those that there are will do.

    Returns:
        the shot with a matte on every frame, and what was found.

    Raises:
        Stopped: everything trained so far is saved.
        BadInput: an empty matte, an output that will not do, or mattes to be found where nothing is to be trained.
    """
    output = mattes_output(context.job, context.folder)
    found = _earlier(context, shot, output) if context.folder.has_trained() else None
    if found is None:
        found = _propagate(context, shot, output, train)
    _warn_of_doubt(context, shot, found, output)
    if context.job.task == "propagate-matte":
        return shot, found
    return with_mattes(shot, output), found


def refuse_nothing_to_do(job: Job, shot: Shot) -> None:
    """BadInput where a job asks for mattes to be propagated and every frame has one."""
    if job.task == "propagate-matte" and all(map(shot.has_own_matte, shot.pictures)):
        raise BadInput(
            f"matte {shot.matte_sequence.pattern} has every frame of the shot: nothing is left to propagate"
            + ("" if job.matte_frame else "; name the frames to start from with --matte-frame")
        )


def mattes_output(job: Job, folder: JobFolder) -> str:
    """Pattern of the mattes that a job writes: they are its output, or lie in its folder."""
    return job.output if job.task == "propagate-matte" else str(folder.roto.frames.absolute() / "matte.####.exr")


def refuse_changed(shot: Shot, folder: JobFolder, output: str) -> None:
    """BadInput where somebody has worked on a matte that this job wrote, and would lose it."""
    writer = MatteWriter(shot, output)
    ledger = Ledger(folder.roto_written, writer)
    for frame in shot.frames:
        if ledger.changed(frame):
            raise BadInput(
                f"matte {writer.path(frame)} was changed by hand and would be written over: move it beside the drawn "
                f"mattes and name its frame with --matte-frame, or delete it"
            )


def budget_of(job: Job, device: torch.device) -> Budget:
    """The budget of the matte: the job's, else the preset's for this kind of device."""
    steps, seconds = (job.steps, job.time) if job.task == "propagate-matte" else (job.matte_steps, job.matte_time)
    if steps is None and seconds is None:
        return default_budget(job.quality, device.type == "cuda")
    return Budget(steps, seconds)


def by_frame_number(shot: Shot, found: Propagated) -> tuple[dict[int, float], tuple[int, ...]]:
    """The confidence of each of the shot's frames, over its views, and the frames in which the object may be lost."""
    confidence: dict[int, float] = {}
    for picture in shot.pictures:
        confidence[picture.frame] = min(confidence.get(picture.frame, 1.0), found.confidence[picture.index])
    return confidence, tuple(sorted({shot.pictures[index].frame for index in found.doubtful}))


def _propagate(context: Context, shot: Shot, output: str, train: bool) -> Propagated:
    """Learn the object from the frames that have a matte, and write one for every frame."""
    job, folder, events = context.job, context.folder, context.events
    writer = MatteWriter(shot, output)
    ledger = Ledger(folder.roto_written, writer)
    refuse_changed(shot, folder, output)
    others = sum(writer.path(frame).exists() and not ledger.wrote(frame) for frame in shot.frames)
    if others and job.task == "propagate-matte":
        events.tell(warning=f"{others} matte(s) of another origin stand at the output: they will be replaced")
    store, references = _read(context, shot)
    config, budget = RotoConfig(), budget_of(job, context.device)
    fingerprint = inputs_fingerprint(store.frames, references, config, job.seed, len(shot.views))
    if not train and finished(folder.roto, fingerprint, budget) is None:
        raise BadInput(
            f"{folder} was trained with mattes found from another plate or other drawn mattes than these: "
            "put those back, or use `internal-inpaint run`, which trains with these"
        )
    found = propagate(
        store.frames,
        store.state,
        references,
        config,
        budget,
        context.device,
        job.seed,
        folder.roto.path,
        _hooks(context),
        len(shot.views),
    )
    events.tell(step=None, steps=None, loss=None, eta_s=None)
    refuse_changed(shot, folder, output)  # meanwhile
    _write(context, shot, found, writer, ledger, f"{store.source} {found.key}")
    found = replace(found, mattes=None)
    write_atomically(folder.roto.result, json.dumps({"inputs": _inputs(shot), **asdict(found)}, indent=1))
    return found


def _read(context: Context, shot: Shot) -> tuple[FrameStore, dict[int, np.ndarray]]:
    """The shot at the size that the matte is found at, and the drawn mattes ``[h, w]`` by index."""
    config, canvas = RotoConfig(), (shot.canvas.height, shot.canvas.width)
    size = fitted(canvas, config.pixels[0 if context.device.type == "cuda" else 1])
    context.events.tell(stage="matte", progress=0.0, frames=len(shot.frames), frames_done=0)
    store = build_stores(
        shot,
        context.folder.roto.store,
        [size],
        progress=context.progress(0.0, READ),
        should_stop=context.stop,
        with_mattes=False,
    )[0]
    context.check_stop()
    drawn = [picture for picture in shot.pictures if shot.has_own_matte(picture)]
    return store, {picture.index: _reference(shot.load_matte(picture.index), size) for picture in drawn}


def _hooks(context: Context) -> Hooks:
    def report(progress: Progress) -> None:
        context.events.tell(
            step=progress.step,
            steps=progress.steps,
            loss=progress.loss,
            eta_s=progress.eta_s,
            progress=READ + (FOUND - READ) * progress.progress,
        )

    return Hooks(report=report, warn=lambda text: context.events.tell(warning=text), should_stop=context.stop)


def _warn_of_doubt(context: Context, shot: Shot, found: Propagated, output: str) -> None:
    """Name the frames in which the object may be lost; a resumed run says it again, for whoever looks only now."""
    _, doubtful = by_frame_number(shot, found)
    if doubtful:
        context.events.tell(
            warning=f"the object may be lost in frame(s) {compact_frames(doubtful)}: "
            f"look at their mattes in {output}, "
            "and give a corrected one of them as another reference frame with --matte-frame"
        )


def _earlier(context: Context, shot: Shot, output: str) -> Propagated | None:
    """What an earlier run of this folder found for the same files, if all of its mattes are there."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(context.folder.roto.result.read_text())
        writer = MatteWriter(shot, output)
        if kept.pop("inputs") == _inputs(shot) and all(writer.path(frame).is_file() for frame in shot.frames):
            found = Propagated(**kept)
            if len(found.confidence) == len(shot.pictures):
                return found
    return None


def _inputs(shot: Shot) -> list:
    """The files that mattes are found from, by frame and name: copied files have other times.

    Plates are told by their size. Mattes are few and corrected in place, and uncompressed ones keep their size: they
    are told by what is in them.
    """
    plates = [(frame, shot.plate_header(frame).path) for frame in shot.frames]
    drawn = [(frame, shot.matte_header(frame).path) for frame in shot.reference_frames]
    return [
        *([frame, path.name, path.stat().st_size] for frame, path in plates),
        *([frame, path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for frame, path in drawn),
    ]


def _reference(matte: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A drawn matte at working size; one so thin that nothing of it would be left is kept by its highest values."""
    small = reduce_area(matte, size)
    if (matte > 0.5).any() and not (small > 0.5).any():
        small = reduce_max(matte, size)
    return small


def _write(context: Context, shot: Shot, found: Propagated, writer: MatteWriter, ledger: Ledger, key: str) -> None:
    frames = by_frame(shot.pictures)
    for done, (frame, pictures) in enumerate(frames.items()):
        context.events.tell(progress=FOUND + (1 - FOUND) * done / len(frames), frames_done=done)
        context.check_stop()
        if not ledger.has(frame, key):
            writer.write(frame, {picture.view: _matte(shot, found, picture) for picture in pictures})
            ledger.add(frame, key)
    context.events.tell(progress=1.0, frames_done=len(frames))


def _matte(shot: Shot, found: Propagated, picture: Picture) -> np.ndarray:
    """The matte of one picture on the canvas ``[H, W]``: as drawn where it was drawn."""
    if shot.has_own_matte(picture):
        return shot.load_matte(picture.index)
    return resize_matte(np.asarray(found.mattes[picture.index], np.float32), (shot.canvas.height, shot.canvas.width))

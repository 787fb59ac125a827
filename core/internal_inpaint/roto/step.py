"""The roto step of a run: writes a matte EXR for every frame, given the mattes of a few frames (section 4.2)."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, replace

import numpy as np
import torch

from internal_inpaint.checkpoints import has_learned
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

# Shares of the step's progress at which the shot is read and the mattes are found. The rest is for writing them.
READ, FOUND = 0.05, 0.95


def roto(context: Context, shot: Shot, train: bool = True) -> tuple[Shot, Propagated]:
    """Find and write the mattes of all frames, starting from the artist's.

    If the job folder holds trained weights, the mattes that they were trained with are used, even if this run has
    another budget or device.

    Args:
        train: whether mattes may be trained for; otherwise only the existing ones are used.

    Returns:
        the shot with a matte on every frame, and the mattes that were found.

    Raises:
        Stopped: everything trained so far is saved.
        BadInput: an empty matte, an unusable output, or mattes that would have to be trained for without ``train``.
    """
    output = mattes_output(context.job, context.folder)
    found = _earlier(context, shot, output) if has_learned(context.folder.levels()) else None
    if found is None:
        found = _propagate(context, shot, output, train)
    _warn_doubtful_frames(context, shot, found, output)
    if context.job.task == "propagate-matte":
        return shot, found
    return with_mattes(shot, output), found


def refuse_nothing_to_do(job: Job, shot: Shot) -> None:
    """Raises ``BadInput`` if the job is to propagate mattes and every frame has one."""
    if job.task == "propagate-matte" and all(map(shot.has_own_matte, shot.pictures)):
        raise BadInput(
            f"matte {shot.matte_sequence.pattern} has every frame of the shot, so there is nothing to propagate"
            + ("" if job.matte_frame else ": name the frames to start from with --matte-frame")
        )


def mattes_output(job: Job, folder: JobFolder) -> str:
    """Pattern of the mattes that a job writes: its output, or files in its folder."""
    return job.output if job.task == "propagate-matte" else str(folder.roto.frames.absolute() / "matte.####.exr")


def refuse_changed(shot: Shot, folder: JobFolder, output: str) -> None:
    """Raises ``BadInput`` if a matte that this job wrote was edited since: writing it again would lose the edit."""
    writer = MatteWriter(shot, output)
    ledger = Ledger(folder.roto_written, writer)
    for frame in shot.frames:
        if ledger.changed(frame):
            raise BadInput(
                f"matte {writer.path(frame)} was edited and would be overwritten: move it to the folder of --matte "
                f"and name its frame with --matte-frame, or delete it"
            )


def budget_of(job: Job, device: torch.device) -> Budget:
    """The budget for the mattes: the job's, or the preset's default for this kind of device."""
    steps, seconds = (job.steps, job.time) if job.task == "propagate-matte" else (job.matte_steps, job.matte_time)
    if steps is None and seconds is None:
        return default_budget(job.quality, device.type == "cuda")
    return Budget(steps, seconds)


def by_frame_number(shot: Shot, found: Propagated) -> tuple[dict[int, float], tuple[int, ...]]:
    """The confidence of each frame, the minimum over its views, and the frames in which the object may be lost."""
    confidence: dict[int, float] = {}
    for picture in shot.pictures:
        confidence[picture.frame] = min(confidence.get(picture.frame, 1.0), found.confidence[picture.index])
    return confidence, tuple(sorted({shot.pictures[index].frame for index in found.doubtful}))


def _propagate(context: Context, shot: Shot, output: str, train: bool) -> Propagated:
    """Train on the frames that have a matte, and write mattes for all frames."""
    job, folder, events = context.job, context.folder, context.events
    writer = MatteWriter(shot, output)
    ledger = Ledger(folder.roto_written, writer)
    refuse_changed(shot, folder, output)
    others = sum(writer.path(frame).exists() and not ledger.wrote(frame) for frame in shot.frames)
    if others and job.task == "propagate-matte":
        events.tell(warning=f"{others} matte(s) at the output were not written by this job: they will be replaced")
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
    refuse_changed(shot, folder, output)  # a matte may have been edited during the training
    _write(context, shot, found, writer, ledger, f"{store.source} {found.key}")
    found = replace(found, mattes=None)
    write_atomically(folder.roto.result, json.dumps({"inputs": _inputs(shot), **asdict(found)}, indent=1))
    return found


def _read(context: Context, shot: Shot) -> tuple[FrameStore, dict[int, np.ndarray]]:
    """The shot at the network's working size, and the artist's mattes ``[h, w]`` at that size, by picture index."""
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
    references = [picture for picture in shot.pictures if shot.has_own_matte(picture)]
    return store, {picture.index: _reference(shot.load_matte(picture.index), size) for picture in references}


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


def _warn_doubtful_frames(context: Context, shot: Shot, found: Propagated, output: str) -> None:
    """Warn about frames in which the object may be lost; a resumed run repeats the warning."""
    _, doubtful = by_frame_number(shot, found)
    if doubtful:
        context.events.tell(
            warning=f"the object may be lost in frame(s) {compact_frames(doubtful)}: "
            f"check their mattes in {output}, "
            "correct one of them, and name its frame with --matte-frame too"
        )


def _earlier(context: Context, shot: Shot, output: str) -> Propagated | None:
    """The result of an earlier run in this folder for the same files, if all of its mattes exist."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        saved = json.loads(context.folder.roto.result.read_text())
        writer = MatteWriter(shot, output)
        if saved.pop("inputs") == _inputs(shot) and all(writer.path(frame).is_file() for frame in shot.frames):
            found = Propagated(**saved)
            if len(found.confidence) == len(shot.pictures):
                return found
    return None


def _inputs(shot: Shot) -> list:
    """The input files, identified by frame and name, but not by time: copied files have other times.

    Plates are also identified by file size. Mattes are few, are edited in place, and keep their size if they are
    uncompressed: they are identified by their content.
    """
    plates = [(frame, shot.plate_header(frame).path) for frame in shot.frames]
    mattes = [(frame, shot.matte_header(frame).path) for frame in shot.reference_frames]
    return [
        *([frame, path.name, path.stat().st_size] for frame, path in plates),
        *([frame, path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for frame, path in mattes),
    ]


def _reference(matte: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An artist's matte at working size. If area reduction would erase a thin matte, the maximum is used instead."""
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
    """The matte of one picture on the canvas ``[H, W]``; on a reference frame it is the artist's matte."""
    if shot.has_own_matte(picture):
        return shot.load_matte(picture.index)
    return resize_matte(np.asarray(found.mattes[picture.index], np.float32), (shot.canvas.height, shot.canvas.width))

"""Roto one frame, get the rest: from the few mattes of a job to a matte EXR for every frame (section 4.2)."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from internal_inpaint.control import STOPPED, StopRequest
from internal_inpaint.errors import BadInput, Stopped
from internal_inpaint.events import Events
from internal_inpaint.files import write_atomically
from internal_inpaint.job import Job
from internal_inpaint.ledger import Ledger
from internal_inpaint.propagation import (
    MatteWriter,
    Propagated,
    PropagationConfig,
    default_budget,
    is_found,
    propagate,
)
from internal_inpaint.resample import reduce_area, reduce_max, resize_matte
from internal_inpaint.shot import Picture, Shot, build_stores, compact_frames, open_shot
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.loop import Hooks, Progress
from internal_inpaint.training.stages import fitted

SETTLED = "settled.json"
FRAMES_FOLDER = "frames"  # in the job folder's ``matte``: the mattes as EXR files
READING, LEARNING = 0.05, 0.95  # shares of the stage by which they are done; the rest is writing


@dataclass(frozen=True)
class PropagatedMattes:
    """Mattes written for every frame: their pattern, frames in which the object may be lost, the confidence of each.

    ``steps`` and ``seconds`` are of the learning, over all attempts.
    """

    pattern: str
    doubtful_frames: tuple[int, ...]
    confidence: dict[int, float]
    steps: int
    seconds: float


def refuse_nothing_to_do(job: Job, shot: Shot) -> None:
    """BadInput where a job asks for mattes to be propagated and every frame has one."""
    if job.task == "propagate-matte" and all(map(shot.has_own_matte, shot.pictures)):
        raise BadInput(
            f"matte {shot.matte_sequence.pattern} has every frame of the shot: nothing is left to propagate"
            + ("" if job.matte_frame else "; name the frames to start from with --matte-frame")
        )


def mattes_output(job: Job, folder: Path) -> str:
    """Pattern of the mattes that a job writes: they are its output, or lie in its folder."""
    only = job.task == "propagate-matte"
    return job.output if only else str(folder.absolute() / "matte" / FRAMES_FOLDER / "matte.####.exr")


def found_mattes(
    job: Job, shot: Shot, folder: Path, device: torch.device, events: Events, stop: StopRequest
) -> PropagatedMattes:
    """The matte of every frame; those that this folder's weights were learned with, if there are any."""
    output = mattes_output(job, folder)
    learned_with = any((folder / "checkpoints").glob("*/step-*"))
    mattes = settled_mattes(shot, folder, output) if learned_with else None
    # Where they are gone without a trace, finding them again is the only way to go on.
    only_again = learned_with and (folder / "matte" / SETTLED).is_file()
    mattes = mattes or propagate_mattes(job, shot, folder, device, events, stop, output, only_again)
    warn_of_doubt(mattes, events)
    return mattes


def propagate_mattes(
    job: Job,
    shot: Shot,
    folder: Path,
    device: torch.device,
    events: Events,
    stop: StopRequest,
    output: str,
    only_again: bool = False,
) -> PropagatedMattes:
    """Learn the object from the frames that have a matte, and write one for every frame.

    Args:
        shot: with mattes on a few frames.
        folder: of the job; its ``matte`` folder keeps what has been learned.
        output: pattern of the mattes.
        only_again: refuse to find other mattes than those that the folder has: weights were learned with them.

    Raises:
        Stopped: everything learned so far is saved.
        BadInput: an empty matte, an output that will not do, or other mattes where ``only_again``.
    """
    writer = MatteWriter(shot, output)
    before = Ledger(folder / "mattes.json", writer, "")
    refuse_changed(shot, folder, output)
    others = sum(writer.path(frame).exists() and not before.wrote(frame) for frame in shot.frames)
    if others and job.task == "propagate-matte":
        events.tell(warning=f"{others} matte(s) of another origin stand at the output: they will be replaced")
    config, canvas = PropagationConfig(), (shot.canvas.height, shot.canvas.width)
    size = fitted(canvas, config.pixels[0 if device.type == "cuda" else 1])
    events.tell(stage="matte", progress=0.0, frames=len(shot.frames), frames_done=0)
    store = build_stores(
        shot,
        folder / "matte" / "store",
        [size],
        progress=lambda done, of: events.tell(progress=READING * done / max(1, of)),
        should_stop=stop,
        with_mattes=False,
    )[0]
    if stop():
        raise Stopped(STOPPED)
    references = {
        picture.index: _reference(shot.load_matte(picture.index), size)
        for picture in shot.pictures
        if shot.has_own_matte(picture)
    }

    def report(progress: Progress) -> None:
        events.tell(
            step=progress.step,
            steps=progress.steps,
            loss=progress.loss,
            eta_s=progress.eta_s,
            progress=READING + (LEARNING - READING) * progress.progress,
        )

    hooks = Hooks(report=report, warn=lambda message: events.tell(warning=message), should_stop=stop)
    budget, views = budget_of(job, device), len(shot.views)
    if only_again and not is_found(store.frames, references, config, budget, job.seed, folder / "matte", views):
        raise BadInput(
            f"{folder} has learned with mattes found from another plate or other drawn mattes than these: "
            "put those back, use another --work folder, or --restart to train anew"
        )
    found = propagate(
        store.frames,
        store.state,
        references,
        config,
        budget,
        device,
        job.seed,
        folder / "matte",
        hooks,
        views,
    )
    events.tell(step=None, steps=None, loss=None, eta_s=None)
    sure: dict[int, float] = {}
    for picture in shot.pictures:
        sure[picture.frame] = min(sure.get(picture.frame, 1.0), found.confidence[picture.index])
    doubtful = tuple(sorted({shot.pictures[index].frame for index in found.doubtful}))
    refuse_changed(shot, folder, output)  # meanwhile
    _write(shot, found, writer, Ledger(folder / "mattes.json", writer, f"{store.source} {found.key}"), events, stop)
    result = PropagatedMattes(output, doubtful, sure, found.steps, found.seconds)
    settled = {"inputs": _inputs(shot), **asdict(result)}
    write_atomically(folder / "matte" / SETTLED, json.dumps(settled, indent=1))
    return result


def warn_of_doubt(mattes: PropagatedMattes, events: Events) -> None:
    """Name the frames in which the object may be lost; a resumed run says it again, for whoever looks only now."""
    if mattes.doubtful_frames:
        frames = compact_frames(mattes.doubtful_frames)
        events.tell(
            warning=f"the object may be lost in frame(s) {frames}: look at their mattes in {mattes.pattern}, and "
            "give a corrected one of them as another reference frame with --matte-frame"
        )


def settled_mattes(shot: Shot, folder: Path, output: str) -> PropagatedMattes | None:
    """The mattes that an earlier run of this folder found for the same files, if all of them are there.

    What has been learned from them is worth nothing with others: they are kept, whatever time or device they were
    to be learned with now.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        settled = json.loads((folder / "matte" / SETTLED).read_text())
        writer = MatteWriter(shot, output)
        # Earlier versions told the drawn mattes by their size too: what was learned with theirs must not be lost.
        known = settled["inputs"] in (_inputs(shot), _inputs(shot, _size))
        if known and all(writer.path(frame).is_file() for frame in shot.frames):
            confidence = {int(frame): value for frame, value in settled["confidence"].items()}
            doubtful = tuple(settled["doubtful_frames"])
            return PropagatedMattes(output, doubtful, confidence, settled["steps"], settled["seconds"])
    return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size


def _inputs(shot: Shot, drawn_by: Callable[[Path], object] = _digest) -> list:
    """The files that mattes are found from, by frame, name and size: copied files have other times. Mattes are
    few, and corrected in place; uncompressed, their size stays: they are told by what is in them."""
    plates = [(frame, shot.plate_header(frame).path) for frame in shot.frames]
    drawn = [(frame, shot.matte_header(frame).path) for frame in shot.reference_frames]
    return [
        *([frame, path.name, _size(path)] for frame, path in plates),
        *([frame, path.name, drawn_by(path)] for frame, path in drawn),
    ]


def _reference(matte: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A drawn matte at working size; one so thin that nothing of it would be left is kept by its highest values."""
    small = reduce_area(matte, size)
    if (matte > 0.5).any() and not (small > 0.5).any():
        small = reduce_max(matte, size)
    return small


def budget_of(job: Job, device: torch.device) -> Budget:
    """The budget of the matte: the job's, else the preset's for this kind of device."""
    steps, seconds = (job.steps, job.time) if job.task == "propagate-matte" else (job.matte_steps, job.matte_time)
    if steps is None and seconds is None:
        return default_budget(job.quality, device.type == "cuda")
    return Budget(steps, seconds)


def with_mattes(shot: Shot, mattes: PropagatedMattes) -> Shot:
    """The same shot with a matte on every frame."""
    settings = replace(shot.settings, matte=mattes.pattern, matte_channel=None, matte_frame=None)
    return open_shot(settings)


def refuse_changed(shot: Shot, folder: Path, output: str) -> None:
    """BadInput where somebody has worked on a matte that this job wrote, and would lose it."""
    writer = MatteWriter(shot, output)
    ledger = Ledger(folder / "mattes.json", writer, "")
    for frame in shot.frames:
        if ledger.changed(frame):
            raise BadInput(
                f"matte {writer.path(frame)} was changed by hand and would be written over: move it beside the drawn "
                f"mattes and name its frame with --matte-frame, or delete it"
            )


def _write(
    shot: Shot, found: Propagated, writer: MatteWriter, ledger: Ledger, events: Events, stop: StopRequest
) -> None:
    by_frame: dict[int, list[Picture]] = {}
    for picture in shot.pictures:
        by_frame.setdefault(picture.frame, []).append(picture)
    for done, (frame, pictures) in enumerate(by_frame.items()):
        events.tell(progress=LEARNING + (1 - LEARNING) * done / len(by_frame), frames_done=done)
        if stop():
            raise Stopped(STOPPED)
        if not ledger.has(frame):
            ledger.add(frame, writer.write(frame, {p.view: _matte(shot, found, p) for p in pictures}))
    events.tell(progress=1.0, frames_done=len(by_frame))


def _matte(shot: Shot, found: Propagated, picture: Picture) -> np.ndarray:
    """The matte of one picture on the canvas ``[H, W]``: as drawn where it was drawn."""
    if shot.has_own_matte(picture):
        return shot.load_matte(picture.index)
    return resize_matte(np.asarray(found.mattes[picture.index], np.float32), (shot.canvas.height, shot.canvas.width))

"""``run(job)``: six steps that hand values on, top to bottom: open, roto, ingest, fit, render, report."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from internal_inpaint.checkpoints import has_learned
from internal_inpaint.context import Context
from internal_inpaint.control import INTERRUPTED, StopRequest
from internal_inpaint.errors import BadInput, OutOfResources, Stopped
from internal_inpaint.events import Events
from internal_inpaint.export.onnx_runtime import on_onnxruntime, providers, require
from internal_inpaint.files import as_user_error
from internal_inpaint.fit import (
    fit,
    load_trained,
    renewed,
    require_checkpoint,
    warn_of_precision,
)
from internal_inpaint.ingest import ingest
from internal_inpaint.job import Job
from internal_inpaint.job_fields import paths_in
from internal_inpaint.job_folder import JobFolder
from internal_inpaint.methods.memory import is_out_of_memory
from internal_inpaint.outcome import Result, finished, report
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.plan import recipe, refuse_empty_start, threads_of
from internal_inpaint.preview import Preview
from internal_inpaint.render import Writers, confidence_of, grain_of, render, writers_of
from internal_inpaint.roto.step import mattes_output, refuse_changed, refuse_nothing_to_do, roto
from internal_inpaint.roto.writer import MatteWriter
from internal_inpaint.shot import FrameStore, Shot, ShotSettings, check_guides, open_shot
from internal_inpaint.spinning import limited_while_busy
from internal_inpaint.threads import apply_threads, choose_threads
from internal_inpaint.training.device import choose_device, trains_in_bf16
from internal_inpaint.vgg19 import load_vgg19


@dataclass(frozen=True)
class Mode:
    """What the verb asks for.

    Attributes:
        train, render: leave one of the two out (the ``render`` and ``train`` verbs).
        restart: forget what an earlier run of this folder has trained and rendered.
        runtime: what computes the networks where nothing is trained: ``torch`` or ``onnx``.
    """

    train: bool = True
    render: bool = True
    restart: bool = False
    runtime: str = "torch"


RUN = Mode()


def run(
    job: Job,
    folder: Path,
    display: Callable[[dict], None] | None = None,
    mode: Mode = RUN,
    stop: StopRequest | None = None,
) -> Result:
    """Do a job, or go on with it.

    Args:
        job: what to do.
        folder: the job folder; made if it is not there.
        display: gets every event.
        mode: what of it to do.
        stop: asks the run to stop; by default only the job folder's ``stop`` file does.

    Raises:
        BadInput, Stopped, OutOfResources, TrainingDiverged: each message one sentence for the user.
    """
    stop, home = stop or StopRequest(), JobFolder(folder)
    if mode.runtime == "onnx":
        if job.learns_by == "copy":
            raise BadInput(
                "--runtime onnx cannot copy from other frames: leave it out, or train with --method implicit"
            )
        require("onnxruntime", "onnx")
        providers(job.device)
    if job.task == "propagate-matte" and not (mode.train and mode.render):
        raise BadInput("a propagate-matte job has nothing to train or render by itself: use `internal-inpaint run`")
    opened = None
    try:
        if not folder.is_dir():
            apply_threads(choose_threads(job.threads))
            device_of(job)
            _refuse_start(job, home, mode)
            opened = open_(job, mode)  # a job that cannot be done leaves no folder behind
        home.make()
        with home.claimed():
            stop.watch(home)
            home.sweep()
            if not mode.restart and has_learned(home.levels()):
                home.refuse_other(job)
            events = Events(home, display)
            with _ending_told(events, stop, home), events.heartbeat():
                context = Context(job, home, device_of(job), events, stop)
                if opened is None:
                    # A training goes on, and is rendered, with as many threads as it has had: the same bits.
                    earlier = None if mode.restart else threads_of(home)
                    apply_threads(choose_threads(job.threads, earlier=earlier))
                with limited_while_busy(torch.get_num_threads()):
                    return _steps(context, mode, opened)
    except OSError as error:
        raise as_user_error(error, str(error.filename or folder)) from error


def _steps(context: Context, mode: Mode, opened: tuple[Shot, Writers | None] | None) -> Result:
    started, lap = time.monotonic(), _Laps()
    context.events.tell(stage="open", progress=0.0)
    shot, writers = opened or open_(context.job, mode)
    _take_over(context, shot, writers, mode)

    found = None
    if not shot.has_all_mattes or context.job.task == "propagate-matte":
        shot, found = roto(context, shot, mode.train)
        lap("finding the matte", found.seconds)
        if context.job.task == "propagate-matte":
            return finished(context, shot, started, found=found, frames=len(shot.frames))
        writers = writers_of(context.job, shot)

    ready = ingest(context, shot)
    lap("reading")

    preview = Preview(shot, _pictures_with_a_hole(ready.stores[0]), context.folder.contact_sheet)
    if mode.train:
        trained = fit(context, shot, ready, preview)
    else:
        trained = load_trained(context.folder, ready, shot, context.device)
        warn_of_precision(trained.precision, context)
    if mode.runtime == "onnx":
        if trained.precision != "float32":
            context.events.tell(warning=f"onnxruntime computes in float32 what was trained in {trained.precision}")
        trained = on_onnxruntime(trained, context.job.device)
    renewed(preview.renew, trained, context.events)
    preview.forget()
    lap("training", trained.seconds)
    if not mode.render:
        return finished(context, shot, started, trained, found=found)

    confidence = confidence_of(context, shot, trained, ready.stores[0])
    lap("measuring the confidence")
    grain = grain_of(context, shot, trained, ready.stores[0].fingerprint)
    render(context, shot, trained, writers, confidence, grain, mode.runtime)
    lap("rendering")

    context.events.tell(stage="report", progress=0.0, frames=None, frames_done=None)
    report(context, shot, trained, confidence, grain, found, lap.seconds)
    return finished(context, shot, started, trained, confidence, found, len(shot.frames))


def open_(job: Job, mode: Mode = RUN) -> tuple[Shot, Writers | None]:
    """Open the shot and check everything that can be refused without reading a pixel, but those of the guides."""
    if job.vgg19 is not None and mode.train:
        load_vgg19(Path(job.vgg19), torch.device("cpu"))
    shot = open_shot(shot_settings(job))
    refuse_nothing_to_do(job, shot)
    if job.task == "propagate-matte":
        MatteWriter(shot, job.output)
        return shot, None
    writers = writers_of(job, shot)
    check_guides(shot)
    return shot, writers


def shot_settings(job: Job) -> ShotSettings:
    """The part of a job that says what the shot is."""
    names = ("plate", "matte", "frames", "matte_channel", "grow", "feather", "colorspace", "view", "layer")
    names += ("matte_frame",)
    return ShotSettings(**{name: getattr(job, name) for name in names}, guide=tuple(paths_in(job.guide or "")))


def device_of(job: Job) -> torch.device:
    """The device that a job asks for. Raises ``BadInput`` where it is not there."""
    try:
        device = choose_device(job.device)
        trains_in_bf16(device)
    except ValueError as error:
        raise BadInput(str(error)) from None
    return device


def _take_over(context: Context, shot: Shot, writers: Writers | None, mode: Mode) -> None:
    """Only now that the job can be done does it take the folder over."""
    job, folder, events = context.job, context.folder, context.events
    events.plan(*_phases(job, shot, mode))
    _refuse_start(job, folder, mode)
    if mode.restart:
        if not shot.has_all_mattes:
            refuse_changed(shot, folder, mattes_output(job, folder))
        folder.forget()
    folder.write_job(job)
    for warning in (*shot.warnings, *(writers.frames.warnings if writers else ()), *_unused(job, shot)):
        events.tell(warning=warning)
    context.check_stop()
    folder.checkpoints.mkdir(exist_ok=True)
    if not mode.train:
        require_checkpoint(folder)


def _refuse_start(job: Job, folder: JobFolder, mode: Mode) -> None:
    """BadInput where a training is to start from a folder that holds nothing."""
    if job.start_from is None or not mode.train:
        return
    if mode.restart and os.path.abspath(job.start_from) == os.path.abspath(folder.path):
        raise BadInput(f"--restart discards the weights in {folder}, which --start-from names: leave one of them out")
    if mode.restart or not folder.has_trained():
        refuse_empty_start(job)


def _phases(job: Job, shot: Shot, mode: Mode) -> list[str]:
    """What the run will go through, in the words of ``events.STAGES``."""
    if job.task == "propagate-matte":
        return ["open", "matte"]
    learning = ["train"] if mode.train else []
    making = ["confidence", "render", "report"] if mode.render else []
    reading = ["read", *(["motion"] if job.learns_by == "copy" else [])]
    return ["open", *([] if shot.has_all_mattes else ["matte"]), *reading, *learning, *making]


def _unused(job: Job, shot: Shot) -> list[str]:
    """A sentence for each setting that this job gives and does not use."""
    unused = []
    if job.vgg19 is not None and not recipe(job).takes_encoder:
        unused.append(f"--vgg19 is not used: --quality {job.quality} trains without the anti-ambiguity term")
    if shot.has_all_mattes and (job.matte_time, job.matte_steps) != (None, None):
        unused.append("--matte-time and --matte-steps are not used: every frame has a matte")
    return unused


def _pictures_with_a_hole(store: FrameStore) -> list[int]:
    return [index for index, plane in enumerate(store.state) if (plane == PixelState.HOLE).any()]


class _Laps:
    """Notes under a name the seconds since it was called last; work that earlier attempts did counts too."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def __call__(self, name: str, at_least: float = 0.0) -> None:
        now = time.monotonic()
        self.seconds[name], self._last = max(now - self._last, at_least), now


@contextlib.contextmanager
def _ending_told(events: Events, stop: StopRequest, folder: JobFolder) -> Iterator[None]:
    """See to it that the last state in the job folder is how the run ended."""
    try:
        yield
    except (Stopped, KeyboardInterrupt) as stopped:
        with contextlib.suppress(OSError):
            events.tell(state="stopped", message=str(stopped) or INTERRUPTED, eta_s=None)
            stop.heeded()
        raise
    except BaseException as error:
        told = error
        if is_out_of_memory(error):
            told = OutOfResources("out of memory: try --quality draft, a machine with more memory, or --device cpu")
        elif isinstance(error, OSError):
            told = as_user_error(error, str(error.filename or folder))
        with contextlib.suppress(OSError):  # the disk that is full may be the status file's own
            events.tell(state="failed", error=str(told) or type(told).__name__, eta_s=None)
        if told is error:
            raise
        raise told from error

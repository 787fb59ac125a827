"""``run(job)``: open the shot, learn it, fill it, write it. Reads top to bottom."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from internal_inpaint import job as jobs
from internal_inpaint.control import BROKEN_OFF, StopRequest, only_run
from internal_inpaint.errors import BadInput, InpaintError, OutOfResources, Stopped, TrainingDiverged
from internal_inpaint.events import Events
from internal_inpaint.files import as_user_error, write_atomically
from internal_inpaint.job import Job
from internal_inpaint.ledger import Ledger
from internal_inpaint.methods.memory import is_out_of_memory
from internal_inpaint.preview import Preview
from internal_inpaint.rendering.frames import Renderer
from internal_inpaint.shot import FrameStore, FrameWriter, Patch, Shot, ShotSettings, build_store, open_shot
from internal_inpaint.training import checkpoint
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import TrainingConfig, preset
from internal_inpaint.training.device import choose_device, gains_by_bf16
from internal_inpaint.training.loop import Diverged, Hooks, Progress, Trainer, best_network

STOPPED = "stopped on request; run the same command again to go on"


@dataclass(frozen=True)
class Result:
    """What a finished run has to say; also the content of the job folder's ``summary.json``."""

    frames: int
    steps: int
    psnr: float | None
    training_s: float
    total_s: float
    warnings: tuple[str, ...]
    output: str
    contact_sheet: str


def run(
    job: Job,
    folder: Path,
    display: Callable[[dict], None] | None = None,
    train: bool = True,
    render: bool = True,
    restart: bool = False,
    stop: StopRequest | None = None,
) -> Result:
    """Do a job, or go on with it.

    Args:
        job: what to do.
        folder: the job folder; made if it is not there.
        display: gets every event.
        train, render: leave one of the two out (the ``render`` and ``train`` verbs).
        restart: forget what an earlier run of this folder has learned and rendered.
        stop: asks the run to stop; by default only the job folder's ``stop`` file does.

    Raises:
        BadInput, Stopped, OutOfResources, TrainingDiverged: each message one sentence for the user.
    """
    stop = stop or StopRequest()
    try:
        if not folder.is_dir():
            _open(job)  # a job that cannot be done leaves no folder behind
        _make(folder)
        with only_run(folder):
            stop.watch(folder)
            _sweep(folder)
            if not restart:
                jobs.refuse_other(job, folder)
            return _told(job, folder, Events(folder, display), stop, train, render, restart)
    except OSError as error:
        raise as_user_error(error, str(error.filename or folder)) from error


def _told(
    job: Job, folder: Path, events: Events, stop: StopRequest, train: bool, render: bool, restart: bool
) -> Result:
    """Run, and see to it that the last state in the job folder is how it ended."""
    try:
        return _run(job, folder, events, stop, train, render, restart)
    except (Stopped, KeyboardInterrupt) as stopped:
        with contextlib.suppress(OSError):
            events.tell(state="stopped", message=str(stopped) or BROKEN_OFF, eta_s=None)
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


def _open(job: Job) -> tuple[torch.device, Shot, FrameWriter]:
    """Everything that can be refused without reading a pixel."""
    device = chosen_device(job.device)
    shot = open_shot(shot_settings(job))
    return device, shot, FrameWriter(shot, job.output, fill_layer=job.fill_layer)


def _run(
    job: Job, folder: Path, events: Events, stop: StopRequest, train: bool, render: bool, restart: bool
) -> Result:
    started = time.monotonic()
    events.tell(stage="open", progress=0.0)
    config = preset(job.quality)
    device, shot, writer = _open(job)
    # Only now that the job can be done does it take the folder over.
    if restart:
        _forget(folder)
    jobs.write_job(job, folder)
    warned = (*shot.warnings, *writer.warnings)
    for warning in warned:
        events.tell(warning=warning)
    _check(stop)

    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    earlier = next(iter(checkpoint.newest_first(checkpoints)), None)
    if earlier is None and not train:
        raise BadInput(f"{folder} has no checkpoint to render from: run `internal-inpaint train` on it first")
    # What was begun on one kind of device can go on on another: the size is the checkpoint's.
    canvas = (shot.canvas.height, shot.canvas.width)
    size = checkpoint.read_about(earlier).size if earlier else working_size(canvas, config, device)
    events.tell(stage="read", progress=0.0, frames=len(shot.frames), frames_done=0)
    store = build_store(
        shot,
        folder / "store",
        size,
        progress=lambda done, of: events.tell(progress=done / max(1, of)),
        should_stop=stop,
    )
    _check(stop)

    preview = Preview(shot, store, folder / "preview" / "contact_sheet.png", gains_by_bf16(device))
    if train:
        _train(job, config, store, earlier, checkpoints, device, events, stop, preview)
    newest = checkpoint.newest_first(checkpoints)[0]
    network = checkpoint.load_best(newest, store.fingerprint, device)
    _renewed(preview.renew, network, events)
    if render:
        renderer = Renderer(network, store.working_space.to_linear, bf16=gains_by_bf16(device))
        # Weights, files and settings, place: whatever changes a frame is in the key.
        key = f"{checkpoint.digest(newest)} {store.source} {job.output} {job.fill_layer}"
        _render(shot, store, writer, renderer, Ledger(folder / "rendered.json", writer, key), events, stop)

    counters = checkpoint.read_about(newest).counters
    result = Result(
        frames=len(shot.frames) if render else 0,
        steps=counters.step,
        psnr=counters.best_psnr,
        training_s=round(counters.seconds, 1),
        total_s=round(time.monotonic() - started, 1),
        warnings=warned,
        output=job.output if render else "",
        contact_sheet=str(preview.path),
    )
    write_atomically(folder / "summary.json", json.dumps(asdict(result), indent=1))
    events.tell(state="done", eta_s=0.0, message="done", progress=1.0)
    return result


def shot_settings(job: Job) -> ShotSettings:
    """The part of a job that says what the shot is."""
    names = ("plate", "matte", "frames", "matte_channel", "grow", "feather", "colorspace", "view", "layer")
    return ShotSettings(**{name: getattr(job, name) for name in names})


def working_size(canvas: tuple[int, int], config: TrainingConfig, device: torch.device) -> tuple[int, int]:
    """Height and width at which a plate is learned: its own, or reduced to the preset's pixels."""
    most = config.working_pixels[0 if device.type == "cuda" else 1]
    scale = min(1.0, math.sqrt(most / (canvas[0] * canvas[1])))
    return tuple(max(1, math.floor(side * scale)) for side in canvas)


def budget_of(job: Job, config: TrainingConfig, device: torch.device) -> Budget:
    """The job's budget, else the preset's for this kind of device."""
    if job.steps is None and job.time is None:
        if device.type == "cpu" and config.cpu_seconds is not None:
            return Budget(seconds=config.cpu_seconds)
        return Budget(steps=config.steps)
    return Budget(job.steps, job.time)


def _train(
    job: Job,
    config: TrainingConfig,
    store: FrameStore,
    earlier: Path | None,
    checkpoints: Path,
    device: torch.device,
    events: Events,
    stop: StopRequest,
    preview: Preview,
) -> None:
    events.tell(stage="train", progress=0.0, frames_done=None, frames=None)
    frames, state = _on_device(store, device, events)
    trainer = Trainer(config, frames, state, device, job.seed, bf16=gains_by_bf16(device))
    if earlier:
        checkpoint.resume(trainer, earlier, store.fingerprint)
        events.tell(message=f"going on from step {trainer.counters.step}")

    def report(progress: Progress) -> None:
        events.tell(
            step=progress.step,
            steps=progress.steps,
            loss=progress.loss,
            psnr=progress.psnr,
            eta_s=progress.eta_s,
            progress=progress.progress,
        )

    hooks = Hooks(
        report=report,
        warn=lambda message: events.tell(warning=message),
        checkpoint=lambda trainer: checkpoint.save(trainer, checkpoints, store.fingerprint),
        validated=lambda trainer: _renewed(preview.renew_if_cheap, lambda: best_network(trainer), events),
        should_stop=stop,
    )
    try:
        trainer.run(budget_of(job, config, device), hooks)
    except Diverged:
        raise TrainingDiverged(
            "the training diverged again and again, even with smaller steps: "
            "check the plate for extreme values with `internal-inpaint check`, or try another --seed"
        ) from None
    _check(stop)
    counters = trainer.counters
    events.tell(step=counters.step, psnr=counters.best_psnr, eta_s=None, progress=1.0)


def _renewed(renew: Callable, network: object, events: Events) -> None:
    """Renew the preview; a picture that cannot be made must not cost the training."""
    try:
        renew(network)
    except (InpaintError, OSError, RuntimeError, MemoryError) as error:
        events.tell(warning=f"the preview could not be made ({' '.join(str(error).split())})")


def _on_device(store: FrameStore, device: torch.device, events: Events) -> tuple[torch.Tensor, torch.Tensor]:
    """The store's planes as tensors: on the CUDA device where they fit beside the training, else mapped."""
    with warnings.catch_warnings():
        # Tensors over the store's read-only mapping: nothing here writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        frames, state = (torch.from_numpy(plane) for plane in (store.frames, store.state))
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if frames.nbytes + state.nbytes < free // 3:
            return frames.to(device), state.to(device)
        events.tell(warning="the shot does not fit into GPU memory: batches come from the disk, which is slower")
    return frames, state


def _render(
    shot: Shot,
    store: FrameStore,
    writer: FrameWriter,
    renderer: Renderer,
    ledger: Ledger,
    events: Events,
    stop: StopRequest,
) -> None:
    by_frame: dict[int, list] = {}
    for picture in shot.pictures:
        by_frame.setdefault(picture.frame, []).append(picture)
    if others := sum(writer.path(frame).exists() and not ledger.wrote(frame) for frame in by_frame):
        events.tell(warning=f"{others} frame(s) of another origin stand at the output: they are replaced")
    began, rendered = time.monotonic(), 0
    for done, (frame, pictures) in enumerate(by_frame.items()):
        eta = (time.monotonic() - began) / rendered * (len(by_frame) - done) if rendered else None
        events.tell(stage="render", progress=done / len(by_frame), frames=len(by_frame), frames_done=done, eta_s=eta)
        _check(stop)
        if ledger.has(frame):
            continue
        patches = {}
        for picture in pictures:
            loaded = shot.load(picture.index)
            small, state = store.frames[picture.index], store.state[picture.index]
            result, fill = renderer.render(small, state, loaded.rgb, loaded.alpha)
            patches[picture.view] = Patch(rgb=result, alpha=loaded.alpha, fill=fill)
        ledger.add(frame, writer.write(frame, patches))
        rendered += 1
    events.tell(progress=1.0, frames_done=len(by_frame), eta_s=None)


def _make(folder: Path) -> None:
    try:
        (folder / "preview").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"the job folder {folder} cannot be made ({error.strerror}): choose another --work") from None


def _forget(folder: Path) -> None:
    for name in ("checkpoints", "store"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "rendered.json").unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what a kill has left half written."""
    for left in folder.glob(".*.part"):
        if left.is_file():
            left.unlink(missing_ok=True)
    checkpoint.remove_unfinished(folder / "checkpoints")


def chosen_device(name: str) -> torch.device:
    try:
        return choose_device(name)
    except ValueError as error:
        raise BadInput(str(error)) from None


def _check(stop: StopRequest) -> None:
    if stop():
        raise Stopped(STOPPED)

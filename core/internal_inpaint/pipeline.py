"""``run(job)``: open the shot, learn it, fill it, write it. Reads top to bottom."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch

from internal_inpaint import job as jobs
from internal_inpaint.control import BROKEN_OFF, STOPPED, StopRequest, only_run
from internal_inpaint.errors import BadInput, OutOfResources, Stopped
from internal_inpaint.events import Events
from internal_inpaint.export.onnx_runtime import on_onnxruntime, providers, require
from internal_inpaint.files import as_user_error
from internal_inpaint.job import Job
from internal_inpaint.learning import (
    learn,
    learned,
    recipe,
    render_stages,
    renewed,
    require_checkpoint,
    stages_of,
)
from internal_inpaint.ledger import Ledger
from internal_inpaint.mattes import (
    FRAMES_FOLDER,
    found_mattes,
    mattes_output,
    refuse_changed,
    refuse_nothing_to_do,
    with_mattes,
)
from internal_inpaint.methods.memory import is_out_of_memory
from internal_inpaint.outcome import Judgement, Result, finished, forget, judge, report
from internal_inpaint.preview import Preview
from internal_inpaint.propagation import MatteWriter
from internal_inpaint.rendering.cascade import Cascade
from internal_inpaint.rendering.frames import Renderer
from internal_inpaint.shot import ElementWriter, FrameWriter, Patch, Shot, ShotSettings, build_stores, open_shot
from internal_inpaint.training import checkpoint
from internal_inpaint.training.device import choose_device, gains_by_bf16
from internal_inpaint.training.encoders import encoder_from


def run(
    job: Job,
    folder: Path,
    display: Callable[[dict], None] | None = None,
    train: bool = True,
    render: bool = True,
    restart: bool = False,
    stop: StopRequest | None = None,
    runtime: str = "torch",
) -> Result:
    """Do a job, or go on with it.

    Args:
        job: what to do.
        folder: the job folder; made if it is not there.
        display: gets every event.
        train, render: leave one of the two out (the ``render`` and ``train`` verbs).
        restart: forget what an earlier run of this folder has learned and rendered.
        stop: asks the run to stop; by default only the job folder's ``stop`` file does.
        runtime: what computes the networks where nothing is trained: ``torch`` or ``onnx``.

    Raises:
        BadInput, Stopped, OutOfResources, TrainingDiverged: each message one sentence for the user.
    """
    stop = stop or StopRequest()
    if runtime == "onnx":
        require("onnxruntime", "onnx")
        providers(job.device)
    if job.task == "propagate-matte" and not (train and render):
        raise BadInput("a propagate-matte job has nothing to train or render by itself: use `internal-inpaint run`")
    try:
        if not folder.is_dir():
            _open(job, train)  # a job that cannot be done leaves no folder behind
        _make(folder)
        with only_run(folder):
            stop.watch(folder)
            _sweep(folder)
            if not restart:
                jobs.refuse_other(job, folder)
            return _told(job, folder, Events(folder, display), stop, train, render, restart, runtime)
    except OSError as error:
        raise as_user_error(error, str(error.filename or folder)) from error


def _told(
    job: Job, folder: Path, events: Events, stop: StopRequest, train: bool, render: bool, restart: bool, runtime: str
) -> Result:
    """Run, and see to it that the last state in the job folder is how it ended."""
    try:
        with events.heartbeat():
            return _run(job, folder, events, stop, train, render, restart, runtime)
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


def _open(job: Job, train: bool = True) -> tuple[torch.device, Shot, FrameWriter | MatteWriter, ElementWriter | None]:
    """Everything that can be refused without reading a pixel."""
    device = chosen_device(job.device)
    if job.vgg19 is not None and train:
        encoder_from(job.vgg19, torch.device("cpu"))
    shot = open_shot(shot_settings(job))
    refuse_nothing_to_do(job, shot)
    if job.task == "propagate-matte":
        return device, shot, MatteWriter(shot, job.output), None
    return device, shot, *_writers(shot, job)


def _writers(shot: Shot, job: Job) -> tuple[FrameWriter, ElementWriter | None]:
    writer = FrameWriter(shot, job.output, job.fill_layer, job.confidence_layer)
    elements = None if job.elements is None else ElementWriter(shot, job.elements)
    if elements is not None:
        elements.refuse_result(writer)
    return writer, elements


def _run(
    job: Job, folder: Path, events: Events, stop: StopRequest, train: bool, render: bool, restart: bool, runtime: str
) -> Result:
    started = time.monotonic()
    events.tell(stage="open", progress=0.0)
    device, shot, writer, elements = _open(job, train)
    events.plan(*_stages(job, shot, train, render))
    # Only now that the job can be done does it take the folder over.
    if restart:
        if not shot.has_all_mattes:
            refuse_changed(shot, folder, mattes_output(job, folder))
        _forget(folder)
    jobs.write_job(job, folder)
    for warning in (*shot.warnings, *getattr(writer, "warnings", ()), *_unused(job, shot)):
        events.tell(warning=warning)
    _check(stop)
    timings: dict[str, float] = {}
    lap = _stopwatch(timings)

    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    if not train:
        require_checkpoint(checkpoints, folder)
    mattes = None
    if not shot.has_all_mattes or job.task == "propagate-matte":
        mattes = found_mattes(job, shot, folder, device, events, stop)
        lap("finding the matte")
        if job.task == "propagate-matte":
            return finished(folder, events, started, job, mattes=mattes, frames=len(shot.frames))
        shot = with_mattes(shot, mattes)
        writer, elements = _writers(shot, job)

    stages = stages_of(job, (shot.canvas.height, shot.canvas.width), device, checkpoints)
    events.tell(stage="read", progress=0.0, frames=len(shot.frames), frames_done=0)
    stores = build_stores(
        shot,
        folder / "store",
        [stage.size for stage in stages],
        progress=lambda done, of: events.tell(progress=done / max(1, of)),
        should_stop=stop,
    )
    _check(stop)
    lap("reading")

    holes = [index for index, plane in enumerate(stores[0].state) if (plane & 1).any()]
    space = stores[0].working_space
    preview = Preview(shot, space, holes, folder / "preview" / "contact_sheet.png")
    if train:
        learn(job, stages, stores, checkpoints, device, events, stop, preview)
    found = learned(stages, checkpoints)
    if not found:
        raise BadInput(f"{checkpoints} lacks the first stage, {stages[0].name}: --restart trains anew")
    ready = render_stages([stage.stage for stage in found], stores, checkpoints, device)
    if runtime == "onnx":
        ready = on_onnxruntime(ready, job.device)
    cascade = Cascade(ready, gains_by_bf16(device))
    renewed(preview.renew, cascade, events)
    lap("training")
    if render:
        key = " ".join([*(checkpoint.digest(stage.checkpoint) for stage in found), stores[0].source])
        renderer = Renderer(cascade, space.to_linear)
        judgement = judge(cascade, stores[0], shot, folder, key, events, stop)
        lap("measuring confidence")
        ledger = Ledger(folder / "rendered.json", writer, _rendering_key(key, job, folder, runtime))
        shown = judgement if job.confidence_layer or elements is not None else None
        _render(shot, writer, elements, renderer, shown, ledger, events, stop)
        lap("rendering")
        # What was learned in earlier attempts took its time too.
        timings["training"] = sum(stage.counters.seconds for stage in found)
        if mattes is not None:
            timings["finding the matte"] = max(timings["finding the matte"], mattes.seconds)
        events.tell(stage="report", progress=0.0, frames=None, frames_done=None)
        report(job, folder, shot, renderer, judgement, found, mattes, device, timings, events.warnings)

    return finished(
        folder,
        events,
        started,
        job,
        mattes=mattes,
        frames=len(shot.frames) if render else 0,
        steps=sum(stage.counters.step for stage in found),
        psnr=found[-1].counters.best_psnr,
        training_s=round(sum(stage.counters.seconds for stage in found), 1),
        contact_sheet=str(preview.path),
        report=str(folder / "report.html") if render else "",
        confidence=judgement.mean if render else None,
    )


def _stages(job: Job, shot: Shot, train: bool, render: bool) -> list[str]:
    """What the run will go through, in the words of ``events.STAGES``."""
    if job.task == "propagate-matte":
        return ["open", "matte"]
    learning = ["train"] if train else []
    making = ["judge", "render", "report"] if render else []
    return ["open", *([] if shot.has_all_mattes else ["matte"]), "read", *learning, *making]


def _unused(job: Job, shot: Shot) -> list[str]:
    """A sentence for each setting that this job gives and does not use."""
    unused = []
    if job.vgg19 is not None and not recipe(job).ambiguity:
        unused.append(f"--vgg19 is not used: --quality {job.quality} trains without the anti-ambiguity term")
    if shot.has_all_mattes and (job.matte_time, job.matte_steps) != (None, None):
        unused.append("--matte-time and --matte-steps are not used: every frame has a matte")
    return unused


def _rendering_key(key: str, job: Job, folder: Path, runtime: str) -> str:
    """What a rendering depends on, beside the weights and the plate's files in ``key``.

    The output's place is none of it: the ledger knows each file by its size and time, so that a folder that was moved
    keeps the frames in it. Frames of two runtimes differ in their last bits: a rendering is of one of them.
    """
    elements = None if job.elements is None else Path(job.elements)
    if elements is not None and elements.is_relative_to(folder.absolute()):
        elements = elements.relative_to(folder.absolute())
    marks = [key, job.fill_layer, job.confidence_layer, elements]
    return " ".join(map(str, marks + (["onnx"] if runtime == "onnx" else [])))


def _stopwatch(timings: dict[str, float]) -> Callable[[str], None]:
    """A function that notes, under a name, the seconds since it was called last."""
    last = time.monotonic()

    def lap(name: str) -> None:
        nonlocal last
        timings[name], last = time.monotonic() - last, time.monotonic()

    return lap


def shot_settings(job: Job) -> ShotSettings:
    """The part of a job that says what the shot is."""
    names = ("plate", "matte", "frames", "matte_channel", "grow", "feather", "colorspace", "view", "layer")
    names += ("matte_frame",)
    return ShotSettings(**{name: getattr(job, name) for name in names})


def _render(
    shot: Shot,
    writer: FrameWriter,
    elements: ElementWriter | None,
    renderer: Renderer,
    judgement: Judgement | None,
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
        if ledger.has(frame) and (elements is None or elements.has(frame)):
            continue
        patches = {}
        for picture in pictures:
            loaded = shot.load(picture.index)
            result, fill = renderer.render(picture.index, loaded.rgb, loaded.alpha)
            sure = judgement and judgement.plane(picture.index, loaded.alpha.shape)
            patches[picture.view] = Patch(result, loaded.alpha, fill, sure)
        if elements is not None:
            elements.write(frame, patches)
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
    # The found mattes stay until others take their place: they may be the very ones that are given now.
    for path in (folder / "matte").glob("*"):
        if path.name != FRAMES_FOLDER:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    (folder / "rendered.json").unlink(missing_ok=True)
    forget(folder)


def _sweep(folder: Path) -> None:
    """Remove what a kill has left half written."""
    for place in (folder, folder / "matte"):
        for left in place.glob(".*.part"):
            if left.is_file() and left.name != ".mattes.npy.part":  # those go on where they were
                left.unlink(missing_ok=True)


def chosen_device(name: str) -> torch.device:
    try:
        return choose_device(name)
    except ValueError as error:
        raise BadInput(str(error)) from None


def _check(stop: StopRequest) -> None:
    if stop():
        raise Stopped(STOPPED)

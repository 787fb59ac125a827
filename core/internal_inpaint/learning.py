"""Learning a shot stage by stage, from the job folder's checkpoints and back into them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from internal_inpaint.control import STOPPED, StopRequest
from internal_inpaint.errors import BadInput, InpaintError, Stopped, TrainingDiverged
from internal_inpaint.events import Events
from internal_inpaint.job import Job
from internal_inpaint.preview import Preview
from internal_inpaint.rendering.cascade import Cascade, RenderStage
from internal_inpaint.shot import FrameStore
from internal_inpaint.training import checkpoint
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import TrainingConfig, preset, with_network
from internal_inpaint.training.device import gains_by_bf16
from internal_inpaint.training.encoders import encoder_from
from internal_inpaint.training.loop import Counters, Diverged, Hooks, Progress, Trainer, best_network
from internal_inpaint.training.stages import Stage, plan_stages, whole_steps


@dataclass(frozen=True)
class Learned:
    """What one stage has learned: its newest checkpoint and what that says of itself."""

    stage: Stage
    checkpoint: Path
    counters: Counters


def recipe(job: Job) -> TrainingConfig:
    """The job's preset, with the network that was asked for."""
    config = preset(job.quality)
    return config if job.network is None else with_network(config, job.network)


def stages_of(job: Job, canvas: tuple[int, int], device: torch.device, checkpoints: Path | None = None) -> tuple:
    """The stages of a job; what was begun on one kind of device goes on on another at the same sizes."""
    first = None
    if checkpoints is not None:
        sizes = [checkpoint.read_about(newest).size for newest in map(_newest, _places(checkpoints)) if newest]
        first = min(sizes, default=None)
    stages = plan_stages(canvas, recipe(job), device.type == "cuda", first)
    return stages if checkpoints is None else tuple(_begun(stage, checkpoints) for stage in stages)


def _begun(stage: Stage, checkpoints: Path) -> Stage:
    """A stage with the patches it was begun with: another kind of device would choose others."""
    newest = _newest(checkpoints / stage.name)
    if newest is None:
        return stage
    before = checkpoint.read_about(newest).config
    config = replace(stage.config, crop_smallest=before.crop_smallest, crop_pixels=before.crop_pixels)
    return replace(stage, config=config)


def whole_budget(job: Job, stages: tuple[Stage, ...], device: torch.device) -> Budget:
    """The job's budget for all stages together, else the preset's for this kind of device."""
    config = recipe(job)
    if job.steps is None and job.time is None:
        if device.type == "cpu" and config.cpu_seconds is not None:
            return Budget(seconds=config.cpu_seconds)
        return Budget(steps=whole_steps(stages, config))
    return Budget(job.steps, job.time)


def learn(
    job: Job,
    stages: tuple[Stage, ...],
    stores: tuple[FrameStore, ...],
    checkpoints: Path,
    device: torch.device,
    events: Events,
    stop: StopRequest,
    preview: Preview,
) -> None:
    """Train every stage, or go on with it, the coarsest first; the best weights are then in the checkpoints.

    Raises:
        Stopped, BadInput, TrainingDiverged: after the newest state has been saved where there is one.
    """
    whole, bf16 = whole_budget(job, stages, device), gains_by_bf16(device)
    trainer, told = None, _Told(events, stages, whole)
    encoder = encoder_from(job.vgg19, device) if stages[0].config.ambiguity else None
    for number, (stage, store) in enumerate(zip(stages, stores, strict=True)):
        place = checkpoints / stage.name
        place.mkdir(parents=True, exist_ok=True)
        checkpoint.remove_unfinished(place)
        frames, state = _on_device(store, device, events)
        trainer = Trainer(stage.config, frames, state, device, job.seed, bf16, trainer, encoder)
        if earlier := _newest(place):
            checkpoint.resume(trainer, earlier, store.fingerprint)
        prior = checkpoint.digest(_newest(checkpoints / stages[number - 1].name)) if number else ""
        if trainer.counters.prior != prior:
            # The stage before has learned more since: what was best with its former picture is to be found anew.
            trainer.counters.prior, trainer.counters.best_psnr = prior, None
        told.begin(number, trainer)
        coarser = render_stages(stages[:number], stores, checkpoints, device)

        def cascade(trainer=trainer, store=store, coarser=coarser) -> Cascade:
            return Cascade([*coarser, RenderStage(best_network(trainer), store.frames, store.state)], bf16)

        hooks = Hooks(
            report=told.progress,
            warn=lambda message: events.tell(warning=message),
            checkpoint=lambda trainer, place=place, store=store: checkpoint.save(trainer, place, store.fingerprint),
            validated=lambda trainer, cascade=cascade: renewed(preview.renew_if_cheap, cascade, events),
            should_stop=stop,
        )
        try:
            trainer.run(stage.budget(whole), hooks)
        except Diverged:
            raise TrainingDiverged(
                "the training diverged again and again, even with smaller steps: "
                "check the plate for extreme values with `internal-inpaint check`, or try another --seed"
            ) from None
        if stop():
            raise Stopped(STOPPED)
        told.end(trainer)


def learned(stages: tuple[Stage, ...], checkpoints: Path) -> tuple[Learned, ...]:
    """What there is to render with: the stages that have a checkpoint, up to the first that has none."""
    found = []
    for stage in stages:
        newest = _newest(checkpoints / stage.name)
        if newest is None:
            break
        found.append(Learned(stage, newest, checkpoint.read_about(newest).counters))
    return tuple(found)


def render_stages(
    stages: tuple[Stage, ...], stores: tuple[FrameStore, ...], checkpoints: Path, device: torch.device
) -> list[RenderStage]:
    """These stages with their best weights, ready to fill frames."""
    return [
        RenderStage(
            checkpoint.load_best(_newest(checkpoints / stage.name), store.fingerprint, device),
            store.frames,
            store.state,
        )
        for stage, store in zip(stages, stores, strict=False)
    ]


def renewed(renew: Callable, cascade: object, events: Events) -> None:
    """Renew the preview; a picture that cannot be made must not cost the training."""
    try:
        renew(cascade)
    except (InpaintError, OSError, RuntimeError, MemoryError) as error:
        events.tell(warning=f"the preview could not be made ({' '.join(str(error).split())})")


class _Told:
    """A stage's progress, told as that of the whole training."""

    def __init__(self, events: Events, stages: tuple[Stage, ...], whole: Budget) -> None:
        self._events, self._stages = events, stages
        # Each stage takes its share rounded, and one step at least: together not always what was asked for.
        parts = [stage.budget(whole).steps for stage in stages]
        self._steps = None if whole.steps is None else sum(parts)
        self._number, self._steps_before = 0, 0

    def begin(self, number: int, trainer: Trainer) -> None:
        self._number, stage, step = number, self._stages[number], trainer.counters.step
        of = f" (stage {number + 1} of {len(self._stages)})" if len(self._stages) > 1 else ""
        going = f"going on from step {step}" if step else "learning"
        self._events.tell(
            stage="train",
            progress=self._share(0.0),
            frames_done=None,
            frames=None,
            resolution=stage.name,
            message=f"{going} at {stage.name}{of}" if of or step else None,
        )

    def progress(self, progress: Progress) -> None:
        left = progress.eta_s
        if left is not None and progress.progress < 1:
            # The other stages are reckoned at this one's pace.
            later = sum(stage.share for stage in self._stages[self._number + 1 :])
            left += later * left / (self._stages[self._number].share * (1 - progress.progress))
        self._events.tell(
            step=self._steps_before + progress.step,
            steps=self._steps,
            loss=progress.loss,
            psnr=progress.psnr,
            eta_s=left,
            progress=self._share(progress.progress),
        )

    def end(self, trainer: Trainer) -> None:
        counters = trainer.counters
        self._steps_before += counters.step
        self._events.tell(step=self._steps_before, psnr=counters.best_psnr, eta_s=None, progress=self._share(1.0))

    def _share(self, of_stage: float) -> float:
        done = sum(stage.share for stage in self._stages[: self._number])
        return min(1.0, done + of_stage * self._stages[self._number].share)


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


def _places(checkpoints: Path) -> list[Path]:
    return sorted(path for path in checkpoints.glob("*x*") if path.is_dir())


def _newest(place: Path) -> Path | None:
    return next(iter(checkpoint.newest_first(place)), None)


def require_checkpoint(checkpoints: Path, folder: Path) -> None:
    """BadInput if nothing has been learned in a job folder yet."""
    if not any(map(_newest, _places(checkpoints))):
        raise BadInput(f"{folder} has no checkpoint to render from: run `internal-inpaint train` on it first")

"""Fit: train the shot level by level, from the job folder's checkpoints and back into them."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from internal_inpaint import checkpoints
from internal_inpaint.context import Context
from internal_inpaint.copy_training import copy_trainer
from internal_inpaint.errors import BadInput, InpaintError, TrainingDiverged
from internal_inpaint.events import Events
from internal_inpaint.ingest import Ingested
from internal_inpaint.job_folder import JobFolder
from internal_inpaint.methods.base import Method
from internal_inpaint.methods.implicit.encoders import Vgg19
from internal_inpaint.plan import Start, about_now, budgets_of, starts_of
from internal_inpaint.preview import Preview
from internal_inpaint.rendering.copying import ShotCopies
from internal_inpaint.rendering.trained_shot import TrainedLevel, TrainedShot
from internal_inpaint.shot import FrameStore, Shot
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import TrainingConfig
from internal_inpaint.training.device import has_bf16, precision, trains_in_bf16
from internal_inpaint.training.fill_task import fill_trainer
from internal_inpaint.training.levels import Level
from internal_inpaint.training.state import Counters, Hooks, Progress
from internal_inpaint.training.trainer import Diverged, Trainer
from internal_inpaint.vgg19 import load_vgg19


def fit(context: Context, shot: Shot, ready: Ingested, preview: Preview) -> TrainedShot:
    """Train every level, or resume it, the coarsest first.

    Raises:
        Stopped, BadInput, TrainingDiverged: after the newest state has been saved where there is one.
    """
    levels, stores = ready.levels, ready.stores
    starts = starts_of(context, levels, stores)
    budgets = budgets_of(context.job, levels, context.device, starts)
    _tell_starts(context, starts)
    told = _Reporter(context.events, levels, budgets)
    before: _Fitted | None = None
    trained: list[TrainedLevel] = []
    for number, (level, store) in enumerate(zip(levels, stores, strict=True)):
        before = _begin(context, level, store, ready.copies, len(shot.views), before, starts[number])
        trainer = before.trainer
        told.begin(number, trainer)

        def so_far(fitted: _Fitted = before, coarser: tuple[TrainedLevel, ...] = tuple(trained)) -> TrainedShot:
            return _trained_shot([*coarser, fitted.trained()], ready, shot, fitted.trainer.counters.bf16)

        hooks = Hooks(
            report=told.progress,
            warn=lambda message: context.events.tell(warning=message),
            checkpoint=before.save,
            validated=lambda trainer, shown=so_far: renewed(preview.renew_if_cheap, shown, context.events),
            should_stop=context.stop,
        )
        try:
            with contextlib.closing(trainer.task):
                trainer.run(budgets[number], hooks)
        except Diverged:
            raise TrainingDiverged(
                "the training diverged again and again, even with smaller steps: "
                "check the plate for extreme values with `internal-inpaint check`, or try another --seed"
            ) from None
        context.check_stop()
        told.end(trainer)
        trained.append(before.trained())
    # Levels of a plate of another size have served as a start.
    context.folder.keep_levels({level.name for level in levels})
    return _trained_shot(trained, ready, shot, trainer.counters.bf16)


def load_trained(folder: JobFolder, ready: Ingested, shot: Shot, device: torch.device) -> TrainedShot:
    """What a job folder's checkpoints hold: the levels that were trained, up to the first that was not.

    Raises:
        BadInput: nothing was trained, or on another shot.
    """
    found, bf16 = [], False
    for level, store in zip(ready.levels, ready.stores, strict=True):
        newest = checkpoints.newest(folder.level(level.name))
        if newest is None:
            break
        about = checkpoints.read_about(newest)
        if about.fingerprint != store.fingerprint:
            raise BadInput(f"{newest} was trained on another shot or matte: train this one first")
        bf16 = about.counters.bf16
        method, network = checkpoints.load_best(newest, device)
        found.append(_trained_level(method, network, store, len(shot.views), about.counters))
    if not found:
        raise BadInput(f"{folder.checkpoints} lacks the first level, {ready.levels[0].name}: --restart trains anew")
    return _trained_shot(found, ready, shot, bf16)


def require_checkpoint(folder: JobFolder) -> None:
    """BadInput if nothing has been trained in a job folder yet."""
    if not any(map(checkpoints.newest, folder.levels())):
        raise BadInput(f"{folder} has no checkpoint to render from: run `internal-inpaint train` on it first")


def warn_of_precision(trained_in: str, context: Context) -> None:
    """Say why a shot that was trained in bfloat16 is slow where the device lacks it."""
    if trained_in == "bfloat16" and not has_bf16(context.device):
        context.events.tell(
            warning="the shot was trained in bfloat16, which this device has no instructions for: "
            "everything is slower here than where it was trained"
        )


def renewed(renew, shown: object, events: Events) -> None:
    """Renew the preview; a picture that cannot be made must not cost the training."""
    try:
        renew(shown)
    except (InpaintError, OSError, RuntimeError, MemoryError) as error:
        events.tell(warning=f"the preview could not be made ({' '.join(str(error).split())})")


def _trained_shot(levels: list[TrainedLevel], ready: Ingested, shot: Shot, bf16: bool) -> TrainedShot:
    canvas = (shot.canvas.height, shot.canvas.width)
    return TrainedShot(tuple(levels), ready.stores[0].working_space, canvas, precision(bf16), ready.copies)


def _trained_level(
    method: Method, network: nn.Module, store: FrameStore, views: int, counters: Counters
) -> TrainedLevel:
    return TrainedLevel(
        method,
        network,
        store.frames,
        store.state,
        views,
        digest=checkpoints.digest_of(network.state_dict()),
        learned=counters.learned,
        steps=counters.step,
        seconds=counters.seconds,
        psnr=counters.best_psnr,
        history=list(counters.history),
    )


@dataclass
class _Fitted:
    """A level in training, and what the next finer one is given of it."""

    trainer: Trainer
    store: FrameStore
    place: Path
    views: int

    def save(self, trainer: Trainer) -> None:
        checkpoints.save(trainer, self.place, self.store.fingerprint, self.store.size)

    def trained(self) -> TrainedLevel:
        trainer = self.trainer
        return _trained_level(trainer.method, trainer.best_network(), self.store, self.views, trainer.counters)


def _tell_starts(context: Context, starts: list[Start]) -> None:
    """Say where the weights come from, if they are not those of the same training."""
    warm = [start.checkpoint for start in starts if start.checkpoint is not None and not start.same]
    if any(context.folder.checkpoints in checkpoint.parents for checkpoint in warm):
        context.events.tell(stage="train", message="the shot has changed: continuing from the weights that there are")
    elif warm:
        context.events.tell(stage="train", message=f"continuing from the weights in {context.job.start_from}")


def _begin(
    context: Context,
    level: Level,
    store: FrameStore,
    copies: ShotCopies | None,
    views: int,
    before: _Fitted | None,
    start: Start,
) -> _Fitted:
    """A level's trainer, ready to run."""
    place = context.folder.level(level.name)
    place.mkdir(parents=True, exist_ok=True)
    checkpoints.remove_unfinished(place)
    if start.same:
        bf16 = about_now(start.checkpoint).counters.bf16
        if before is None:
            warn_of_precision(precision(bf16), context)
    else:
        # All levels of a shot have one precision, also where another machine trains the finer ones.
        bf16 = before.trainer.counters.bf16 if before else trains_in_bf16(context.device)
    if copies is not None:
        trainer = copy_trainer(level.config, copies, context.device, context.job.seed, bf16)
    else:
        trainer = fill_trainer(
            level.config,
            *_on_device(store, context),
            context.device,
            context.job.seed,
            bf16,
            before.trainer if before else None,
            _vgg19(level.config, context),
            views,
        )
    fitted = _Fitted(trainer, store, place, views)
    if start.same:
        checkpoints.read_newest(start.checkpoint, lambda now: checkpoints.resume(trainer, now, store.fingerprint))
        if start.checkpoint.parent != place:
            fitted.save(trainer)
    elif start.checkpoint is not None:
        _warm_start(trainer, start.checkpoint, place, context)
    trainer.counters.threads = torch.get_num_threads()
    _renew_best_score(trainer, before)
    return fitted


def _warm_start(trainer: Trainer, checkpoint: Path, place: Path, context: Context) -> None:
    """Another matte, plate or range of frames than the weights were trained for: they are the best start."""
    if checkpoint.parent == place:
        checkpoint = checkpoints.set_aside(place)
    # Another folder may be in training itself: minutes may have passed since its checkpoint was found.
    trainer.counters.warm = checkpoints.read_newest(checkpoint, partial(checkpoints.start_from, trainer))
    if not trainer.counters.warm:
        context.events.tell(warning=f"{checkpoint} holds weights of another network: the training starts anew")


def _renew_best_score(trainer: Trainer, before: _Fitted | None) -> None:
    """Score the best weights again where the coarser level was trained further since: their prior is another one."""
    counters, prior = trainer.counters, "" if before is None else checkpoints.digest_of(before.trainer.best)
    if counters.prior != prior:
        counters.prior = prior
        if counters.history:
            counters.best_psnr = trainer.task.score(partial(trainer.method.fill, trainer.best_network()))


def _vgg19(config: TrainingConfig, context: Context) -> Vgg19 | None:
    """The encoder of the anti-ambiguity term that the job names, where the recipe has that term."""
    if context.job.vgg19 is None or not config.takes_encoder:
        return None
    return load_vgg19(Path(context.job.vgg19), context.device)


def _on_device(store: FrameStore, context: Context) -> tuple[torch.Tensor, torch.Tensor]:
    """The store's planes as tensors: on the CUDA device where they fit beside the training, else mapped."""
    with warnings.catch_warnings():
        # Tensors over the store's read-only mapping: nothing here writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        frames, state = (torch.from_numpy(plane) for plane in (store.frames, store.state))
    if context.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(context.device)
        if frames.nbytes + state.nbytes < free // 3:
            return frames.to(context.device), state.to(context.device)
        context.events.tell(
            warning="the shot does not fit into GPU memory: batches come from the disk, which is slower"
        )
    return frames, state


class _Reporter:
    """A level's progress, told as that of the whole training."""

    def __init__(self, events: Events, levels: tuple[Level, ...], budgets: list[Budget]) -> None:
        self._events, self._levels = events, levels
        steps = [budget.steps for budget in budgets]
        self._steps = None if None in steps else sum(steps)
        sizes = [budget.steps if budget.seconds is None else budget.seconds for budget in budgets]
        self._shares = [size / sum(sizes) if sum(sizes) else 1 / len(sizes) for size in sizes]
        self._number, self._steps_before = 0, 0

    def begin(self, number: int, trainer: Trainer) -> None:
        self._number, level, step = number, self._levels[number], trainer.counters.step
        of = f" (level {number + 1} of {len(self._levels)})" if len(self._levels) > 1 else ""
        doing = f"resuming from step {step}" if step else "training"
        self._events.tell(
            stage="train",
            progress=self._share(0.0),
            frames_done=None,
            frames=None,
            resolution=level.name,
            message=f"{doing} at {level.name}{of}" if of or step else None,
        )

    def progress(self, progress: Progress) -> None:
        left = progress.eta_s
        if left is not None and progress.progress < 1:
            # The other levels are taken to go at this one's pace.
            later = sum(self._shares[self._number + 1 :])
            left += later * left / (self._shares[self._number] * (1 - progress.progress))
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

    def _share(self, of_level: float) -> float:
        return min(1.0, sum(self._shares[: self._number]) + of_level * self._shares[self._number])

"""What a fit is to do: recipe, levels, budget, and what each level's training starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from internal_inpaint import checkpoints
from internal_inpaint.context import Context
from internal_inpaint.errors import BadInput
from internal_inpaint.job import Job
from internal_inpaint.job_folder import JobFolder
from internal_inpaint.shot import FrameStore
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import TrainingConfig, preset, with_network
from internal_inpaint.training.levels import Level, plan_levels, whole_steps

WARM = 0.3  # of the preset's budget, where a training goes on from the weights of a shot that is nearly the same


def recipe(job: Job) -> TrainingConfig:
    """The job's preset, with the network that was asked for."""
    config = preset(job.quality, job.learns_by)
    return config if job.network is None or config.copies else with_network(config, job.network)


def levels_of(
    job: Job, canvas: tuple[int, int], device: torch.device, folder: JobFolder | None = None
) -> tuple[Level, ...]:
    """The levels of a job, the coarsest first.

    Sizes and patches depend on the kind of device. A training that is resumed on another kind keeps its own.

    Args:
        canvas: (height, width) of the plate.
        folder: with the checkpoints of an earlier run.
    """
    first = None
    if folder is not None:
        sizes = [checkpoints.read_about(newest).size for newest in map(checkpoints.newest, folder.levels()) if newest]
        first = min((size for size in sizes if _reduces(canvas, size)), default=None)
    levels = plan_levels(canvas, recipe(job), device.type == "cuda", first)
    return levels if folder is None else tuple(_as_begun(level, folder) for level in levels)


def _reduces(canvas: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether a level's size is one that a plate may be reduced to: not that of another plate."""
    return size[0] <= canvas[0] and abs(size[0] * canvas[1] - size[1] * canvas[0]) <= 2 * max(canvas)


def _as_begun(level: Level, folder: JobFolder) -> Level:
    newest = checkpoints.newest(folder.level(level.name))
    if newest is None:
        return level
    before = checkpoints.read_about(newest).config
    config = replace(level.config, crop_smallest=before.crop_smallest, crop_pixels=before.crop_pixels)
    return replace(level, config=config)


def whole_budget(job: Job, levels: tuple[Level, ...], device: torch.device) -> Budget:
    """The job's budget for all levels together, else the preset's for this kind of device."""
    config = recipe(job)
    if job.steps is None and job.time is None:
        if device.type == "cpu" and config.cpu_seconds is not None:
            return Budget(seconds=config.cpu_seconds)
        return Budget(steps=whole_steps(levels, config))
    return Budget(job.steps, job.time)


@dataclass(frozen=True)
class Start:
    """What a level's training starts from.

    Attributes:
        checkpoint: weights to start with; ``None``: untrained.
        same: it is of the very same shot and recipe, so that its training is resumed; else it is a warm start.
    """

    checkpoint: Path | None = None
    same: bool = False


def budgets_of(job: Job, levels: tuple[Level, ...], device: torch.device, starts: list[Start]) -> list[Budget]:
    """Each level's budget. A level that starts from trained weights gets ``WARM`` of the preset's."""
    whole = whole_budget(job, levels, device)
    budgets = [level.budget(whole) for level in levels]
    if job.steps is not None or job.time is not None:
        return budgets
    return [
        budget.part(WARM) if _is_warm(start, level) else budget
        for budget, start, level in zip(budgets, starts, levels, strict=True)
    ]


def _is_warm(start: Start, level: Level) -> bool:
    """Whether a level's training continues that of another shot, now or since an earlier attempt.

    Weights of another network are no start: the training begins anew, and takes its whole budget.
    """
    if start.checkpoint is None:
        return False
    about = about_now(start.checkpoint)
    return about.counters.warm if start.same else about.config.method.network == level.config.method.network


def starts_of(context: Context, levels: tuple[Level, ...], stores: tuple[FrameStore, ...]) -> list[Start]:
    """What each level starts from: its own checkpoint, else one of another level or folder that is like it.

    Weights that have learned nothing are no start: they are drawn again.
    """
    places = [context.folder.level(level.name) for level in levels]
    has_all = all(map(checkpoints.newest_or_aside, places))
    like = [] if has_all else _alike(context, {level.name for level in levels})
    starts = []
    for number, (level, store, place) in enumerate(zip(levels, stores, places, strict=True)):
        own = checkpoints.newest(place)
        if own is not None and not _has_learned(own):
            starts.append(Start())
        elif own is not None:
            starts.append(Start(own, checkpoints.fingerprint_of(own) == store.fingerprint))
        elif aside := checkpoints.aside(place):
            starts.append(Start(aside))
        elif like:
            # Levels of another plate have other names: the coarsest is like the coarsest.
            starts.append(_start_like(like[min(number, len(like) - 1)], level, store, context.job.seed))
        else:
            starts.append(Start())
    return starts


def _alike(context: Context, names: set[str]) -> list[Path]:
    """Checkpoints of similar levels, the coarsest first: of levels that the plate had at another size, or of another
    folder."""
    former = [
        checkpoint
        for checkpoint in _newest_by_size(context.folder)
        if checkpoint.parent.name not in names and _has_learned(checkpoint)
    ]
    if former or context.job.start_from is None:
        return former
    # What cannot be used as a start must not prevent the training: a node names the last version unasked.
    try:
        others = _newest_by_size(JobFolder(Path(context.job.start_from)))
        return [_undamaged(checkpoint) for checkpoint in others if _has_learned(checkpoint)]
    except BadInput as error:
        reason = str(error).rpartition(": ")[0]
        context.events.tell(warning=f"--start-from is not used, the training starts from scratch: {reason}")
        return []


def _has_learned(checkpoint: Path) -> bool:
    return about_now(checkpoint).counters.learned


def _undamaged(checkpoint: Path) -> Path:
    return checkpoints.read_newest(checkpoint, checkpoints.verified)


def _start_like(checkpoint: Path, level: Level, store: FrameStore, seed: int) -> Start:
    """Another folder may have been trained on the very same shot: then that training is resumed here."""
    about = about_now(checkpoint)
    same = about.fingerprint == store.fingerprint and about.seed == seed and about.config == level.config
    return Start(checkpoint, same)


def refuse_empty_start(job: Job) -> None:
    """BadInput if the job folder that ``start_from`` names was not trained."""
    if not JobFolder(Path(job.start_from)).has_trained():
        raise BadInput(f"--start-from {job.start_from} has no checkpoint: name a job folder that was trained")


def threads_of(folder: JobFolder) -> int | None:
    """The number of CPU threads that a folder's training has had; ``None`` before its first checkpoint."""
    found = [*_newest_by_size(folder)[:1], *checkpoints.newest_first(folder.roto.path)[:1]]
    return checkpoints.threads_of(found[0]) if found else None


def _newest_by_size(folder: JobFolder) -> list[Path]:
    found = [weights for weights in map(checkpoints.newest_or_aside, folder.levels()) if weights]
    return sorted(found, key=lambda checkpoint: about_now(checkpoint).size)


def about_now(checkpoint: Path) -> checkpoints.About:
    """``checkpoints.read_about`` of a checkpoint that may be in another folder, in training."""
    return checkpoints.read_newest(checkpoint, checkpoints.read_about)

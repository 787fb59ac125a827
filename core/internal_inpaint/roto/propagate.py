"""One-frame roto (section 4.2): train a network on the reference frames, and find the object in every frame."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from internal_inpaint import checkpoints
from internal_inpaint.ahead import at_once
from internal_inpaint.control import STOPPED
from internal_inpaint.errors import Stopped, TrainingDiverged
from internal_inpaint.files import as_user_error, new_memory_map
from internal_inpaint.job_folder import RotoFolder
from internal_inpaint.methods.matte.method import MatteMethod
from internal_inpaint.roto.background import grown_over_what_differs
from internal_inpaint.roto.config import RotoConfig
from internal_inpaint.roto.labels import Frames, Labels
from internal_inpaint.roto.result import Propagated, check_inputs, finish, finished, inputs_fingerprint
from internal_inpaint.roto.task import RotoTask
from internal_inpaint.roto.tracking import without_small_holes
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.state import Hooks, Progress
from internal_inpaint.training.trainer import Diverged, Trainer

# Shares of the progress at which the training ends, and the prediction. Then the mattes grow (``background``).
TRAINING, PREDICTED = 0.9, 0.96


def propagate(
    frames: np.ndarray,
    outside: np.ndarray,
    references: dict[int, np.ndarray],
    config: RotoConfig,
    budget: Budget,
    device: torch.device,
    seed: int,
    folder: Path,
    hooks: Hooks | None = None,
    views: int = 1,
) -> Propagated:
    """Find the object of the reference frames in every frame.

    Args:
        frames: ``[N, h, w, 3]`` working space in [-1, 1]; may be a memory map, read one frame at a time.
            In a shot of several views, all views of a frame are consecutive, as in ``Shot.pictures``.
        outside: ``[N, h, w]`` bool, outside the data window.
        references: mattes ``[h, w]`` 0..1 by frame index; at least one that is not empty.
        budget: for training and prediction together. The time limit is exceeded if it is too short for predicting
            every frame.
        seed: on the CPU, with a budget in steps, the same inputs and seed give the same result, even after a kill.
        folder: for the checkpoints and the result; created if it does not exist. A finished result for the
            same inputs is returned immediately.
        hooks: ``report``, ``warn``, ``should_stop``, ``clock`` and ``checkpoint_seconds`` are used.
        views: pictures per frame. The matte of one view is enough: the other views are found from it.

    Raises:
        BadInput: no reference frame with an object, or a damaged checkpoint.
        TrainingDiverged: the training diverged on every retry at lower learning rates.
        Stopped: on request of ``hooks.should_stop``; everything is saved.
    """
    check_inputs(frames, outside, references)
    folder.mkdir(parents=True, exist_ok=True)
    roto_folder = RotoFolder(folder)
    fingerprint = inputs_fingerprint(frames, references, config, seed, views)
    if (earlier := finished(roto_folder, fingerprint, budget)) is not None:
        return earlier
    hooks = hooks or Hooks()
    most = config.pixels[0 if device.type == "cuda" else 1]
    working = Frames(frames, outside, most, roto_folder, views)
    newest = checkpoints.newest(folder)
    resumed = newest is not None and Labels.exist(roto_folder, working) and _belongs_to(newest, fingerprint)
    if not resumed:
        checkpoints.set_aside(folder)  # of other mattes, maybe after more steps: it would pass for the newest
    small = {index: np.clip(working.reduced(matte), 0, 1) for index, matte in references.items()}
    method, labels = MatteMethod(config.method), Labels(roto_folder, working, small, fresh=not resumed)
    task = RotoTask(config, method, working, labels, budget, device, hooks.clock)
    trainer = Trainer(method, task, config, device, seed)
    if resumed:
        checkpoints.resume(trainer, newest, fingerprint)
        if trainer.counters.budget != [budget.steps, budget.seconds]:
            task.predicted = 0  # another budget changes the result: predict again

    trainer.counters.threads = torch.get_num_threads()

    def save(trainer: Trainer) -> None:
        checkpoints.save(trainer, folder, fingerprint, working.size)

    def report(progress: Progress) -> None:
        hooks.report(replace(progress, progress=TRAINING * progress.progress, psnr=None))

    try:
        done = trainer.run(budget, replace(hooks, report=report, checkpoint=save))
    except Diverged:
        raise TrainingDiverged(
            "the training of the matte diverged repeatedly, even at lower learning rates: "
            "check the plate for extreme values with `internal-inpaint check`, or try another --seed"
        ) from None
    if not done:
        raise Stopped(STOPPED)
    return _predict(trainer, task, references, roto_folder, fingerprint, hooks, save)


def _belongs_to(checkpoint: Path, fingerprint: str) -> bool:
    return checkpoints.fingerprint_of(checkpoint) == fingerprint


def _predict(
    trainer: Trainer,
    task: RotoTask,
    references: dict[int, np.ndarray],
    folder: RotoFolder,
    fingerprint: str,
    hooks: Hooks,
    save,
) -> Propagated:
    """Predict every frame with the trained network and write the result; resumes where a stop interrupted it."""
    counters, config, count = trainer.counters, task.config, len(task.frames)
    unfinished = folder.unfinished_mattes
    shape = (count, *task.frames.full)
    if task.predicted and unfinished.is_file():
        mattes = np.lib.format.open_memmap(unfinished, "r+", np.float16, shape)
    else:
        mattes, task.predicted = new_memory_map(unfinished, np.float16, shape), 0
    network, start = trainer.best_network(), hooks.clock() - counters.seconds
    began, first = hooks.clock(), task.predicted
    reported = saved = began
    while task.predicted < count:
        index = task.predicted
        if index in references:
            mattes[index], task.found[index] = np.clip(references[index], 0, 1), 1.0
        else:
            found, task.found[index] = task.find(network, index, None, mirror=True)
            mattes[index] = without_small_holes(_shaped(task.frames.enlarged(found), config))
        task.predicted += 1
        now, stopping = hooks.clock(), hooks.should_stop()
        counters.seconds = now - start
        if now - reported >= 1.0:
            reported = now
            share = TRAINING + (PREDICTED - TRAINING) * task.predicted / count
            left = (count - task.predicted) * (now - began) / (task.predicted - first)
            hooks.report(Progress(counters.step, None, share, _last_loss(trainer), None, left))
        if stopping or now - saved >= hooks.checkpoint_seconds:
            saved = now
            mattes.flush()
            save(trainer)
        if stopping:
            raise Stopped(STOPPED)
    mattes.flush()
    save(trainer)
    _grow(mattes, trainer, task, references, folder, fingerprint, hooks)
    del mattes
    counters.seconds = hooks.clock() - start
    about = {"budget": counters.budget, "steps": counters.step, "seconds": round(counters.seconds, 2)}
    return finish(folder, fingerprint, task.found, references, config.doubt, task.frames.views, about)


def _grow(
    mattes: np.ndarray,
    trainer: Trainer,
    task: RotoTask,
    references: dict[int, np.ndarray],
    folder: RotoFolder,
    fingerprint: str,
    hooks: Hooks,
) -> None:
    """Grow the predicted mattes over what differs from the background; all of them again after a stop."""
    frames, counters = task.frames, trainer.counters
    key = f"{fingerprint} {counters.step} {counters.budget}"
    shot = frames.pictures, frames.outside_full, mattes, frames.views

    def report(share: float) -> None:
        done = PREDICTED + (1 - PREDICTED) * share
        hooks.report(Progress(counters.step, None, done, _last_loss(trainer), None, None))

    try:
        grown = new_memory_map(folder.grown_mattes, np.float16, mattes.shape)
        threads = at_once(torch.get_num_threads(), mattes[0].size)
        with contextlib.closing(
            grown_over_what_differs(*shot, folder.background, key, threads, hooks.should_stop, report)
        ) as found:
            for index, matte in enumerate(found):
                grown[index] = mattes[index] if index in references else matte
                if hooks.should_stop():
                    break
    except OSError as error:
        raise as_user_error(error, str(error.filename or folder.grown_mattes)) from error
    if hooks.should_stop():
        raise Stopped(STOPPED)
    grown.flush()


def _last_loss(trainer: Trainer) -> float:
    with contextlib.suppress(IndexError, TypeError):
        return float(trainer.counters.history[-1][2])
    return float("nan")


def _shaped(probability: np.ndarray, config: RotoConfig) -> np.ndarray:
    """Probability to matte: a soft edge that is 0.5 at ``threshold``, and exactly 0 below it."""
    low, high = config.threshold - config.softness, config.threshold + config.softness
    return np.clip((probability - low) / (high - low), 0, 1)

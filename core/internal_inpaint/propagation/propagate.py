"""Roto one frame, get the rest (section 4.2): learn the object from the shot alone, find it in every frame.

The network learns from the reference frames (``sampling``), then walks outwards from them: each frame
is labelled with its neighbour's matte, carried along the motion, as a guess, and what is certain of it
is learned from. In the second round both neighbours give the guess; the last round, after the training,
gives the result.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from internal_inpaint.control import STOPPED
from internal_inpaint.errors import Stopped, TrainingDiverged
from internal_inpaint.files import new_memory_map
from internal_inpaint.motion.flow import warp
from internal_inpaint.propagation.config import PropagationConfig
from internal_inpaint.propagation.labels import Frames, Labels
from internal_inpaint.propagation.learner import Learner
from internal_inpaint.propagation.result import MATTES, Propagated, check_inputs, finish, finished, inputs_fingerprint
from internal_inpaint.propagation.sampling import MatteSampler
from internal_inpaint.propagation.tracking import confidence, tracked
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.loop import Hooks, Progress

ROUND_SHARE = 0.1  # of the time, at most, for one round of labelling where there is to be more than one


def propagate(
    frames: np.ndarray,
    void: np.ndarray,
    references: dict[int, np.ndarray],
    config: PropagationConfig,
    budget: Budget,
    device: torch.device,
    seed: int,
    folder: Path,
    hooks: Hooks | None = None,
    views: int = 1,
) -> Propagated:
    """Find the object of the reference frames in every frame.

    Args:
        frames: ``[N, h, w, 3]`` working space in [-1, 1]; may be a memory map, one frame is read at a time.
            Of a shot of several views all views of a frame lie together, as in ``Shot.pictures``.
        void: ``[N, h, w]`` bool, outside the data window.
        references: mattes ``[h, w]`` 0..1 by frame index; at least one that is not empty.
        budget: of everything, prediction included. A time too short for predicting every frame is overrun.
        seed: on the CPU and with a budget in steps the result depends on nothing else, killed or not.
        folder: for the checkpoint and the result; made if it is not there. A finished result for the
            same inputs is given back at once.
        hooks: ``report``, ``should_stop``, ``clock`` and ``checkpoint_seconds`` are used.
        views: pictures a frame. One view's matte is enough: the others' follow from it.

    Raises:
        BadInput: no reference frame with an object, or a damaged checkpoint.
        TrainingDiverged: the loss is no number any more.
        Stopped: ``hooks.should_stop`` said so; everything is saved.
    """
    check_inputs(frames, void, references)
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = inputs_fingerprint(frames, references, config, seed, views)
    if (earlier := finished(folder, fingerprint, budget)) is not None:
        return earlier
    hooks = hooks or Hooks()
    run = _Propagation(frames, void, references, config, budget, device, seed, folder, hooks, fingerprint, views)
    return run.run()


def is_found(
    frames: np.ndarray,
    references: dict[int, np.ndarray],
    config: PropagationConfig,
    budget: Budget,
    seed: int,
    folder: Path,
    views: int = 1,
) -> bool:
    """Whether the folder holds what ``propagate`` would give, so that nothing is left to learn."""
    return finished(folder, inputs_fingerprint(frames, references, config, seed, views), budget) is not None


class _Propagation:
    """One call of ``propagate``."""

    def __init__(
        self, frames, void, references, config, budget, device, seed, folder, hooks, fingerprint, views
    ) -> None:
        self.config, self.budget, self.folder = config, budget, folder
        self.hooks, self.fingerprint, self.views = hooks, fingerprint, views
        self.full_references = references
        most = config.pixels[0 if device.type == "cuda" else 1]
        self.frames = Frames(frames, void, most, folder, views)
        small = {i: np.clip(self.frames.reduced(m), 0, 1) for i, m in references.items()}
        self.learner = Learner(config, device, seed)
        resumed = Labels.there(folder, self.frames) and self.learner.resume(folder, fingerprint)
        self.labels = Labels(folder, self.frames, small, fresh=not resumed)
        self.state, count = self.learner.state, len(self.frames)
        if not resumed:
            self.state.confidence = [[float(i in small) for i in range(count)] for _ in range(2)]
        asked = [budget.steps, budget.seconds]
        if self.state.budget != asked:
            # Another budget: what was finished is open again.
            self.state.budget, self.state.trained, self.state.final, self.state.progress = asked, False, 0, 0.0
        self.order = _outwards(count, sorted(small), views)
        self._place = {index: place for place, index in enumerate(self.order)}
        self.usual_area = float(np.mean([(m > 0.5).sum() for m in small.values() if (m > 0.5).any()]))
        self.sampler = MatteSampler(config, self.frames.size, self._labelled)
        self._began = self.hooks.clock() - self.state.seconds
        self._reported = self._saved = self.hooks.clock()
        self._loss, self._last_loss = (torch.zeros((), device=device), 0), 0.0

    def run(self) -> Propagated:
        state = self.state
        while not state.trained:
            progress = self._progress()
            due = self._due(progress)
            if progress >= 1 and state.visits >= min(due, len(self.order)):
                state.trained = True
                self._save()
            elif state.visits < due:
                self._visit()
            else:
                self._train(progress)
            self._housekeeping()
        return self._finish()

    # --- how far it is -------------------------------------------------------------------------

    def _progress(self) -> float:
        """Share of the training done: of the budget less what the last round will take."""
        state, budget = self.state, self.budget
        if budget.seconds is None:
            return budget.progress(state.step, state.seconds)
        last = min(0.5 * budget.seconds, 1.3 * self._round_seconds())
        return Budget(budget.steps, max(1e-3, budget.seconds - last)).progress(state.step, state.seconds)

    def _round_seconds(self) -> float:
        """What labelling every frame once takes, as far as can be told."""
        return self.state.spent / max(1, self.state.visits) * len(self.order)

    def _due(self, progress: float) -> int:
        """Frames that should have been labelled by now, over all rounds."""
        config, each, rounds = self.config, len(self.order), self.config.rounds
        if self.budget.seconds is not None and self._round_seconds() > ROUND_SHARE * self.budget.seconds:
            rounds = 1  # a long shot in a short time: what another round costs is better spent on training
        share = (progress - config.learn) / (config.settle - config.learn)
        return int(each * rounds * min(1.0, max(0.0, share)))

    def _round(self, visit: int) -> tuple[int, int]:
        """The round of a visit, from 0, and its place in the round."""
        return divmod(visit, len(self.order))

    # --- training ------------------------------------------------------------------------------

    def _train(self, progress: float) -> None:
        references = sorted(self.labels.references)
        batch = self.sampler.batch(self.learner.rng, references, self._trusted())
        total, count = self._loss
        self._loss = total + self.learner.step(batch, progress), count + 1

    def _trusted(self) -> list[int]:
        confidence = self.state.confidence
        visited = self.order[: min(self.state.visits, len(self.order))]
        return [i for i in visited if confidence[self._file_of(i)][i] >= self.config.trust]

    def _file_of(self, index: int) -> int:
        """The file with the newest label of a frame."""
        if index in self.labels.references or not self.state.visits:
            return 0
        turn, place = self._round(self.state.visits)
        if not turn:
            return 0
        return turn % 2 if self._place[index] < place else (turn - 1) % 2

    def _labelled(self, index: int):
        return self.labels.labelled(index, self._file_of(index))

    # --- labelling -----------------------------------------------------------------------------

    def _visit(self) -> None:
        """Label the next frame of the walk."""
        began = self.hooks.clock()
        turn, place = self._round(self.state.visits)
        index = self.order[place]
        found, sure = self._find(index, (turn - 1) % 2 if turn else 0, mirror=False)
        self.labels.put(index, turn % 2, found)
        self.state.confidence[turn % 2][index] = sure
        self.state.visits += 1
        self.state.spent += self.hooks.clock() - began
        if self.state.visits % len(self.order) == 0:
            # A later round writes over the file that this one has read.
            self._save()

    def _known(self, index: int) -> bool:
        return index in self.labels.references or self._place.get(index, 1 << 60) < self.state.visits

    def _neighbours(self, index: int) -> list[int]:
        """Pictures whose matte is known: the frames before and after, else the same frame's other views."""
        if known := [n for n in self.frames.beside(index) if self._known(n)]:
            return known
        first = index - index % self.views
        return [n for n in range(first, first + self.views) if n != index and self._known(n)]

    def _find(self, index: int, which: int | None, mirror: bool) -> tuple[np.ndarray, float]:
        """Probabilities of one frame, cleaned, and their confidence.

        The neighbours' labels come from file ``which``, or, if that is None, from where each has its newest.
        """
        frame, motion = self.frames.frame(index), self.frames.motion(index)
        neighbours = self._neighbours(index)
        files = [self._file_of(n) if which is None else which for n in neighbours]
        brought = [
            warp(self.labels.probability(n, file), self.frames.flow(index, n))
            for n, file in zip(neighbours, files, strict=True)
        ]
        expected = np.max(brought, axis=0) if brought else np.zeros(self.frames.size, np.float32)
        guess = np.mean(brought, axis=0) if (expected > 0.5).any() else None
        informed, alone = self.learner.probabilities(frame, motion, guess, mirror)
        found = tracked(0.5 * (informed + alone), expected, self.usual_area)
        found[self.frames.void(index)] = 0
        sure = min((self.state.confidence[f][n] for n, f in zip(neighbours, files, strict=True)), default=0.0)
        return found, confidence(found, alone, brought, sure)

    # --- the result ----------------------------------------------------------------------------

    def _finish(self) -> Propagated:
        """The last round: every frame once more, with the trained network, into the result."""
        state, count = self.state, len(self.frames)
        unfinished = self.folder / f".{MATTES}.part"
        shape = (count, *self.frames.full)
        if state.final and unfinished.is_file():
            mattes = np.lib.format.open_memmap(unfinished, "r+", np.float16, shape)
        else:
            mattes = new_memory_map(unfinished, np.float16, shape)
            state.final, state.confidence[2:] = 0, [[0.0] * count]
        sure = state.confidence[2]
        while state.final < count:
            index = state.final
            if index in self.full_references:
                mattes[index], sure[index] = np.clip(self.full_references[index], 0, 1), 1.0
            else:
                found, sure[index] = self._find(index, None, mirror=True)
                mattes[index] = self._shaped(self.frames.enlarged(found))
            state.final += 1
            self._housekeeping(mattes)
        mattes.flush()
        del mattes
        about = {"budget": state.budget, "steps": state.step, "seconds": round(state.seconds, 2)}
        drawn, doubt = self.full_references, self.config.doubt
        return finish(self.folder, self.fingerprint, unfinished, sure, drawn, doubt, self.views, about)

    def _shaped(self, probability: np.ndarray) -> np.ndarray:
        """Probability to matte: a soft edge with its middle at ``threshold``, and exactly 0 away from it."""
        config = self.config
        low, high = config.threshold - config.softness, config.threshold + config.softness
        return np.clip((probability - low) / (high - low), 0, 1)

    # --- telling, saving, stopping -------------------------------------------------------------

    def _housekeeping(self, mattes: np.memmap | None = None) -> None:
        hooks, state = self.hooks, self.state
        now = hooks.clock()
        state.seconds = now - self._began
        if now - self._reported >= 1.0:
            self._reported = now
            self._report()
        stopping = hooks.should_stop()
        if stopping or now - self._saved >= hooks.checkpoint_seconds:
            if mattes is not None:
                mattes.flush()
            self._save()
        if stopping:
            raise Stopped(STOPPED)

    def _report(self) -> None:
        state, budget = self.state, self.budget
        trained = min(1.0, self._progress()) if not state.trained else 1.0
        share = 0.9 * trained + 0.1 * state.final / len(self.frames)
        if budget.seconds is not None and budget.steps is None:
            share = min(state.seconds / budget.seconds, 0.99 if state.trained else 0.95)
        state.progress = max(state.progress, share)
        loss = self._mean_loss()
        left = state.seconds / max(state.progress, 1e-3) * (1 - state.progress)
        if budget.seconds is not None:
            left = min(left, max(0.0, budget.seconds - state.seconds))
        self.hooks.report(Progress(state.step, budget.steps, state.progress, loss, None, left))

    def _mean_loss(self) -> float:
        """Since it was last asked for; here the host waits for the device."""
        total, count = self._loss
        if not count:
            return self._last_loss
        self._loss, self._last_loss = (torch.zeros_like(total), 0), float(total) / count
        if not math.isfinite(self._last_loss):
            raise TrainingDiverged(
                "the propagation of the matte diverged: check the plate for extreme values with "
                "`internal-inpaint check`, or try another --seed"
            )
        return self._last_loss

    def _save(self) -> None:
        self._mean_loss()  # nothing that is no number is kept
        self.labels.flush()
        self.learner.save(self.folder, self.fingerprint)
        self._saved = self.hooks.clock()


def _outwards(count: int, references: list[int], views: int) -> list[int]:
    """Every other picture, those nearest in time to a reference frame first, its own view before others."""

    def distance(index: int) -> tuple[int, bool]:
        return min((abs(index // views - r // views), index % views != r % views) for r in references)

    others = [index for index in range(count) if index not in references]
    return sorted(others, key=lambda index: (*distance(index), index))

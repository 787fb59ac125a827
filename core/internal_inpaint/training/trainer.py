"""The training loop: one shot, one network, from the first step to the best weights.

``Trainer`` knows a method (network and losses) and a task (the shot) by their interfaces alone, so that fill,
one-frame roto and whatever comes later are trained, stopped, resumed and rescued alike. ``Trainer.run`` reads top
to bottom.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn

from internal_inpaint.methods.base import Clip, Method
from internal_inpaint.methods.memory import is_out_of_memory
from internal_inpaint.training.budget import Budget, Schedule
from internal_inpaint.training.muon import MuonAdam
from internal_inpaint.training.state import Counters, Hooks, Progress, Recipe
from internal_inpaint.training.task import Task, Work

VALIDATIONS = 20  # a run, evenly spread over its budget
REPORT_SECONDS = 1.0
RETRIES = 3
GROWTH = 4.0  # a loss this many times its lowest is diverging ...
WINDOW_STEPS = 50  # ... where both are means over at least so many steps: single batches differ as much
SMALLEST_CROP = 64


class Diverged(Exception):
    """The loss stayed NaN or kept growing after every retry; ``Trainer.best`` is what is left."""


class Trainer:
    """A training under way: all that a checkpoint holds.

    Args:
        method: builds the network and says what its losses are.
        task: the shot.
        recipe: optimiser, step sizes, schedule, patience.
        device: where the network runs.
        seed: fixes weights, holes and order; on the CPU the result is then reproducible bit for bit.
        bf16: run the network's hidden layers in bfloat16.

    Attributes:
        best: weights with the highest validation score; without a score, the latest (averaged, if asked for).
    """

    def __init__(
        self, method: Method, task: Task, recipe: Recipe, device: torch.device, seed: int = 0, bf16: bool = False
    ) -> None:
        self.method, self.task, self.recipe, self.device, self.seed = method, task, recipe, device, seed
        torch.manual_seed(seed)
        self.network = method.build(bf16).to(device, memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(self.network).eval().requires_grad_(False) if recipe.average else None
        self.optimisers = {
            name: _optimiser(recipe, parameters) for name, parameters in method.parameter_groups(self.network).items()
        }
        self._base_rates = {
            name: [group["lr"] for group in optimiser.param_groups] for name, optimiser in self.optimisers.items()
        }
        self.rng = np.random.default_rng(seed)
        batch, crop = task.first_sizes()
        self.counters = Counters(batch=batch, crop=crop, bf16=bf16)
        self.best: dict[str, Tensor] = copy.deepcopy(self._weights().state_dict())
        self._last_good: tuple | None = None

    def _weights(self) -> nn.Module:
        """What the training is for: the averaged network where there is one."""
        return self.network if self.averaged is None else self.averaged

    def best_network(self) -> nn.Module:
        """A copy of the network with the best weights so far, ready for inference."""
        network = self.method.build(self.counters.bf16)
        network.load_state_dict(self.best)
        return network.to(self.device, memory_format=torch.channels_last).eval()

    def fill(self, clip: Clip) -> Tensor:
        """``Method.fill`` with the weights as they are."""
        return self.method.fill(self._weights(), clip)

    def progress(self, budget: Budget) -> float:
        """Share of the budget's training time or steps that is used up, 0 to 1."""
        return budget.less(self.task.reserved_seconds()).progress(self.counters.step, self.counters.seconds)

    def run(self, budget: Budget, hooks: Hooks) -> bool:
        """Train until the budget is used up or validation has stopped improving.

        Returns:
            True when done, False when ``hooks.should_stop`` asked for a stop; either way the last thing
            done was a checkpoint.

        Raises:
            Diverged: after ``RETRIES`` restarts from the last good weights with half the step each.
        """
        counters, clock = self.counters, hooks.clock
        self._adopt(budget)
        schedule = Schedule(self.recipe.schedule, end=counters.schedule_end)
        if counters.history and schedule.done(self.progress(budget)) and not self.task.pending(1.0):
            return True  # an earlier run has done it all
        self._last_good = self._snapshot()
        started = clock() - counters.seconds
        reported = saved = clock()
        first_step, first_seconds = counters.step, counters.seconds
        loss_sum, loss_count, mean_loss = torch.zeros((), device=self.device), 0, math.nan

        while True:
            progress = self.progress(budget)
            share = min(1.0, progress / schedule.end)
            stopping, now = hooks.should_stop(), clock()
            worked = Work.NOTHING if stopping else self.task.work(share, self._weights())
            idle = not worked and not (stopping and self.task.pending(share))
            finished = schedule.done(progress) and idle
            # What begins with a coarser level's picture is scored before its first step: it may be the best already.
            unscored = self.recipe.score_first and not counters.history
            validating = finished or unscored or progress >= (counters.validations + 1) / VALIDATIONS
            saving = finished or stopping or worked == Work.CHECKPOINT or now - saved >= hooks.checkpoint_seconds
            if loss_count and (validating or saving or now - reported >= REPORT_SECONDS):
                # The one place where the host waits for the device: about once a second.
                total = float(loss_sum)
                mean_loss = total / loss_count
                healthy = self._healthy(total, loss_count, thorough=validating or saving)
                loss_count, reported = 0, now
                loss_sum.zero_()
                if not healthy:
                    self._back_to_last_good(hooks)
                    continue
                pace = (counters.seconds - first_seconds) / max(1, counters.step - first_step)
                hooks.report(self._report(budget, schedule, share, mean_loss, pace))
            if validating:
                if not self._validate(schedule, progress, mean_loss):
                    self._back_to_last_good(hooks)
                    continue
                hooks.validated(self)
                finished = schedule.done(progress) and idle
            if saving or finished:
                hooks.checkpoint(self)
                saved = clock()
            if finished or stopping:
                return finished
            if worked:
                counters.seconds = clock() - started
                if now - reported >= REPORT_SECONDS:
                    reported = now
                    hooks.report(self._report(budget, schedule, share, mean_loss, 0.0))
                continue

            rate = schedule.rate(progress) * counters.rate_scale
            loss = None
            try:
                loss = self._step(rate, share)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            if loss is None:
                # Not inside the except block, where the exception still holds on to the step's tensors.
                self._shrink(hooks)
                continue
            loss_sum += loss
            loss_count += 1
            counters.step += 1
            self._average()
            counters.seconds = clock() - started

    def _adopt(self, budget: Budget) -> None:
        """A budget other than the last run's: spread validations over it, and open an early end again."""
        counters = self.counters
        asked = [budget.steps, budget.seconds]
        if counters.budget != asked:
            counters.budget, counters.schedule_end, counters.stale = asked, 1.0, 0
            counters.validations = int(self.progress(budget) * VALIDATIONS)

    def _step(self, rate: float, share: float) -> Tensor:
        """One step of every optimiser; returns the first loss, on the device, without waiting for it."""
        batch, crop = self.counters.batch, tuple(self.counters.crop)
        clip = self.task.draw(self.rng, batch, crop, self.method.needs_others(share))
        self.network.train()
        losses = self.method.step(self.network, clip, share, self.rng)
        several = len(losses) > 1
        for name, terms in losses.items():
            optimiser = self.optimisers[name]
            optimiser.zero_grad()
            # Of several players each one's gradients are of its own loss only.
            only = [p for group in optimiser.param_groups for p in group["params"]] if several else None
            sum(terms.values()).backward(inputs=only, retain_graph=several)
        for name in losses:
            optimiser = self.optimisers[name]
            for group, base in zip(optimiser.param_groups, self._base_rates[name], strict=True):
                group["lr"] = base * rate
            optimiser.step()
        return next(iter(next(iter(losses.values())).values())).detach()

    @torch.no_grad()
    def _average(self) -> None:
        if self.averaged is None:
            return
        # In the beginning the average follows closely: the first weights are worth nothing.
        share = max(1 - self.recipe.average, 1 / (1 + self.counters.step / 10))
        current = self.network.state_dict()
        for name, kept in self.averaged.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(current[name], share)
            else:
                kept.copy_(current[name])

    def _healthy(self, total: float, count: int, thorough: bool) -> bool:
        """Whether the loss is finite and not growing, and, where ``thorough``, every weight finite.

        The loss of a step is that of the weights before it: weights are looked at by themselves
        before they are kept in any way.
        """
        counters = self.counters
        if not math.isfinite(total):
            return False
        counters.window = [counters.window[0] + total, counters.window[1] + count]
        if counters.window[1] >= WINDOW_STEPS:
            mean = counters.window[0] / counters.window[1]
            if counters.lowest is not None and mean > GROWTH * counters.lowest:
                return False
            counters.lowest = mean if counters.lowest is None else min(mean, counters.lowest)
            counters.window = [0.0, 0]
        return not thorough or all(bool(torch.isfinite(p).all()) for p in self.network.parameters())

    def _validate(self, schedule: Schedule, progress: float, loss: float | None) -> bool:
        """Score the weights, keep them if they are the best. False if they give no number at all."""
        counters = self.counters
        psnr = self.task.score(self.fill)
        # None: nothing to score by, and the latest weights are the best.
        if psnr is not None and not math.isfinite(psnr):
            return False
        counters.validations = int(progress * VALIDATIONS)
        counters.psnr = psnr
        phase = self.method.phase(min(1.0, progress / schedule.end))
        anew = phase > counters.best_phase
        if psnr is None or counters.best_psnr is None or anew or psnr > counters.best_psnr:
            self.best = copy.deepcopy(self._weights().state_dict())
            counters.best_psnr, counters.best_step, counters.stale = psnr, counters.step, 0
            counters.best_phase = phase
        else:
            counters.stale += 1
        if self.recipe.patience and counters.stale >= self.recipe.patience and schedule.can_finish_early(progress):
            schedule.finish_early(progress)
            counters.schedule_end = schedule.end
        loss = loss if math.isfinite(loss) else None
        counters.history.append([counters.step, round(counters.seconds, 2), loss, psnr])
        self._last_good = self._snapshot()
        return True

    def _report(self, budget: Budget, schedule: Schedule, share: float, loss: float, pace: float) -> Progress:
        step = self.counters.step
        left = []
        if budget.steps is not None:
            left.append((budget.steps * schedule.end - step) * pace)
        if budget.seconds is not None:
            left.append(budget.seconds * schedule.end - self.counters.seconds)
        return Progress(step, budget.steps, share, loss, self.counters.psnr, max(0.0, min(left)))

    def _snapshot(self) -> tuple:
        optimisers = {name: copy.deepcopy(optimiser.state_dict()) for name, optimiser in self.optimisers.items()}
        averaged = None if self.averaged is None else copy.deepcopy(self.averaged.state_dict())
        rng = copy.deepcopy(self.rng.bit_generator.state)
        return copy.deepcopy(self.network.state_dict()), averaged, optimisers, rng

    def _back_to_last_good(self, hooks: Hooks) -> None:
        counters = self.counters
        counters.retries += 1
        if counters.retries > RETRIES:
            raise Diverged
        weights, averaged, optimisers, rng = copy.deepcopy(self._last_good)
        self.network.load_state_dict(weights)
        if self.averaged is not None:
            self.averaged.load_state_dict(averaged)
        for name, state in optimisers.items():
            self.optimisers[name].load_state_dict(state)
        self.rng.bit_generator.state = rng
        counters.rate_scale *= 0.5
        counters.window, counters.lowest = [0.0, 0], None
        hooks.warn(
            f"the training diverged at step {counters.step}; it continues from the last good weights "
            f"with {counters.rate_scale:g} times the step size"
        )

    def _shrink(self, hooks: Hooks) -> None:
        counters = self.counters
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if counters.batch > 1:
            counters.batch //= 2
            hooks.warn(f"out of memory: the batch is now {counters.batch} crops a step")
            return
        height, width = counters.crop
        if max(height, width) <= SMALLEST_CROP:
            raise MemoryError(f"not even one crop of {SMALLEST_CROP} pixels fits into memory")
        counters.crop = tuple(min(side, max(SMALLEST_CROP, side * 3 // 4 // 8 * 8)) for side in (height, width))
        hooks.warn(f"out of memory: crops are now {counters.crop[1]}x{counters.crop[0]} pixels")


def _optimiser(recipe: Recipe, parameters) -> MuonAdam | torch.optim.Adam:
    if recipe.optimiser == "muon":
        return MuonAdam(parameters, recipe.lr, recipe.adam_lr)
    return torch.optim.Adam(parameters.all(), recipe.lr)

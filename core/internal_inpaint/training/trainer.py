"""The training loop: one shot, one network, from the first step to the best weights.

``Trainer`` uses a method (network and losses) and a task (the shot) through their interfaces only. Fill, one-frame
roto and later methods therefore share one loop, one way to stop and resume, and one way to recover from
divergence and lack of memory.
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

VALIDATIONS = 20  # validations per run, spread evenly over its budget
REPORT_SECONDS = 1.0
RETRIES = 3
DIVERGED_GROWTH = 4.0  # a loss of this many times the lowest loss so far counts as diverged ...
WINDOW_STEPS = 50  # ... if both are means over at least this many steps: single batches vary as much
SMALLEST_CROP = 64


class Diverged(Exception):
    """The loss was not finite or kept growing after every retry; ``Trainer.best`` holds the best weights."""


class Trainer:
    """A training with its complete state, which is what a checkpoint holds.

    Args:
        method: builds the network and computes its losses.
        task: supplies training data and validation.
        recipe: optimiser, learning rates, schedule, patience.
        device: device of the network.
        seed: determines the initial weights and the training batches; on the CPU the result is reproducible bit
            for bit.
        bf16: whether the network's hidden layers run in bfloat16.

    Attributes:
        best: the weights with the highest validation score; without validation, the latest weights. They are the
            averaged ones if ``recipe`` asks for averaging.
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
        self.best: dict[str, Tensor] = copy.deepcopy(self._result_network().state_dict())
        self._last_good: tuple | None = None

    def _result_network(self) -> nn.Module:
        """The averaged network if there is one, else the network in training."""
        return self.network if self.averaged is None else self.averaged

    def best_network(self) -> nn.Module:
        """A copy of the network with the best weights so far, in ``eval`` mode."""
        network = self.method.build(self.counters.bf16)
        network.load_state_dict(self.best)
        return network.to(self.device, memory_format=torch.channels_last).eval()

    def fill(self, clip: Clip) -> Tensor:
        """``Method.fill`` with the current weights."""
        return self.method.fill(self._result_network(), clip)

    def progress(self, budget: Budget) -> float:
        """Share of the budget's training time or steps that is used, 0 to 1."""
        return budget.less(self.task.reserved_seconds()).progress(self.counters.step, self.counters.seconds)

    def run(self, budget: Budget, hooks: Hooks) -> bool:
        """Train until the budget is used or validation has stopped improving. A budget of nothing scores nothing.

        Returns:
            True when done, False when ``hooks.should_stop`` asked for a stop. In both cases a checkpoint was
            saved last.

        Raises:
            Diverged: after ``RETRIES`` restarts from the last good weights, each at half the learning rate.
        """
        counters, clock = self.counters, hooks.clock
        self._apply_budget(budget)
        schedule = Schedule(self.recipe.schedule, end=counters.schedule_end)
        if counters.history and schedule.done(self.progress(budget)) and not self.task.pending(1.0):
            return True  # an earlier run has finished this training
        if budget.is_empty and not counters.step:
            hooks.checkpoint(self)
            return True
        self._last_good = self._snapshot()
        self.task.prepare()
        start = clock() - counters.seconds
        reported = saved = clock()
        first_step, first_seconds = counters.step, counters.seconds
        loss_sum, loss_count, mean_loss = torch.zeros((), device=self.device), 0, math.nan

        while True:
            progress = self.progress(budget)
            share = min(1.0, progress / schedule.end)
            stopping, now = hooks.should_stop(), clock()
            worked = Work.NOTHING if stopping else self.task.work(share, self._result_network())
            idle = not worked and not (stopping and self.task.pending(share))
            finished = schedule.done(progress) and idle
            # A network that starts from the coarser level's picture may be at its best before its first step.
            unscored = self.recipe.score_first and not counters.history
            validating = finished or unscored or progress >= (counters.validations + 1) / VALIDATIONS
            saving = finished or stopping or worked == Work.CHECKPOINT or now - saved >= hooks.checkpoint_seconds
            if loss_count and (validating or saving or now - reported >= REPORT_SECONDS):
                # The host waits for the device only here, about once a second.
                total = float(loss_sum)
                mean_loss = total / loss_count
                healthy = self._healthy(total, loss_count, thorough=validating or saving)
                loss_count, reported = 0, now
                loss_sum.zero_()
                if not healthy:
                    self._restore_last_good(hooks)
                    continue
                step_seconds = (counters.seconds - first_seconds) / max(1, counters.step - first_step)
                hooks.report(self._report(budget, schedule, share, mean_loss, step_seconds))
            if validating:
                if not self._validate(schedule, progress, mean_loss):
                    self._restore_last_good(hooks)
                    continue
                hooks.validated(self)
                finished = schedule.done(progress) and idle
            if saving or finished:
                hooks.checkpoint(self)
                saved = clock()
            if finished or stopping:
                return finished
            if worked:
                counters.seconds = clock() - start
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
                # Outside the except block: there, the exception still refers to the step's tensors.
                self._reduce_batch(hooks)
                continue
            loss_sum += loss
            loss_count += 1
            counters.step += 1
            self._average()
            counters.seconds = clock() - start

    def _apply_budget(self, budget: Budget) -> None:
        """If the budget differs from the last run's, spread the validations over it and undo an early end."""
        counters = self.counters
        limits = [budget.steps, budget.seconds]
        if counters.budget != limits:
            counters.budget, counters.schedule_end, counters.stale = limits, 1.0, 0
            counters.validations = int(self.progress(budget) * VALIDATIONS)

    def _step(self, rate: float, share: float) -> Tensor:
        """One step of every optimiser. Returns the first loss, on the device, without waiting for it."""
        batch, crop = self.counters.batch, tuple(self.counters.crop)
        clip = self.task.draw(self.rng, batch, crop, self.method.needs_others(share))
        self.network.train()
        losses = self.method.step(self.network, clip, share, self.rng)
        several = len(losses) > 1
        for name, terms in losses.items():
            optimiser = self.optimisers[name]
            optimiser.zero_grad()
            # With several optimisers, each gets the gradients of its own loss only.
            inputs = [p for group in optimiser.param_groups for p in group["params"]] if several else None
            sum(terms.values()).backward(inputs=inputs, retain_graph=several)
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
        # At the beginning the average follows the weights closely, because the first weights are poor.
        share = max(1 - self.recipe.average, 1 / (1 + self.counters.step / 10))
        current = self.network.state_dict()
        for name, average in self.averaged.state_dict().items():
            if average.is_floating_point():
                average.lerp_(current[name], share)
            else:
                average.copy_(current[name])

    def _healthy(self, total: float, count: int, thorough: bool) -> bool:
        """Whether the loss is finite and not growing and, if ``thorough``, every weight is finite.

        The loss of a step depends on the weights before it. Weights are therefore checked separately before they
        are scored or saved.
        """
        counters = self.counters
        if not math.isfinite(total):
            return False
        counters.window = [counters.window[0] + total, counters.window[1] + count]
        if counters.window[1] >= WINDOW_STEPS:
            mean = counters.window[0] / counters.window[1]
            if counters.lowest is not None and mean > DIVERGED_GROWTH * counters.lowest:
                return False
            # A mean of 0 is none of a good network: nothing was scored, and any loss would be a growth of it.
            if mean > 0:
                counters.lowest = mean if counters.lowest is None else min(mean, counters.lowest)
            counters.window = [0.0, 0]
        return not thorough or all(bool(torch.isfinite(p).all()) for p in self.network.parameters())

    def _validate(self, schedule: Schedule, progress: float, loss: float | None) -> bool:
        """Score the weights, and store them if they are the best. False if the score is not finite."""
        counters = self.counters
        psnr = self.task.score(self.fill)
        # None: nothing is held out, and the latest weights count as the best.
        if psnr is not None and not math.isfinite(psnr):
            return False
        counters.validations = int(progress * VALIDATIONS)
        counters.psnr = psnr
        phase = self.method.phase(min(1.0, progress / schedule.end))
        later_phase = phase > counters.best_phase
        if psnr is None or counters.best_psnr is None or later_phase or psnr > counters.best_psnr:
            self.best = copy.deepcopy(self._result_network().state_dict())
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

    def _report(self, budget: Budget, schedule: Schedule, share: float, loss: float, step_seconds: float) -> Progress:
        step = self.counters.step
        left = []
        if budget.steps is not None:
            left.append((budget.steps * schedule.end - step) * step_seconds)
        if budget.seconds is not None:
            left.append(budget.seconds * schedule.end - self.counters.seconds)
        return Progress(step, budget.steps, share, loss, self.counters.psnr, max(0.0, min(left)))

    def _snapshot(self) -> tuple:
        optimisers = {name: copy.deepcopy(optimiser.state_dict()) for name, optimiser in self.optimisers.items()}
        averaged = None if self.averaged is None else copy.deepcopy(self.averaged.state_dict())
        rng = copy.deepcopy(self.rng.bit_generator.state)
        return copy.deepcopy(self.network.state_dict()), averaged, optimisers, rng

    def _restore_last_good(self, hooks: Hooks) -> None:
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
            f"at {counters.rate_scale:g} times the learning rate"
        )

    def _reduce_batch(self, hooks: Hooks) -> None:
        counters = self.counters
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if counters.batch > 1:
            counters.batch //= 2
            hooks.warn(f"out of memory: the batch is now {counters.batch} crops per step")
            return
        height, width = counters.crop
        if max(height, width) <= SMALLEST_CROP:
            raise MemoryError(f"a single crop of {SMALLEST_CROP}x{SMALLEST_CROP} pixels does not fit into memory")
        counters.crop = tuple(min(side, max(SMALLEST_CROP, side * 3 // 4 // 8 * 8)) for side in (height, width))
        hooks.warn(f"out of memory: crops are now {counters.crop[1]}x{counters.crop[0]} pixels")


def _optimiser(recipe: Recipe, parameters) -> MuonAdam | torch.optim.Adam:
    if recipe.optimiser == "muon":
        return MuonAdam(parameters, recipe.lr, recipe.adam_lr)
    return torch.optim.Adam(parameters.all(), recipe.lr)

"""The training loop: one shot, one network, from first step to best weights.

Equation (1): a frame is shown to the network with its own hole and a synthetic one hidden, equation (2):
the L1 distance to the frame counts where the plate is known. ``Trainer`` holds all that a checkpoint
needs; ``Trainer.run`` is the loop and reads top to bottom.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from internal_inpaint.methods.implicit.networks import InpaintNetwork, initialise
from internal_inpaint.training.budget import Budget, Schedule
from internal_inpaint.training.config import TrainingConfig
from internal_inpaint.training.device import autocast, is_out_of_memory
from internal_inpaint.training.muon import MuonAdam
from internal_inpaint.training.sampling import Batch, HoleSampler, crop_size, hole_boxes
from internal_inpaint.training.validation import choose_held_out, validation_psnr

VALIDATIONS = 20  # a run, evenly spread over its budget
HELD_OUT_HOLES = 8
REPORT_SECONDS = 1.0
CHECKPOINT_SECONDS = 30.0
RETRIES = 3
GROWTH = 4.0  # a loss this many times its best is diverging


class Diverged(Exception):
    """The loss stayed NaN or kept growing after every retry; ``Trainer.best`` is what is left."""


@dataclass(frozen=True)
class Progress:
    """What the loop tells its caller about once a second.

    Attributes:
        step, steps: steps done and, where the budget is in steps, in all.
        progress: share of the training done, 0 to 1.
        loss: mean training loss since the last report; the unit is the working space's range halved.
        psnr: last validation PSNR in dB inside the held-out holes, ``None`` before the first.
        eta_s: seconds left, as far as can be told.
    """

    step: int
    steps: int | None
    progress: float
    loss: float
    psnr: float | None
    eta_s: float | None


@dataclass
class Counters:
    """The state of a training beside its tensors; plain numbers, saved as JSON."""

    step: int = 0
    seconds: float = 0.0
    validations: int = 0
    psnr: float | None = None
    best_psnr: float | None = None
    best_step: int = 0
    stale: int = 0
    rate_scale: float = 1.0
    retries: int = 0
    batch: int = 0
    crop: tuple[int, int] = (0, 0)
    schedule_end: float = 1.0
    bf16: bool = False
    rng: dict = field(default_factory=dict)
    history: list = field(default_factory=list)  # [step, seconds, loss, psnr] a validation


@dataclass
class Hooks:
    """What the caller wants to hear of. ``should_stop`` is asked every step and must be cheap."""

    report: Callable[[Progress], None] = lambda progress: None
    warn: Callable[[str], None] = lambda message: None
    checkpoint: Callable[[Trainer], None] = lambda trainer: None
    validated: Callable[[Trainer], None] = lambda trainer: None
    should_stop: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.perf_counter
    checkpoint_seconds: float = CHECKPOINT_SECONDS


class Trainer:
    """A training under way.

    Args:
        config: the recipe.
        frames: ``[N, H, W, 3]`` working space in [-1, 1], 0 where not known; memory map or on ``device``.
        state: ``[N, H, W]`` uint8 of hole and void bits, beside ``frames``.
        device: where the network runs.
        seed: fixes weights, holes and order; on the CPU the result is then reproducible bit for bit.
        bf16: run the network's arithmetic in bfloat16 under autocast.
    """

    def __init__(
        self,
        config: TrainingConfig,
        frames: Tensor,
        state: Tensor,
        device: torch.device,
        seed: int = 0,
        bf16: bool = False,
    ) -> None:
        self.config, self.device, self.seed = config, device, seed
        self._frames, self._state = frames, state
        self._boxes = hole_boxes(state)
        size = tuple(state.shape[1:])
        crop = crop_size(self._boxes, size, config.crop_scale, config.crop_smallest, config.crop_pixels)
        torch.manual_seed(seed)
        network = InpaintNetwork(config.network)
        initialise(network, config.initialisation)
        self.network = network.to(device, memory_format=torch.channels_last)
        if config.optimiser == "muon":
            self.optimiser: torch.optim.Optimizer = MuonAdam(self.network, config.lr, config.adam_lr)
        else:
            self.optimiser = torch.optim.Adam(self.network.parameters(), config.lr)
        self._base_rates = [group["lr"] for group in self.optimiser.param_groups]
        self.rng = np.random.default_rng(seed)
        self.counters = Counters(batch=config.batch, crop=crop, bf16=bf16)
        self.best: dict[str, Tensor] = copy.deepcopy(self.network.state_dict())
        seen = tuple(min(room, side + side // 2) for room, side in zip(size, crop, strict=True))
        self._judge = self._sampler(seen)
        self.held_out = choose_held_out(self._judge, HELD_OUT_HOLES, seed)
        self._last_good: tuple | None = None

    def _sampler(self, crop: tuple[int, int], held_out: dict | None = None) -> HoleSampler:
        return HoleSampler(self._frames, self._state, crop, self.device, held_out, self._boxes)

    def run(self, budget: Budget, hooks: Hooks) -> bool:
        """Train until the budget is used up or validation has stopped improving.

        Returns:
            True when done, False when ``hooks.should_stop`` asked for a stop; either way the last thing
            done was a checkpoint.

        Raises:
            Diverged: after ``RETRIES`` restarts from the last good weights with half the step each.
        """
        counters, clock = self.counters, hooks.clock
        schedule = Schedule(self.config.schedule, end=counters.schedule_end)
        sampler = self._sampler(tuple(counters.crop), self.held_out.masks)
        self._last_good = self._snapshot()
        started = clock() - counters.seconds
        reported = saved = clock()
        loss_sum, loss_count, lowest = torch.zeros((), device=self.device), 0, math.inf
        first_step, first_seconds = counters.step, counters.seconds
        mean_loss = math.nan
        if counters.history and schedule.done(budget.progress(counters.step, counters.seconds)):
            return True  # an earlier run has done it all

        while True:
            progress = budget.progress(counters.step, counters.seconds)
            finished, stopping, now = schedule.done(progress), hooks.should_stop(), clock()
            validating = progress >= (counters.validations + 1) / VALIDATIONS or (finished and not stopping)
            saving = finished or stopping or now - saved >= hooks.checkpoint_seconds
            if loss_count and (validating or saving or now - reported >= REPORT_SECONDS):
                # The one place where the host waits for the device: about once a second, and before
                # anything is kept, so that NaN weights never are.
                mean_loss, loss_count, reported = float(loss_sum) / loss_count, 0, now
                loss_sum.zero_()
                if not math.isfinite(mean_loss) or mean_loss > GROWTH * lowest:
                    self._back_to_last_good(hooks)
                    lowest = math.inf
                    continue
                lowest = min(lowest, mean_loss)
                pace = (counters.seconds - first_seconds) / max(1, counters.step - first_step)
                hooks.report(self._progress(budget, schedule, progress, mean_loss, pace))
            if validating:
                self._validate(schedule, progress, mean_loss, hooks)
                finished = schedule.done(progress)
            if saving or finished:
                hooks.checkpoint(self)
                saved = clock()
            if finished or stopping:
                return finished

            rate = schedule.rate(progress) * counters.rate_scale
            for group, base in zip(self.optimiser.param_groups, self._base_rates, strict=True):
                group["lr"] = base * rate
            try:
                loss_sum += self._step(sampler)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink(hooks)
                sampler = self._sampler(tuple(counters.crop), self.held_out.masks)
                continue
            loss_count += 1
            counters.step += 1
            counters.seconds = clock() - started

    def _step(self, sampler: HoleSampler) -> Tensor:
        """One optimiser step; returns the loss as a tensor on the device, without waiting for it."""
        batch = sampler.gather([sampler.draw(self.rng) for _ in range(self.counters.batch)])
        with autocast(self.device, self.counters.bf16):
            outputs = self.network(batch.target * (1 - batch.hidden), batch.hidden)
        loss = reconstruction_loss(outputs, batch, self.config.hole_weight)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return loss.detach()

    def _validate(self, schedule: Schedule, progress: float, loss: float, hooks: Hooks) -> None:
        counters = self.counters
        counters.validations = int(progress * VALIDATIONS)
        precision = autocast(self.device, counters.bf16)
        psnr = validation_psnr(self.network, self._judge, self.held_out, precision)
        if not self.held_out.placements:
            psnr = None  # nothing to judge by: the latest weights are the best
        elif not math.isfinite(psnr):
            return  # NaN weights: the next report goes back to the last good ones
        counters.psnr = psnr
        if psnr is None or counters.best_psnr is None or psnr > counters.best_psnr:
            self.best = copy.deepcopy(self.network.state_dict())
            counters.best_psnr, counters.best_step, counters.stale = psnr, counters.step, 0
        else:
            counters.stale += 1
        if self.config.patience and counters.stale >= self.config.patience and not schedule.cooling(progress):
            schedule.finish_early(progress)
            counters.schedule_end = schedule.end
        counters.history.append([counters.step, round(counters.seconds, 2), loss, psnr])
        self._last_good = self._snapshot()
        hooks.validated(self)

    def _progress(self, budget: Budget, schedule: Schedule, progress: float, loss: float, pace: float) -> Progress:
        step = self.counters.step
        left = []
        if budget.steps is not None:
            left.append((budget.steps * schedule.end - step) * pace)
        if budget.seconds is not None:
            left.append(budget.seconds * schedule.end - self.counters.seconds)
        share = min(1.0, progress / schedule.end)
        return Progress(step, budget.steps, share, loss, self.counters.psnr, max(0.0, min(left)))

    def _snapshot(self) -> tuple:
        rng = copy.deepcopy(self.rng.bit_generator.state)
        return copy.deepcopy(self.network.state_dict()), copy.deepcopy(self.optimiser.state_dict()), rng

    def _back_to_last_good(self, hooks: Hooks) -> None:
        counters = self.counters
        counters.retries += 1
        if counters.retries > RETRIES:
            raise Diverged
        weights, optimiser, rng = copy.deepcopy(self._last_good)
        self.network.load_state_dict(weights)
        self.optimiser.load_state_dict(optimiser)
        self.rng.bit_generator.state = rng
        counters.rate_scale *= 0.5
        hooks.warn(
            f"the training diverged at step {counters.step}; it goes on from the last good weights "
            f"with steps of {counters.rate_scale:g} times the size"
        )

    def _shrink(self, hooks: Hooks) -> None:
        counters = self.counters
        self.optimiser.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if counters.batch > 1:
            counters.batch //= 2
            hooks.warn(f"out of memory: the batch is now {counters.batch} crops a step")
            return
        height, width = counters.crop
        if min(height, width) <= 64:
            raise MemoryError("not even one crop of 64 pixels fits into memory")
        counters.crop = tuple(max(64, side * 3 // 4 // 8 * 8) for side in (height, width))
        hooks.warn(f"out of memory: crops are now {counters.crop[1]}x{counters.crop[0]} pixels")


def reconstruction_loss(outputs: list[Tensor], batch: Batch, hole_weight: float | None) -> Tensor:
    """Equation (2), summed over a network's stages.

    Args:
        outputs: ``[B, 3, h, w]`` each.
        hole_weight: share of the synthetic hole in the loss; ``None`` counts every known pixel the same,
            as the paper does.
    """
    channels = outputs[0].shape[1]
    inside = batch.synthetic * batch.known
    outside = batch.known - inside
    loss = outputs[0].new_zeros((), dtype=torch.float32)
    for output in outputs:
        error = (output.float() - batch.target).abs()
        if hole_weight is None:
            loss = loss + (error * batch.known).sum() / (channels * batch.known.sum()).clamp(min=1)
            continue
        in_hole = (error * inside).sum() / (channels * inside.sum()).clamp(min=1)
        elsewhere = (error * outside).sum() / (channels * outside.sum()).clamp(min=1)
        loss = loss + hole_weight * in_hole + (1 - hole_weight) * elsewhere
    return loss


def best_network(trainer: Trainer) -> nn.Module:
    """A copy of the network with the best weights so far, ready for inference."""
    network = InpaintNetwork(trainer.config.network)
    network.load_state_dict(trainer.best)
    return network.to(trainer.device, memory_format=torch.channels_last).eval()

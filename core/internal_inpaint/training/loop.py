"""The training loop: one shot, one network, from first step to best weights.

Equation (1): a frame is shown to the network with its own hole and a synthetic one hidden, equation (2):
the L1 distance to the frame counts where the plate is known. ``Trainer`` holds all that a checkpoint
needs; ``Trainer.run`` is the loop and reads top to bottom.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from internal_inpaint.methods.implicit.networks import InpaintNetwork, initialise
from internal_inpaint.methods.memory import is_out_of_memory
from internal_inpaint.training.budget import Budget, Schedule
from internal_inpaint.training.cascade import Level
from internal_inpaint.training.config import TrainingConfig, batch_size
from internal_inpaint.training.device import autocast
from internal_inpaint.training.encoders import Vgg19, own_encoder
from internal_inpaint.training.losses import reconstruction_loss
from internal_inpaint.training.muon import MuonAdam
from internal_inpaint.training.patches import PatchSampler
from internal_inpaint.training.regularise import Regularisers
from internal_inpaint.training.sampling import HoleSampler, crop_size, hole_boxes
from internal_inpaint.training.state import Counters, Hooks, Progress
from internal_inpaint.training.validation import at_size, choose_held_out, validation_psnr

VALIDATIONS = 20  # a run, evenly spread over its budget
HELD_OUT_HOLES = 8
REPORT_SECONDS = 1.0
RETRIES = 3
GROWTH = 4.0  # a loss this many times its lowest is diverging ...
WINDOW_STEPS = 50  # ... where both are means over at least so many steps: single batches differ as much
SMALLEST_CROP = 64


class Diverged(Exception):
    """The loss stayed NaN or kept growing after every retry; ``Trainer.best`` is what is left."""


class Trainer:
    """A training under way.

    Args:
        config: the recipe.
        frames: ``[N, H, W, 3]`` working space in [-1, 1], 0 where not known; memory map or on ``device``.
        state: ``[N, H, W]`` uint8 of hole and void bits, beside ``frames``.
        device: where the network runs.
        seed: fixes weights, holes and order; on the CPU the result is then reproducible bit for bit.
        bf16: run the network's arithmetic in bfloat16 under autocast.
        coarser: the stage before this one, whose picture is the network's prior.
        encoder: VGG-19 for the anti-ambiguity term; ``None`` is the one of our own that ``config`` names.
    """

    def __init__(
        self,
        config: TrainingConfig,
        frames: Tensor,
        state: Tensor,
        device: torch.device,
        seed: int = 0,
        bf16: bool = False,
        coarser: Trainer | None = None,
        encoder: Vgg19 | None = None,
    ) -> None:
        if encoder is not None and config.ambiguity:
            config = replace(config, encoder=encoder.name)
        self.config, self.device, self.seed = config, device, seed
        self._frames, self._state = frames, state
        self._prior = coarser.level() if coarser else None
        self._boxes = hole_boxes(state)
        self.size = size = tuple(state.shape[1:])
        crop = crop_size(self._boxes, size, config.crop_scale, config.crop_smallest, config.crop_pixels)
        torch.manual_seed(seed)
        network = InpaintNetwork(config.network)
        initialise(network, config.initialisation)
        self.network = network.to(device, memory_format=torch.channels_last)
        if config.optimiser == "muon":
            self.optimiser: MuonAdam | torch.optim.Adam = MuonAdam(self.network, config.lr, config.adam_lr)
        else:
            self.optimiser = torch.optim.Adam(self.network.parameters(), config.lr)
        self._base_rates = [group["lr"] for group in self.optimiser.param_groups]
        self.rng = np.random.default_rng(seed)
        batch = batch_size(config, crop, device.type == "cuda")
        self.counters = Counters(batch=batch, crop=crop, bf16=bf16)
        self.best: dict[str, Tensor] = copy.deepcopy(self.network.state_dict())
        seen = tuple(min(room, side + side // 2) for room, side in zip(size, crop, strict=True))
        self._judge = self._sampler(seen)
        if coarser:
            self.held_out = at_size(coarser.held_out, self._judge, coarser.size)
        else:
            self.held_out = choose_held_out(self._judge, HELD_OUT_HOLES, seed)
        self._last_good: tuple | None = None
        if config.ambiguity and encoder is None:
            encoder = own_encoder(config.encoder, self.network, frames, state, device)
        self._regularisers = Regularisers(config, encoder, lambda: autocast(device, self.counters.bf16))
        self._regularising = False

    def _sampler(self, crop: tuple[int, int], held_out: dict | None = None) -> HoleSampler:
        return HoleSampler(self._frames, self._state, crop, self.device, held_out, self._boxes, self._prior)

    def _drawing_sampler(self) -> HoleSampler:
        """What training batches are drawn from; what is judged is always a hole like the shot's own."""
        kind = PatchSampler if self._prior else HoleSampler
        crop, masks = tuple(self.counters.crop), self.held_out.masks
        planes = self._frames, self._state, crop, self.device
        return kind(*planes, masks, self._boxes, self._prior, self.config.holes)

    def level(self) -> Level:
        """This stage with its best weights, as the prior of the next finer one."""
        sampler = self._sampler(tuple(self.counters.crop), self.held_out.masks)
        return Level(best_network(self), sampler, self.counters.bf16)

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
        schedule = Schedule(self.config.schedule, end=counters.schedule_end)
        if counters.history and schedule.done(budget.progress(counters.step, counters.seconds)):
            return True  # an earlier run has done it all
        sampler = self._drawing_sampler()
        self._last_good = self._snapshot()
        started = clock() - counters.seconds
        reported = saved = clock()
        first_step, first_seconds = counters.step, counters.seconds
        loss_sum, loss_count, mean_loss = torch.zeros((), device=self.device), 0, math.nan

        while True:
            progress = budget.progress(counters.step, counters.seconds)
            finished, stopping, now = schedule.done(progress), hooks.should_stop(), clock()
            # What refines is judged before its first step too: it begins as good as the stage before it.
            unjudged = self.config.network.refines and not counters.history
            validating = finished or unjudged or progress >= (counters.validations + 1) / VALIDATIONS
            saving = finished or stopping or now - saved >= hooks.checkpoint_seconds
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
                hooks.report(self._progress(budget, schedule, progress, mean_loss, pace))
            if validating:
                if not self._validate(schedule, progress, mean_loss):
                    self._back_to_last_good(hooks)
                    continue
                hooks.validated(self)
                finished = schedule.done(progress)
            if saving or finished:
                hooks.checkpoint(self)
                saved = clock()
            if finished or stopping:
                return finished

            rate = schedule.rate(progress) * counters.rate_scale
            for group, base in zip(self.optimiser.param_groups, self._base_rates, strict=True):
                group["lr"] = base * rate
            self._regularising = self._regularisers.due(progress, schedule.end)
            loss = None
            try:
                loss = self._step(sampler)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            if loss is None:
                # Not inside the except block, where the exception still holds on to the step's tensors.
                self._shrink(hooks)
                sampler = self._drawing_sampler()
                continue
            loss_sum += loss
            loss_count += 1
            counters.step += 1
            counters.seconds = clock() - started

    def _adopt(self, budget: Budget) -> None:
        """A budget other than the last run's: spread validations over it, and open an early end again."""
        counters = self.counters
        asked = [budget.steps, budget.seconds]
        if counters.budget != asked:
            counters.budget, counters.schedule_end, counters.stale = asked, 1.0, 0
            counters.validations = int(budget.progress(counters.step, counters.seconds) * VALIDATIONS)

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

    def _step(self, sampler: HoleSampler) -> Tensor:
        """One optimiser step; returns the reconstruction loss, on the device, without waiting for it."""
        placements = [sampler.draw(self.rng) for _ in range(self.counters.batch)]
        batch = sampler.gather(placements)
        outputs = self._forward(*batch.inputs)
        loss = total = reconstruction_loss(outputs, batch, self.config.hole_weight)
        if self._regularising:
            total = loss + self._regularisers(
                self._forward, sampler, placements, batch, outputs[-1], self.rng, batch.prior
            )
        self.optimiser.zero_grad()
        total.backward()
        self.optimiser.step()
        return loss.detach()

    def _forward(self, masked: Tensor, hidden: Tensor, *extra: Tensor) -> list[Tensor]:
        with autocast(self.device, self.counters.bf16):
            return self.network(masked, hidden, *extra)

    def _validate(self, schedule: Schedule, progress: float, loss: float | None) -> bool:
        """Judge the weights, keep them if they are the best. False if they give no number at all."""
        counters = self.counters
        precision = autocast(self.device, counters.bf16)
        psnr = validation_psnr(self.network, self._judge, self.held_out, precision)
        # None: nothing to judge by, and the latest weights are the best.
        if psnr is not None and not math.isfinite(psnr):
            return False
        counters.validations = int(progress * VALIDATIONS)
        counters.psnr = psnr
        settled = self._regularisers.settled(progress, schedule.end)
        anew = settled and not counters.best_regularised
        if psnr is None or counters.best_psnr is None or anew or psnr > counters.best_psnr:
            self.best = copy.deepcopy(self.network.state_dict())
            counters.best_psnr, counters.best_step, counters.stale = psnr, counters.step, 0
            counters.best_regularised = settled
        else:
            counters.stale += 1
        if self.config.patience and counters.stale >= self.config.patience and schedule.can_finish_early(progress):
            schedule.finish_early(progress)
            counters.schedule_end = schedule.end
        loss = loss if math.isfinite(loss) else None
        counters.history.append([counters.step, round(counters.seconds, 2), loss, psnr])
        self._last_good = self._snapshot()
        return True

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
        counters.window, counters.lowest = [0.0, 0], None
        hooks.warn(
            f"the training diverged at step {counters.step}; it goes on from the last good weights "
            f"with steps of {counters.rate_scale:g} times the size"
        )

    def _shrink(self, hooks: Hooks) -> None:
        counters = self.counters
        self.optimiser.zero_grad()
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


def best_network(trainer: Trainer) -> nn.Module:
    """A copy of the network with the best weights so far, ready for inference."""
    network = InpaintNetwork(trainer.config.network)
    network.load_state_dict(trainer.best)
    return network.to(trainer.device, memory_format=torch.channels_last).eval()

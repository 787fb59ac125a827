"""The task of filling holes: training batches, validation holes, and the prior for the next finer level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from internal_inpaint.methods.base import Clip
from internal_inpaint.methods.implicit.encoders import Vgg19, own_encoder
from internal_inpaint.methods.registry import method_of
from internal_inpaint.training.config import TrainingConfig, batch_size
from internal_inpaint.training.patches import PatchSampler
from internal_inpaint.training.prior import CoarsePrior
from internal_inpaint.training.sampling import HoleSampler, crop_size, hole_boxes
from internal_inpaint.training.task import Task
from internal_inpaint.training.trainer import Trainer
from internal_inpaint.training.validation import HeldOut, at_size, choose_held_out, held_out_psnr

HELD_OUT_HOLES = 8


class FillTask(Task):
    """The fill of a shot at one level, as a ``Task``.

    Args:
        config: the training settings.
        frames: ``[N, H, W, 3]`` working space in [-1, 1], 0 where not known; a memory map or on ``device``.
        state: ``[N, H, W]`` uint8, ``PixelState``, on the same device as ``frames``.
        device: device of the batches.
        seed: selects the validation holes.
        offsets: ``Geometry.frames`` of the method.
        views: pictures per frame; pictures of one view are ``views`` apart.
        coarser: the next coarser level; its validation holes are held out here too.
        prior: supplies the coarser level's picture of a crop, at finer levels.
    """

    def __init__(
        self,
        config: TrainingConfig,
        frames: Tensor,
        state: Tensor,
        device: torch.device,
        seed: int = 0,
        offsets: tuple[int, ...] = (0,),
        views: int = 1,
        coarser: FillTask | None = None,
        prior: CoarsePrior | None = None,
    ) -> None:
        self.config, self.device = config, device
        self._frames, self._state, self._prior = frames, state, prior
        self._offsets, self._views = offsets, views
        self._boxes = hole_boxes(state)
        self.size = size = tuple(state.shape[1:])
        self.crop = crop_size(self._boxes, size, config.crop_scale, config.crop_smallest, config.crop_pixels)
        window = tuple(min(limit, side + side // 2) for limit, side in zip(size, self.crop, strict=True))
        self._validation = self._sampler(window)
        if coarser is None:
            self.held_out = choose_held_out(self._validation, HELD_OUT_HOLES, seed)
        else:
            self.held_out: HeldOut = at_size(coarser.held_out, self._validation, coarser.size)
        self._training: HoleSampler | None = None

    @property
    def scored_holes(self) -> int:
        """Holes of a validation."""
        return len(self.held_out.placements)

    def first_sizes(self) -> tuple[int, tuple[int, int]]:
        return batch_size(self.config, self.crop, self.device.type == "cuda"), self.crop

    def draw(self, rng: np.random.Generator, batch: int, crop: tuple[int, int], with_others: bool) -> Clip:
        if self._training is None or self._training.crop != tuple(crop):
            # Validation always uses holes like the shot's own; training may use patches or strokes.
            kind = PatchSampler if self._prior else HoleSampler
            self._training = self._sampler(crop, self.held_out.masks, kind, self.config.holes)
        placements = [self._training.draw(rng) for _ in range(batch)]
        return self._training.gather(placements, rng if with_others else None)

    def score(self, fill: Callable[[Clip], Tensor]) -> float | None:
        return held_out_psnr(fill, self._validation, self.held_out)

    def as_prior(self, fill: Callable[[Clip], Tensor], crop: tuple[int, int]) -> CoarsePrior:
        """This level as the prior of the next finer one.

        Args:
            fill: ``Method.fill`` with this level's best weights.
            crop: (height, width) of this level's training crops.
        """
        return CoarsePrior(fill, self._sampler(tuple(crop), self.held_out.masks))

    def _sampler(
        self, crop: tuple[int, int], held_out: dict | None = None, kind: type = HoleSampler, holes: str = "object"
    ) -> HoleSampler:
        inputs = self._frames, self._state, tuple(crop), self.device
        return kind(*inputs, held_out, self._boxes, self._prior, holes, self._offsets, self._views)


def fill_trainer(
    config: TrainingConfig,
    frames: Tensor,
    state: Tensor,
    device: torch.device,
    seed: int = 0,
    bf16: bool = False,
    coarser: Trainer | None = None,
    encoder: Vgg19 | None = None,
    views: int = 1,
) -> Trainer:
    """A new training of a shot's fill at one level.

    Args:
        config: the training settings. With ``encoder``, the trainer's configuration names that encoder.
        frames, state, device, seed, views: as for ``FillTask``.
        bf16: as for ``Trainer``.
        coarser: the trainer of the next coarser level, whose picture is the network's prior.
        encoder: VGG-19 for the anti-ambiguity term; ``None``: the built-in encoder that ``config`` names.
    """
    settings = config.method
    if encoder is not None and settings.ambiguity:
        config = replace(config, method=replace(settings, encoder=encoder.name))
    elif settings.ambiguity:
        encoder = own_encoder(settings.encoder, frames, state, device)
    method = method_of(config.method, encoder=encoder)
    coarser_task, prior = None, None
    if coarser is not None:
        coarser_task, network = coarser.task, coarser.best_network()
        prior = coarser_task.as_prior(partial(coarser.method.fill, network), coarser.counters.crop)
    task = FillTask(config, frames, state, device, seed, method.geometry.frames, views, coarser_task, prior)
    return Trainer(method, task, config, device, seed, bf16)

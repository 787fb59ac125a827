"""The regularised last part of a training: equation (7) in two terms and the rule when they are on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from internal_inpaint.training.ambiguity import ambiguity_loss, drawn_points, seen_points
from internal_inpaint.training.config import TrainingConfig
from internal_inpaint.training.encoders import STRIDE
from internal_inpaint.training.sampling import Batch, HoleSampler, Placement
from internal_inpaint.training.stabilise import apply_change, draw_change, stabilise_loss

Forward = Callable[..., list[Tensor]]


class Regularisers:
    """Both terms, for a training that uses one, both or none.

    Args:
        config: weights and the share of the training in which they are on.
        encoder: ``encoder(picture, known)`` of ``training/encoders.py``; only for ``config.ambiguity``.
        precision: a fresh context manager for the encoder's arithmetic, as for the network's.
    """

    def __init__(
        self, config: TrainingConfig, encoder: Callable[[Tensor, Tensor], Tensor] | None, precision: Callable
    ) -> None:
        self._config, self._encoder, self._precision = config, encoder, precision

    def due(self, progress: float, end: float) -> bool:
        """Whether the terms are on: in the last share of the training, wherever it ends.

        Args:
            progress, end: share of the budget used, and at which training ends (``Schedule.end``).
        """
        return self._due(progress, end, self._config.regularise_share)

    def settled(self, progress: float, end: float) -> bool:
        """Whether they have been on for half of their time.

        They cost a little PSNR: by PSNR alone the best weights would be those from before them. From here
        on the best is sought anew.
        """
        return self._due(progress, end, self._config.regularise_share / 2)

    def _due(self, progress: float, end: float, share: float) -> bool:
        return bool(self._config.ambiguity or self._config.stabilise) and progress >= end * (1 - share)

    def __call__(
        self,
        forward: Forward,
        sampler: HoleSampler,
        placements: list[Placement],
        batch: Batch,
        output: Tensor,
        rng: np.random.Generator,
        extra: Tensor | None = None,
    ) -> Tensor:
        """The weighted sum of both terms for a batch; the host does not wait for the device.

        Args:
            forward: the network with its mask: (masked, hidden[, extra]) to its outputs, the result last.
            sampler: gathers the other frames that the output is compared with.
            placements: of the batch.
            output: ``[B, 3, h, w]``, the network's result for the batch; gradients flow back through it.
            rng: the training's own, so that a resumed run draws the same.
            extra: ``[B, k, h, w]`` picture planes given to the network beside the frame.
        """
        config = self._config
        loss = output.new_zeros((), dtype=torch.float32)
        if config.ambiguity:
            others = sampler.gather(_other_frames(placements, len(sampler.state), rng), with_prior=False)
            loss = loss + config.ambiguity * self._ambiguity(batch, output, others)
        if config.stabilise:
            change = draw_change(rng, len(placements))
            changed = apply_change(change, batch.target, batch.hidden, batch.known, batch.synthetic, extra)
            more = () if extra is None else (changed.extra,)
            again = forward(changed.picture * (1 - changed.hidden), changed.hidden, *more)[-1]
            share = config.hole_weight
            term = stabilise_loss(output, batch.target, batch.known, batch.synthetic, again, changed, share)
            loss = loss + config.stabilise * term
        return loss

    def _ambiguity(self, batch: Batch, output: Tensor, others: Batch) -> Tensor:
        """The term for what would be rendered: the fill in its surroundings."""
        filled = batch.target * (1 - batch.hidden) + output.float() * batch.hidden
        drawn = drawn_points(batch.hidden, STRIDE)
        seen = seen_points(others.known, drawn, STRIDE)
        with self._precision():
            source = self._encoder(filled, torch.ones_like(batch.hidden))
            with torch.no_grad():
                target = self._encoder(others.target, others.known)
            return ambiguity_loss(source, target, drawn, seen)


def _other_frames(placements: list[Placement], length: int, rng: np.random.Generator) -> list[Placement]:
    """The same crops of random other frames; a shot of one frame has only itself."""
    steps = rng.integers(1, length, size=len(placements)) if length > 1 else np.zeros(len(placements), int)
    return [replace(p, frame=int((p.frame + step) % length)) for p, step in zip(placements, steps, strict=True)]

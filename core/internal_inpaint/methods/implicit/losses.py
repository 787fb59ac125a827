"""The reconstruction loss, equation (2)."""

from __future__ import annotations

import torch
from torch import Tensor


def reconstruction_loss(
    outputs: list[Tensor], target: Tensor, known: Tensor, synthetic: Tensor, hole_weight: float | None
) -> Tensor:
    """Equation (2), summed over a network's stages.

    Args:
        outputs: ``[B, 3, h, w]``, one per stage.
        target: ``[B, 3, h, w]``, the plate; meaningless where not ``known``.
        known, synthetic: ``[B, 1, h, w]`` of 0 and 1.
        hole_weight: weight of the synthetic hole in the loss, 0 to 1; ``None``: every known pixel counts the same,
            as in the paper.
    """
    channels = outputs[0].shape[1]
    inside = synthetic * known
    outside = known - inside
    loss = outputs[0].new_zeros((), dtype=torch.float32)
    for output in outputs:
        error = (output.float() - target).abs()
        if hole_weight is None:
            loss = loss + (error * known).sum() / (channels * known.sum()).clamp(min=1)
            continue
        in_hole = (error * inside).sum() / (channels * inside.sum()).clamp(min=1)
        elsewhere = (error * outside).sum() / (channels * outside.sum()).clamp(min=1)
        loss = loss + hole_weight * in_hole + (1 - hole_weight) * elsewhere
    return loss

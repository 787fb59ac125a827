"""The network that finds an object: a small U-Net from a frame, its motion and a guess to the logit of the matte.

The frame goes in and the matte comes out at full size, but every layer works at half size or less:
two by two pixels are folded into channels first and unfolded last, so that thin things keep their
edges at a quarter of the cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FOLD = 2
MULTIPLE = 32  # sides that the levels divide evenly


@dataclass(frozen=True)
class MatteNetworkConfig:
    """``widths``: channels of the levels, at 1/2, 1/4, ... of the frame's size; at most five levels."""

    widths: tuple[int, ...] = (24, 32, 48, 64, 96)


class MatteNetwork(nn.Module):
    """Working-space RGB ``[B, 3, H, W]``, own motion and guess ``[B, 1, H, W]`` to ``[B, 1, H, W]`` logits.

    Own motion is 0 where a pixel moves with the camera, up to 1 where it does not. The guess is -1 where
    the object is thought not to be, 1 where it is, and 0 where nothing is known.
    Any size: sides are padded by repetition to a multiple of ``MULTIPLE``.
    """

    def __init__(self, config: MatteNetworkConfig | None = None) -> None:
        super().__init__()
        widths = (config or MatteNetworkConfig()).widths
        # The names are those that MuonAdam goes by: it leaves first layers and outputs to Adam.
        self.encoder = nn.ModuleList()
        channels = 5 * FOLD * FOLD
        for width in widths:
            self.encoder.append(_Block(channels, width))
            self.encoder.append(_Block(width, width))
            channels = width
        pairs = list(pairwise(widths))
        self.rise = nn.ModuleList(nn.Conv2d(deep, fine, 1) for fine, deep in pairs)
        self.decoder = nn.ModuleList(_Block(fine, fine) for fine, _ in pairs)
        self.head = nn.ModuleDict({"output": nn.Conv2d(widths[0], FOLD * FOLD, 3, padding=1)})

    def forward(self, frame: Tensor, motion: Tensor, guess: Tensor) -> Tensor:
        height, width = frame.shape[-2:]
        x = torch.cat([frame, motion, guess], 1)
        padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        if any(padding):
            x = F.pad(x, padding, mode="replicate")
        x = F.pixel_unshuffle(x, FOLD)
        levels = []
        for level in range(len(self.encoder) // 2):
            if level:
                x = F.max_pool2d(x, 2)
            x = self.encoder[2 * level + 1](self.encoder[2 * level](x))
            levels.append(x)
        for level in reversed(range(len(self.decoder))):
            x = F.interpolate(self.rise[level](x), scale_factor=2, mode="nearest") + levels[level]
            x = self.decoder[level](x)
        return F.pixel_shuffle(self.head["output"](x), FOLD)[..., :height, :width]


class _Block(nn.Module):
    """Convolution, normalisation over the batch, ReLU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        # Statistics over batches, not over each picture: a crop in training and a whole frame in
        # prediction must be treated alike.
        self.norm = nn.BatchNorm2d(width, momentum=0.1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


def weighted_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor, alpha: float) -> Tensor:
    """Equation (6): cross-entropy in which taking background for object costs ``alpha`` times as much.

    Args:
        logits, target, weight: ``[B, 1, H, W]``; ``target`` 0..1; ``weight`` 0 where nothing is to be
            learned: the paper's ``1 - M_0``, since what happens on the real object is not known there.

    Returns:
        the mean over what counts.
    """
    object_cost = target * F.softplus(-logits)
    background_cost = (1 - target) * F.softplus(logits)
    loss = (object_cost + alpha * background_cost) * weight
    return loss.sum() / weight.sum().clamp(min=1)

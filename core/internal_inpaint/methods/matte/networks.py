"""The matte network: a small U-Net from a frame, its motion and a guess to the logits of the matte.

Input and output are at full size, but every layer works at half size or less: blocks of 2x2 pixels are folded into
channels at the input and unfolded at the output. Thin structures keep their edges, at a quarter of the cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FOLD = 2
MULTIPLE = 32  # sides are padded to multiples of it


@dataclass(frozen=True)
class MatteNetworkConfig:
    """``widths``: channels at each scale, 1/2, 1/4, ... of the frame's size; at most five."""

    widths: tuple[int, ...] = (24, 32, 48, 64, 96)


class MatteNetwork(nn.Module):
    """Working-space RGB ``[B, 3, H, W]``, motion and guess ``[B, 1, H, W]`` to logits ``[B, 1, H, W]``.

    The motion is 0 where a pixel moves with the camera, up to 1 where it does not. The guess is 1 where the object
    is expected, -1 where it is not, and 0 where nothing is known. H and W are arbitrary: sides are padded to a
    multiple of ``MULTIPLE`` by repetition.
    """

    def __init__(self, config: MatteNetworkConfig | None = None) -> None:
        super().__init__()
        widths = (config or MatteNetworkConfig()).widths
        # ``methods.base.hidden_filters`` uses these names to tell first layers and outputs from hidden filters.
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
        features = []
        for scale in range(len(self.encoder) // 2):
            if scale:
                x = F.max_pool2d(x, 2)
            x = self.encoder[2 * scale + 1](self.encoder[2 * scale](x))
            features.append(x)
        for scale in reversed(range(len(self.decoder))):
            x = F.interpolate(self.rise[scale](x), scale_factor=2, mode="nearest") + features[scale]
            x = self.decoder[scale](x)
        return F.pixel_shuffle(self.head["output"](x), FOLD)[..., :height, :width]


class _Block(nn.Module):
    """Convolution, normalisation over the batch, ReLU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        # Normalise with statistics of batches, not of each picture: crops in training and whole frames in
        # prediction must be treated the same.
        self.norm = nn.BatchNorm2d(width, momentum=0.1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


def weighted_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor, alpha: float) -> Tensor:
    """Equation (6): cross-entropy in which a false positive costs ``alpha`` times as much as a false negative.

    Args:
        logits, target, weight: ``[B, 1, H, W]``; ``target`` 0..1; ``weight`` 0 where the loss does not count: the
            paper's ``1 - M_0``, because the target is not known on the real object.

    Returns:
        the weighted mean.
    """
    object_cost = target * F.softplus(-logits)
    background_cost = (1 - target) * F.softplus(logits)
    loss = (object_cost + alpha * background_cost) * weight
    return loss.sum() / weight.sum().clamp(min=1)

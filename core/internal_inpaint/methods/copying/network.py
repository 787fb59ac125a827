"""The network that decides, for every hidden pixel, which candidate is copied and what is invented.

It is the paper's base network (``methods.implicit``) with the candidates as additional input, shortcuts from its
early layers, and a weight for each choice as additional output. Untrained, it chooses by the weights that the
candidates come with, so its first picture is the best copy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from internal_inpaint.methods.copying.config import CopyConfig
from internal_inpaint.methods.implicit.blocks import GatedConv
from internal_inpaint.methods.implicit.networks import InpaintNetwork, Stage, pad, preserve

CHANGE = 12.0  # largest change of a logit that the network can make
STEEPNESS = 1 / 3  # of a logit's change at 0: they start there and have far to go in few steps
INVENTED = -4.0  # logit of the invented picture at the start: the log of the share that it has where all is certain
LEAST = 1e-3  # share of the smooth continuation at the start, at least
IMPOSSIBLE = -60.0  # the logit of a candidate that is not there


@dataclass(frozen=True)
class Decision:
    """What the network decides for a batch.

    Attributes:
        change: ``[B, K + 2, h, w]`` in [-1, 1]: how the logits of each candidate, of the smooth continuation and of
            the invented picture change, as a share of ``CHANGE``.
        invented: ``[B, 3, h, w]`` in [-1, 1].
    """

    change: Tensor
    invented: Tensor


def chosen(weights: Tensor, change: Tensor) -> Tensor:
    """The weights of all choices.

    Args:
        weights: ``[B, K, h, w]``, the candidates' first weights; their sum is at most 1.
        change: ``Decision.change``.

    Returns:
        ``[B, K + 2, h, w]``, sum 1: of each candidate, of the smooth continuation, of the invented picture.
    """
    there = weights > 0
    first = weights.clamp(min=1e-9).log()
    # What nothing shows. The smooth continuation is the better picture of it until the network has learned to invent.
    smooth = (1 - weights.sum(dim=1, keepdim=True)).clamp(min=LEAST).log()
    invention = torch.full_like(smooth, INVENTED)
    logits = torch.cat([first, smooth, invention], dim=1) + CHANGE * change
    # What is not there cannot be learned to be chosen.
    always = torch.ones_like(there[:, :1])
    there = torch.cat([there, always, always], dim=1)
    return logits.masked_fill(~there, IMPOSSIBLE).softmax(dim=1)


def mixed(weights: Tensor, copies: Tensor, smooth: Tensor, invented: Tensor) -> Tensor:
    """``[B, 3, h, w]``: the picture.

    Args:
        weights: of ``chosen``.
        copies: ``[B, K, 3, h, w]``, 0 where there is no candidate; smooth, invented: ``[B, 3, h, w]``.
    """
    count = copies.shape[1]
    picture = (weights[:, :count, None] * copies).sum(dim=1)
    return picture + weights[:, count, None] * smooth + weights[:, count + 1, None] * invented


class CopyNetwork(nn.Module):
    """Decides what is copied and invents the rest; for frames of any size.

    Args:
        config: of the method.
        bf16: whether the hidden layers run in bfloat16.
    """

    def __init__(self, config: CopyConfig, bf16: bool = False) -> None:
        super().__init__()
        if config.network.kind != "base":
            raise ValueError(f"the copying method has no {config.network.kind} network, only base")
        self.config, self.bf16 = config, bf16
        self.first = Stage(
            4 + 4 * config.copies,
            config.network.width,
            bounded=False,
            bf16=bf16,
            shortcuts=config.network.shortcuts,
            channels_out=3 + config.copies + 2,
        )

    def initialise(self) -> None:
        """Draw the initial weights, with PyTorch's global generator."""
        for module in self.modules():
            if isinstance(module, GatedConv):
                nn.init.zeros_(module.conv.bias)
                preserve(module.conv)
        output = self.first.output.conv
        nn.init.zeros_(output.bias)
        nn.init.xavier_uniform_(output.weight)
        with torch.no_grad():
            output.weight[3:] = 0

    def forward(self, masked: Tensor, mask: Tensor, copies: Tensor, weights: Tensor) -> Decision:
        """Decide.

        Args:
            masked: ``[B, 3, h, w]`` working space, zero where hidden.
            mask: ``[B, 1, h, w]``, 1 = hidden.
            copies: ``[B, K, 3, h, w]`` working space, 0 where there is no candidate.
            weights: ``[B, K, h, w]``, the candidates' first weights; their sum is at most 1.
        """
        height, width = masked.shape[-2:]
        planes = pad(torch.cat([masked, mask, copies.flatten(1, 2), weights], dim=1))
        output = self.first(planes.contiguous(memory_format=torch.channels_last))[..., :height, :width]
        return Decision(torch.tanh(STEEPNESS * output[:, 3:]), torch.tanh(output[:, :3]))

    def inventing(self) -> InpaintNetwork:
        """The inventing part as a network of its own, which takes a masked frame and its mask alone, in float32.

        It gives what this network invents where it has no candidates.
        """
        network = InpaintNetwork(replace(self.config.network, shortcuts=True))
        own = network.state_dict()
        for name, values in self.state_dict().items():
            own[name].copy_(values[tuple(slice(0, side) for side in own[name].shape)])
        network.load_state_dict(own)
        return network.to(next(self.parameters()).device, memory_format=torch.channels_last).eval()

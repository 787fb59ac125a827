"""The base, stacked and coarse-to-fine networks of the paper's appendix A.1.

The tables below read like the appendix: ``C`` is a gated convolution, ``D`` an up-sampling one, both
with (out, kernel, stride, dilation); an output block ends each network. Every network takes the masked
frame and its mask, ``[N, 4 + extra, H, W]``, and returns a list of outputs ``[N, 3, H, W]``, one per
stage. The last one is the result. In a two-stage network both outputs are supervised.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internal_inpaint.methods.implicit.blocks import GatedConv, Output

C, D = "C", "D"

ENCODER = [
    (C, 48, 5, 1, 1),
    (C, 96, 3, 2, 1),
    (C, 96, 3, 1, 1),
    (C, 192, 3, 2, 1),
    (C, 192, 3, 1, 1),
    (C, 192, 3, 1, 1),
    (C, 192, 3, 1, 2),
    (C, 192, 3, 1, 4),
    (C, 192, 3, 1, 8),
    (C, 192, 3, 1, 16),
]
DECODER = [
    (C, 192, 3, 1, 1),
    (C, 192, 3, 1, 1),
    (D, 96, 3, 1, 1),
    (C, 96, 3, 1, 1),
    (D, 48, 3, 1, 1),
    (C, 24, 3, 1, 1),
]
# The second branch that the coarse-to-fine network adds in parallel to the encoder of its second stage.
BRANCH = [*ENCODER[:7], (C, 192, 3, 1, 1), (C, 192, 3, 1, 1)]

# Two strided layers: sizes inside are multiples of 4. The widest reflection padding (dilation 16 at a
# quarter of the size) needs a map of at least 17 pixels.
STRIDE = 4
SMALLEST = 17 * STRIDE
# Radius in pixels of the receptive field of one stage: the sum over the layer tables of
# dilation x (kernel - 1) / 2 x the accumulated stride, plus a small margin for the bilinear up-sampling.
REACH = 164

KINDS = ("base", "stacked", "coarse-to-fine")


@dataclass(frozen=True)
class NetworkConfig:
    """The architecture of a network, saved in every checkpoint.

    Attributes:
        kind: ``base``, ``stacked`` or ``coarse-to-fine``.
        width: factor on every channel count of the tables; 1.0 is the paper's.
        extra_planes: input channels in addition to the masked RGB and its mask.
        refines: whether the first three extra planes are a coarser level's picture (section 4.1) and the network
            learns a residual to it. Untrained, it returns that picture. It has shortcuts.
        shortcuts: whether the early features also go to the last layers (``SHORTCUTS``).
    """

    kind: str = "coarse-to-fine"
    width: float = 1.0
    extra_planes: int = 0
    refines: bool = False
    shortcuts: bool = False


# Skip connections of a refining network: decoder layer -> encoder layer of the same size.
SHORTCUTS = {3: 2, 5: 0}


def _layers(
    table: list[tuple], channels_in: int, width: float, joined: dict[int, int] | None = None
) -> tuple[nn.Sequential, int]:
    """The layers of a table, and their output channels; ``joined`` adds input channels to some of them."""
    layers = []
    for number, (kind, out, kernel, stride, dilation) in enumerate(table):
        channels_in += (joined or {}).get(number, 0)
        # Multiples of 8 keep both halves of the gated convolution aligned for vector units and tensor cores.
        channels_out = max(8, round(out * width / 8) * 8)
        layers.append(GatedConv(channels_in, channels_out, kernel, stride, dilation, upsample=kind == D))
        channels_in = layers[-1].channels_passed_on
    return nn.Sequential(*layers), channels_in


class Stage(nn.Module):
    """One pass from masked frame to RGB: the base network, optionally with a second encoder branch.

    Args:
        bf16: whether the hidden layers run in bfloat16. The output layer always runs in float32: bfloat16 rounds
            values near 1 to steps of 1/256, which are visible as bands in a sky.
        shortcuts: whether early features go to the last layers.
        channels_out: of the output.
    """

    def __init__(
        self,
        channels_in: int,
        width: float,
        with_branch: bool = False,
        bounded: bool = True,
        bf16: bool = False,
        shortcuts: bool = False,
        channels_out: int = 3,
    ) -> None:
        super().__init__()
        self.bf16 = bf16
        self.encoder, features = _layers(ENCODER, channels_in, width)
        self.branch = None
        if with_branch:
            self.branch, branch_features = _layers(BRANCH, channels_in, width)
            features += branch_features
        # With the shortcuts, the coarser level's detail need not pass through the low-resolution layers: a few
        # training steps achieve what takes hundreds without them.
        self.shortcuts = SHORTCUTS if shortcuts else {}
        joined = {late: self.encoder[early].channels_passed_on for late, early in self.shortcuts.items()}
        self.decoder, features = _layers(DECODER, features, width, joined)
        self.output = Output(features, bounded, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, channels_in, H, W]`` with H and W multiples of 4 to ``[N, channels_out, H, W]``."""
        with autocast(x.device, self.bf16):
            features = self._features(x)
        return self.output(features.float())

    def _features(self, x: Tensor) -> Tensor:
        early, features = [], x
        for layer in self.encoder:
            features = layer(features)
            early.append(features)
        if self.branch is not None:
            features = torch.cat([features, self.branch(x)], dim=1)
        for number, layer in enumerate(self.decoder):
            if number in self.shortcuts:
                features = torch.cat([features, early[self.shortcuts[number]]], dim=1)
            features = layer(features)
        return features


def autocast(device: torch.device, bf16: bool):
    """A new context manager that enables autocast to bfloat16, or does nothing."""
    if not bf16:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


class InpaintNetwork(nn.Module):
    """The network f of equation (1) for frames of any size.

    Frames whose sides are not multiples of 4, or are too small for the dilated layers, are padded, and the
    output is cropped to the original size.

    Args:
        config: the architecture.
        bf16: whether the hidden layers run in bfloat16; saved in the checkpoint.
    """

    def __init__(self, config: NetworkConfig, bf16: bool = False) -> None:
        super().__init__()
        if config.kind not in KINDS:
            raise ValueError(f"unknown network {config.kind!r}: choose one of {', '.join(KINDS)}")
        self.config, self.bf16 = config, bf16
        channels_in, bounded = 4 + config.extra_planes, not config.refines
        shortcuts = config.shortcuts or config.refines
        self.first = Stage(channels_in, config.width, False, bounded, bf16, shortcuts)
        self.second = None
        if config.kind != "base":
            self.second = Stage(channels_in, config.width, config.kind == "coarse-to-fine", bounded, bf16, shortcuts)

    def autocast(self):
        """A new context manager for computing at the precision of the hidden layers."""
        return autocast(next(self.parameters()).device, self.bf16)

    def in_float32(self) -> InpaintNetwork:
        """Switch this network to float32, as other runtimes compute, and return it."""
        self.bf16 = False
        for stage in (self.first, self.second):
            if stage is not None:
                stage.bf16 = False
        return self

    def forward(self, masked: Tensor, mask: Tensor, extra: Tensor | None = None) -> list[Tensor]:
        """Fill the hole.

        Args:
            masked: ``[N, 3, H, W]`` working space, already zero inside the hole.
            mask: ``[N, 1, H, W]``, 1 = hole.
            extra: ``[N, extra_planes, H, W]`` if the configuration has extra planes.

        Returns:
            one ``[N, 3, H, W]`` tensor per stage, the result last; in [-1, 1], except that a refining network may
            overshoot slightly.
        """
        height, width = masked.shape[-2:]
        planes = torch.cat([masked, mask] if extra is None else [masked, mask, extra], dim=1)
        planes = pad(planes).contiguous(memory_format=torch.channels_last)
        return [output[..., :height, :width] for output in self.passes(planes)]

    def passes(self, planes: Tensor) -> list[Tensor]:
        """The output of each stage, ``[N, 3, H, W]``, for padded input ``[N, 4 + extra_planes, H, W]``.

        The export traces this method with ``torch.fx``: nothing here may depend on a value or a size of ``planes``.
        """
        prior = planes.narrow(1, 4, 3) if self.config.refines else 0
        outputs = [self.first(planes) + prior]
        if self.second is not None:
            hole = planes.narrow(1, 3, 1)
            # The second stage gets the known pixels and, in the hole, the output of the first stage.
            filled = planes.narrow(1, 0, 3) * (1 - hole) + outputs[0] * hole
            rest = planes.narrow(1, 3, 1 + self.config.extra_planes)
            outputs.append(self.second(torch.cat([filled, rest], dim=1)) + prior)
        return outputs


# Standard deviation of the features' weights, times sqrt(fan in), for which a gated convolution preserves the
# power of its input: E[(ELU(f) sigmoid(g))^2] is 0.93 for f ~ N(0, 2.4^2), g ~ N(0, 1).
PRESERVING = 2.4


def initialise(network: InpaintNetwork, scheme: str) -> None:
    """Initialise the weights of a network, with PyTorch's global generator.

    An untrained gate halves its signal. With PyTorch's default weights, the power falls to 1/13 per layer, and the
    output of a deep gated network does not depend on its input at all. The ``preserving`` weights compensate for
    the gate.

    Args:
        scheme: ``preserving``, or ``glorot``, the default of the paper's framework, for what the paper does not
            specify.
    """
    for module in network.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        nn.init.zeros_(module.bias)
        if module.out_channels == 3 and network.config.refines:
            nn.init.zeros_(module.weight)
            continue
        if scheme == "glorot" or module.out_channels == 3:
            nn.init.xavier_uniform_(module.weight)
            continue
        preserve(module)


def preserve(conv: nn.Conv2d) -> None:
    """Draw the weights of a gated convolution so that it preserves the power of its input."""
    half, fan_in = conv.out_channels // 2, conv.weight[0].numel()
    nn.init.normal_(conv.weight[:half], std=PRESERVING / fan_in**0.5)
    nn.init.normal_(conv.weight[half:], std=1 / fan_in**0.5)


def pad(planes: Tensor) -> Tensor:
    """Pad the sides of ``[N, C, H, W]`` at the bottom and the right to what the layers need."""
    height, width = planes.shape[-2:]
    target_height = max(SMALLEST, -(-height // STRIDE) * STRIDE)
    target_width = max(SMALLEST, -(-width // STRIDE) * STRIDE)
    down, right = target_height - height, target_width - width
    if not (down or right):
        return planes
    mode = "reflect" if down < height and right < width else "replicate"
    return F.pad(planes, (0, right, 0, down), mode=mode)

"""The trained network once more, in the plain operators that other runtimes know.

The network as it trains has an own backward pass and layers that choose among PyTorch's newest operators. Here
each layer says exactly which operator it is, all of them as old as PyTorch 1.6, so that TorchScript's compiler and
ONNX's exporter see the same short graph. The weights are the network's own, not copies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from internal_inpaint.methods.implicit.blocks import GatedConv, Output
from internal_inpaint.methods.implicit.networks import SMALLEST, STRIDE, InpaintNetwork, Stage


class PortableNetwork(nn.Module):
    """``InpaintNetwork`` for one result: the last stage's.

    Args:
        network: trained; its weights are shared.
    """

    def __init__(self, network: InpaintNetwork) -> None:
        super().__init__()
        self.refines = network.config.refines
        # A compiled graph knows no names of the module it came from.
        self.smallest, self.stride = SMALLEST, STRIDE
        self.first = _Stage(network.first)
        self.second = nn.ModuleList([_Stage(network.second)] if network.second is not None else [])

    def forward(self, masked: Tensor, mask: Tensor, prior: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            masked: ``[N, 3, H, W]`` working space, zero inside the hole; any height and width.
            mask: ``[N, 1, H, W]``, 1 = hole.
            prior: ``[N, 3, H, W]``, the coarser stage's picture; ``[N, 0, H, W]`` for a network that does not refine.

        Returns:
            ``[N, 3, H, W]`` working space.
        """
        height, width = masked.size(2), masked.size(3)
        planes = self.padded(torch.cat([masked, mask, prior], 1))
        output = self.first(planes)
        if self.refines:
            output = output + torch.narrow(planes, 1, 4, 3)
        for second in self.second:
            hole = torch.narrow(planes, 1, 3, 1)
            guess = torch.narrow(planes, 1, 0, 3) * (1 - hole) + output * hole
            output = second(torch.cat([guess, torch.narrow(planes, 1, 3, planes.size(1) - 3)], 1))
            if self.refines:
                output = output + torch.narrow(planes, 1, 4, 3)
        # Slices read `None` for an open end, which the oldest readers do not know.
        return torch.narrow(torch.narrow(output, 2, 0, height), 3, 0, width)

    def padded(self, planes: Tensor) -> Tensor:
        """To sides that are multiples of ``STRIDE``, at least ``SMALLEST``, as the network itself pads.

        Written with index planes instead of a branch: the graph is then the same for every size.
        """
        rows, mirrored_rows = self.indices(planes.size(2), planes)
        columns, mirrored_columns = self.indices(planes.size(3), planes)
        # A picture can be mirrored as far as it goes; a smaller one has its last row and column repeated.
        mirror = (mirrored_rows.min() >= 0) & (mirrored_columns.min() >= 0)
        rows, columns = torch.where(mirror, mirrored_rows, rows), torch.where(mirror, mirrored_columns, columns)
        return planes.index_select(2, rows).index_select(3, columns)

    def indices(self, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Which row stands at each row of the padded picture, the last one repeated or mirrored."""
        padded = max(self.smallest, (length + self.stride - 1) // self.stride * self.stride)
        place, last = torch.arange(padded, device=like.device), length - 1
        return torch.clamp(place, max=last), torch.where(place > last, 2 * last - place, place)


class _Stage(nn.Module):
    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(_Gated(layer) for layer in stage.encoder)
        self.branch = nn.ModuleList(_Gated(layer) for layer in (stage.branch or ()))
        self.branches = stage.branch is not None
        self.decoder = nn.ModuleList(
            _Gated(layer, stage.shortcuts.get(number, -1)) for number, layer in enumerate(stage.decoder)
        )
        self.output = _Output(stage.output)

    def forward(self, x: Tensor) -> Tensor:
        early = [x]
        for layer in self.encoder:
            early.append(layer(early[-1]))
        features = early[-1]
        if self.branches:
            beside = x
            for aside in self.branch:
                beside = aside(beside)
            features = torch.cat([features, beside], 1)
        for late in self.decoder:
            if late.joins >= 0:
                features = torch.cat([features, early[late.joins + 1]], 1)
            features = late(features)
        return self.output(features)


class _Gated(nn.Module):
    """``GatedConv``; ``joins`` is the encoder layer whose features are taken up before it, or -1."""

    def __init__(self, layer: GatedConv, joins: int = -1) -> None:
        super().__init__()
        self.weight, self.bias = layer.conv.weight, layer.conv.bias
        self.stride, self.dilation = layer.conv.stride[0], layer.conv.dilation[0]
        self.margin = layer.conv.padding[0]
        self.upsample, self.joins = layer.upsample, joins

    def forward(self, x: Tensor) -> Tensor:
        if self.upsample:
            x = torch._C._nn.upsample_bilinear2d(x, [2 * x.size(2), 2 * x.size(3)], False, 2.0, 2.0)
        margin = self.margin
        if margin > 0:
            x = torch._C._nn.reflection_pad2d(x, [margin, margin, margin, margin])
        x = torch.conv2d(
            x, self.weight, self.bias, [self.stride, self.stride], [0, 0], [self.dilation, self.dilation], 1
        )
        features, gate = torch.chunk(x, 2, 1)
        return torch._C._nn.elu(features) * torch.sigmoid(gate)


class _Output(nn.Module):
    def __init__(self, layer: Output) -> None:
        super().__init__()
        self.weight, self.bias, self.bounded = layer.conv.weight, layer.conv.bias, layer.bounded

    def forward(self, x: Tensor) -> Tensor:
        x = torch.conv2d(x, self.weight, self.bias, [1, 1], [0, 0], [1, 1], 1)
        return torch.tanh(x) if self.bounded else x

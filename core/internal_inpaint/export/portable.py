"""A trained network in operators that all runtimes support, for TorchScript and ONNX files.

The network is defined once, in ``methods.implicit.networks``: ``torch.fx`` traces its ``passes`` method. Only its
blocks are replaced, because they use operators newer than PyTorch 1.6 and a custom backward pass. The weights are
shared with the network, not copied.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, fx, nn

from internal_inpaint.methods.implicit.blocks import GatedConv, Output
from internal_inpaint.methods.implicit.networks import SMALLEST, STRIDE, InpaintNetwork, NetworkConfig


class PortableNetwork(nn.Module):
    """``InpaintNetwork`` for inference: one input, and the output of the last stage.

    Args:
        network: the trained network, whose weights are shared.
    """

    def __init__(self, network: InpaintNetwork) -> None:
        super().__init__()
        # Attributes, because a compiled graph cannot refer to constants of the Python module.
        self.smallest, self.stride = SMALLEST, STRIDE
        passes, blocks = _recorded(network.config)
        self.passes = passes()
        for name, source in blocks.items():
            self.passes.add_module(name, _portable(network.get_submodule(source)))

    def forward(self, planes: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            planes: ``[N, 4 + extra_planes, H, W]``: working space, zero inside the hole; the mask, 1 = hole; the
                extra planes. Any height and width.

        Returns:
            ``[N, 3, H, W]`` working space.
        """
        fill = self.passes(self.padded(planes))
        # Not slices: their open end is `None`, which the oldest PyTorch versions cannot load.
        return torch.narrow(torch.narrow(fill, 2, 0, planes.size(2)), 3, 0, planes.size(3))

    def padded(self, planes: Tensor) -> Tensor:
        """Pad sides to multiples of ``STRIDE``, at least to ``SMALLEST``, like ``InpaintNetwork``.

        Row and column indices take the place of a branch, so the graph is the same for every size.
        """
        rows, mirrored_rows = self.indices(planes.size(2), planes)
        columns, mirrored_columns = self.indices(planes.size(3), planes)
        # Reflect if the picture is larger than the padding; otherwise repeat its last row and column.
        mirror = (mirrored_rows.min() >= 0) & (mirrored_columns.min() >= 0)
        rows, columns = torch.where(mirror, mirrored_rows, rows), torch.where(mirror, mirrored_columns, columns)
        return planes.index_select(2, rows).index_select(3, columns)

    def indices(self, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """The source row of each row of the padded picture, with the last row repeated, and with reflection."""
        padded = max(self.smallest, (length + self.stride - 1) // self.stride * self.stride)
        place, last = torch.arange(padded, device=like.device), length - 1
        return torch.clamp(place, max=last), torch.where(place > last, 2 * last - place, place)


class _Recorder(fx.Tracer):
    """Traces ``InpaintNetwork.passes`` down to the blocks."""

    traced_func_name = "passes"

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, GatedConv | Output)


@cache
def _recorded(config: NetworkConfig) -> tuple[type[nn.Module], dict[str, str]]:
    """``InpaintNetwork.passes`` as a module class, from the padded input to the last stage's output.

    Returns:
        the class, and the block's name in the network for each block that its ``forward`` calls.
    """
    with torch.device("meta"):
        network = InpaintNetwork(config)
    graph, blocks = _Recorder().trace(network), {}
    for node in graph.nodes:
        node.type = None  # TorchScript treats an argument without a type as a tensor
        if node.op == "call_module":
            source = node.target
            node.target = source.replace(".", "_")
            blocks[node.target] = source
        elif node.op == "output":
            node.args = (node.args[0][-1],)
    recorded = fx.GraphModule({name: nn.Identity() for name in blocks}, graph)
    # Use only its code: a GraphModule has attributes that old versions of TorchScript cannot load.
    return type("Passes", (nn.Module,), {"forward": type(recorded).forward}), blocks


def _portable(block: GatedConv | Output) -> nn.Module:
    return _Gated(block) if isinstance(block, GatedConv) else _Output(block)


class _Gated(nn.Module):
    """``GatedConv``."""

    def __init__(self, block: GatedConv) -> None:
        super().__init__()
        self.weight, self.bias = block.conv.weight, block.conv.bias
        self.stride, self.dilation = block.conv.stride[0], block.conv.dilation[0]
        self.margin, self.upsample = block.conv.padding[0], block.upsample

    def forward(self, x: Tensor) -> Tensor:
        if self.upsample:
            x = torch._C._nn.upsample_bilinear2d(x, [2 * x.size(2), 2 * x.size(3)], False)
        margin = self.margin
        if margin > 0:
            x = torch._C._nn.reflection_pad2d(x, [margin, margin, margin, margin])
        x = torch.conv2d(
            x, self.weight, self.bias, [self.stride, self.stride], [0, 0], [self.dilation, self.dilation], 1
        )
        features, gate = torch.chunk(x, 2, 1)
        return torch._C._nn.elu(features) * torch.sigmoid(gate)


class _Output(nn.Module):
    """``Output``."""

    def __init__(self, block: Output) -> None:
        super().__init__()
        self.weight, self.bias, self.bounded = block.conv.weight, block.conv.bias, block.bounded

    def forward(self, x: Tensor) -> Tensor:
        # The features are in full precision. The weights may not be, if a host has converted the model.
        x = torch.conv2d(x.to(self.weight.dtype), self.weight, self.bias, [1, 1], [0, 0], [1, 1], 1)
        return torch.tanh(x) if self.bounded else x

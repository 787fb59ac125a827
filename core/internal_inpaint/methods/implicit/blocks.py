"""The three building blocks of the paper (appendix A.1): gated convolution, up-sampling, output.

In the paper's notation ``C(out, k, s, d)`` the convolution has ``out`` channels; half of them are
features and half are their gate, so the block outputs ``out / 2`` channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _GatedElu(torch.autograd.Function):
    """``ELU(features) * sigmoid(gate)`` with as little memory traffic as separate kernels allow.

    The halves of a channels_last tensor are strided, and PyTorch's CPU kernels then process one value at a time.
    Copying each half first is much faster. Only the two activated halves are saved for the backward pass. They
    take as much memory as the convolution's output, which is freed.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        features, gate = x.chunk(2, dim=1)
        features = _dense(features)
        gate = _dense(gate).sigmoid_()
        # ELU(v) = max(v, 0) + exp(min(v, 0)) - 1: PyTorch's exp kernel is vectorised, its ELU kernel is not.
        activated = features.clamp(max=0).exp_().sub_(1).add_(features.clamp_(min=0))
        ctx.save_for_backward(activated, gate)
        return activated * gate

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        activated, gate = ctx.saved_tensors
        grad_gate = (grad * activated).mul_(gate).mul_(1 - gate)
        # d ELU(v)/dv is 1 above zero and exp(v) = ELU(v) + 1 below.
        grad_features = activated.clamp(max=0).add_(1).mul_(gate).mul_(grad)
        return torch.cat([grad_features, grad_gate], dim=1)


def _dense(half: Tensor) -> Tensor:
    # Always a copy: the callers change it in place.
    return half.clone(memory_format=torch.channels_last)


class GatedConv(nn.Module):
    """``C(out, k, s, d)``: reflection padding, convolution, ELU on one half, sigmoid gate from the other.

    Args:
        channels_in: channels of the input.
        channels_out: the paper's ``out``; the block outputs ``channels_out // 2`` channels.
        kernel, stride, dilation: of the convolution.
        upsample: whether to double height and width (bilinear) first, which makes it the paper's ``D`` block.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels_in,
            channels_out,
            kernel,
            stride=stride,
            dilation=dilation,
            padding=dilation * (kernel - 1) // 2,
            padding_mode="reflect",
        )
        self.upsample = upsample
        self.channels_passed_on = channels_out // 2

    def forward(self, x: Tensor) -> Tensor:
        """``[N, channels_in, H, W]`` to ``[N, channels_out // 2, H / s, W / s]`` (twice the size for ``D``)."""
        if self.upsample:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return _GatedElu.apply(self.conv(x))


class Output(nn.Module):
    """``O``: a 1x1 convolution to RGB and tanh, which keeps the fill inside the shot's own range.

    The paper writes it as ``C(3, 1, 1, 1)``; three channels cannot be halved, so it has no gate.

    Args:
        bounded: whether to apply the tanh; False for a residual that is added to a picture.
        channels_out: 3 for RGB.
    """

    def __init__(self, channels_in: int, bounded: bool = True, channels_out: int = 3) -> None:
        super().__init__()
        self.conv, self.bounded = nn.Conv2d(channels_in, channels_out, 1), bounded

    def forward(self, x: Tensor) -> Tensor:
        """``[N, channels_in, H, W]`` to ``[N, channels_out, H, W]``, in [-1, 1] where ``bounded``."""
        return torch.tanh(self.conv(x)) if self.bounded else self.conv(x)

"""A shot's trained networks as one model: scene-linear plate and matte in, scene-linear fill out.

The model includes the steps that the engine adds to its networks: the conversion to working space, the reduction to
each level's size, the coarser level's picture for the finer one, and the enlargement. A comp therefore needs no
colour node and no second model. TorchScript and ONNX files are both made from this model. It is written for
TorchScript's compiler and uses only operators of PyTorch 1.6 (``operators.txt``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from internal_inpaint.export.portable import PortableNetwork
from internal_inpaint.methods.implicit.networks import InpaintNetwork
from internal_inpaint.shot.colour import (
    CURVE_BREAK,
    LINEAR_BREAK,
    LOG_OFFSET,
    LOG_SCALE,
    OFFSET,
    SLOPE,
    WorkingSpace,
)


@dataclass(frozen=True)
class ExportedShot:
    """The input of ``ShotModel``.

    Attributes:
        networks: trained, in ``eval`` mode on the CPU, the coarsest level first.
        sizes: (height, width) of each level's frames.
        canvas: (height, width) of the plate; a picture of another size is reduced by the same factors.
        space: the shot's working space.
    """

    networks: tuple[InpaintNetwork, ...]
    sizes: tuple[tuple[int, int], ...]
    canvas: tuple[int, int]
    space: WorkingSpace


class ShotModel(nn.Module):
    """All levels of a shot as one network; any height and width."""

    def __init__(self, shot: ExportedShot) -> None:
        super().__init__()
        levels = [_Level(network, size, shot.canvas) for network, size in zip(shot.networks, shot.sizes, strict=True)]
        self.coarsest, self.finer = levels[0], nn.ModuleList(levels[1:])
        self.reduced = shot.sizes[-1] != shot.canvas
        # Plain numbers, not tensors: a host that converts the model to half precision does not convert them.
        self.scale, self.centre = shot.space.scale, 0.5 * (shot.space.low + shot.space.high)
        self.offset, self.slope, self.linear_break = OFFSET, SLOPE, LINEAR_BREAK
        self.log_offset, self.log_scale = LOG_OFFSET, LOG_SCALE
        self.curve_break = CURVE_BREAK - OFFSET

    def forward(self, plate_and_matte: Tensor) -> Tensor:
        """Fill a frame.

        Args:
            plate_and_matte: ``[N, 4, H, W]``: scene-linear red, green and blue, and the grown and feathered
                matte, which is above 0 in the hole. NaN and infinite pixels count as unknown too.

        Returns:
            ``[N, 3, H, W]`` scene-linear fill, for use inside the matte.
        """
        pixels = plate_and_matte.to(torch.float32)
        plate, matte = torch.narrow(pixels, 1, 0, 3), torch.narrow(pixels, 1, 3, 1)
        # The difference of a value with itself is 0, except for NaN and infinity.
        finite = torch.sum(torch.abs(plate - plate), [1], True) == 0
        hole = matte > 0
        known = (matte <= 0) & finite
        values = torch.where(known, self.curve(plate), torch.zeros_like(plate))
        planes = torch.cat([values, known.to(torch.float32), hole.to(torch.float32)], 1)

        working, unknown = self.masked(self.coarsest.resized(planes))
        fill = self.coarsest(torch.cat([working, unknown], 1))
        for level in self.finer:
            picture = working + fill * unknown
            working, unknown = self.masked(level.resized(planes))
            picture = enlarged(picture, working.size(2), working.size(3))
            fill = level(torch.cat([working, unknown, picture], 1))
        if self.reduced:
            fill = enlarged(fill, plate.size(2), plate.size(3))
        return self.linear(fill * (1.0 / self.scale) + self.centre).to(plate_and_matte.dtype)

    def masked(self, reduced: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """A level's frame in working space, zero where unknown, and its mask, from the result of ``resized``."""
        curve, unknown = reduced
        return (curve - self.centre) * self.scale * (1 - unknown), unknown

    def curve(self, linear: Tensor) -> Tensor:
        """``shot.colour.curve``."""
        size = torch.abs(linear)
        # Products instead of divisions, whose meaning has changed since PyTorch 1.6.
        logarithmic = (torch.log2(size) + self.log_offset) * (1.0 / self.log_scale) - self.offset
        above_zero = torch.where(size <= self.linear_break, size * self.slope, logarithmic)
        return self.offset + torch.sign(linear) * above_zero

    def linear(self, curve: Tensor) -> Tensor:
        """``shot.colour.inverse_curve``."""
        size = torch.abs(curve - self.offset)
        power = torch.pow(2.0, (size + self.offset) * self.log_scale - self.log_offset)
        linear = torch.where(size <= self.curve_break, size * (1.0 / self.slope), power)
        return torch.sign(curve - self.offset) * linear


class _Level(nn.Module):
    """One level: its network, and the reduction of the plate to its size."""

    def __init__(self, network: InpaintNetwork, size: tuple[int, int], canvas: tuple[int, int]) -> None:
        super().__init__()
        self.network = PortableNetwork(network)
        self.height, self.width = size
        self.plate_height, self.plate_width = canvas
        self.reduced = size != canvas

    def forward(self, planes: Tensor) -> Tensor:
        """The input of ``PortableNetwork`` to its fill in [-1, 1]."""
        fill = self.network(planes.to(self.network.passes.first_output.weight.dtype))
        return torch.clamp(fill.to(torch.float32), -1.0, 1.0)

    def resized(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """The plate at this level's size: the area average of the known pixels, taken on the curve.

        Args:
            planes: ``[N, 5, H, W]``: curve values, zero where not known; 1 where known; 1 in the hole.

        Returns:
            curve values ``[N, 3, h, w]`` and ``[N, 1, h, w]``, 1 where no pixel is known or any is in the hole.
        """
        if self.reduced:
            rows = self.share(planes.size(2), self.height, self.plate_height, planes)
            columns = self.share(planes.size(3), self.width, self.plate_width, planes)
            planes = torch.matmul(torch.matmul(rows, planes), torch.transpose(columns, 0, 1))
        weight, hole = torch.narrow(planes, 1, 3, 1), torch.narrow(planes, 1, 4, 1)
        unknown = ((hole > 0) | (weight <= 0)).to(torch.float32)
        values = torch.narrow(planes, 1, 0, 3) * torch.reciprocal(torch.clamp(weight, 1e-6))
        return values, unknown

    def share(self, length: int, level: int, plate: int, like: Tensor) -> Tensor:
        """``[new, length]``: the share of each new pixel that each old one covers, in exact integer arithmetic."""
        new = max(1, (2 * length * level + plate) // (2 * plate))
        old = torch.arange(length, device=like.device)
        at = torch.arange(new, device=like.device).unsqueeze(1)
        end, start = torch.min((old + 1) * new, (at + 1) * length), torch.max(old * new, at * length)
        return torch.clamp(end - start, 0).to(torch.float32) * (1.0 / float(length))


def enlarged(planes: Tensor, height: int, width: int) -> Tensor:
    """``[N, C, h, w]`` resized (bicubic), clipped to [-1, 1]."""
    return torch.clamp(torch._C._nn.upsample_bicubic2d(planes, [height, width], False), -1.0, 1.0)

"""The interface of a method: how a network is trained on a shot and fills it.

A method works on tensors only. It describes its network's input (``Geometry``), builds the network, computes the
losses of one training step and fills a clip. The trainer, checkpoints, renderer and export use this interface
only, so a new method is a new folder beside ``implicit`` and an entry in ``registry``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn


@dataclass(frozen=True)
class Geometry:
    """The input of a method's network: receptive field, sizes and frames.

    Attributes:
        reach: radius in pixels of the receptive field.
        stride: the network pads sizes to multiples of it.
        smallest: minimum side in pixels of the padded input.
        frames: the input frames as offsets in time from the frame to fill; ``(0,)`` for a method that takes one
            frame at a time.
    """

    reach: int
    stride: int
    smallest: int
    frames: tuple[int, ...] = (0,)

    def pictures(self, index: int, count: int, views: int = 1) -> list[int]:
        """The input pictures for one picture: of the same view, reflected in time at the ends of the shot.

        Args:
            index: the picture to fill.
            count: number of pictures of the shot.
            views: pictures per frame; pictures of one view are ``views`` apart.
        """
        return [in_time(index, offset, count, views) for offset in self.frames]


def in_time(index: int, offset: int, count: int, views: int = 1) -> int:
    """The picture of the same view ``offset`` frames later, reflected at the ends of the shot."""
    frame, last = index // views + offset, count // views - 1
    frame = last - abs(last - frame % (2 * last)) if last > 0 else 0
    return frame * views + index % views


@dataclass(frozen=True)
class Clip:
    """A batch of crops, ``[B, T, C, h, w]``, of the T frames of ``Geometry.frames``.

    Attributes:
        pixels: ``[B, T, 3, h, w]`` working space in [-1, 1]; meaningless where not ``known``.
        hidden: ``[B, T, 1, h, w]``, 1 where pixels are hidden from the network: the hole, pixels outside the data
            window, held-out pixels, the synthetic hole.
        known: ``[B, T, 1, h, w]``, 1 where losses count: everywhere except in the hole, outside the data window and
            at held-out pixels.
        synthetic: ``[B, T, 1, h, w]``, 1 inside the synthetic hole.
        prior: ``[B, 1, 3, h, w]`` the coarser level's picture of the frame at offset 0, with the same crop and hole,
            in [-1, 1]; ``None`` at the coarsest level.
        others: the same crops of other frames, without a synthetic hole; ``None`` unless ``Method.needs_others``.
        planes: additional planes by name, ``[B, T, C, h, w]``; the method documents them.
    """

    pixels: Tensor
    hidden: Tensor | None = None
    known: Tensor | None = None
    synthetic: Tensor | None = None
    prior: Tensor | None = None
    others: Clip | None = None
    planes: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Parameters:
    """The parameters of one optimiser.

    Attributes:
        filters: hidden convolution filters ``[out, in, k, k]``, suitable for Muon.
        others: everything else: first and last layers, biases, norms.
    """

    filters: list[nn.Parameter]
    others: list[nn.Parameter]

    def all(self) -> list[nn.Parameter]:
        return self.filters + self.others


def hidden_filters(network: nn.Module) -> set[str]:
    """Names of the filters that Muon trains: every convolution except first layers and output layers.

    A first layer reads RGB and mask, an output layer writes RGB. Each of these few channels has its own meaning,
    which orthogonalisation would destroy. Networks must name these layers ``encoder.0`` (``branch.0``) and
    ``output``.
    """
    return {
        name
        for name, parameter in network.named_parameters()
        if parameter.ndim == 4
        and ".output." not in name
        and not name.endswith(("encoder.0.conv.weight", "branch.0.conv.weight"))
    }


def parameters_of(network: nn.Module) -> Parameters:
    """All parameters of a network that uses the layer names of ``hidden_filters``."""
    names = hidden_filters(network)
    filters = [parameter for name, parameter in network.named_parameters() if name in names]
    others = [parameter for name, parameter in network.named_parameters() if name not in names]
    return Parameters(filters, others)


# The named losses of one step, by optimiser. They are weighted already: an optimiser minimises the sum of its
# losses. The first loss of the first optimiser is the one that is reported and watched for divergence.
Losses = dict[str, dict[str, Tensor]]


class Method(Protocol):
    """How a network is trained on a shot and fills it, at one level.

    Attributes:
        config: a frozen dataclass, saved in the checkpoint; ``registry.method_of`` makes the method from it.
        geometry: the network's input.
        planes: the channels of each of ``Clip.planes``.
    """

    config: Any
    geometry: Geometry
    planes: dict[str, int]

    def build(self, bf16: bool = False) -> nn.Module:
        """The untrained network; the initial weights are drawn with PyTorch's global generator.

        Args:
            bf16: whether to compute in bfloat16 where float32 is not needed.
        """

    def parameter_groups(self, network: nn.Module) -> dict[str, Parameters]:
        """The parameters to train, by optimiser. A method without an adversary has one: ``network``."""

    def needs_others(self, progress: float) -> bool:
        """Whether ``step`` uses ``Clip.others`` at this share of the training."""
        return False

    def phase(self, progress: float) -> int:
        """A number that increases when the objective changes: best weights of an earlier phase are then discarded."""
        return 0

    def step(self, network: nn.Module, clip: Clip, progress: float, rng: np.random.Generator) -> Losses:
        """The losses of one training step, on the device; must not wait for the device.

        Args:
            progress: share of the training that is done, 0 to 1.
            rng: the trainer's random generator, so that a resumed run draws the same numbers.
        """

    def fill(self, network: nn.Module, clip: Clip) -> Tensor:
        """``[B, 3, h, w]`` float32: the filled picture of the frame at offset 0."""

"""What a method is: how one shot is learned and filled, behind one small interface.

A method knows tensors only. It says what its network sees (``Geometry``), builds it, names the losses of one
training step and fills a clip. The trainer, the checkpoints, the renderer and the export use nothing else of it,
so a new method is a new folder beside ``implicit`` and an entry in ``registry``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn


@dataclass(frozen=True)
class Geometry:
    """What a method's network sees and which sizes it takes.

    Attributes:
        reach: radius in pixels of what one output pixel depends on.
        stride: sizes inside the network are multiples of it.
        smallest: least side in pixels that it computes.
        frames: the frames it looks at, as offsets in time from the frame it fills; ``(0,)`` for a method that
            sees one frame at a time.
    """

    reach: int
    stride: int
    smallest: int
    frames: tuple[int, ...] = (0,)

    def pictures(self, index: int, count: int, views: int = 1) -> list[int]:
        """The pictures to look at for one, of the same view, reflected in time at the ends of the shot.

        Args:
            count: pictures of the shot. views: pictures a frame; pictures of one view are ``views`` apart.
        """
        return [in_time(index, offset, count, views) for offset in self.frames]


def in_time(index: int, offset: int, count: int, views: int = 1) -> int:
    """The picture of the same view ``offset`` frames on, reflected at the ends of the shot."""
    frame, last = index // views + offset, count // views - 1
    frame = last - abs(last - frame % (2 * last)) if last > 0 else 0
    return frame * views + index % views


@dataclass(frozen=True)
class Clip:
    """Crops of a few frames each, ``[B, T, C, h, w]``; T frames as ``Geometry.frames`` asks for them.

    Attributes:
        pixels: ``[B, T, 3, h, w]`` working space in [-1, 1]; meaningless where not ``known``.
        hidden: ``[B, T, 1, h, w]``, 1 where the network may not look: the hole, what lies outside the data
            window, held-out pixels, the synthetic hole.
        known: ``[B, T, 1, h, w]``, 1 where a loss may look: everything but hole, outside and held-out pixels.
        synthetic: ``[B, T, 1, h, w]``, 1 inside the synthetic hole.
        prior: ``[B, 1, 3, h, w]`` the coarser level's picture of the frame at offset 0, same crop, same hole, in
            [-1, 1]; ``None`` at the coarsest level.
        others: the same crops of other frames, nothing synthetic hidden, where ``Method.needs_others`` asks for them.
        planes: further planes by name, ``[B, T, C, h, w]``, which the method documents.
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
    """What one optimiser trains.

    Attributes:
        filters: hidden convolution filters ``[out, in, k, k]``, which Muon may take.
        others: everything else: first and last layers, biases, norms.
    """

    filters: list[nn.Parameter]
    others: list[nn.Parameter]

    def all(self) -> list[nn.Parameter]:
        return self.filters + self.others


def hidden_filters(network: nn.Module) -> set[str]:
    """Names of the filters that Muon takes: every convolution but first layers and outputs.

    A first layer reads RGB and mask, an output block writes RGB: their rows are few and mean something by
    themselves, which orthogonalisation would destroy. Networks name them ``encoder.0`` (``branch.0``) and ``output``.
    """
    return {
        name
        for name, parameter in network.named_parameters()
        if parameter.ndim == 4
        and ".output." not in name
        and not name.endswith(("encoder.0.conv.weight", "branch.0.conv.weight"))
    }


def parameters_of(network: nn.Module) -> Parameters:
    """All parameters of a network that follows the names of ``hidden_filters``."""
    names = hidden_filters(network)
    filters = [parameter for name, parameter in network.named_parameters() if name in names]
    others = [parameter for name, parameter in network.named_parameters() if name not in names]
    return Parameters(filters, others)


# Named losses of one step by the optimiser that minimises them. Weights are included: an optimiser minimises
# the sum of its losses, and the first of the first optimiser is the one that is reported and watched.
Losses = dict[str, dict[str, Tensor]]


class Method(Protocol):
    """How a shot is learned at one level.

    Attributes:
        config: a frozen dataclass that travels in the checkpoint; ``registry.method`` makes the method from it.
        geometry: what the network sees.
    """

    config: Any
    geometry: Geometry

    def build(self, bf16: bool = False) -> nn.Module:
        """The untrained network, with the first weights from PyTorch's global generator.

        Args:
            bf16: compute in bfloat16 whatever does not need float32.
        """

    def parameter_groups(self, network: nn.Module) -> dict[str, Parameters]:
        """What is trained, by optimiser. A method without an adversary has one: ``network``."""

    def needs_others(self, progress: float) -> bool:
        """Whether ``step`` wants ``Clip.others`` at this share of the training."""

    def phase(self, progress: float) -> int:
        """A number that rises where the kind of result changes: the best weights of an earlier phase are given up."""

    def step(self, network: nn.Module, clip: Clip, progress: float, rng: np.random.Generator) -> Losses:
        """The losses of one training step, on the device; must not wait for it.

        Args:
            progress: share of the training done, 0 to 1.
            rng: the training's own, so that a resumed run draws the same.
        """

    def fill(self, network: nn.Module, clip: Clip) -> Tensor:
        """``[B, 3, h, w]`` float32: the filled picture of the frame at offset 0."""

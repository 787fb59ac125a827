"""The method of one-frame roto: a matte network, trained with cross-entropy on known or synthetic mattes (eq. 6)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from internal_inpaint.methods.base import Clip, Geometry, Losses, Method, Parameters, parameters_of
from internal_inpaint.methods.matte.networks import (
    MULTIPLE,
    MatteNetwork,
    MatteNetworkConfig,
    weighted_cross_entropy,
)


@dataclass(frozen=True)
class MatteConfig:
    """The settings of the method itself.

    Attributes:
        network: the network to train.
        alpha: cost of a false positive relative to a false negative (equation 6).
    """

    network: MatteNetworkConfig = field(default_factory=MatteNetworkConfig)
    alpha: float = 0.8


class MatteMethod(Method):
    """The network of one-frame roto (section 4.2).

    In addition to ``pixels``, its clips have the planes ``motion`` (0: with the camera, up to 1) and ``guess`` (-1 to
    1, 0 where nothing is known). Training clips also have ``matte`` (0 to 1) and ``weight`` (0 where the loss does
    not count).
    """

    def __init__(self, config: MatteConfig) -> None:
        self.config = config
        self.geometry = Geometry(reach=MULTIPLE * 8, stride=MULTIPLE, smallest=MULTIPLE)
        self.planes = {"motion": 1, "guess": 1}

    def build(self, bf16: bool = False) -> MatteNetwork:
        """The network. It is small and always computes in float32."""
        return MatteNetwork(self.config.network)

    def parameter_groups(self, network: nn.Module) -> dict[str, Parameters]:
        return {"network": parameters_of(network)}

    def step(self, network: nn.Module, clip: Clip, progress: float, rng: np.random.Generator) -> Losses:
        matte, weight = (clip.planes[name][:, 0] for name in ("matte", "weight"))
        return {
            "network": {
                "cross_entropy": weighted_cross_entropy(self._logits(network, clip), matte, weight, self.config.alpha)
            }
        }

    def fill(self, network: nn.Module, clip: Clip) -> Tensor:
        """``[B, 1, h, w]``: the probability of the object."""
        return torch.sigmoid(self._logits(network, clip))

    @staticmethod
    def _logits(network: nn.Module, clip: Clip) -> Tensor:
        return network(clip.pixels[:, 0], clip.planes["motion"][:, 0], clip.planes["guess"][:, 0])

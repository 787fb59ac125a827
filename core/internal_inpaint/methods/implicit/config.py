"""The settings of the implicit method: everything about the network and its losses."""

from __future__ import annotations

from dataclasses import dataclass, field

from internal_inpaint.methods.implicit.networks import NetworkConfig


@dataclass(frozen=True)
class ImplicitConfig:
    """The settings of the method itself, saved in the checkpoint.

    Attributes:
        network: the network to train.
        initialisation: of the weights, ``preserving`` or ``glorot`` (``networks.initialise``).
        hole_weight: weight of the synthetic hole in the loss; the rest of the known region gets one minus this
            weight. ``None``: equation (2), in which every known pixel counts the same.
        ambiguity, stabilise: weights of the two regularisers (equation 7); 0: off.
        regularise_share: share of the training, at its end, in which they are on.
        encoder: encoder of the anti-ambiguity term: one of ``encoders.ENCODERS``, or the name of VGG-19 weights.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    initialisation: str = "preserving"
    hole_weight: float | None = 0.8
    ambiguity: float = 0.0
    stabilise: float = 0.0
    regularise_share: float = 0.25
    encoder: str = "network"

    @property
    def regularised(self) -> bool:
        """Whether the last part of the training has a further objective."""
        return bool(self.ambiguity or self.stabilise)

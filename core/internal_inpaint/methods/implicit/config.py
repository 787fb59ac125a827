"""The settings of the implicit method: everything about the network and its losses."""

from __future__ import annotations

from dataclasses import dataclass, field

from internal_inpaint.methods.implicit.networks import NetworkConfig


@dataclass(frozen=True)
class ImplicitConfig:
    """Everything that the method itself decides; it travels in the checkpoint.

    Attributes:
        network: what is trained.
        initialisation: of the weights, ``preserving`` or ``glorot`` (``networks.initialise``).
        hole_weight: share of the loss that the synthetic hole gets, the rest of the known region getting
            what is left; ``None`` is equation (2): every known pixel counts the same.
        ambiguity, stabilise: weights of the two regularisers (equation 7); 0 is off.
        regularise_share: last share of the training in which they are on.
        encoder: of the anti-ambiguity term: one of ``encoders.ENCODERS``, or the name of VGG-19 weights.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    initialisation: str = "preserving"
    hole_weight: float | None = 0.8
    ambiguity: float = 0.0
    stabilise: float = 0.0
    regularise_share: float = 0.25
    encoder: str = "network"

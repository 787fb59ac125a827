"""The settings of the copying method."""

from __future__ import annotations

from dataclasses import dataclass, field

from internal_inpaint.methods.implicit.networks import NetworkConfig


@dataclass(frozen=True)
class CopyConfig:
    """The settings of the method itself, saved in the checkpoint.

    Attributes:
        network: the network that invents; it also decides what is copied (``CopyNetwork``). Always ``base``.
        copies: candidates of a pixel.
        hole_weight: weight of the synthetic hole in the loss of the invented picture; the rest of the known region
            gets one minus this weight.
        invention: weight of the loss of the invented picture, relative to that of the mixed one.
        spoiled: share of the examples in which candidates are moved or exchanged, so that the network learns doubt.
        dropped: share of the examples in which candidates are taken away; in half of these, all of them, so that the
            network invents without candidates too.
    """

    network: NetworkConfig = field(default_factory=lambda: NetworkConfig("base", 0.5, shortcuts=True))
    copies: int = 4
    hole_weight: float = 0.8
    invention: float = 0.5
    spoiled: float = 0.25
    dropped: float = 0.2

    @property
    def regularised(self) -> bool:
        """Whether the last part of the training has a further objective."""
        return False

"""The paper's method: a network that is trained on all frames of the shot and fills each frame on its own.

Equation (1): the network's input is a frame with its own hole and a synthetic one hidden. Equation (2): the loss is
the L1 distance to the frame where the plate is known. Equation (7) adds the two regularisers in the last part of
the training.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from internal_inpaint.methods.base import Clip, Geometry, Losses, Parameters, parameters_of
from internal_inpaint.methods.implicit.ambiguity import ambiguity_loss, candidate_points, point_weights
from internal_inpaint.methods.implicit.config import ImplicitConfig
from internal_inpaint.methods.implicit.encoders import STRIDE as ENCODER_STRIDE
from internal_inpaint.methods.implicit.encoders import NetworkFeatures
from internal_inpaint.methods.implicit.losses import reconstruction_loss
from internal_inpaint.methods.implicit.networks import (
    REACH,
    SMALLEST,
    STRIDE,
    InpaintNetwork,
    initialise,
)
from internal_inpaint.methods.implicit.stabilise import apply_change, draw_change, stabilise_loss

Encoder = Callable[[Tensor, Tensor], Tensor]


class ImplicitMethod:
    """The implicit method at one level.

    Args:
        config: settings of the network and the losses.
        encoder: an encoder of ``encoders.py`` for the anti-ambiguity term; ``None``: the first layers of the network
            itself.
    """

    def __init__(self, config: ImplicitConfig, encoder: Encoder | None = None) -> None:
        self.config, self._encoder = config, encoder
        stages = 1 if config.network.kind == "base" else 2
        self.geometry = Geometry(REACH * stages, STRIDE, SMALLEST)
        self.planes: dict[str, int] = {}

    def build(self, bf16: bool = False) -> InpaintNetwork:
        network = InpaintNetwork(self.config.network, bf16)
        initialise(network, self.config.initialisation)
        return network

    def parameter_groups(self, network: nn.Module) -> dict[str, Parameters]:
        return {"network": parameters_of(network)}

    def needs_others(self, progress: float) -> bool:
        return bool(self.config.ambiguity) and self._regularised(progress, self.config.regularise_share)

    def phase(self, progress: float) -> int:
        """1 once the regularisers have been on for half of their time, before that 0.

        They reduce the PSNR a little, so the weights with the best PSNR would always be from before they are on.
        """
        return int(self._regularised(progress, self.config.regularise_share / 2))

    def _regularised(self, progress: float, share: float) -> bool:
        return self.config.regularised and progress >= 1 - share

    def step(self, network: nn.Module, clip: Clip, progress: float, rng: np.random.Generator) -> Losses:
        """Equation (7): ``reconstruction``, and in the last part of the training ``ambiguity`` and ``stabilise``."""
        config, frame = self.config, _Frame(clip)
        outputs = network(*frame.inputs)
        losses = {"reconstruction": self._reconstruction(outputs, frame)}
        if self._regularised(progress, config.regularise_share):
            if config.ambiguity:
                losses["ambiguity"] = config.ambiguity * self._ambiguity(network, frame, outputs[-1], clip.others)
            if config.stabilise:
                losses["stabilise"] = config.stabilise * self._stabilise(network, frame, outputs[-1], rng)
        return {"network": losses}

    def fill(self, network: nn.Module, clip: Clip) -> Tensor:
        return network(*_Frame(clip).inputs)[-1]

    def _reconstruction(self, outputs: list[Tensor], frame: _Frame) -> Tensor:
        return reconstruction_loss(outputs, frame.target, frame.known, frame.synthetic, self.config.hole_weight)

    def _ambiguity(self, network: nn.Module, frame: _Frame, output: Tensor, others: Clip) -> Tensor:
        """Equation (3), for the frame as it would be rendered: the fill in its surroundings."""
        encoder = NetworkFeatures(network) if self._encoder is None else self._encoder
        other = _Frame(others)
        filled = frame.target * (1 - frame.hidden) + output.float() * frame.hidden
        weights = point_weights(frame.hidden, ENCODER_STRIDE)
        candidates = candidate_points(other.known, weights, ENCODER_STRIDE)
        with network.autocast():
            source = encoder(filled, torch.ones_like(frame.hidden))
            with torch.no_grad():
                target = encoder(other.target, other.known)
        # In float32: in bfloat16, tightly clustered features would be matched with the wrong neighbour.
        return ambiguity_loss(source.float(), target.float(), weights, candidates)

    def _stabilise(self, network: nn.Module, frame: _Frame, output: Tensor, rng: np.random.Generator) -> Tensor:
        """Equations (4) and (5): change the frame and its mattes slightly, and fill the changed frame too."""
        change = draw_change(rng, len(output))
        changed = apply_change(change, frame.target, frame.hidden, frame.known, frame.synthetic, frame.prior)
        again = network(changed.picture * (1 - changed.hidden), changed.hidden, changed.extra)[-1]
        share = self.config.hole_weight
        return stabilise_loss(output, frame.target, frame.known, frame.synthetic, again, changed, share)


class _Frame:
    """The single frame of a clip with T = 1, ``[B, C, h, w]`` each."""

    def __init__(self, clip: Clip) -> None:
        planes = (clip.pixels, clip.hidden, clip.known, clip.synthetic, clip.prior)
        self.target, self.hidden, self.known, self.synthetic, self.prior = (
            None if plane is None else plane[:, 0] for plane in planes
        )

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """The network's inputs (equation 1): the masked pixels, the mask, the prior."""
        return self.target * (1 - self.hidden), self.hidden, self.prior

"""Copy what the shot shows, invent the rest: a network that chooses among candidates, and learns to invent beside it.

The candidates come from other frames of the shot (``motion.candidates``). The network is trained, like the paper's,
on synthetic holes in the known part of the shot, and with the same loss (equation 2) on two pictures: the mixture,
and what is invented alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from internal_inpaint.methods.base import Clip, Geometry, Losses, Method, Parameters, parameters_of
from internal_inpaint.methods.copying.config import CopyConfig
from internal_inpaint.methods.copying.network import CopyNetwork, Decision, chosen, mixed
from internal_inpaint.methods.implicit.losses import reconstruction_loss
from internal_inpaint.methods.implicit.networks import REACH, SMALLEST, STRIDE

SHIFT = 8  # maximum shift of a spoiled candidate in pixels


class CopyMethod(Method):
    """The copying method at one level.

    Its clips have the planes ``copies`` ``[B, 1, 3 K, h, w]``, ``weights`` ``[B, 1, K, h, w]`` (0 where there is no
    candidate) and ``smooth`` ``[B, 1, 3, h, w]``.
    """

    def __init__(self, config: CopyConfig) -> None:
        self.config = config
        self.geometry = Geometry(REACH, STRIDE, SMALLEST)
        self.planes = {"copies": 3 * config.copies, "weights": config.copies, "smooth": 3}

    def build(self, bf16: bool = False) -> CopyNetwork:
        network = CopyNetwork(self.config, bf16)
        network.initialise()
        return network

    def parameter_groups(self, network: nn.Module) -> dict[str, Parameters]:
        return {"network": parameters_of(network)}

    def step(self, network: nn.Module, clip: Clip, progress: float, rng: np.random.Generator) -> Losses:
        """``mixture``: the synthetic hole as it would be rendered. ``invention``: the invented picture alone."""
        target, known, synthetic = (plane[:, 0] for plane in (clip.pixels, clip.known, clip.synthetic))
        copies, weights = self._spoiled(*self._candidates(clip), rng)
        decision = self._decide(network, clip, copies, weights)
        mixture = self._mixed(decision, clip, copies, weights)
        inside = synthetic * known
        return {
            "network": {
                # Outside the hole the mixture is not used.
                "mixture": reconstruction_loss([mixture], target, inside, inside, None),
                "invention": self.config.invention
                * reconstruction_loss([decision.invented], target, known, synthetic, self.config.hole_weight),
            }
        }

    def decide(self, network: nn.Module, clip: Clip) -> Tensor:
        """``[B, K + 5, h, w]`` in [-1, 1]: the change of a ``Decision``, then its invented picture."""
        decision = self._decide(network, clip, *self._candidates(clip))
        return torch.cat([decision.change, decision.invented], dim=1)

    def fill(self, network: nn.Module, clip: Clip) -> Tensor:
        copies, weights = self._candidates(clip)
        return self._mixed(self._decide(network, clip, copies, weights), clip, copies, weights)

    @staticmethod
    def _mixed(decision: Decision, clip: Clip, copies: Tensor, weights: Tensor) -> Tensor:
        return mixed(chosen(weights, decision.change), copies, clip.planes["smooth"][:, 0], decision.invented)

    def _candidates(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """``[B, K, 3, h, w]`` and ``[B, K, h, w]``."""
        return clip.planes["copies"][:, 0].unflatten(1, (self.config.copies, 3)), clip.planes["weights"][:, 0]

    @staticmethod
    def _decide(network: nn.Module, clip: Clip, copies: Tensor, weights: Tensor) -> Decision:
        hidden = clip.hidden[:, 0]
        return network(clip.pixels[:, 0] * (1 - hidden), hidden, copies, weights)

    def _spoiled(self, copies: Tensor, weights: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Candidates of some examples taken away, moved, or exchanged for those of the next example."""
        nothing = (1 - weights.sum(dim=1, keepdim=True)).clamp(min=0)
        copies, weights, count = copies.clone(), weights.clone(), self.config.copies
        for example in range(len(copies)):
            case = rng.random()
            chosen = np.flatnonzero(rng.random(count) < 0.5)
            if case < self.config.dropped / 2:
                chosen = np.arange(count)
            if case < self.config.dropped:
                copies[example, chosen], weights[example, chosen] = 0, 0
                continue
            if case >= self.config.dropped + self.config.spoiled:
                continue
            for kind in map(int, chosen):
                there = weights[example, kind] > 0
                if rng.random() < 0.5:
                    by = tuple(int(shift) for shift in rng.integers(-SHIFT, SHIFT + 1, 2))
                    wrong = torch.roll(copies[example, kind], by, (1, 2))
                else:
                    other = (example + 1) % len(copies)
                    wrong = copies[other, kind]
                    there = there & (weights[other, kind] > 0)
                copies[example, kind] = torch.where(there, wrong, copies[example, kind])
        return copies, weights / (weights.sum(dim=1, keepdim=True) + nothing).clamp(min=1e-6)

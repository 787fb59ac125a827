"""What a trainer needs to know of what it trains on: the contract between the loop and a shot."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from internal_inpaint.methods.base import Clip


class Work(IntEnum):
    """What a task did between two steps."""

    NOTHING = 0
    DONE = 1
    CHECKPOINT = 2  # done, and a checkpoint has to follow before anything else


class Task(Protocol):
    """A shot to learn: training clips, validation, and whatever else has to happen while the network trains.

    ``FillTask`` is the shot whose holes are filled, the roto task is the shot whose mattes are found.
    """

    def first_sizes(self) -> tuple[int, tuple[int, int]]:
        """Clips a step, and (height, width) of a crop, before the trainer has to make them smaller."""

    def draw(self, rng: np.random.Generator, batch: int, crop: tuple[int, int], with_others: bool) -> Clip:
        """A training batch on the device, drawn from the trainer's random generator."""

    def score(self, fill: Callable[[Clip], Tensor]) -> float | None:
        """How well held-out pixels are filled (PSNR in dB); ``None`` where there is nothing to judge by.

        Args:
            fill: ``Method.fill`` with the network as it is.
        """

    def reserved_seconds(self) -> float:
        """Time at the end of a budget in seconds that is not for training."""

    def pending(self, progress: float) -> bool:
        """Whether ``work`` has something to do: a training is not over before it is done."""

    def work(self, progress: float, weights: nn.Module) -> Work:
        """Do a piece of what is due between two steps.

        Args:
            progress: share of the training done, 0 to 1.
            weights: network to use: the averaged one where the recipe averages weights.
        """

    def state_dict(self) -> dict:
        """What a checkpoint keeps of the task: plain values."""

    def load_state_dict(self, state: dict) -> None:
        """Go on from there. Raises ``KeyError``, ``TypeError`` or ``ValueError`` on anything else."""

"""The interface between the trainer and the data it trains on."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from internal_inpaint.methods.base import Clip


class Work(IntEnum):
    """The result of ``Task.work``."""

    NOTHING = 0
    DONE = 1
    CHECKPOINT = 2  # done, and the trainer must save a checkpoint before it continues


class Task(Protocol):
    """A shot to train on: training clips, validation, and other work between training steps.

    A task that only trains inherits the rest: no other work, no state, no threads.

    ``FillTask`` trains a network to fill holes, ``RotoTask`` one to find mattes.
    """

    def first_sizes(self) -> tuple[int, tuple[int, int]]:
        """Initial number of clips per step and (height, width) of a crop. The trainer reduces them if needed."""

    def prepare(self) -> None:
        """Make what the training needs before its first step; its time is not that of the training."""

    def draw(self, rng: np.random.Generator, batch: int, crop: tuple[int, int], with_others: bool) -> Clip:
        """A random training batch on the device, drawn with the trainer's random generator."""

    def score(self, fill: Callable[[Clip], Tensor]) -> float | None:
        """Validation PSNR in dB; ``None`` if no pixels are held out.

        Args:
            fill: ``Method.fill`` with the current network.
        """

    def reserved_seconds(self) -> float:
        """Seconds at the end of the budget that are reserved for other work than training."""
        return 0.0

    def pending(self, progress: float) -> bool:
        """Whether ``work`` has something to do: a training is not over before it is done."""
        return False

    def work(self, progress: float, weights: nn.Module) -> Work:
        """Do one piece of the work that is due between two steps, if any.

        Args:
            progress: share of the training that is done, 0 to 1.
            weights: the network to use: the averaged one if weights are averaged.
        """
        return Work.NOTHING

    def close(self) -> None:
        """End what the task does in other threads."""

    def state_dict(self) -> dict:
        """The state of the task for a checkpoint, as plain values."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Restore that state. Raises ``KeyError``, ``TypeError`` or ``ValueError`` if it is malformed."""

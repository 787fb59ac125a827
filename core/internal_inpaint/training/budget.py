"""How long to train, and the learning rate as a function of the share of the budget that is used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Limits of a training; the first one reached ends it. ``None``: no limit.

    Attributes:
        steps: total optimiser steps, including those of earlier attempts.
        seconds: total training time, including that of earlier attempts.
    """

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.steps is None and self.seconds is None:
            raise ValueError("a budget needs steps, seconds or both")

    @property
    def is_empty(self) -> bool:
        """Whether there is no time for any step: the untrained network is all that is wanted."""
        return 0 in (self.steps, self.seconds)

    def progress(self, step: int, seconds: float) -> float:
        """Share of the budget that is used, 0 to 1. A budget in steps alone depends only on ``step``."""
        by_steps = step / self.steps if self.steps is not None else 0.0
        by_time = seconds / self.seconds if self.seconds else float(self.seconds is not None)
        return min(1.0, max(by_steps, by_time))

    def part(self, share: float) -> Budget:
        """This share of the budget; at least one step."""
        steps = None if self.steps is None else max(1, round(self.steps * share))
        seconds = None if self.seconds is None else self.seconds * share
        return Budget(steps, seconds)

    def less(self, seconds: float) -> Budget:
        """The same budget with this much time reserved for other work, at most half of the budget's time."""
        if self.seconds is None or not seconds:
            return self
        return Budget(self.steps, max(1e-3, self.seconds - min(0.5 * self.seconds, seconds)))


@dataclass
class Schedule:
    """Learning rate schedule: warm up, hold, then decay linearly to zero ("warmup-stable-decay"); or constant.

    The cool-down is the last ``cooldown`` share of the budget. When validation stops improving before
    that, ``finish_early`` starts a proportionate cool-down at once. The run then ends sooner and still
    benefits from the falling learning rate.

    Attributes:
        kind: ``held`` as above, or ``constant`` (the paper).
        warmup: share of the budget during which the rate rises.
        cooldown: share of the training, at its actual length, during which the rate falls.
        end: progress at which training ends; less than 1 after ``finish_early``.
    """

    kind: str
    warmup: float = 0.02
    cooldown: float = 0.3
    end: float = 1.0

    def rate(self, progress: float) -> float:
        """Factor on the learning rate at this progress."""
        if self.kind == "constant":
            return 1.0
        warming_up = (progress + 1e-3) / self.warmup
        cooling_down = (self.end - progress) / (self.cooldown * self.end)
        return max(0.0, min(1.0, warming_up, cooling_down))

    def can_finish_early(self, progress: float) -> bool:
        """Whether the schedule has not reached its cool-down yet."""
        return self.kind == "held" and progress < self.end * (1 - self.cooldown)

    def finish_early(self, progress: float) -> None:
        """Start the cool-down now. The budget then ends where the cool-down does."""
        self.end = progress / (1 - self.cooldown)

    def done(self, progress: float) -> bool:
        return progress >= self.end

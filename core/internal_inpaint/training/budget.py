"""How long to train, and how the step size follows from how much of that is used up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """What ends the training, whichever comes first; ``None`` is no limit.

    Attributes:
        steps: optimiser steps in all, earlier attempts included.
        seconds: training time in all, earlier attempts included.
    """

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.steps is None and self.seconds is None:
            raise ValueError("a budget needs steps, seconds or both")

    def progress(self, step: int, seconds: float) -> float:
        """Share of the budget used up, 0 to 1. With a step budget alone it depends on nothing but ``step``."""
        by_steps = step / self.steps if self.steps is not None else 0.0
        by_time = seconds / self.seconds if self.seconds else float(self.seconds is not None)
        return min(1.0, max(by_steps, by_time))

    def less(self, seconds: float) -> Budget:
        """The same budget with so much of its time, but not more than half of it, kept for something else."""
        if self.seconds is None or not seconds:
            return self
        return Budget(self.steps, max(1e-3, self.seconds - min(0.5 * self.seconds, seconds)))


@dataclass
class Schedule:
    """Warm up, hold, then cool down linearly to zero ("warmup-stable-decay"); or a constant rate.

    The cool-down is the last ``cooldown`` share of the budget. When validation stops improving before
    that, ``finish_early`` starts a proportionate cool-down at once: the run ends sooner and still gets
    the gain that the falling step size brings.

    Attributes:
        kind: ``held`` as above, or ``constant`` (the paper).
        warmup: share of the budget in which the rate rises.
        cooldown: share of the training, whatever its length, in which it falls.
        end: progress at which training ends; less than 1 after ``finish_early``.
    """

    kind: str
    warmup: float = 0.02
    cooldown: float = 0.3
    end: float = 1.0

    def rate(self, progress: float) -> float:
        """Factor on the step size at this progress."""
        if self.kind == "constant":
            return 1.0
        rising = (progress + 1e-3) / self.warmup
        falling = (self.end - progress) / (self.cooldown * self.end)
        return max(0.0, min(1.0, rising, falling))

    def can_finish_early(self, progress: float) -> bool:
        """Whether there is still a plateau to cut short."""
        return self.kind == "held" and progress < self.end * (1 - self.cooldown)

    def finish_early(self, progress: float) -> None:
        """Start the cool-down now, as long as if the budget had been chosen so."""
        self.end = progress / (1 - self.cooldown)

    def done(self, progress: float) -> bool:
        return progress >= self.end

"""The state of a training other than its tensors: progress, counters, and the caller's hooks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from internal_inpaint.training.trainer import Trainer

CHECKPOINT_SECONDS = 30.0


class Recipe(Protocol):
    """The part of a configuration that the trainer uses.

    Attributes:
        optimiser: ``muon`` (Muon on the hidden filters, Adam on the rest) or ``adam``.
        lr, adam_lr: learning rate of the optimiser; of Adam when it is used together with Muon.
        schedule: kind of ``budget.Schedule``.
        patience: validations without improvement after which the training ends early; 0: never.
        average: decay per step of the averaged weights, which are then the result of the training; 0: no averaging.
        score_first: whether to score the untrained network too.
    """

    optimiser: str
    lr: float
    adam_lr: float
    schedule: str
    patience: int
    average: float
    score_first: bool


@dataclass(frozen=True)
class Progress:
    """Progress of a training, reported about once a second.

    Attributes:
        step, steps: steps done; total steps if the budget is in steps, else ``None``.
        progress: share of the training that is done, 0 to 1.
        loss: mean training loss since the last report; the unit is the working space's range halved.
        psnr: last validation PSNR in dB inside the validation holes, ``None`` before the first validation.
        eta_s: estimated seconds left.
    """

    step: int
    steps: int | None
    progress: float
    loss: float
    psnr: float | None
    eta_s: float | None


@dataclass
class Counters:
    """The state of a training without its tensors; plain values, saved as JSON."""

    step: int = 0
    seconds: float = 0.0
    validations: int = 0
    psnr: float | None = None
    best_psnr: float | None = None
    best_step: int = 0
    best_phase: int = 0  # ``Method.phase`` of the best weights
    stale: int = 0
    rate_scale: float = 1.0
    retries: int = 0
    batch: int = 0
    crop: tuple[int, int] = (0, 0)
    schedule_end: float = 1.0
    budget: list = field(default_factory=list)  # [steps, seconds] of the last run
    window: list = field(default_factory=lambda: [0.0, 0])  # [sum, count] of the losses since the last comparison
    lowest: float | None = None
    bf16: bool = False
    threads: int = 0  # of the CPU: the order of sums depends on their number
    warm: bool = False  # started with the weights of a similar shot (warm start)
    prior: str = ""  # digest of the coarser level's weights that the score is based on
    rng: dict = field(default_factory=dict)
    history: list = field(default_factory=list)  # [step, seconds, loss, psnr] of each validation
    task: dict = field(default_factory=dict)  # ``Task.state_dict``

    @property
    def learned(self) -> bool:
        """Whether the weights hold anything of a shot, this one or a similar one."""
        return self.step > 0 or self.warm


@dataclass
class Hooks:
    """Callbacks of the trainer's caller. ``should_stop`` is called at every step and must be cheap."""

    report: Callable[[Progress], None] = lambda progress: None
    warn: Callable[[str], None] = lambda message: None
    checkpoint: Callable[[Trainer], None] = lambda trainer: None
    validated: Callable[[Trainer], None] = lambda trainer: None
    should_stop: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.perf_counter
    checkpoint_seconds: float = CHECKPOINT_SECONDS

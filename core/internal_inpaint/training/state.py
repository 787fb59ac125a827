"""What a training tells and keeps beside its tensors: progress, counters, and what its caller wants to hear."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from internal_inpaint.training.trainer import Trainer

CHECKPOINT_SECONDS = 30.0


class Recipe(Protocol):
    """What a trainer wants to know of a configuration.

    Attributes:
        optimiser: ``muon`` (Muon on the hidden filters, Adam on the rest) or ``adam``.
        lr, adam_lr: step size of the optimiser; of Adam beside Muon.
        schedule: kind of ``budget.Schedule``.
        patience: validations without improvement after which the training winds up; 0 is never.
        average: decay a step of averaged weights, which are then what the training is for; 0: none.
        score_first: score the untrained network too.
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
    """What the loop tells its caller about once a second.

    Attributes:
        step, steps: steps done and, where the budget is in steps, in all.
        progress: share of the training done, 0 to 1.
        loss: mean training loss since the last report; the unit is the working space's range halved.
        psnr: last validation PSNR in dB inside the held-out holes, ``None`` before the first.
        eta_s: seconds left, as far as can be told.
    """

    step: int
    steps: int | None
    progress: float
    loss: float
    psnr: float | None
    eta_s: float | None


@dataclass
class Counters:
    """The state of a training beside its tensors; plain numbers, saved as JSON."""

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
    window: list = field(default_factory=lambda: [0.0, 0])  # [sum, count] of the losses not yet compared
    lowest: float | None = None
    bf16: bool = False
    threads: int = 0  # of the CPU: another number sums in another order
    warm: bool = False  # begun with the weights of a shot that is nearly the same
    prior: str = ""  # digest of the coarser level's weights that this one was scored with
    rng: dict = field(default_factory=dict)
    history: list = field(default_factory=list)  # [step, seconds, loss, psnr] a validation
    task: dict = field(default_factory=dict)  # ``Task.state_dict``


@dataclass
class Hooks:
    """What the caller wants to hear of. ``should_stop`` is asked every step and must be cheap."""

    report: Callable[[Progress], None] = lambda progress: None
    warn: Callable[[str], None] = lambda message: None
    checkpoint: Callable[[Trainer], None] = lambda trainer: None
    validated: Callable[[Trainer], None] = lambda trainer: None
    should_stop: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.perf_counter
    checkpoint_seconds: float = CHECKPOINT_SECONDS

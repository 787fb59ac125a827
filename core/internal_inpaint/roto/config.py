"""Settings of one-frame roto, and its default budget for each ``--quality``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from internal_inpaint.methods.matte.method import MatteConfig
from internal_inpaint.training.budget import Budget


@dataclass(frozen=True)
class RotoConfig:
    """All settings of one-frame roto except the shot, the seed and the budget.

    Attributes:
        method: the network and its loss.
        optimiser, schedule, patience, score_first: see ``training.state.Recipe``. Nothing is held out, so there is
            no validation score.
        lr, adam_lr: learning rates of Muon on the hidden filters and of Adam on the rest.
        batch: crops per step.
        crop_share: (height, width) of a training crop as shares of the frame's.
        pasted: share of the samples with a pasted object, as in the paper; the others are labelled frames.
        without_guess: share of the samples in which the network gets no guess from a neighbouring frame.
        without_motion: share of the samples in which the motion plane is 0 everywhere.
        reference_share: share of the samples that come from the reference frames once other frames are labelled.
        learn: share of the training before the first other frame is labelled.
        settle: share of the training by which the last round of labelling is complete.
        rounds: how often each frame is labelled during the training.
        average: decay per step of the averaged weights, which are used for labelling.
        trust: minimum confidence of a labelled frame that is used for training.
        threshold: probability at which the matte is 0.5. It is below one half, because a missing piece of the
            object ruins the fill, and a few extra pixels do not.
        softness: half the width of the matte's soft edge, in probability.
        doubt: confidence below which a frame is reported as doubtful.
        pixels: maximum pixels of a frame for the network on (CUDA, CPU); larger frames are reduced.
    """

    method: MatteConfig = field(default_factory=MatteConfig)
    optimiser: str = "muon"
    schedule: str = "held"
    patience: int = 0
    score_first: bool = False
    lr: float = 1e-2
    adam_lr: float = 2e-3
    batch: int = 4
    crop_share: tuple[float, float] = (0.67, 0.52)
    pasted: float = 0.6
    without_guess: float = 0.35
    without_motion: float = 0.5
    reference_share: float = 0.5
    learn: float = 0.4
    settle: float = 0.9
    rounds: int = 2
    average: float = 0.98
    trust: float = 0.45
    threshold: float = 0.18
    softness: float = 0.08
    doubt: float = 0.6
    pixels: tuple[int, int] = (960 * 540, 432 * 240)

    def to_dict(self) -> dict:
        return asdict(self)


# Steps on CUDA (the paper's 6,000 iterations, A.2) and seconds on a CPU.
_STEPS = {"draft": 2_000, "standard": 6_000, "final": 6_000, "paper": 6_000}
_SECONDS = {"draft": 90.0, "standard": 300.0, "final": 600.0, "paper": 600.0}


def default_budget(quality: str, on_cuda: bool) -> Budget:
    """Default budget for the mattes at a ``--quality``. Raises ``KeyError`` if there is no such preset."""
    return Budget(steps=_STEPS[quality]) if on_cuda else Budget(seconds=_SECONDS[quality])

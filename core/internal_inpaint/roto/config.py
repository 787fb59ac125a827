"""How a matte is propagated: the settings, and what each ``--quality`` takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from internal_inpaint.methods.matte.method import MatteConfig
from internal_inpaint.training.budget import Budget


@dataclass(frozen=True)
class RotoConfig:
    """Everything that decides how a matte is learned, but the shot, the seed and the budget.

    Attributes:
        method: the network and its loss.
        optimiser, schedule, patience, score_first: as ``training.state.Recipe`` says; nothing is held out, so there
            is no score.
        lr, adam_lr: step sizes of Muon on the hidden filters and of Adam on the rest.
        batch: crops a step.
        crop_share: sides of a training crop over those of the frame.
        pasted: share of the samples with a pasted object (the paper's); the others are labelled frames.
        without_guess: share of the samples in which the network gets no guess from a neighbour.
        without_motion: share of the samples in which nothing seems to move but the camera.
        reference_share: share of the samples drawn from the reference frames once other frames are known.
        learn: share of the training before the first other frame is labelled.
        settle: share of the training by which the last frame has been labelled for the last time.
        rounds: how often each frame is labelled on the way.
        average: decay a step of the averaged weights, which do the labelling.
        trust: least confidence of a frame that is learned from.
        threshold: probability that becomes 0.5 of the matte's edge. Below one half: a missed
            piece of the object ruins the fill, a few pixels too many do not.
        softness: width of the matte's edge in probability, on either side of ``threshold``.
        doubt: confidence below which a frame is reported as doubtful.
        pixels: of a frame as the network sees it, at most, on (CUDA, CPU): larger ones are reduced.
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
    """What a ``--quality`` takes for the matte. Raises ``KeyError`` if there is no such preset."""
    return Budget(steps=_STEPS[quality]) if on_cuda else Budget(seconds=_SECONDS[quality])

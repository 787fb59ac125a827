"""Levels, the resolutions that a shot is learned at (section 4.1): a large plate is learned coarse to fine."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from internal_inpaint.methods.implicit.networks import NetworkConfig
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import TrainingConfig

# A plate whose sides are larger than a single level's by at most this factor is learned at one level too.
SINGLE_LEVEL_MARGIN = 1.2


@dataclass(frozen=True)
class Level:
    """One resolution that a shot is learned at.

    Attributes:
        size: (height, width) of its frames.
        config: its training settings; from the second level on, the network also gets the coarser level's picture.
        share: share of the run's budget, 0 to 1.
    """

    size: tuple[int, int]
    config: TrainingConfig
    share: float

    @property
    def name(self) -> str:
        """For example ``854x480``; also the name of its folders."""
        return f"{self.size[1]}x{self.size[0]}"

    def budget(self, total: Budget) -> Budget:
        """This level's part of a run's budget."""
        return total.part(self.share)


def plan_levels(
    canvas: tuple[int, int], config: TrainingConfig, on_cuda: bool, first: tuple[int, int] | None = None
) -> tuple[Level, ...]:
    """The levels for a plate, the coarsest first. If the training is progressive, the last has the plate's size.

    Each level is about twice as high and wide as the one before (the paper: 960x540, 1920x1080, 3840x2160).

    Args:
        canvas: (height, width) of the plate.
        first: size of the first level, if an earlier run has set it.
    """
    if first is None:
        most = config.working_pixels[0 if on_cuda else 1]
        if config.progressive is not None and canvas[0] * canvas[1] > config.progressive.above_pixels:
            most = config.progressive.first_pixels or most
        first = fitted(canvas, most)
        if config.progressive is not None and canvas[0] * canvas[1] <= most * SINGLE_LEVEL_MARGIN**2:
            first = canvas
    finer = config.progressive
    if finer is None or canvas[0] * canvas[1] <= finer.above_pixels or tuple(first) == tuple(canvas):
        return (Level(tuple(first), config, 1.0),)
    ratio = math.sqrt(canvas[0] * canvas[1] / (first[0] * first[1]))
    count = max(1, round(math.log2(ratio)))
    sizes = [
        tuple(round(side * (full / side) ** (k / count)) for side, full in zip(first, canvas, strict=True))
        for k in range(1, count + 1)
    ]
    weights = [1.0] + [finer.weight[0 if on_cuda else 1] * finer.growth**k for k in range(count)]
    shares = [weight / sum(weights) for weight in weights]
    coarse = replace(
        config,
        batch=finer.batch or config.batch,
        lr=finer.lr or config.lr,
        # Settings that train on whole frames do so at the first level too (A.4: 960x540).
        crop_pixels=max(config.crop_pixels, finer.first_pixels or 0),
    )
    network = NetworkConfig(finer.network, config.method.network.width, extra_planes=3, refines=finer.refines)
    refining = replace(coarse, method=replace(coarse.method, network=network))
    refining = _in_patches(refining, finer.patch[0 if on_cuda else 1])
    return tuple(
        Level(size, recipe, share)
        for size, recipe, share in zip([tuple(first), *sizes], [coarse] + [refining] * count, shares, strict=True)
    )


def _in_patches(config: TrainingConfig, size: tuple[int, int]) -> TrainingConfig:
    """The same settings on patches of one size, independent of the size of the hole."""
    return replace(config, crop_scale=0.0, crop_smallest=size, crop_pixels=size[0] * size[1])


def fitted(canvas: tuple[int, int], most: int) -> tuple[int, int]:
    """(height, width) of a picture, reduced to at most ``most`` pixels."""
    scale = min(1.0, math.sqrt(most / (canvas[0] * canvas[1])))
    return tuple(max(1, math.floor(side * scale)) for side in canvas)


def whole_steps(levels: tuple[Level, ...], config: TrainingConfig) -> int:
    """Default number of steps of all levels together."""
    first = config.progressive.first_steps if config.progressive and len(levels) > 1 else None
    return config.steps if first is None else round(first / levels[0].share)

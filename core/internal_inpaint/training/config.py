"""Training settings, and the presets of ``--quality``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from cattrs import BaseValidationError, Converter, transform_error

from internal_inpaint.methods.copying.config import CopyConfig
from internal_inpaint.methods.implicit.config import ImplicitConfig
from internal_inpaint.methods.implicit.networks import KINDS, NetworkConfig


@dataclass(frozen=True)
class Progressive:
    """How a plate that is larger than the first level is learned at further levels (section 4.1).

    Attributes:
        above_pixels: a plate with at most this many pixels is learned at one level.
        first_pixels: pixels of the first level; ``None``: ``TrainingConfig.working_pixels``.
        weight: budget of the second level, as a multiple of the first's, on (CUDA, CPU).
        growth: budget of each further level, as a multiple of the one before.
        patch: (height, width) of the training patches of finer levels, on (CUDA, CPU).
        network: kind of the network of finer levels; its width is that of the first level.
        refines: True: finer levels learn a residual to the coarser picture (``NetworkConfig.refines``). False: they
            learn the picture itself, with the coarser one as an additional input, as in the paper.
        batch, lr: of all levels of a progressive training; ``None``: as in ``TrainingConfig``.
        first_steps: steps of the first level; ``None``: ``TrainingConfig.steps`` is the total of all levels.
    """

    above_pixels: int = 0
    first_pixels: int | None = None
    weight: tuple[float, float] = (0.5, 0.15)
    growth: float = 1.0
    patch: tuple[tuple[int, int], tuple[int, int]] = ((256, 256), (128, 128))
    network: str = "base"
    refines: bool = True
    batch: int | None = None
    lr: float | None = None
    first_steps: int | None = None


@dataclass(frozen=True)
class TrainingConfig:
    """All settings of a training except the shot, the seed and the budget.

    Attributes:
        method: settings of the method.
        optimiser: ``muon`` (Muon on the hidden filters, Adam on the rest) or ``adam`` (the paper).
        lr: learning rate; with ``muon``, that of the hidden filters.
        adam_lr: learning rate of Adam when it is used together with Muon.
        schedule: ``held`` or ``constant``: see ``Schedule``.
        batch: maximum number of crops per step.
        batch_pixels: maximum number of pixels per step on (CUDA, CPU). Large holes need large crops. Once the device
            is fully used, more steps of fewer crops learn more in the same time.
        crop_scale: side of a training crop as a multiple of the largest hole's side, for each axis separately;
            ``None`` trains on whole frames.
        crop_smallest: minimum (height, width) of a crop in pixels, so that small holes keep context.
        crop_pixels: maximum area of a crop; larger frames and holes are trained on smaller crops.
        holes: the synthetic holes: ``object`` (the shot's mattes moved at random, equation 1) or ``strokes``
            (free-form strokes, for comparison: appendix B).
        patience: validations without improvement after which the training ends early; 0: never.
        average: decay per step of the averaged weights; 0: no averaging.
        steps: length of the training on a CUDA device, or where the job sets no other.
        cpu_seconds: length of the training on a CPU, if neither steps nor time are given; ``None``: ``steps``.
        working_pixels: maximum pixels of the first level on (CUDA, CPU); larger plates are reduced to it.
        progressive: how larger plates are learned at further levels; ``None``: the reduced fill is enlarged.
    """

    method: ImplicitConfig | CopyConfig = field(default_factory=ImplicitConfig)
    optimiser: str = "muon"
    lr: float = 4e-3
    adam_lr: float = 2e-3
    schedule: str = "held"
    batch: int = 8
    batch_pixels: tuple[int, int] = (8 * 512 * 512, 100_000)
    crop_scale: float | None = 2.0
    crop_smallest: tuple[int, int] = (96, 96)
    crop_pixels: int = 512 * 512
    holes: str = "object"
    patience: int = 8
    average: float = 0.0
    steps: int = 10_000
    cpu_seconds: float | None = 600.0
    working_pixels: tuple[int, int] = (960 * 540, 432 * 240)
    progressive: Progressive | None = field(default_factory=Progressive)

    @property
    def score_first(self) -> bool:
        """Whether to score the untrained network: one that refines starts as good as the coarser level's picture, one
        that copies as good as the best copy."""
        return self.copies or self.method.network.refines

    @property
    def takes_encoder(self) -> bool:
        """Whether the training has the anti-ambiguity term, for which VGG-19 weights can be given."""
        return isinstance(self.method, ImplicitConfig) and bool(self.method.ambiguity)

    @property
    def copies(self) -> bool:
        """Whether the method copies from other frames."""
        return isinstance(self.method, CopyConfig)

    def to_dict(self) -> dict:
        return asdict(self)

    @staticmethod
    def from_dict(data: dict) -> TrainingConfig:
        """The inverse of ``to_dict``, also through JSON. Raises ``ValueError`` on unknown or malformed entries."""
        try:
            return _CONVERTER.structure(data, TrainingConfig)
        except BaseValidationError as error:
            raise ValueError("; ".join(transform_error(error))) from error


_CONVERTER = Converter(forbid_extra_keys=True)
_CONVERTER.register_structure_hook(
    ImplicitConfig | CopyConfig,
    lambda data, _: _CONVERTER.structure(data, CopyConfig if "copies" in data else ImplicitConfig),
)


_HALF_BASE = ImplicitConfig(NetworkConfig("base", width=0.5))

# ``--method implicit``.
PRESETS: dict[str, TrainingConfig] = {
    # A quick first result.
    "draft": TrainingConfig(
        method=_HALF_BASE,
        steps=2_000,
        cpu_seconds=120.0,
        working_pixels=(640 * 360, 320 * 180),
        progressive=None,
    ),
    "standard": TrainingConfig(method=_HALF_BASE),
    "final": TrainingConfig(
        method=ImplicitConfig(NetworkConfig("base")),
        steps=30_000,
        cpu_seconds=3600.0,
        working_pixels=(1280 * 720, 640 * 360),
    ),
    # The paper's settings: appendix A.2, with the authors' published defaults (frame size, batch,
    # both outputs supervised) where the paper gives none. Without VGG-19 weights the encoder is our own.
    "paper": TrainingConfig(
        method=ImplicitConfig(
            NetworkConfig("coarse-to-fine"), initialisation="glorot", hole_weight=None, ambiguity=0.1, stabilise=0.2
        ),
        optimiser="adam",
        lr=2e-4,
        schedule="constant",
        batch=5,
        batch_pixels=(10**9, 10**9),
        crop_scale=None,
        crop_pixels=320 * 600,
        patience=0,
        steps=80_000,
        cpu_seconds=None,
        working_pixels=(320 * 600, 320 * 600),
        # A.2 and A.4, for plates beyond 1K: 30,000, 45,000 and 60,000 steps at about 1K, 2K and 4K.
        progressive=Progressive(
            above_pixels=1280 * 720,
            first_pixels=960 * 540,
            weight=(1.5, 1.5),
            growth=4 / 3,
            patch=((540, 960), (540, 960)),
            network="coarse-to-fine",
            refines=False,
            batch=2,
            lr=1e-4,
            first_steps=30_000,
        ),
    ),
}


_COPYING = TrainingConfig(method=CopyConfig(), patience=0, progressive=None)

# ``--method copy``, the default but for ``paper``. A shot is learned at one level: detail comes from the plate.
COPY_PRESETS: dict[str, TrainingConfig] = {
    # The copy; a GPU learns a little beside it.
    "draft": replace(_COPYING, steps=500, cpu_seconds=0.0, working_pixels=(480 * 270, 240 * 135)),
    "standard": replace(_COPYING, steps=6_000, cpu_seconds=300.0, working_pixels=(480 * 270, 240 * 135)),
    "final": replace(
        _COPYING,
        method=CopyConfig(NetworkConfig("base", shortcuts=True)),
        steps=20_000,
        cpu_seconds=3600.0,
        working_pixels=(640 * 360, 480 * 270),
    ),
}

SMALLEST_BATCH = 2


def batch_size(config: TrainingConfig, crop: tuple[int, int], on_cuda: bool) -> int:
    """Crops per step: ``config.batch``, or as many as ``config.batch_pixels`` allows."""
    fitting = config.batch_pixels[0 if on_cuda else 1] // (crop[0] * crop[1])
    return min(config.batch, max(SMALLEST_BATCH, fitting))


def preset(quality: str, method: str) -> TrainingConfig:
    """The settings of a ``--quality`` preset of a method. Raises ``KeyError`` if there is no such preset."""
    return {"copy": COPY_PRESETS, "implicit": PRESETS}[method][quality]


def with_network(config: TrainingConfig, kind: str) -> TrainingConfig:
    """The same settings with another network (``--network``) of the same width.

    Raises:
        ValueError: ``kind`` is not ``base``, ``stacked`` or ``coarse-to-fine``.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown network {kind!r}: choose one of {', '.join(KINDS)}")
    network = replace(config.method.network, kind=kind)
    return replace(config, method=replace(config.method, network=network))

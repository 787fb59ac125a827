"""Encoders for the anti-ambiguity term: from a picture to one feature vector every four pixels.

The paper uses VGG-19 up to ``relu3_4``, which needs a file of weights. Without that file, one of the built-in
encoders is used (docs/regularisers.md compares them). All have the same interface: ``encoder(picture, known)`` takes
``[B, 3, H, W]`` working space and ``[B, 1, H, W]`` and returns ``[B, C, H // 4, W // 4]``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internal_inpaint.methods.implicit.networks import InpaintNetwork

STRIDE = 4
ENCODERS = ("network", "patches", "random")  # the built-in ones, which need no file

# conv1_1 ... conv3_4 as torchvision numbers them in ``features``; a pooling layer precedes 5 and 10.
VGG_CHANNELS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256)} | dict.fromkeys(
    (12, 14, 16), (256, 256)
)
POOLED = (5, 10)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Vgg19(nn.Module):
    """VGG-19 up to relu3_4 (Simonyan and Zisserman, 2015), frozen.

    It expects display-referred pictures. The working space is a log curve over the shot's own range, which is
    close enough: its values, mapped from [-1, 1] to 0..1, are used as display-referred RGB.

    Attributes:
        name: ``vgg19-`` and a digest of the weights, saved in the configuration of a training.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        digest = hashlib.sha256()
        for index in VGG_CHANNELS:
            for part in ("weight", "bias"):
                tensor = weights[f"features.{index}.{part}"].detach().float().clone()
                digest.update(tensor.contiguous().numpy().tobytes())
                if part == "weight":
                    tensor = tensor.contiguous(memory_format=torch.channels_last)
                self.register_buffer(f"{part}{index}", tensor)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))
        self.name = f"vgg19-{digest.hexdigest()[:12]}"

    def forward(self, picture: Tensor, known: Tensor) -> Tensor:
        """Working space ``[B, 3, H, W]``, known ``[B, 1, H, W]`` to ``[B, 256, H // 4, W // 4]``."""
        return self.features((picture * known + 1) / 2)

    def features(self, displayed: Tensor) -> Tensor:
        """Display-referred RGB 0..1 ``[B, 3, H, W]`` to relu3_4, ``[B, 256, H // 4, W // 4]``."""
        x = ((displayed - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last)
        for index in VGG_CHANNELS:
            if index in POOLED:
                x = F.max_pool2d(x, 2)
            # In place: the weights are frozen, so the backward pass needs only the activations.
            x = F.conv2d(x, getattr(self, f"weight{index}"), getattr(self, f"bias{index}"), padding=1).relu_()
        return x


def own_encoder(name: str, frames: Tensor, state: Tensor, device: torch.device) -> Callable | None:
    """A built-in encoder; ``None`` for ``network``, which has no state of its own.

    Args:
        name: one of ``ENCODERS``.
        frames, state: of the shot, ``[N, H, W, 3]`` and ``[N, H, W]``; used by ``patches``.

    Raises:
        ValueError: unknown name.
    """
    if name == "network":
        return None
    if name == "patches":
        return Patches(frames, state).to(device)
    if name == "random":
        return RandomFilters().to(device)
    raise ValueError(f"unknown encoder {name!r}: choose one of {', '.join(ENCODERS)}")


class NetworkFeatures:
    """The first layers of the network in training, with their current weights, held constant.

    It has no state of its own, so checkpoints need not save it.
    """

    LAYERS = 5  # to C(192, 3, 1, 1) at a quarter of the size

    def __init__(self, network: InpaintNetwork) -> None:
        self._layers = network.first.encoder[: self.LAYERS]
        self._planes = 4 + network.config.extra_planes

    def __call__(self, picture: Tensor, known: Tensor) -> Tensor:
        height, width = (side // STRIDE * STRIDE for side in picture.shape[-2:])
        planes = torch.cat([picture * known, 1 - known], 1)[..., :height, :width]
        planes = F.pad(planes, (0, 0, 0, 0, 0, self._planes - 4)).contiguous(memory_format=torch.channels_last)
        fixed = {name: parameter.detach() for name, parameter in self._layers.named_parameters()}
        return torch.func.functional_call(self._layers, fixed, planes)


class Patches(nn.Module):
    """The strength of each of the shot's own patterns, at every fourth pixel.

    The filters are the whitened principal components of the shot's known 8x8 patches, at full and at half size.
    Whitening makes fine detail, which has little energy, count as much as coarse detail. The responses are
    rectified, positive and negative ones separately, and averaged over a neighbourhood. Without the rectification,
    the features of a mean of pictures would be the mean of their features, and a fill that is pulled towards
    different frames in turn would become the blur that this term is to prevent. Nothing is trained.
    """

    SIDE, COMPONENTS, SAMPLES = 8, 48, 16_384
    MEAN_RESPONSE = 0.4  # mean of a rectified response: half of E|x| of a standard normal variable

    def __init__(self, frames: Tensor, state: Tensor) -> None:
        super().__init__()
        for scale in range(2):
            filters, mean = self._components(frames, state, 2**scale)
            self.register_buffer(f"filters{scale}", filters)
            self.register_buffer(f"mean{scale}", mean)

    def forward(self, picture: Tensor, known: Tensor) -> Tensor:
        height, width = (side // STRIDE for side in picture.shape[-2:])
        features = []
        for scale in range(2):
            responses = self.responses(picture * known, scale)
            parts = torch.cat([responses, -responses], 1).relu()
            # Both scales have a response at every second pixel. Average over twelve pixels, at every fourth.
            pooled = F.avg_pool2d(F.pad(parts, (2, 4, 2, 4), mode="replicate"), 6, stride=2)
            features.append(pooled[..., :height, :width])
        # Cosine distance ignores contrast: a fill could match with an invisibly faint texture. With a constant
        # channel as long as an average feature vector, the distance depends on contrast too.
        length = self.MEAN_RESPONSE * (4 * self.COMPONENTS) ** 0.5
        constant = features[0].new_full((len(picture), 1, height, width), length)
        return torch.cat([*features, constant], 1)

    def responses(self, picture: Tensor, scale: int) -> Tensor:
        """Whitened components of the patches of ``[B, 3, H, W]``, at every second pixel.

        Args:
            scale: 0: patches at full size; 1: at half size.

        Returns:
            ``[B, COMPONENTS, ~H/2, ~W/2]``.
        """
        if scale:
            picture = F.avg_pool2d(picture, 2, ceil_mode=True)
        stride = 2 >> scale
        border = (self.SIDE - stride) // 2
        padded = F.pad(picture, (border, border + stride, border, border + stride), mode="replicate")
        return F.conv2d(padded, getattr(self, f"filters{scale}"), getattr(self, f"mean{scale}"), stride=stride)

    def _components(self, frames: Tensor, state: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Whitening filters ``[COMPONENTS, 3, SIDE, SIDE]`` and their biases, of frames reduced ``step`` times."""
        generator = torch.Generator().manual_seed(0)
        chosen = torch.linspace(0, len(frames) - 1, min(len(frames), 16)).round().long().tolist()
        patches = []
        for index in chosen:
            picture = F.avg_pool2d(frames[index].cpu().float().permute(2, 0, 1)[None], step)
            unknown = F.max_pool2d((state[index] != 0).cpu().float()[None, None], step)
            columns = F.unfold(torch.cat([picture, unknown], 1), self.SIDE)[0].T
            known = columns[:, 3 * self.SIDE**2 :].amax(1) == 0
            columns = columns[known, : 3 * self.SIDE**2]
            patches.append(columns[torch.randperm(len(columns), generator=generator)[: self.SAMPLES // len(chosen)]])
        data = torch.cat(patches).double()
        if len(data) < 2:  # no patch is completely known: use the pixel values themselves
            data = torch.eye(3 * self.SIDE**2, dtype=torch.float64)
        mean = data.mean(0)
        values, vectors = torch.linalg.eigh((data - mean).T @ (data - mean) / len(data))
        values, vectors = values[-self.COMPONENTS :].clamp(min=0), vectors[:, -self.COMPONENTS :]
        # The regularisation keeps components that are weaker than noise from being amplified.
        filters = (vectors / (values + 1e-4 * values[-1] + 1e-8).sqrt()).T
        return filters.float().reshape(-1, 3, self.SIDE, self.SIDE), (-filters @ mean).float()


class RandomFilters(nn.Module):
    """A small network in the style of VGG, with random filters that are the same in every run."""

    WIDTHS = (32, 64, 128)

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        channels = 3
        for layer, width in enumerate(self.WIDTHS):
            filters = torch.randn(width, channels, 3, 3, generator=generator)
            # Factor 2: each rectifier loses half of the power. Reducing the mean makes a filter respond to edges.
            filters = (filters - filters.mean((2, 3), keepdim=True) * 0.5) * (2 / (9 * channels)) ** 0.5
            self.register_buffer(f"filters{layer}", filters)
            channels = width

    def forward(self, picture: Tensor, known: Tensor) -> Tensor:
        x = picture * known
        for layer in range(len(self.WIDTHS)):
            if layer:
                x = F.avg_pool2d(x, 2)
            x = F.conv2d(x, getattr(self, f"filters{layer}"), padding=1).relu_()
        return x

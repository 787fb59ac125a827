"""Encoders for the anti-ambiguity term: from a picture to one feature vector every four pixels.

VGG-19 up to ``relu3_4`` is the paper's. It needs outside weights, which nobody has to have: without them
an encoder of our own serves (docs/regularisers.md says how each does). All share one form:
``encoder(picture, known)`` takes ``[B, 3, H, W]`` working space and ``[B, 1, H, W]`` and returns
``[B, C, H // 4, W // 4]``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internal_inpaint.methods.implicit.networks import InpaintNetwork

STRIDE = 4
ENCODERS = ("network", "patches", "random")  # those that need no file

# conv1_1 ... conv3_4 as torchvision numbers them in ``features``; a pooling stands before 5 and 10.
VGG_CHANNELS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256)} | dict.fromkeys(
    (12, 14, 16), (256, 256)
)
POOLED = (5, 10)
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Vgg19(nn.Module):
    """VGG-19 up to relu3_4 (Simonyan and Zisserman, 2015), frozen.

    It was made for displayed pictures. The working space is a log curve over the shot's own range, close
    enough to a display's: its values, moved from [-1, 1] to 0..1, are taken for displayed RGB.

    Attributes:
        name: ``vgg19-`` and a digest of the weights; it stands in the configuration of what was trained with it.
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
        self.register_buffer("spread", torch.tensor(SPREAD).view(1, 3, 1, 1))
        self.name = f"vgg19-{digest.hexdigest()[:12]}"

    def forward(self, picture: Tensor, known: Tensor) -> Tensor:
        """Working space ``[B, 3, H, W]``, known ``[B, 1, H, W]`` to ``[B, 256, H // 4, W // 4]``."""
        return self.features((picture * known + 1) / 2)

    def features(self, displayed: Tensor) -> Tensor:
        """Displayed RGB 0..1 ``[B, 3, H, W]`` to relu3_4, ``[B, 256, H // 4, W // 4]``."""
        x = ((displayed - self.mean) / self.spread).contiguous(memory_format=torch.channels_last)
        for index in VGG_CHANNELS:
            if index in POOLED:
                x = F.max_pool2d(x, 2)
            # In place: the weights are frozen, so that the backward pass needs the activations only.
            x = F.conv2d(x, getattr(self, f"weight{index}"), getattr(self, f"bias{index}"), padding=1).relu_()
        return x


def own_encoder(name: str, frames: Tensor, state: Tensor, device: torch.device) -> Callable | None:
    """An encoder without outside weights; ``None`` for ``network``, which has no state of its own.

    Args:
        name: one of ``ENCODERS``.
        frames, state: of the shot, ``[N, H, W, 3]`` and ``[N, H, W]``, for ``patches``.

    Raises:
        ValueError: another name.
    """
    if name == "network":
        return None
    if name == "patches":
        return Patches(frames, state).to(device)
    if name == "random":
        return RandomFilters().to(device)
    raise ValueError(f"unknown encoder {name!r}: choose one of {', '.join(ENCODERS)}")


class NetworkFeatures:
    """The first layers of the network in training, as they are at each step, taken for fixed.

    No state of its own: what a checkpoint holds is enough to go on.
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
    """How much of each of the shot's own patterns there is, about every fourth pixel.

    Filters are the principal components of the shot's known 8x8 patches, at full and at half size,
    whitened: fine detail, which has little energy, counts as much as what is coarse. Their responses are
    rectified, either sign by itself, and averaged over a neighbourhood. Without that the features of
    a mean of pictures would be the mean of their features: drawn now to one frame and now to another, a fill
    would become the very blur that the term is against. Nothing is trained.
    """

    SIDE, KEPT, SAMPLES = 8, 48, 16_384
    USUAL = 0.4  # mean of a rectified response: half of E|x| of a standard normal variable

    def __init__(self, frames: Tensor, state: Tensor) -> None:
        super().__init__()
        for level in range(2):
            filters, mean = self._components(frames, state, 2**level)
            self.register_buffer(f"filters{level}", filters)
            self.register_buffer(f"mean{level}", mean)

    def forward(self, picture: Tensor, known: Tensor) -> Tensor:
        height, width = (side // STRIDE for side in picture.shape[-2:])
        found = []
        for level in range(2):
            responses = self.responses(picture * known, level)
            parts = torch.cat([responses, -responses], 1).relu()
            # Both levels answer every second pixel: pooled to every fourth, over twelve pixels.
            pooled = F.avg_pool2d(F.pad(parts, (2, 4, 2, 4), mode="replicate"), 6, stride=2)
            found.append(pooled[..., :height, :width])
        # Cosines do not see contrast, and a fill could match with a texture too faint to be seen. Beside a
        # constant as long as a usual feature vector, they do.
        constant = found[0].new_full((len(picture), 1, height, width), self.USUAL * (4 * self.KEPT) ** 0.5)
        return torch.cat([*found, constant], 1)

    def responses(self, picture: Tensor, level: int) -> Tensor:
        """Whitened components of the patches of ``[B, 3, H, W]``, every second pixel: ``[B, KEPT, ~H/2, ~W/2]``."""
        if level:
            picture = F.avg_pool2d(picture, 2, ceil_mode=True)
        stride = 2 >> level
        border = (self.SIDE - stride) // 2
        padded = F.pad(picture, (border, border + stride, border, border + stride), mode="replicate")
        return F.conv2d(padded, getattr(self, f"filters{level}"), getattr(self, f"mean{level}"), stride=stride)

    def _components(self, frames: Tensor, state: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Whitening filters ``[KEPT, 3, SIDE, SIDE]`` and their constants, of frames reduced ``step`` times."""
        generator = torch.Generator().manual_seed(0)
        chosen = torch.linspace(0, len(frames) - 1, min(len(frames), 16)).round().long().tolist()
        patches = []
        for index in chosen:
            picture = F.avg_pool2d(frames[index].cpu().float().permute(2, 0, 1)[None], step)
            unknown = F.max_pool2d((state[index] != 0).cpu().float()[None, None], step)
            columns = F.unfold(torch.cat([picture, unknown], 1), self.SIDE)[0].T
            whole = columns[:, 3 * self.SIDE**2 :].amax(1) == 0
            columns = columns[whole, : 3 * self.SIDE**2]
            patches.append(columns[torch.randperm(len(columns), generator=generator)[: self.SAMPLES // len(chosen)]])
        data = torch.cat(patches).double()
        if len(data) < 2:  # nothing is known that is as large as a patch: the pixels as they are
            data = torch.eye(3 * self.SIDE**2, dtype=torch.float64)
        mean = data.mean(0)
        values, vectors = torch.linalg.eigh((data - mean).T @ (data - mean) / len(data))
        values, vectors = values[-self.KEPT :].clamp(min=0), vectors[:, -self.KEPT :]
        # Of what is weaker than noise nothing can be told: it is not blown up.
        filters = (vectors / (values + 1e-4 * values[-1] + 1e-8).sqrt()).T
        return filters.float().reshape(-1, 3, self.SIDE, self.SIDE), (-filters @ mean).float()


class RandomFilters(nn.Module):
    """VGG's plan in small, with random filters that are the same in every run."""

    WIDTHS = (32, 64, 128)

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        channels = 3
        for level, width in enumerate(self.WIDTHS):
            filters = torch.randn(width, channels, 3, 3, generator=generator)
            # Half of the power is lost at each rectifier; a filter that sees edges has no mean.
            filters = (filters - filters.mean((2, 3), keepdim=True) * 0.5) * (2 / (9 * channels)) ** 0.5
            self.register_buffer(f"filters{level}", filters)
            channels = width

    def forward(self, picture: Tensor, known: Tensor) -> Tensor:
        x = picture * known
        for level in range(len(self.WIDTHS)):
            if level:
                x = F.avg_pool2d(x, 2)
            x = F.conv2d(x, getattr(self, f"filters{level}"), padding=1).relu_()
        return x

"""What a training hands on: the one object that rendering, confidence, report and export are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internal_inpaint.methods.base import Method
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.rendering.inference import enlarge, fill_frame
from internal_inpaint.resample import reduce_max
from internal_inpaint.shot import WorkingSpace

NEAR = 4  # pixels of a coarser level, beside those wanted, that enlarging and the finer network's prior read


@dataclass(frozen=True)
class TrainedLevel:
    """A resolution that the shot was learned at.

    Attributes:
        method, network: what fills frames; the network is in ``eval`` mode on its device, with the best weights.
        frames: ``[N, h, w, 3]`` working space; state: ``[N, h, w]`` uint8 of ``PixelState``.
        views: pictures a frame; pictures of one view are ``views`` apart.
        digest: of the weights.
        steps, seconds: of the training, over all attempts.
        psnr: in dB inside held-out holes, of these weights; ``None`` where there were none.
        history: ``[step, seconds, loss, psnr]`` a validation.
    """

    method: Method
    network: nn.Module
    frames: np.ndarray
    state: np.ndarray
    views: int = 1
    digest: str = ""
    steps: int = 0
    seconds: float = 0.0
    psnr: float | None = None
    history: list = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return tuple(self.state.shape[1:])

    @property
    def name(self) -> str:
        """``854x480``."""
        return f"{self.size[1]}x{self.size[0]}"

    def clip(self, index: int) -> tuple[Tensor, Tensor]:
        """Frames ``[T, h, w, 3]`` float32 and unknown pixels ``[T, h, w]`` bool that the method looks at."""
        indices = self.method.geometry.pictures(index, len(self.state), self.views)
        frames = torch.from_numpy(np.stack([np.asarray(self.frames[i], np.float32) for i in indices]))
        return frames, torch.from_numpy(np.stack([np.asarray(self.state[i]) != PixelState.KNOWN for i in indices]))

    def known(self, index: int) -> tuple[Tensor, Tensor]:
        """One picture ``[h, w, 3]`` float32 and where it is known ``[h, w]`` bool."""
        pixels = torch.from_numpy(np.asarray(self.frames[index], np.float32))
        return pixels, torch.from_numpy(np.asarray(self.state[index]) == PixelState.KNOWN)


@dataclass(frozen=True)
class TrainedShot:
    """A shot that was learned, ready to be filled (section 4.1: from the coarsest level to the finest).

    Attributes:
        levels: the coarsest first.
        space: the working space of its frames.
        canvas: (height, width) of the plate.
        precision: ``float32`` or ``bfloat16``, as it was trained.
    """

    levels: Sequence[TrainedLevel]
    space: WorkingSpace
    canvas: tuple[int, int]
    precision: str = "float32"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what ``fill`` gives."""
        return self.levels[-1].size

    @property
    def digest(self) -> str:
        """Of everything that decides how it fills, but the shot's own pixels."""
        return " ".join([self.precision, *(level.digest for level in self.levels)])

    @property
    def steps(self) -> int:
        return sum(level.steps for level in self.levels)

    @property
    def seconds(self) -> float:
        return sum(level.seconds for level in self.levels)

    @property
    def psnr(self) -> float | None:
        """Of the finest level."""
        return self.levels[-1].psnr

    def up_to(self, width: int) -> TrainedShot:
        """Only the levels up to the first that is at least ``width`` pixels wide: for pictures shown small."""
        enough = next((n for n, level in enumerate(self.levels) if level.size[1] >= width), len(self.levels) - 1)
        return replace(self, levels=self.levels[: enough + 1])

    def coarsest(self) -> TrainedShot:
        """Only the first level."""
        return replace(self, levels=self.levels[:1])

    def fill(self, index: int, wanted: Tensor) -> Tensor:
        """The picture of one frame as the finest level fills it.

        Args:
            index: of the picture in the store.
            wanted: ``[h, w]`` bool of the finest level: where the fill is needed; nothing is computed elsewhere.

        Returns:
            ``[h, w, 3]`` float32 working space in [-1, 1], zero away from what is wanted.
        """
        return self._fill(len(self.levels) - 1, index, wanted)

    def _fill(self, number: int, index: int, wanted: Tensor) -> Tensor:
        level = self.levels[number]
        frames, unknown = level.clip(index)
        prior = None
        if number:
            below = self.levels[number - 1]
            # The finer network looks at the prior wherever it looks at the frame: the coarser one fills
            # whatever is unknown as far as that, but only there.
            pixels, known = below.known(index)
            near = reduced_to(_looked_at(wanted, level.method.geometry.reach), below.size) & ~known
            fill = self._fill(number - 1, index, near)
            prior = enlarge(torch.where(known[..., None], pixels, fill), level.size)
        return fill_frame(level.method, level.network, frames, unknown, wanted, prior=prior)


def _looked_at(wanted: Tensor, reach: int) -> Tensor:
    """``[h, w]`` bool: the rectangle that a network looks at to fill what is wanted."""
    seen, rows, columns = torch.zeros_like(wanted), wanted.any(dim=1).nonzero(), wanted.any(dim=0).nonzero()
    if len(rows):
        top, left = max(0, int(rows[0]) - reach), max(0, int(columns[0]) - reach)
        seen[top : int(rows[-1]) + reach + 1, left : int(columns[-1]) + reach + 1] = True
    return seen


def reduced_to(wanted: Tensor, size: tuple[int, int]) -> Tensor:
    """``[h, w]`` bool of a coarser size: pixels under any wanted one, and a few round them."""
    small = torch.from_numpy(reduce_max(wanted.numpy(), size))[None, None].float()
    return F.max_pool2d(small, 2 * NEAR + 1, stride=1, padding=NEAR)[0, 0] > 0

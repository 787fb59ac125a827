"""Filling a frame stage by stage, from the coarsest to the finest (section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internal_inpaint.rendering.inference import REACH, enlarge, fill_frame
from internal_inpaint.resample import reduce_max

NEAR = 4  # pixels of a coarser stage, beside those wanted, that enlarging and the finer network's prior read


@dataclass(frozen=True)
class RenderStage:
    """One stage: its network, in ``eval`` mode on its device, and the shot at its size.

    Attributes:
        frames: ``[N, h, w, 3]`` working space; state: ``[N, h, w]`` uint8, 0 = known.
    """

    network: nn.Module
    frames: np.ndarray
    state: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        return tuple(self.state.shape[1:])


class Cascade:
    """All stages of a shot together.

    Args:
        stages: the coarsest first.
        bf16: run the networks in bfloat16 under autocast.
    """

    def __init__(self, stages: Sequence[RenderStage], bf16: bool = False) -> None:
        self.stages, self.bf16 = tuple(stages), bf16

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what ``fill`` gives."""
        return self.stages[-1].size

    def up_to(self, width: int) -> Cascade:
        """Only the stages up to the first that is at least ``width`` pixels wide: for pictures shown small."""
        enough = next((n for n, stage in enumerate(self.stages) if stage.size[1] >= width), len(self.stages) - 1)
        return Cascade(self.stages[: enough + 1], self.bf16)

    def fill(self, index: int, wanted: Tensor) -> Tensor:
        """The picture of one frame as the finest stage fills it.

        Args:
            index: of the picture in the store.
            wanted: ``[h, w]`` bool of the finest stage: where the fill is needed; nothing is computed elsewhere.

        Returns:
            ``[h, w, 3]`` float32 working space in [-1, 1], zero away from what is wanted.
        """
        return self._fill(len(self.stages) - 1, index, wanted)

    def _fill(self, level: int, index: int, wanted: Tensor) -> Tensor:
        stage = self.stages[level]
        frame = torch.from_numpy(np.asarray(stage.frames[index], np.float32))
        unknown = torch.from_numpy(np.asarray(stage.state[index]) != 0)
        prior = None
        if level:
            below = self.stages[level - 1]
            # The finer network looks at the prior wherever it looks at the frame: the coarser one fills
            # whatever is unknown as far as that, but only there.
            near = reduced_to(_looked_at(wanted), below.size)
            near &= torch.from_numpy(np.asarray(below.state[index]) != 0)
            fill = self._fill(level - 1, index, near)
            known = torch.from_numpy(np.asarray(below.state[index]) == 0)[..., None]
            pixels = torch.from_numpy(np.asarray(below.frames[index], np.float32))
            prior = enlarge(torch.where(known, pixels, fill), stage.size)
        device = next(stage.network.parameters()).device
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.bf16):
            return fill_frame(stage.network, frame, unknown, wanted, prior=prior)


def _looked_at(wanted: Tensor) -> Tensor:
    """``[h, w]`` bool: the rectangle that a network looks at to fill what is wanted."""
    seen, rows, columns = torch.zeros_like(wanted), wanted.any(dim=1).nonzero(), wanted.any(dim=0).nonzero()
    if len(rows):
        top, left = max(0, int(rows[0]) - REACH), max(0, int(columns[0]) - REACH)
        seen[top : int(rows[-1]) + REACH + 1, left : int(columns[-1]) + REACH + 1] = True
    return seen


def reduced_to(wanted: Tensor, size: tuple[int, int]) -> Tensor:
    """``[h, w]`` bool of a coarser size: pixels under any wanted one, and a few round them."""
    small = torch.from_numpy(reduce_max(wanted.numpy(), size))[None, None].float()
    return F.max_pool2d(small, 2 * NEAR + 1, stride=1, padding=NEAR)[0, 0] > 0

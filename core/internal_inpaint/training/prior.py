"""What a trained level hands to the next finer one (section 4.1): its picture, as an additional prior.

The paper gives the finer level the coarser one's finished frames. There, a hole cut into the known
region while training lies over true pixels of the prior, and the network learns to trust what in
the real hole is only a guess. Here the coarser network is asked again, for the very hole of the batch: it costs
a forward pass of a crop reduced in size, and the prior is as good or as bad as it will be when it counts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from internal_inpaint.methods.base import Clip
from internal_inpaint.methods.implicit.networks import SMALLEST, STRIDE
from internal_inpaint.training.sampling import Covers, HoleSampler

MARGIN = 16  # pixels of the coarser level that its network sees round the crop


class CoarsePrior:
    """A trained level as the finer one's prior.

    Args:
        fill: ``Method.fill`` with the level's best weights.
        sampler: of the level's frames; what it holds out stays hidden here too.
    """

    def __init__(self, fill: Callable[[Clip], Tensor], sampler: HoleSampler) -> None:
        self._fill, self._sampler = fill, sampler

    @torch.no_grad()
    def picture(
        self,
        frame: Tensor,
        top: Tensor,
        left: Tensor,
        hidden: Tensor,
        size: tuple[int, int],
        covers: Covers | None = None,
    ) -> Tensor:
        """This level's filled picture of crops of the finer level, enlarged to them.

        Args:
            frame, top, left: ``[B]`` frame indices and corners of the crops in pixels of the finer level.
            hidden: ``[B, 1, h, w]``, 1 where nobody may look.
            size: (height, width) of the finer level's frames.
            covers: the synthetic hole beyond the crops, in pixels of the finer level: a hole larger than a patch
                is as large for this level as it will be when rendering.

        Returns:
            ``[B, 3, h, w]`` working space in [-1, 1]: what is known as it is, the rest as this level fills it.
        """
        sampler, device = self._sampler, self._sampler.frames.device
        frame, top, left = (numbers.to(device) for numbers in (frame, top, left))
        crop = hidden.shape[-2:]
        first_y, rows, to_y = self._axis(0, top, crop[0], size)
        first_x, columns, to_x = self._axis(1, left, crop[1], size)
        index = frame[:, None, None]
        pixels, blocked = sampler.look(index, rows[:, :, None], columns[:, None, :])
        covered = self._reduced(hidden.to(device), to_y, to_x, blocked.shape)
        if covers is not None:
            covers = self._seen_from_here(covers, size)
            covered = covered | covers(rows, columns).to(device)
        mask = (blocked | covered)[:, None].to(sampler.device, torch.float32)
        below = None
        if sampler.prior is not None:
            below = sampler.prior.picture(frame, first_y, first_x, mask, sampler.size, covers)
        clip = Clip(pixels[:, None], mask[:, None], prior=None if below is None else below[:, None])
        fill = self._fill(clip)
        filled = torch.where(mask > 0, fill.float().clamp(-1, 1), pixels)
        grid = torch.stack(
            [
                _normalised(to_x, columns.shape[1])[:, None, :].expand(-1, crop[0], -1),
                _normalised(to_y, rows.shape[1])[:, :, None].expand(-1, -1, crop[1]),
            ],
            dim=-1,
        ).to(sampler.device, torch.float32)
        enlarged = F.grid_sample(filled, grid, mode="bicubic", padding_mode="border", align_corners=False)
        return enlarged.clamp(-1, 1)

    def _axis(self, axis: int, start: Tensor, length: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Along one axis: first pixel of this level's window ``[B]``, all of its pixels ``[B, n]``, and where
        the crop's pixels fall in the window ``[B, length]``."""
        room, scale = self._sampler.size[axis], self._sampler.size[axis] / size[axis]
        wanted = max(SMALLEST, int(length * scale) + 2 * MARGIN + STRIDE)
        count = min(room, -(-wanted // STRIDE) * STRIDE)
        # On multiples of the stride, so that the strided layers sample the pixels that they sample when rendering.
        first = ((start * scale).long() - MARGIN).clamp(min=0).clamp(max=room - count) // STRIDE * STRIDE
        pixels = first[:, None] + torch.arange(count, device=start.device)
        crop = start[:, None] + torch.arange(length, device=start.device)
        return first, pixels, (crop + 0.5) * scale - 0.5 - first[:, None]

    def _seen_from_here(self, covers: Covers, size: tuple[int, int]) -> Covers:
        """The same hole by pixels of this level: what covers a pixel's centre covers it."""

        def here(rows: Tensor, columns: Tensor) -> Tensor:
            finer = (
                ((index + 0.5) * (fine / own)).long()
                for index, fine, own in zip((rows, columns), size, self._sampler.size, strict=True)
            )
            return covers(*finer)

        return here

    @staticmethod
    def _reduced(hidden: Tensor, to_y: Tensor, to_x: Tensor, shape: torch.Size) -> Tensor:
        """``[B, n, m]`` bool: window pixels with any hidden pixel of the crop in them."""
        rows = to_y.round().long().clamp(0, shape[1] - 1)
        columns = to_x.round().long().clamp(0, shape[2] - 1)
        found = torch.zeros(shape, device=hidden.device)
        batch = torch.arange(len(hidden), device=hidden.device)[:, None, None]
        where = batch.expand(hidden[:, 0].shape), rows[:, :, None].expand(hidden[:, 0].shape)
        found.index_put_((*where, columns[:, None, :].expand(hidden[:, 0].shape)), hidden[:, 0], accumulate=True)
        return found > 0


def _normalised(position: Tensor, count: int) -> Tensor:
    """Pixel positions as ``grid_sample`` counts them: -1 and 1 are the outer edges."""
    return (position + 0.5) * (2 / count) - 1

"""A trained level's picture as the additional prior of the next finer level (section 4.1).

The paper gives the finer level the coarser one's finished frames. A synthetic hole in the known region then lies
over true pixels of the prior, and the network learns to trust the prior more than it deserves: in the real hole
it is only a guess. Here the coarser network runs again for the synthetic hole of each batch. This costs a
forward pass of a smaller crop, and the prior is as good or as bad in training as in rendering.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from internal_inpaint.methods.base import Clip
from internal_inpaint.methods.implicit.networks import SMALLEST, STRIDE
from internal_inpaint.training.sampling import Covers, HoleSampler

MARGIN = 16  # context in pixels of the coarser level that its network sees around the crop


class CoarsePrior:
    """A trained level as the prior of the next finer one.

    Args:
        fill: ``Method.fill`` with the level's best weights.
        sampler: of the level's frames; pixels that it holds out stay hidden here too.
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
        """This level's filled picture of crops of the finer level, enlarged to their size.

        Args:
            frame, top, left: ``[B]`` frame indices and corners of the crops in pixels of the finer level.
            hidden: ``[B, 1, h, w]``, 1 where pixels are hidden from the networks.
            size: (height, width) of the finer level's frames.
            covers: the synthetic hole, also outside the crops, in pixels of the finer level. A hole larger than
                a patch is then as large for this level as it is when rendering.

        Returns:
            ``[B, 3, h, w]`` working space in [-1, 1]: known pixels unchanged, the others as this level fills them.
        """
        sampler, device = self._sampler, self._sampler.frames.device
        frame, top, left = (numbers.to(device) for numbers in (frame, top, left))
        crop = hidden.shape[-2:]
        first_y, rows, to_y = self._axis(0, top, crop[0], size)
        first_x, columns, to_x = self._axis(1, left, crop[1], size)
        index = frame[:, None, None]
        pixels, blocked = sampler.read(index, rows[:, :, None], columns[:, None, :])
        covered = self._reduced(hidden.to(device), to_y, to_x, blocked.shape)
        if covers is not None:
            covers = self._at_this_level(covers, size)
            covered = covered | covers(rows, columns).to(device)
        mask = (blocked | covered)[:, None].to(sampler.device, torch.float32)
        coarser = None
        if sampler.prior is not None:
            coarser = sampler.prior.picture(frame, first_y, first_x, mask, sampler.size, covers)
        clip = Clip(pixels[:, None], mask[:, None], prior=None if coarser is None else coarser[:, None])
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
        """Along one axis: the first pixel of this level's window ``[B]``, all of its pixels ``[B, n]``, and the
        positions of the crop's pixels in the window ``[B, length]``."""
        limit, scale = self._sampler.size[axis], self._sampler.size[axis] / size[axis]
        wanted = max(SMALLEST, int(length * scale) + 2 * MARGIN + STRIDE)
        count = min(limit, -(-wanted // STRIDE) * STRIDE)
        # Multiples of the stride: the strided layers then sample the same pixels as when rendering.
        first = ((start * scale).long() - MARGIN).clamp(min=0).clamp(max=limit - count) // STRIDE * STRIDE
        pixels = first[:, None] + torch.arange(count, device=start.device)
        crop = start[:, None] + torch.arange(length, device=start.device)
        return first, pixels, (crop + 0.5) * scale - 0.5 - first[:, None]

    def _at_this_level(self, covers: Covers, size: tuple[int, int]) -> Covers:
        """The same hole in pixels of this level: it covers a pixel if it covers the pixel's centre."""

        def covers_here(rows: Tensor, columns: Tensor) -> Tensor:
            finer = (
                ((index + 0.5) * (fine / own)).long()
                for index, fine, own in zip((rows, columns), size, self._sampler.size, strict=True)
            )
            return covers(*finer)

        return covers_here

    @staticmethod
    def _reduced(hidden: Tensor, to_y: Tensor, to_x: Tensor, shape: torch.Size) -> Tensor:
        """``[B, n, m]`` bool: window pixels that contain a hidden pixel of the crop."""
        rows = to_y.round().long().clamp(0, shape[1] - 1)
        columns = to_x.round().long().clamp(0, shape[2] - 1)
        found = torch.zeros(shape, device=hidden.device)
        batch = torch.arange(len(hidden), device=hidden.device)[:, None, None]
        where = batch.expand(hidden[:, 0].shape), rows[:, :, None].expand(hidden[:, 0].shape)
        found.index_put_((*where, columns[:, None, :].expand(hidden[:, 0].shape)), hidden[:, 0], accumulate=True)
        return found > 0


def _normalised(position: Tensor, count: int) -> Tensor:
    """Pixel positions in ``grid_sample`` coordinates: -1 and 1 are the outer edges."""
    return (position + 0.5) * (2 / count) - 1

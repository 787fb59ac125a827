"""Validation: a fixed set of synthetic holes, held out of the training, that measures the quality of the fill.

The pixels under a validation hole are hidden from the training in that frame, like those under the real
hole. To fill them the network has to take them from other frames, or invent them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from internal_inpaint.methods.base import Clip
from internal_inpaint.training.sampling import HoleSampler, Placement, moved_hole

TRIES = 24
MOST_OF_A_FRAME = 0.25  # maximum share of a frame that a validation hole may hide


@dataclass(frozen=True)
class HeldOut:
    """Validation holes: their positions, and the pixels that they hide from the training.

    Attributes:
        placements: one per hole.
        masks: ``[H, W]`` bool by frame index: the hole's pixels that are known in the plate.
    """

    placements: tuple[Placement, ...]
    masks: dict[int, Tensor]


def choose_held_out(sampler: HoleSampler, count: int, seed: int) -> HeldOut:
    """Choose up to ``count`` holes, spread over the shot: at most one per five frames, but at least one.

    For each, several random positions are tried, and the one that overlaps the real hole least is used. Positions
    with mostly unknown pixels, or that would cover much of the frame, are not used. A shot with a very large
    hole may therefore get none.

    Args:
        sampler: of the whole shot, without held-out pixels; its crop is the part of a frame that is scored.
    """
    rng = np.random.default_rng([seed, 7])
    length = len(sampler.state)
    count = min(count, max(1, length // 5))
    placements, masks = [], {}
    for frame in np.linspace(0, length - 1, count + 2)[1:-1].round().astype(int):
        frame = int(frame)
        known = (sampler.state[frame] == 0).cpu()
        best = None
        for _ in range(TRIES):
            draw = sampler.draw(rng)
            hole = moved_hole(sampler.state[draw.source], draw.dy, draw.dx).cpu()
            usable = hole & known
            share = float(usable.sum()) / max(1.0, float(hole.sum()))
            if usable.float().mean() < MOST_OF_A_FRAME and usable.any() and (best is None or share > best[0]):
                best = share, draw, usable
            if best is not None and best[0] == 1.0:
                break
        if best is not None and best[0] > 0.5 and frame not in masks:
            masks[frame] = best[2]
            draw = best[1]
            placements.append(Placement(frame, draw.source, draw.dy, draw.dx, draw.top, draw.left))
    return HeldOut(tuple(placements), masks)


def at_size(held_out: HeldOut, sampler: HoleSampler, size: tuple[int, int]) -> HeldOut:
    """The same holes at a finer level: pixels that one level is scored on stay hidden from the next one too.

    Args:
        sampler: of the whole shot at the finer size, without held-out pixels; its crop is what is scored.
        size: (height, width) at which ``held_out`` was chosen.
    """
    scale = [fine / coarse for fine, coarse in zip(sampler.size, size, strict=True)]
    placements, masks = [], {}
    for old in held_out.placements:
        coarse = held_out.masks[old.frame]
        enlarged = F.interpolate(coarse[None, None].float(), size=sampler.size, mode="nearest")[0, 0] > 0
        dy, dx = round(old.dy * scale[0]), round(old.dx * scale[1])
        # The finer matte's own shape is scored; pixels that the coarser one covered are held out as well.
        moved, known = moved_hole(sampler.state[old.source], dy, dx).cpu(), (sampler.state[old.frame] == 0).cpu()
        masks[old.frame] = (enlarged | moved) & known
        scored = (moved & known).nonzero()
        if not len(scored):
            continue
        # Centre the crop on a pixel of the hole: the mean position may fall between the parts of a matte.
        mean = scored.float().mean(dim=0)
        centre = scored[(scored - mean).square().sum(dim=1).argmin()].tolist()
        top, left = (
            min(max(0, at - side // 2), limit - side)
            for at, side, limit in zip(centre, sampler.crop, sampler.size, strict=True)
        )
        placements.append(Placement(old.frame, old.source, dy, dx, top, left))
    return HeldOut(tuple(placements), masks)


@torch.no_grad()
def held_out_psnr(fill: Callable[[Clip], Tensor], sampler: HoleSampler, held_out: HeldOut) -> float | None:
    """PSNR in dB inside the validation holes, in working space, whose range is 2; ``None`` without such pixels.

    Args:
        fill: ``Method.fill`` with the network to score.
        sampler: without held-out pixels: it supplies the true pixels to compare with.
    """
    pairs = []
    for placement in held_out.placements:
        clip = sampler.gather([placement])
        frame = sampler.offset_zero
        pairs.append((fill(clip), clip.pixels[:, frame], clip.synthetic[:, frame] * clip.known[:, frame]))
    return psnr_of(pairs)


def psnr_of(pairs: Sequence[tuple[Tensor, Tensor, Tensor]]) -> float | None:
    """PSNR in dB over all pairs together; ``None`` without a pixel.

    Args:
        pairs: output and target ``[B, 3, h, w]`` in working space, whose range is 2, and ``[B, 1, h, w]``, 1 where it
            counts.
    """
    total, count = 0.0, 0.0
    for output, target, scored in pairs:
        total += float((((output.float().clamp(-1, 1) - target) / 2).square() * scored).sum())
        count += 3 * float(scored.sum())
    if not count:
        return None
    return -10 * math.log10(max(total / count, 1e-12))

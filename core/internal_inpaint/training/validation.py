"""A fixed set of synthetic holes, kept out of training, that says how good the fill is getting.

The pixels under a validation hole are unknown to the training in that frame, as those under the real
hole are: to fill them the network has to bring them from other frames, or invent them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from internal_inpaint.methods.base import Clip
from internal_inpaint.training.sampling import HoleSampler, Placement, moved_hole

TRIES = 24
MOST_OF_A_FRAME = 0.25  # a hole that would hide more of a frame than this is not held out of it


@dataclass(frozen=True)
class HeldOut:
    """Validation holes: where they are, and the pixels they keep from training.

    Attributes:
        placements: one a hole.
        masks: ``[H, W]`` bool by frame index: the hole's pixels that are known in the plate.
    """

    placements: tuple[Placement, ...]
    masks: dict[int, Tensor]


def choose_held_out(sampler: HoleSampler, count: int, seed: int) -> HeldOut:
    """Choose up to ``count`` holes, at most one in five frames (one in a shorter shot), spread over the shot.

    Of several random places for each the one that overlaps the real hole least is taken; places whose
    pixels are mostly unknown anyway, or that would cover much of the frame, are not used, so a shot with
    a very large hole may end with none.

    Args:
        sampler: of the whole shot, holding nothing out; its crop is the part of a frame that is judged.
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
    """The same holes at a finer level: what one level was judged by, the next must not have been shown.

    Args:
        sampler: of the whole shot at the finer size, holding nothing out; its crop is what is judged.
        size: (height, width) that ``held_out`` was chosen at.
    """
    scale = [fine / coarse for fine, coarse in zip(sampler.size, size, strict=True)]
    placements, masks = [], {}
    for old in held_out.placements:
        coarse = held_out.masks[old.frame]
        held = F.interpolate(coarse[None, None].float(), size=sampler.size, mode="nearest")[0, 0] > 0
        dy, dx = round(old.dy * scale[0]), round(old.dx * scale[1])
        # Judged is the finer matte's own shape; held out is also what the coarser one covered.
        moved, known = moved_hole(sampler.state[old.source], dy, dx).cpu(), (sampler.state[old.frame] == 0).cpu()
        masks[old.frame] = (held | moved) & known
        judged = (moved & known).nonzero()
        if not len(judged):
            continue
        # Round the hole's own pixel nearest its middle: between the parts of a matte there may be nothing.
        middle = judged.float().mean(dim=0)
        centre = judged[(judged - middle).square().sum(dim=1).argmin()].tolist()
        top, left = (
            min(max(0, at - side // 2), room - side)
            for at, side, room in zip(centre, sampler.crop, sampler.size, strict=True)
        )
        placements.append(Placement(old.frame, old.source, dy, dx, top, left))
    return HeldOut(tuple(placements), masks)


@torch.no_grad()
def held_out_psnr(fill: Callable[[Clip], Tensor], sampler: HoleSampler, held_out: HeldOut) -> float | None:
    """PSNR in dB inside the held-out holes, in the working space whose range is 2; ``None`` without a pixel to judge.

    Args:
        fill: ``Method.fill`` with the network to be judged.
        sampler: one that holds nothing out, so that the truth is there to compare with.
    """
    total, count = 0.0, 0.0
    for placement in held_out.placements:
        clip = sampler.gather([placement])
        frame = sampler.offset_zero
        output, target = fill(clip), clip.pixels[:, frame]
        judged = clip.synthetic[:, frame] * clip.known[:, frame]
        squared = ((output.float().clamp(-1, 1) - target) / 2).square() * judged
        total += float(squared.sum())
        count += 3 * float(judged.sum())
    if not count:
        return None
    return -10 * math.log10(max(total / count, 1e-12))

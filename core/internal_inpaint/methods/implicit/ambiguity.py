"""Anti-ambiguity (section 3.3, equations 3, 8 and 9): what is filled looks like something the shot has.

Where frames contradict each other (moving grass, water, a head that turns) the L1 loss is smallest for
their mean, which is a blur. Here every feature point of the fill is drawn to the nearest feature point
of one other frame: to one of the things that were seen, not to their mean.

The paper masks both pictures with "M_t" and says that a blocked target counts nothing. It is read so:

- *what is drawn*: the feature points of the output inside everything hidden from the network. The real
  hole is part of it: no truth is needed there, which is the point.
- *what it is drawn to*: the feature points of the other frame in the same region and ``REACH`` round it, but
  those that its own hole (or an unknown or held-out pixel) touches. Where all are blocked the loss is 0. From
  the whole crop a blurred fill takes what is smoothest in it, wherever that is: grass took the colour
  of a dog's fur.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 4  # feature points, 16 pixels
CHUNK = 4 << 20  # distances held at a time: 16 MiB, whatever the size of the crop


def ambiguity_loss(source: Tensor, target: Tensor, drawn: Tensor, seen: Tensor, chunk: int = CHUNK) -> Tensor:
    """Mean cosine distance of the source's points to their nearest points of the target (equation 9).

    The minimum's gradient is that of the pair it is found at: the pairs are found without a graph, a
    block of rows at a time, and only they are differentiated.

    Args:
        source: ``[B, C, h, w]`` features of the output; gradients flow into them.
        target: ``[B, C, h, w]`` features of the other frames, any size; no gradient.
        drawn: ``[B, h, w]`` how much each source point counts, 0 to 1.
        seen: bool of the target's size: points that may be drawn to.
        chunk: distances held at a time.
    """
    loss, count = source.new_zeros((), dtype=torch.float32), drawn.sum()
    for b in range(len(source)):
        from_points, weight = _points(source[b]), drawn[b].flatten()
        if not weight.is_cuda:
            # On CUDA this would wait for the device; all points are compared there, which it does quickly.
            rows = weight.nonzero()[:, 0]
            from_points, weight = from_points[rows], weight[rows]
        to_points, allowed = _points(target[b].detach()), seen[b].flatten()
        nearest = nearest_points(from_points, to_points, allowed, chunk)
        distance = 1 - (from_points * to_points[nearest]).sum(1)
        loss = loss + (weight * allowed.any() * distance).sum()
    return loss / count.clamp(min=1e-6)


@torch.no_grad()
def nearest_points(source: Tensor, target: Tensor, allowed: Tensor, chunk: int = CHUNK) -> Tensor:
    """Index of each unit vector's nearest one: ``[P]`` into the ``Q`` targets.

    Args:
        source: ``[P, C]``. target: ``[Q, C]``. allowed: ``[Q]`` bool.
        chunk: no more than so many of the ``P x Q`` distances exist at a time.
    """
    blocked = torch.zeros_like(allowed, dtype=source.dtype).masked_fill(~allowed, -4.0)
    rows = max(1, chunk // max(1, len(target)))
    found = [(part @ target.mT + blocked).argmax(1) for part in source.split(rows)]
    return torch.cat(found) if found else allowed.new_zeros(0, dtype=torch.int64)


def drawn_points(hidden: Tensor, stride: int) -> Tensor:
    """``[B, h, w]``: the share of each feature point's own cell that is hidden. ``hidden``: ``[B, 1, H, W]``."""
    return F.avg_pool2d(hidden, stride)[:, 0]


def seen_points(known: Tensor, drawn: Tensor, stride: int) -> Tensor:
    """``[B, h, w]`` bool: points near those that are drawn, whose cell and the cells beside it are all known.

    A feature sees further than that, but little of it: asking for all of it would leave no point
    beside a hole, where the matches are.

    Args:
        known: ``[B, 1, H, W]`` of the other frame. drawn: ``drawn_points`` of the frame that is filled.
    """
    near = F.max_pool2d(drawn[:, None], 2 * REACH + 1, stride=1, padding=REACH) > 0
    blocked = F.max_pool2d(1 - known, stride)
    clear = F.max_pool2d(blocked, 3, stride=1, padding=1) == 0
    return (clear & near)[:, 0]


def _points(features: Tensor) -> Tensor:
    """``[C, h, w]`` to unit vectors ``[h * w, C]``."""
    return F.normalize(features.float().flatten(1).mT, dim=1)

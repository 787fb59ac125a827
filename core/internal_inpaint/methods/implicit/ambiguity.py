"""Anti-ambiguity regulariser (section 3.3, equations 3, 8 and 9): the fill resembles content of the shot.

Where frames contradict each other (moving grass, water, a head that turns) the L1 loss is smallest for
their mean, which is a blur. This loss pulls every feature point of the fill towards the nearest feature point of
one other frame, that is, towards one of the observed contents and not towards their mean.

The paper masks both pictures with "M_t" and says that a blocked target does not count. This is implemented so:

- *Source points*: the feature points of the output inside everything hidden from the network. This includes the
  real hole, because the loss needs no ground truth.
- *Candidates*: the feature points of the other frame in the same region and ``REACH`` around it, except those
  that its own hole (or an unknown or held-out pixel) touches. If there are none, the loss is 0. With candidates
  from the whole crop, a blurred fill matches the smoothest part of the crop: grass took the colour of a dog's
  fur.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 4  # feature points, 16 pixels
CHUNK = 4 << 20  # distances in memory at a time: 16 MiB for a crop of any size


def ambiguity_loss(source: Tensor, target: Tensor, weights: Tensor, candidates: Tensor, chunk: int = CHUNK) -> Tensor:
    """Mean cosine distance of the source points to their nearest candidates (equation 9).

    The gradient of a minimum is the gradient of the nearest pair. The pairs are found without autograd, one
    block of rows at a time; only the distances of the pairs are differentiated.

    Args:
        source: ``[B, C, h, w]`` features of the output; gradients flow into them.
        target: ``[B, C, h, w]`` features of the other frames, any size; no gradient.
        weights: ``[B, h, w]`` weight of each source point, 0 to 1.
        candidates: bool, of the target's height and width: points that may be matched.
        chunk: maximum number of distances in memory at a time.
    """
    loss, count = source.new_zeros((), dtype=torch.float32), weights.sum()
    for b in range(len(source)):
        from_points, weight = _points(source[b]), weights[b].flatten()
        if not weight.is_cuda:
            # On CUDA this would wait for the device; there, all points are compared, which is fast.
            rows = weight.nonzero()[:, 0]
            from_points, weight = from_points[rows], weight[rows]
        to_points, allowed = _points(target[b].detach()), candidates[b].flatten()
        nearest = nearest_points(from_points, to_points, allowed, chunk)
        distance = 1 - (from_points * to_points[nearest]).sum(1)
        loss = loss + (weight * allowed.any() * distance).sum()
    return loss / count.clamp(min=1e-6)


@torch.no_grad()
def nearest_points(source: Tensor, target: Tensor, allowed: Tensor, chunk: int = CHUNK) -> Tensor:
    """Index of the nearest allowed target of each source vector: ``[P]``, into the ``Q`` targets.

    Args:
        source: ``[P, C]`` unit vectors. target: ``[Q, C]`` unit vectors. allowed: ``[Q]`` bool.
        chunk: maximum number of the ``P x Q`` distances in memory at a time.
    """
    blocked = torch.zeros_like(allowed, dtype=source.dtype).masked_fill(~allowed, -4.0)
    rows = max(1, chunk // max(1, len(target)))
    nearest = [(part @ target.mT + blocked).argmax(1) for part in source.split(rows)]
    return torch.cat(nearest) if nearest else allowed.new_zeros(0, dtype=torch.int64)


def point_weights(hidden: Tensor, stride: int) -> Tensor:
    """Weights of source points ``[B, h, w]``: the hidden share of each point's cell. ``hidden``: ``[B, 1, H, W]``."""
    return F.avg_pool2d(hidden, stride)[:, 0]


def candidate_points(known: Tensor, weights: Tensor, stride: int) -> Tensor:
    """``[B, h, w]`` bool: points near the source points whose cell and neighbouring cells are all known.

    The receptive field of a feature is larger, but depends little on its outer part. Requiring all of it to be
    known would leave no candidates next to a hole, where the matches are.

    Args:
        known: ``[B, 1, H, W]`` of the other frame. weights: ``point_weights`` of the frame to fill.
    """
    near = F.max_pool2d(weights[:, None], 2 * REACH + 1, stride=1, padding=REACH) > 0
    blocked = F.max_pool2d(1 - known, stride)
    clear = F.max_pool2d(blocked, 3, stride=1, padding=1) == 0
    return (clear & near)[:, 0]


def _points(features: Tensor) -> Tensor:
    """``[C, h, w]`` to unit vectors ``[h * w, C]``."""
    return F.normalize(features.float().flatten(1).mT, dim=1)

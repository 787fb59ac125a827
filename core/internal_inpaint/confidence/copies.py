"""The confidence of a fill that copies, by pixel, from what could be copied.

A copy agrees with the frame that it was taken from, also where it is wrong. So the fill is compared with every
candidate (``motion.candidates``): it is confident where the past and the future show the same as it does. Where they
contradict each other, one of them is wrong, or what is behind the hole moves by itself. What only one side of time
shows is as good as what is expected of the candidates: by the ring round the hole, by where they come back to, and by
how far in time they come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from internal_inpaint.confidence.metric import NOT_OBSERVED_LIMIT, PATCH_SIGMA
from internal_inpaint.motion.candidates import COUNT, KINDS
from internal_inpaint.motion.compare import NOTHING, Candidates
from internal_inpaint.motion.field import FUTURE, PAST

# In units of the shot's contrast. Fitted on three shots of benchmarks/confidence.py, and checked on others.
DOUBT_SCALE = 0.35  # the doubt at which the confidence is 1/e
EXPECTED = 0.25  # share of the error that is expected of the candidates that counts as doubt
ONE_SIDED = 0.05  # doubt where only the past or only the future shows a pixel
_EVENNESS = 0.25  # power of the candidates' first weights: also what seems unlikely contradicts


@dataclass(frozen=True)
class CopiedFill:
    """A filled hole, and what it was copied from.

    Attributes:
        candidates: of the hole.
        picture: ``[h, w, 3]`` float32 working space, the fill in the candidates' box.
        copied: ``[h, w]`` float32, the share of the fill that is copied.
    """

    candidates: Candidates
    picture: np.ndarray
    copied: np.ndarray


def copied_confidence(fill: CopiedFill, contrast: float) -> np.ndarray:
    """The confidence of a fill: ``[h, w]`` float32 in the candidates' box, 1 where nothing is hidden.

    Args:
        contrast: standard deviation of the shot's known pixels.
    """
    candidates, found = fill.candidates, fill.candidates.found
    valid = found.valid & found.hidden
    differences = np.stack([_difference(fill.picture, candidates.colours[k], valid[k]) for k in range(COUNT)])
    disagreement, share_of_all = np.zeros(found.hidden.shape, np.float32), np.zeros(found.hidden.shape, np.float32)
    sides = []
    for side in (PAST, FUTURE):
        kinds = [kind for kind, (_, direction) in enumerate(KINDS) if direction == side]
        seen = valid[kinds].any(axis=0)
        share = np.where(valid[kinds], candidates.weights[kinds] ** _EVENNESS, 0).sum(axis=0)
        # Flow and camera follow a pixel to two places. One of them is right, where the motion can be known.
        nearest = np.where(seen, differences[kinds].min(axis=0), 0)
        disagreement += share * nearest
        share_of_all += share
        sides.append(seen)
    disagreement /= np.maximum(share_of_all, 1e-9)
    doubt = disagreement / contrast + ONE_SIDED * (sides[0] != sides[1])
    expected = (candidates.weights * candidates.errors).sum(axis=0) + NOTHING * (1 - candidates.weights.sum(axis=0))
    doubt += EXPECTED * expected
    observed = sides[0] | sides[1]
    return np.where(found.hidden, np.where(observed, np.exp(-doubt / DOUBT_SCALE), NOT_OBSERVED_LIMIT), 1)


def _difference(fill: np.ndarray, copy: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean difference ``[h, w]`` around each pixel of fill and candidate; infinite where there is no candidate."""
    there = where.astype(np.float32)
    planes = np.stack([np.abs(fill - copy).mean(axis=2) * there, there], axis=2)
    smooth = cv2.GaussianBlur(planes, (0, 0), PATCH_SIGMA)
    return np.where(where, smooth[..., 0] / np.maximum(smooth[..., 1], 1e-6), np.inf)

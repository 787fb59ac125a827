"""From a frame's probabilities to its matte: what belongs to the tracked object, and how sure that is."""

from __future__ import annotations

import cv2
import numpy as np

LEAST = 0.3  # probability from which pixels hang together
SEED_AREA = 8  # pixels


def tracked(probability: np.ndarray, carried: np.ndarray | None, usual_area: float) -> np.ndarray:
    """The probabilities with everything that is not the tracked object set to 0.

    Args:
        probability: ``[h, w]`` float32.
        carried: ``[h, w]`` float32, the neighbour's matte brought here along the motion; ``None`` where
            no neighbour shows the object: then only large and certain components count.
        usual_area: of the object in the reference frames, in pixels.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats((probability > LEAST).astype(np.uint8), connectivity=8)
    if count == 1:
        return np.zeros_like(probability)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    sums = np.bincount(labels.ravel(), weights=probability.ravel().astype(np.float64), minlength=count)
    kept = np.zeros(count, bool)
    there = carried is not None and bool((carried > 0.5).any())
    if there:
        expected = carried > 0.5
        reach = max(5.0, 0.2 * float(expected.sum()) ** 0.5)
        distance = cv2.distanceTransform((~expected).astype(np.uint8), cv2.DIST_L2, 3)
        nearest = np.full(count, np.inf)
        np.minimum.at(nearest, labels.ravel(), distance.ravel())
        kept = nearest <= reach
    else:
        kept = (areas >= 0.15 * usual_area) & (sums / areas >= 0.75)
    kept &= areas >= min(SEED_AREA, 0.02 * usual_area)
    kept[0] = False
    return np.where(kept[labels] | (probability <= LEAST) & _beside(kept[labels]), probability, np.float32(0))


def _beside(mask: np.ndarray) -> np.ndarray:
    """The soft edge's place: within two pixels of ``mask``."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


def confidence(
    matte: np.ndarray, alone: np.ndarray, carried: np.ndarray | None, void: np.ndarray | None = None
) -> float:
    """How far a frame's matte can be relied on, 0 to 1, from what independent witnesses say.

    Args:
        matte: ``[h, w]`` the probabilities kept as the object.
        alone: ``[h, w]`` the probabilities that the network finds with no guess from a neighbour.
        carried: ``[h, w]`` the neighbour's matte brought here along the motion, if there is a neighbour.
    """
    here = matte > 0.5
    if not here.any():
        # Gone. By the frame's edge it left; amid the frame it was lost, unless nothing looks like it at all.
        before = carried is not None and bool((carried > 0.5).any())
        doubt = float(np.sort(alone.ravel())[-max(1, alone.size // 2000) :].mean())
        at_edge = before and touches_edge(carried > 0.5)
        return max(0.0, (1.0 if at_edge or not before else 0.4) * (1 - 0.5 * doubt))
    near = cv2.dilate(here.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    agreement = overlap(matte, alone * near)
    clear = float(np.abs(2 * matte[matte > 0.2] - 1).mean())
    steady = overlap(matte, carried) if carried is not None else agreement
    return float((agreement * steady) ** 0.5 * clear)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two soft mattes; 1 where both are empty."""
    union = float(np.maximum(a, b).sum())
    return float(np.minimum(a, b).sum()) / union if union > 1 else 1.0


def touches_edge(mask: np.ndarray, margin: int = 3) -> bool:
    """Whether a mask comes within ``margin`` pixels of the frame's edge."""
    inner = mask[margin:-margin, margin:-margin]
    return bool(mask.sum() > inner.sum())

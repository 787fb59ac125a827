"""From a frame's probabilities to its matte: what belongs to the tracked object, and how sure that is."""

from __future__ import annotations

import cv2
import numpy as np

LEAST = 0.3  # probability from which pixels hang together
ABSENT = 0.3  # most confidence in an empty matte where the object did not leave by the frame's edge
SEED_AREA = 8  # pixels


def tracked(probability: np.ndarray, expected: np.ndarray, usual_area: float) -> np.ndarray:
    """The probabilities with everything that is not the tracked object set to 0.

    Args:
        probability: ``[h, w]`` float32.
        expected: ``[h, w]`` float32, the neighbours' mattes brought here along the motion. Where no
            neighbour shows the object only large and certain components count.
        usual_area: of the object in the reference frames, in pixels.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats((probability > LEAST).astype(np.uint8), connectivity=8)
    if count == 1:
        return np.zeros_like(probability)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    sums = np.bincount(labels.ravel(), weights=probability.ravel().astype(np.float64), minlength=count)
    there = expected > 0.5
    if there.any():
        reach = max(5.0, 0.2 * float(there.sum()) ** 0.5)
        distance = cv2.distanceTransform((~there).astype(np.uint8), cv2.DIST_L2, 3)
        nearest = np.full(count, np.inf)
        np.minimum.at(nearest, labels.ravel(), distance.ravel())
        kept = nearest <= reach
    else:
        kept = (areas >= 0.15 * usual_area) & (sums / np.maximum(areas, 1) >= 0.65)
    kept &= areas >= min(SEED_AREA, 0.02 * usual_area)
    kept[0] = False
    return np.where(kept[labels] | (probability <= LEAST) & _beside(kept[labels]), probability, np.float32(0))


def _beside(mask: np.ndarray) -> np.ndarray:
    """The soft edge's place: within two pixels of ``mask``."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


def confidence(matte: np.ndarray, alone: np.ndarray, brought: list[np.ndarray], neighbours: float) -> float:
    """How far a frame's matte can be relied on, 0 to 1, from what independent witnesses say.

    How clear-cut the probabilities are, how well they agree with those of the frame by itself and with
    the neighbours' mattes. An empty matte is as sure as the neighbours' where these are empty too, and
    otherwise depends on whether the object was about to leave.

    Args:
        matte: ``[h, w]`` the probabilities kept as the object.
        alone: ``[h, w]`` the probabilities that the network finds with no guess from a neighbour.
        brought: ``[h, w]`` each: the neighbours' mattes, brought here along the motion.
        neighbours: the least of the neighbours' confidences.
    """
    here = matte > 0.5
    if not here.any():
        before = [other > 0.5 for other in brought if (other > 0.5).any()]
        return neighbours if not before else 0.9 if all(near_edge(mask) for mask in before) else ABSENT
    near = cv2.dilate(here.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    agreement = overlap(matte, alone * near)
    clear = _clear(matte, here)
    steady = max((overlap(matte, other) for other in brought), default=agreement)
    return float((agreement * steady) ** 0.5 * clear)


def _clear(matte: np.ndarray, here: np.ndarray) -> float:
    """How far probabilities are from one half, away from the edge, where they must cross it."""
    tool = np.ones((3, 3), np.uint8)
    edge = cv2.dilate(here.astype(np.uint8), tool) - cv2.erode(here.astype(np.uint8), tool)
    counted = (matte > 0.2) & (edge == 0)
    if counted.sum() < 0.1 * here.sum():  # all of it is edge: thin things
        counted = matte > 0.2
    return float(np.abs(2 * matte[counted] - 1).mean())


def lower_where_absent(confidence: list[float], empty: list[bool], at_edge: list[bool]) -> list[float]:
    """Lower the confidence of frames without an object, unless it is seen to leave or come by the frame's edge.

    Args:
        confidence, empty, at_edge: a frame of one view: whether its matte is empty, or near the frame's edge.
    """
    judged, start, count = list(confidence), 0, len(empty)
    while start < count:
        if not empty[start]:
            start += 1
            continue
        end = next((i for i in range(start, count) if not empty[i]), count)
        gone = all(at_edge[i] for i in (start - 1, end) if 0 <= i < count)
        if not gone:
            judged[start:end] = [min(value, ABSENT) for value in judged[start:end]]
        start = end
    return judged


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two soft mattes; 1 where both are empty."""
    union = float(np.maximum(a, b).sum())
    return float(np.minimum(a, b).sum()) / union if union > 1 else 1.0


def near_edge(mask: np.ndarray) -> bool:
    """Whether an object is so near the frame's edge that the next frame may not show it."""
    margin = max(3, round(0.15 * float(mask.sum()) ** 0.5))
    inner = mask[margin:-margin, margin:-margin]
    return bool(mask.sum() > inner.sum())

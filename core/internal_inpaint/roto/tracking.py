"""Separates the tracked object from other detections in a frame's probabilities, and measures the confidence."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

COMPONENT_THRESHOLD = 0.3  # pixels with a higher probability form connected components
ABSENT_LIMIT = 0.3  # upper limit of the confidence of an empty matte if the object did not leave through the edge
MIN_AREA = 8  # pixels of a component
FRAGMENT = 0.2  # of the largest component's area: smaller ones are kept only beside larger ones
SMALL_HOLE = 0.01  # of the object's area


def tracked(
    probability: np.ndarray, expected: np.ndarray, usual_area: float, fragment: float = FRAGMENT
) -> np.ndarray:
    """The probabilities, set to 0 for everything except the tracked object.

    Args:
        probability: ``[h, w]`` float32.
        expected: ``[h, w]`` float32, the neighbours' mattes, warped to this frame. If no neighbour shows the
            object, only large and certain components count.
        usual_area: mean area of the object in the reference frames, in pixels.
        fragment: of ``fragment_share``.
    """
    above = (probability > COMPONENT_THRESHOLD).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    if count == 1:
        return np.zeros_like(probability)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    sums = np.bincount(labels.ravel(), weights=probability.ravel().astype(np.float64), minlength=count)
    object_expected = _without_fragments(expected > 0.5, fragment)
    if object_expected.any():
        reach = max(5.0, 0.2 * float(object_expected.sum()) ** 0.5)
        distance = cv2.distanceTransform((~object_expected).astype(np.uint8), cv2.DIST_L2, 3)
        nearest = np.full(count, np.inf)
        np.minimum.at(nearest, labels.ravel(), distance.ravel())
        selected = nearest <= reach
    else:
        selected = (areas >= 0.15 * usual_area) & (sums / np.maximum(areas, 1) >= 0.65)
    selected &= areas >= min(MIN_AREA, 0.02 * usual_area)
    selected[0] = False
    inside = selected[labels]
    soft_edge = (probability <= COMPONENT_THRESHOLD) & _near(inside)
    return np.where(inside | soft_edge, probability, np.float32(0))


def fragment_share(references: Iterable[np.ndarray]) -> float:
    """The share of the largest component's area below which a component is a fragment.

    That is ``FRAGMENT``, or less where the artist has drawn a smaller part: a ball beside its player is no fragment.
    """
    shares = [FRAGMENT]
    for matte in references:
        _, _, stats, _ = cv2.connectedComponentsWithStats((matte > 0.5).astype(np.uint8), connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA]
        areas = areas[areas >= MIN_AREA]
        # Half: it may be partly hidden, or farther away.
        shares += [0.5 * float(areas.min() / areas.max())] if len(areas) > 1 else []
    return min(shares)


def _without_fragments(mask: np.ndarray, fragment: float) -> np.ndarray:
    """The large components of a mask.

    A piece of the background that once touched the object would otherwise stay with it for the rest of the shot.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count == 1:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA]
    large = areas >= fragment * areas[1:].max()
    large[0] = False
    return large[labels]


def without_small_holes(matte: np.ndarray) -> np.ndarray:
    """A matte ``[h, w]`` 0..1 that is 1 also in small holes: an eye or a mouth is a part of the object.

    Between an object's limbs there are larger ones.
    """
    inside = matte > 0.5
    around = np.pad(~inside, 1, constant_values=True).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(around, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] <= SMALL_HOLE * inside.sum()
    small[0] = False  # the object itself
    return np.where(small[labels][1:-1, 1:-1], np.float32(1), matte)


def _near(mask: np.ndarray) -> np.ndarray:
    """``mask``, grown by two pixels."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


def confidence(matte: np.ndarray, alone: np.ndarray, warped: list[np.ndarray], neighbours: float) -> float:
    """The confidence of a frame's matte, 0 to 1.

    It combines three measures: how far the probabilities are from one half, how well they agree with the
    probabilities without a guess, and how well they agree with the neighbours' mattes. An empty matte gets the
    neighbours' confidence if their mattes are empty too. Otherwise its confidence depends on whether the object was
    about to leave the frame.

    Args:
        matte: ``[h, w]`` probabilities of the tracked object.
        alone: ``[h, w]`` probabilities that the network predicts without a guess.
        warped: the neighbours' mattes, ``[h, w]`` each, warped to this frame.
        neighbours: the smallest confidence of the neighbours.
    """
    here = matte > 0.5
    if not here.any():
        before = [other > 0.5 for other in warped if (other > 0.5).any()]
        return neighbours if not before else 0.9 if all(near_edge(mask) for mask in before) else ABSENT_LIMIT
    near = cv2.dilate(here.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    agreement = overlap(matte, alone * near)
    certainty = _certainty(matte, here)
    consistency = max((overlap(matte, other) for other in warped), default=agreement)
    return float((agreement * consistency) ** 0.5 * certainty)


def _certainty(matte: np.ndarray, here: np.ndarray) -> float:
    """Mean distance of the probabilities from one half, 0 to 1, without the edge, where they must cross it."""
    kernel = np.ones((3, 3), np.uint8)
    edge = cv2.dilate(here.astype(np.uint8), kernel) - cv2.erode(here.astype(np.uint8), kernel)
    counted = (matte > 0.2) & (edge == 0)
    if counted.sum() < 0.1 * here.sum():  # a thin object that is nearly all edge
        counted = matte > 0.2
    return float(np.abs(2 * matte[counted] - 1).mean())


def lower_where_absent(confidence: list[float], empty: list[bool], at_edge: list[bool]) -> list[float]:
    """Lower the confidence of frames with an empty matte, unless the object leaves and enters at the frame's edge.

    Args:
        confidence: of each frame of one view.
        empty: whether the matte of each frame is empty.
        at_edge: whether the matte of each frame is near the frame's edge.
    """
    lowered, start, count = list(confidence), 0, len(empty)
    while start < count:
        if not empty[start]:
            start += 1
            continue
        end = next((i for i in range(start, count) if not empty[i]), count)
        left_frame = all(at_edge[i] for i in (start - 1, end) if 0 <= i < count)
        if not left_frame:
            lowered[start:end] = [min(value, ABSENT_LIMIT) for value in lowered[start:end]]
        start = end
    return lowered


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two soft mattes; 1 where both are empty."""
    union = float(np.maximum(a, b).sum())
    return float(np.minimum(a, b).sum()) / union if union > 1 else 1.0


def near_edge(mask: np.ndarray) -> bool:
    """Whether an object is so near to the frame's edge that it may be outside in the next frame."""
    margin = max(3, round(0.15 * float(mask.sum()) ** 0.5))
    inner = mask[margin:-margin, margin:-margin]
    return bool(mask.sum() > inner.sum())

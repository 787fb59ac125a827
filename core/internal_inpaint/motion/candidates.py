"""What could be copied into a hole: for every hidden pixel, the places where the shot shows it.

There are four candidates for a pixel: the nearest frame in the past and in the future that shows it, followed along
the flow and along the camera's motion. Each is continued over a ring of known pixels round the hole. There, what
would be copied can be compared with what is there: a difference in brightness is a change of light, which is
corrected, and what remains is a misregistration, or a thing that moves by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from internal_inpaint.motion.field import FUTURE, PAST, Motion, sample
from internal_inpaint.motion.follow import (
    LONGEST,
    NOWHERE,
    Sightings,
    at_nearest,
    carried_back,
    follow_camera,
    follow_flow,
    is_inside,
)
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.resample import enlarge_bilinear, push_pull, reduce_area

KINDS = ((follow_flow, PAST), (follow_flow, FUTURE), (follow_camera, PAST), (follow_camera, FUTURE))
COUNT = len(KINDS)
RING = 1 / 60  # width of the ring, as a share of the frame's height; at least ``_LEAST_RING`` pixels
_LEAST_RING = 4
SMOOTH = 1 / 80  # radius over which light and misregistration are averaged, as a share of the frame's height
_SMOOTH_PIXELS = 480 * 270  # light and misregistration are smooth: they are interpolated at most at this size
_LATER = 16  # frames
_DECISIVE = (
    4  # power of the expected errors that the weights are inverse to: about as sharp as the plate, and no noisier
)
NOTHING = 0.7  # expected error of the smooth continuation, as a share of the shot's contrast
_NO_RING = 0.5  # the misfit of a candidate without a ring to compare it in
_ASTRAY = 0.15  # of the frame's height: a copy that comes back so far from its pixel is worse than none

Box = tuple[slice, slice]


class _Error(NamedTuple):
    """How wrong a copy is on average, as a share of the shot's contrast: the sum of these.

    Fitted to the six clips of benchmarks/clips.py with their truth, under both protocols.
    """

    least: float
    by_stray: float  # times the root of the distance at which it comes back, as a share of the frame's height
    by_miss: float  # times its misfit in the ring
    by_age: float  # for each doubling of the distance in time


_ERRORS = {follow_flow: _Error(0.03, 1.2, 0.42, 0.064), follow_camera: _Error(0.03, 0.72, 0.59, 0.01)}


@dataclass(frozen=True)
class Found:
    """Where the candidates of a picture's hidden pixels are, within a box of the picture.

    Attributes:
        index: the picture.
        box: rows and columns.
        hidden, ring: ``[h, w]`` bool: the pixels that candidates were searched for, and the ring of known ones.
        frame: ``[K, h, w]`` int32, the picture to copy from; ``NOWHERE`` where there is none, nothing is needed, or
            (in the ring) it does not show the place.
        points: ``[K, h, w, 2]`` float32, the position in it, (x, y) in pixels.
    """

    index: int
    box: Box
    hidden: np.ndarray
    ring: np.ndarray
    frame: np.ndarray
    points: np.ndarray

    @property
    def valid(self) -> np.ndarray:
        """``[K, h, w]`` bool."""
        return self.frame != NOWHERE

    def longest(self, views: int) -> tuple[int, ...]:
        """Frames, by kind, within which the same search in larger pictures finds what there is to find.

        A hole that no frame shows would else be followed through the whole shot once more, for each of its pixels.
        """
        farthest = np.abs(np.where(self.valid, self.frame - self.index, 0)).max(axis=(1, 2)) // views
        # Their margin beside a hole is wider: a slow one takes longer to leave it.
        return tuple(min(LONGEST, 2 * int(frames) + _LATER) if frames else 0 for frames in farthest)


def find_candidates(
    motion: Motion,
    shown: Callable[[int], np.ndarray],
    state: np.ndarray,
    index: int,
    within: Box | None = None,
    longest: Sequence[int] = (LONGEST,) * COUNT,
) -> Found | None:
    """Search the candidates of a picture's hole.

    Args:
        motion: of the shot.
        shown: ``[h, w]`` bool of a picture by index, where it may be copied (``follow.shows``).
        state: ``[h, w]`` uint8 ``PixelState`` of the picture; its hole is what is hidden.
        index: the picture.
        within: search only the pixels in this box.
        longest: frames to follow at most, by kind of candidate.

    Returns:
        ``None`` if there is no hidden pixel.
    """
    hole = state == PixelState.HOLE
    if within is not None:
        inside = np.zeros_like(hole)
        inside[within] = hole[within]
        hole = inside
    if not hole.any():
        return None
    width = max(_LEAST_RING, round(RING * len(state)))
    box = grown_box(hole, width)
    hole, known = hole[box], (state == PixelState.KNOWN)[box]
    distance, label = cv2.distanceTransformWithLabels(
        (~hole).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    ring = (distance <= width) & known
    rows, columns = np.nonzero(hole)
    points = np.stack([columns + box[1].start, rows + box[0].start], axis=1).astype(np.float32)
    # The ring follows the nearest pixel of the hole.
    number = np.zeros(label.max() + 1, np.int64)
    number[label[hole]] = np.arange(len(rows))
    ring_rows, ring_columns = np.nonzero(ring)
    nearest = number[label[ring]]
    ring_points = np.stack([ring_columns + box[1].start, ring_rows + box[0].start], axis=1).astype(np.float32)

    frame = np.full((COUNT, *hole.shape), NOWHERE, np.int32)
    where = np.zeros((COUNT, *hole.shape, 2), np.float32)
    for kind, (follow, direction) in enumerate(KINDS):
        sightings = follow(motion, shown, index, direction, points, longest[kind])
        frame[kind][hole], where[kind][hole] = sightings.frame, sightings.points
        there = ring_points + (sightings.points - points)[nearest]
        frame[kind][ring] = _seen(sightings.frame[nearest], there, shown, motion.size)
        where[kind][ring] = there
    return Found(index, box, hole, ring, frame, where)


def _seen(
    frame: np.ndarray, points: np.ndarray, shown: Callable[[int], np.ndarray], size: tuple[int, int]
) -> np.ndarray:
    """``frame`` without the points that it does not show: a comparison with what is hidden there says nothing."""
    frame = frame.copy()
    for index, chosen in _by_frame(frame):
        inside = is_inside(points[chosen], size)
        inside[inside] = at_nearest(shown(index), points[chosen[inside]])
        frame[chosen[~inside]] = NOWHERE
    return frame


def astray(found: Found, motion: Motion) -> np.ndarray:
    """How far from its pixel each candidate comes out when it is carried back along the flow.

    It tells a wrong candidate as well as the ring does, and where the ring cannot: on real clips, the mean error of
    those that miss by four pixels of 135 rows is three to five times that of those that miss by none.

    Returns:
        ``[K, h, w]`` float32, as a share of the frame's height; interpolated where there is no candidate.
    """
    stray = np.zeros(found.frame.shape, np.float32)
    rows, columns = np.nonzero(found.hidden)
    points = np.stack([columns + found.box[1].start, rows + found.box[0].start], axis=1).astype(np.float32)
    for kind, (_, direction) in enumerate(KINDS):
        seen = found.frame[kind][found.hidden]
        there = Sightings(seen, found.points[kind][found.hidden])
        back = carried_back(motion, there, found.index, direction)
        stray[kind][found.hidden] = np.linalg.norm(back - points, axis=1) / motion.size[0]
        stray[kind] = push_pull(stray[kind][..., None], found.hidden & (found.frame[kind] != NOWHERE))[..., 0]
    return stray


def grown_box(mask: np.ndarray, margin: int) -> Box:
    """The bounding box of a mask ``[H, W]`` that is not empty, grown by a margin inside the picture."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    return (
        slice(max(0, int(rows[0]) - margin), min(height, int(rows[-1]) + 1 + margin)),
        slice(max(0, int(columns[0]) - margin), min(width, int(columns[-1]) + 1 + margin)),
    )


def overlap(box: Box, other: Box) -> tuple[Box, Box]:
    """The part that two boxes share, as slices of the one and of the other; empty slices if there is none."""
    inside, of_other = [], []
    for one, two in zip(box, other, strict=True):
        start, stop = max(one.start, two.start), max(one.start, two.start, min(one.stop, two.stop))
        inside.append(slice(start - one.start, stop - one.start))
        of_other.append(slice(start - two.start, stop - two.start))
    return tuple(inside), tuple(of_other)


def copied(found: Found, picture: Callable[[int], np.ndarray]) -> np.ndarray:
    """The candidates' colours, by one bicubic interpolation each; 0 where there is none.

    Args:
        picture: ``[H, W, 3]`` of any float type, by index.

    Returns:
        ``[K, h, w, 3]`` float32.
    """
    colours = np.zeros((*found.frame.shape, 3), np.float32)
    flat, points = colours.reshape(-1, 3), found.points.reshape(-1, 2)
    for index, chosen in _by_frame(found.frame.reshape(-1)):
        flat[chosen] = sample(picture(index), points[chosen], cv2.INTER_CUBIC)
    return colours


def _by_frame(frame: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(picture, positions in ``frame`` that copy from it) of each picture that is copied from."""
    order = np.argsort(frame, kind="stable")
    order = order[np.searchsorted(frame[order], 0) :]
    for chosen in np.split(order, np.flatnonzero(np.diff(frame[order])) + 1):
        if len(chosen):
            yield int(frame[chosen[0]]), chosen


@dataclass(frozen=True)
class Candidates:
    """The candidates of a picture's hidden pixels, ready to be mixed.

    Attributes:
        found: where they are.
        stray: ``[K, h, w]`` float32, of ``astray``.
        colours: ``[K, h, w, 3]`` float32, corrected for the change of light; 0 where there is none.
        light: ``[K, h, w, 3]`` float32, that correction, smooth.
        errors: ``[K, h, w]`` float32, how wrong each is expected to be, as a share of the shot's contrast.
        weights: ``[K, h, w]`` float32, how much of each is copied before anything is learned; 0 where there is none.
            What their sum lacks to 1 is left to the smooth continuation.
    """

    found: Found
    stray: np.ndarray
    colours: np.ndarray
    light: np.ndarray
    errors: np.ndarray
    weights: np.ndarray


def compare_candidates(
    found: Found, stray: np.ndarray, picture: Callable[[int], np.ndarray], contrast: float, views: int = 1
) -> Candidates:
    """Copy the candidates, correct their light and weigh them, by what the ring shows and how they come back.

    The correction is the smooth interpolation of the difference in the ring (as in Poisson image editing, Perez et
    al., SIGGRAPH 2003, but averaged, because a misregistered ring differs by its texture too). In the working space,
    which is logarithmic, it is a gain.

    Args:
        stray: ``[K, h, w]``, of ``astray``.
        picture: ``[H, W, 3]`` working space, by index.
        contrast: standard deviation of the shot's known pixels.
        views: pictures per frame.
    """
    colours, valid = copied(found, picture), found.valid
    here = np.asarray(picture(found.index)[found.box], np.float32)
    sigma = max(1.5, SMOOTH * picture(found.index).shape[0])
    light, errors = np.zeros_like(colours), np.zeros(valid.shape, np.float32)
    for kind in range(COUNT):
        ring, missed = found.ring & valid[kind], np.full(valid.shape[1:], np.inf, np.float32)
        if ring.any():
            difference = np.where(ring[..., None], here - colours[kind], 0)
            misses = np.abs(difference).mean(axis=2, keepdims=True)
            smooth = _smooth(np.concatenate([difference, misses], axis=2), ring, sigma)
            light[kind], missed = smooth[..., :3], smooth[..., 3]
        errors[kind] = _expected_error(found, kind, missed / contrast, stray[kind], views)
    weights = np.where(valid, errors**-_DECISIVE, 0)
    total = weights.sum(axis=0) + NOTHING**-_DECISIVE
    colours = np.where(valid[..., None], colours + light, 0)
    return Candidates(found, stray, colours, light, errors, weights / total)


def _expected_error(found: Found, kind: int, misses: np.ndarray, stray: np.ndarray, views: int) -> np.ndarray:
    """``[h, w]``: how wrong a copy is expected to be, as a share of the shot's contrast."""
    of = _ERRORS[KINDS[kind][0]]
    misses = np.where(np.isfinite(misses), misses, _NO_RING)
    age = np.log2(np.maximum(1, np.abs(found.frame[kind] - found.index) / views))
    error = of.least + of.by_stray * np.sqrt(stray) + of.by_miss * misses + of.by_age * age
    return error + (stray / _ASTRAY) ** 2


def _smooth(values: np.ndarray, where: np.ndarray, sigma: float) -> np.ndarray:
    """Values that are known in some places, interpolated and averaged: ``[h, w, C]``."""
    size = where.shape
    scale = min(1.0, (_SMOOTH_PIXELS / where.size) ** 0.5)
    small = tuple(max(2, round(side * scale)) for side in size)
    share = reduce_area(where.astype(np.float32), small)
    means = reduce_area(values * where[..., None], small) / np.maximum(share, 1e-6)[..., None]
    means = push_pull(means, np.minimum(1, share / scale))
    return enlarge_bilinear(cv2.GaussianBlur(means, (0, 0), sigma * scale), size)

"""What could be copied into a hole: for every hidden pixel, the places where the shot shows it.

There are four candidates for a pixel: the nearest frame in the past and in the future that shows it, followed along
the flow and along the camera's motion. Each is continued over a ring of known pixels round the hole. ``compare`` says
how good they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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
from internal_inpaint.resample import push_pull

KINDS = ((follow_flow, PAST), (follow_flow, FUTURE), (follow_camera, PAST), (follow_camera, FUTURE))
COUNT = len(KINDS)
RING = 1 / 60  # width of the ring, as a share of the frame's height; at least ``_LEAST_RING`` pixels
_LEAST_RING = 4
_LATER, _EARLIER = 16, 2  # frames

Box = tuple[slice, slice]


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
    def nbytes(self) -> int:
        return sum(array.nbytes for array in (self.hidden, self.ring, self.frame, self.points))

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

    def earliest(self, views: int) -> np.ndarray:
        """``[K, h, w]`` int32: frames before which the same search in larger pictures need not look for a pixel.

        ``NOWHERE``: no frame shows it, nor one of the pixels beside it.
        """
        frames = np.where(self.valid, np.abs(self.frame - self.index) // views, LONGEST + 1).astype(np.float32)
        nearest = np.stack([cv2.erode(of_kind, np.ones((3, 3), np.uint8)) for of_kind in frames]).astype(np.int32)
        # Their hole has a finer edge: one that moves out of it slowly is seen a little earlier.
        return np.where(nearest > LONGEST, NOWHERE, np.maximum(0, nearest - nearest // 4 - _EARLIER)).astype(np.int32)


def find_candidates(
    motion: Motion,
    shown: Callable[[int], np.ndarray],
    state: np.ndarray,
    index: int,
    within: Box | None = None,
    longest: Sequence[int] = (LONGEST,) * COUNT,
    earliest: Callable[[Box], np.ndarray] | None = None,
) -> Found | None:
    """Search the candidates of a picture's hole.

    Args:
        motion: of the shot.
        shown: ``[h, w]`` bool of a picture by index, where it may be copied (``follow.shows``).
        state: ``[h, w]`` uint8 ``PixelState`` of the picture; its hole is what is hidden.
        index: the picture.
        within: search only the pixels in this box.
        longest: frames to follow at most, by kind of candidate.
        earliest: ``[K, h, w]`` int32 of a box (``Found.earliest``); default: any frame may show any pixel.

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
    points = points_of(hole, box)
    # The ring follows the nearest pixel of the hole.
    number = np.zeros(label.max() + 1, np.int64)
    number[label[hole]] = np.arange(len(points))
    nearest, ring_points = number[label[ring]], points_of(ring, box)

    frame = np.full((COUNT, *hole.shape), NOWHERE, np.int32)
    where = np.zeros((COUNT, *hole.shape, 2), np.float32)
    begin = None if earliest is None else earliest(box)[:, hole]
    for kind, (follow, direction) in enumerate(KINDS):
        seen_in, seen_at = np.full(len(points), NOWHERE, np.int32), points.copy()
        sought = slice(None) if begin is None else np.flatnonzero(begin[kind] != NOWHERE)
        first = None if begin is None else begin[kind][sought]
        sightings = follow(motion, shown, index, direction, points[sought], longest[kind], first)
        seen_in[sought], seen_at[sought] = sightings.frame, sightings.points
        frame[kind][hole], where[kind][hole] = seen_in, seen_at
        there = ring_points + (seen_at - points)[nearest]
        frame[kind][ring] = _seen(seen_in[nearest], there, shown, motion.size)
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
    those that miss by four pixels of 135 rows is three to six times that of those that miss by none.

    Returns:
        ``[K, h, w]`` float32, as a share of the frame's height; interpolated where there is no candidate.
    """
    stray = np.zeros(found.frame.shape, np.float32)
    points = points_of(found.hidden, found.box)
    for kind, (_, direction) in enumerate(KINDS):
        seen = found.frame[kind][found.hidden]
        there = Sightings(seen, found.points[kind][found.hidden])
        back = carried_back(motion, there, found.index, direction)
        stray[kind][found.hidden] = np.linalg.norm(back - points, axis=1) / motion.size[0]
        stray[kind] = push_pull(stray[kind][..., None], found.hidden & (found.frame[kind] != NOWHERE))[..., 0]
    return stray


def points_of(mask: np.ndarray, box: Box) -> np.ndarray:
    """The pixels of a mask ``[h, w]`` of a box, as ``[P, 2]`` float32 positions (x, y) in the picture."""
    rows, columns = np.nonzero(mask)
    return np.stack([columns + box[1].start, rows + box[0].start], axis=1).astype(np.float32)


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

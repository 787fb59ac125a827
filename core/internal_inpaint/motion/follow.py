"""Hidden pixels followed through the shot until a frame shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from internal_inpaint.motion.camera import mapped
from internal_inpaint.motion.field import Motion
from internal_inpaint.pixel_state import PixelState

NOWHERE = -1
LONGEST = 400  # frames that a pixel is followed at most
# Pixels this near to a hole show nothing: a matte's soft edge, motion blur and shadow hold some of the object.
UNSAFE = 0.004  # of the frame's height
BLURRED = 0.85  # sharpness, relative to the picture that is filled, below which a sharper frame is looked for
PATIENCE = 8  # frames, and as many again as it took to find the blurred one


@dataclass(frozen=True)
class Sightings:
    """The nearest frame that shows each point, in one direction of time.

    Attributes:
        frame: ``[P]`` int32, index of the picture, or ``NOWHERE``.
        points: ``[P, 2]`` float32, the position there, (x, y) in pixels.
    """

    frame: np.ndarray
    points: np.ndarray


def shows(state: np.ndarray) -> np.ndarray:
    """``[h, w]`` bool: the pixels of a picture that may be copied: known, and not beside a hole.

    Args:
        state: ``[h, w]`` uint8 ``PixelState``.
    """
    known = (state == PixelState.KNOWN).astype(np.uint8)
    # A small picture's known pixels are known as a whole, which is margin enough.
    radius = int(UNSAFE * state.shape[0])
    return cv2.erode(known, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8), borderValue=1) > 0


def follow_flow(
    motion: Motion,
    shown: Callable[[int], np.ndarray],
    index: int,
    direction: int,
    points: np.ndarray,
    longest: int = LONGEST,
    earliest: np.ndarray | None = None,
) -> Sightings:
    """Follow points from picture to picture along the flow.

    A picture that motion has blurred shows a point only if no sharper one does soon after.

    Args:
        motion: of the shot.
        shown: ``[h, w]`` bool of a picture by index, where it shows something (``shows``).
        index: the picture that the points are in.
        direction: ``PAST`` or ``FUTURE``.
        points: ``[P, 2]`` float32.
        longest: frames that they are followed at most.
        earliest: ``[P]`` int32, frames before which each is not looked for; default: it may be seen in the next one.
    """
    search, active, at, current = _Search(motion, index, points), np.arange(len(points)), points, index
    for distance in range(1, longest + 1):
        following = motion.neighbour(current, direction) if len(active) else None
        if following is None:
            break
        at = motion.carried(current, direction, at)
        inside, current = is_inside(at, motion.size), following
        active, at = active[inside], at.compress(inside, axis=0)
        due = np.arange(len(active)) if earliest is None else np.flatnonzero(earliest[active] <= distance)
        if len(due):
            there = at.take(due, axis=0)
            over = search.look(current, distance, active[due], there, at_nearest(shown(current), there))
            left = np.ones(len(active), bool)
            left[due] = ~over
            active, at = active[left], at.compress(left, axis=0)
    return search.found


def follow_camera(
    motion: Motion,
    shown: Callable[[int], np.ndarray],
    index: int,
    direction: int,
    points: np.ndarray,
    longest: int = LONGEST,
    earliest: np.ndarray | None = None,
) -> Sightings:
    """Follow points along the camera's motion, the product of the homographies; as ``follow_flow``.

    A point that leaves the frame may come back.
    """
    search, active, current, camera = _Search(motion, index, points), np.arange(len(points)), index, np.eye(3)
    for distance in range(1, longest + 1):
        following = motion.neighbour(current, direction) if len(active) else None
        if following is None:
            break
        camera, current = motion.camera(current, direction) @ camera, following
        due = slice(None) if earliest is None else earliest[active] <= distance
        looked = active[due]
        if not len(looked):
            continue
        there = mapped(camera, points.take(looked, axis=0))
        seen = is_inside(there, motion.size)
        seen[seen] = at_nearest(shown(current), there.compress(seen, axis=0))
        over = np.zeros(len(points), bool)
        over[looked[search.look(current, distance, looked, there, seen)]] = True
        active = active[~over[active]]
    return search.found


class _Search:
    """Where points have been seen so far."""

    def __init__(self, motion: Motion, index: int, points: np.ndarray) -> None:
        self._motion, self._least = motion, motion.sharpness(index) * BLURRED
        self.found = Sightings(np.full(len(points), NOWHERE, np.int32), points.copy())
        self._until = np.full(len(points), LONGEST + 1, np.int32)

    def look(self, picture: int, distance: int, active: np.ndarray, at: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Note what a picture shows of some points; bool: for which of them the search is over.

        Args:
            distance: frames from where it began.
            active: the points' numbers; at: ``[A, 2]``, where they are; seen: ``[A]`` bool.
        """
        sharp = self._motion.sharpness(picture) >= self._least
        first = seen & (self.found.frame[active] == NOWHERE)
        self._until[active[first]] = 2 * distance + PATIENCE
        noted = seen if sharp else first
        self.found.frame[active[noted]] = picture
        self.found.points[active[noted]] = at.compress(noted, axis=0)
        return (seen & sharp) | (self._until[active] <= distance)


def carried_back(motion: Motion, sightings: Sightings, index: int, direction: int) -> np.ndarray:
    """Follow what was seen in other pictures back, along the flow, to the picture that it was searched for.

    It was hidden there only if it comes back to where the search began. Where the motion in a hole is guessed wrong,
    a hidden pixel drifts over the hole's edge onto something that was in sight all the time; from there, the motion
    is measured, and it leads past the hole.

    Args:
        motion: of the shot.
        sightings: what ``follow_flow`` or ``follow_camera`` found.
        index, direction: what they were given.

    Returns:
        ``[P, 2]`` float32, positions in the picture ``index``; meaningless for a point that no frame shows.
    """
    at, seen = sightings.points.copy(), sightings.frame != NOWHERE
    if not seen.any():
        return at
    last = np.array(motion.size[::-1], np.float32) - 1
    distance = np.where(seen, np.abs(sightings.frame - index), 0)
    current = int(sightings.frame[distance.argmax()])
    while current != index:
        # Those that were seen nearer join on the way.
        under_way = distance >= abs(current - index)
        at[under_way] = np.clip(motion.carried(current, 1 - direction, at[under_way]), 0, last)
        current = motion.neighbour(current, 1 - direction)
    return at


def is_inside(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``[P]`` bool: which points ``[P, 2]`` (x, y) are in a picture of this size."""
    height, width = size
    x, y = points[:, 0], points[:, 1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def at_nearest(plane: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values of a plane ``[h, w]`` at the pixels nearest to points in it."""
    nearest = np.rint(points).astype(np.int64)
    return plane.ravel()[nearest[:, 1] * plane.shape[1] + nearest[:, 0]]

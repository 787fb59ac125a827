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
) -> Sightings:
    """Follow points from picture to picture along the flow.

    Args:
        motion: of the shot.
        shown: ``[h, w]`` bool of a picture by index, where it shows something (``shows``).
        index: the picture that the points are in.
        direction: ``PAST`` or ``FUTURE``.
        points: ``[P, 2]`` float32.
        longest: frames that they are followed at most.
    """
    frame, at = np.full(len(points), NOWHERE, np.int32), points.copy()
    active, current = np.arange(len(points)), index
    for _ in range(longest):
        following = motion.neighbour(current, direction) if len(active) else None
        if following is None:
            break
        there = motion.carried(current, direction, at[active])
        inside = is_inside(there, motion.size)
        active, there, current = active[inside], there[inside], following
        at[active] = there
        seen = at_nearest(shown(current), there)
        frame[active[seen]] = current
        active = active[~seen]
    return Sightings(frame, at)


def follow_camera(
    motion: Motion,
    shown: Callable[[int], np.ndarray],
    index: int,
    direction: int,
    points: np.ndarray,
    longest: int = LONGEST,
) -> Sightings:
    """Follow points along the camera's motion, the product of the homographies; as ``follow_flow``.

    A point that leaves the frame may come back.
    """
    frame, at = np.full(len(points), NOWHERE, np.int32), points.copy()
    active, current, camera = np.arange(len(points)), index, np.eye(3)
    for _ in range(longest):
        following = motion.neighbour(current, direction) if len(active) else None
        if following is None:
            break
        camera, current = motion.camera(current, direction) @ camera, following
        there = mapped(camera, points[active])
        seen = is_inside(there, motion.size)
        seen[seen] = at_nearest(shown(current), there[seen])
        frame[active[seen]] = current
        at[active[seen]] = there[seen]
        active = active[~seen]
    return Sightings(frame, at)


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
    return plane[np.rint(points[:, 1]).astype(np.int64), np.rint(points[:, 0]).astype(np.int64)]

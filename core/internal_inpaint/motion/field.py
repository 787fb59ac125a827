"""The motion of a shot: from every picture to its neighbours in time, at one size.

Positions are (x, y) in pixels, ``[P, 2]`` float32. A direction is an index: ``PAST`` or ``FUTURE``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from internal_inpaint.motion.camera import resized_camera
from internal_inpaint.resample import as_float32

PAST, FUTURE = 0, 1
STEP = (-1, 1)  # frames, by direction
_COLUMNS = 4096  # of the maps for cv2.remap, which takes no side above 32,767


class Motion(Protocol):
    """What follows points from picture to picture needs of the motion."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures whose pixels positions count."""

    def neighbour(self, index: int, direction: int) -> int | None:
        """The next picture of the same view in a direction; ``None`` at the end of the shot and at a cut."""

    def carried(self, index: int, direction: int, points: np.ndarray) -> np.ndarray:
        """Positions of a picture followed to its neighbour along the flow."""

    def camera(self, index: int, direction: int) -> np.ndarray:
        """``[3, 3]``: the homography from a picture to its neighbour."""

    def sharpness(self, index: int) -> float:
        """How sharp a picture is, relative to others of its view."""


@dataclass(frozen=True)
class MotionField:
    """The measured motion of a shot.

    Attributes:
        flow: ``[N, 2, H, W, 2]`` float16, from each picture to its neighbour in each direction, in pixels; completed
            where it could not be measured.
        trusted: ``[N, 2, H, W]`` uint8, 1 where it was measured.
        cameras: ``[N, 2, 3, 3]`` float64 homographies.
        linked: ``[N, 2]`` bool: whether there is a neighbour that shows the same scene.
        sharpnesses: ``[N]`` float64, relative, of pictures between which there is no cut.
        views: pictures per frame; pictures of one view are ``views`` apart.
    """

    flow: np.ndarray
    trusted: np.ndarray
    cameras: np.ndarray
    linked: np.ndarray
    sharpnesses: np.ndarray
    views: int = 1

    @property
    def size(self) -> tuple[int, int]:
        return tuple(self.trusted.shape[2:])

    def neighbour(self, index: int, direction: int) -> int | None:
        return index + STEP[direction] * self.views if self.linked[index, direction] else None

    def carried(self, index: int, direction: int, points: np.ndarray) -> np.ndarray:
        return points + sample(self.flow[index, direction], points)

    def camera(self, index: int, direction: int) -> np.ndarray:
        return self.cameras[index, direction]

    def sharpness(self, index: int) -> float:
        return float(self.sharpnesses[index])


class ResizedMotion:
    """The same motion in pixels of pictures of another size."""

    def __init__(self, motion: Motion, size: tuple[int, int]) -> None:
        self._motion, self.size = motion, tuple(size)
        self._scale = tuple(new / old for new, old in zip(self.size, motion.size, strict=True))
        self._xy = np.array(self._scale[::-1], np.float32)

    def neighbour(self, index: int, direction: int) -> int | None:
        return self._motion.neighbour(index, direction)

    def carried(self, index: int, direction: int, points: np.ndarray) -> np.ndarray:
        there = self._motion.carried(index, direction, (points + 0.5) / self._xy - 0.5)
        return (there + 0.5) * self._xy - 0.5

    def camera(self, index: int, direction: int) -> np.ndarray:
        return resized_camera(self._motion.camera(index, direction), self._scale)

    def sharpness(self, index: int) -> float:
        return self._motion.sharpness(index)


def resized_motion(motion: Motion, size: tuple[int, int]) -> Motion:
    """The motion in pixels of pictures of this size."""
    return motion if tuple(motion.size) == tuple(size) else ResizedMotion(motion, size)


def sample(image: np.ndarray, points: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Values of an image at fractional positions; its edges repeat.

    Args:
        image: ``[H, W, C]`` of any float type; only the part of it around the points is read.
        points: ``[P, 2]`` (x, y).
        interpolation: of OpenCV.

    Returns:
        ``[P, C]`` float32.
    """
    count = len(points)
    if not count:
        return np.zeros((0, image.shape[2]), np.float32)
    height, width = image.shape[:2]
    margin = 3  # that the widest interpolation reads
    # By axis: NumPy reduces the long axis of two columns several times as slowly.
    low = np.floor([points[:, axis].min() for axis in (0, 1)]).astype(np.int64) - margin
    high = np.ceil([points[:, axis].max() for axis in (0, 1)]).astype(np.int64) + margin + 1
    left, top = (int(v) for v in np.clip(low, 0, (width - 1, height - 1)))
    right, bottom = (int(v) for v in np.clip(high, (left + 1, top + 1), (width, height)))
    part = as_float32(image[top:bottom, left:right])
    at = np.zeros((count + -count % _COLUMNS, 2), np.float32)
    # By axis here, too: rows of two are slow to subtract from.
    for axis, first in enumerate((left, top)):
        np.subtract(points[:, axis], np.float32(first), out=at[:count, axis])
    found = cv2.remap(part, at.reshape(-1, _COLUMNS, 2), None, interpolation, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, image.shape[2])[:count]

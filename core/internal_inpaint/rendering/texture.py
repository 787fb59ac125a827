"""Texture for what no frame shows: synthesised once, in a key frame, and carried to the others with the camera.

A network that is trained on one shot for minutes invents the right colours, softly. So of what is invented it gives
the low frequencies, frame by frame, which also follow the light; the detail is that of the key frame, whose unseen
part is filled with pieces of its surroundings (``exemplar``). One picture for the whole shot does not flicker. Where
the two have different low frequencies, something else is there now, and the detail would have the wrong colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from internal_inpaint.motion.camera import mapped
from internal_inpaint.motion.field import FUTURE, PAST, Motion, resized_motion, sample
from internal_inpaint.motion.follow import is_inside
from internal_inpaint.rendering.exemplar import exemplar_fill
from internal_inpaint.resample import enlarge_bilinear, reduce_area

KEYS = 3  # in a run of pictures between cuts, at most
LOOKED_AT = 16  # pictures of such a run, in search of the keys
SMALLEST = 5e-4  # of the frame: what is less is not worth a texture
_LEFT = 0.25  # share of the unseen pixels that a further key must add
LOW = 1 / 16  # sigma of the low frequencies, as a share of the frame's height


@dataclass(frozen=True)
class Seen:
    """A picture as far as the shot shows it.

    Attributes:
        picture: ``[H, W, 3]`` float32 working space: the plate, and in the hole the best copies.
        unseen: ``[H, W]`` bool: what is to be synthesised.
        sure: ``[H, W]`` bool: the plate's own pixels and certain copies, which it may be synthesised from.
    """

    picture: np.ndarray
    unseen: np.ndarray
    sure: np.ndarray


@dataclass(frozen=True)
class KeyFrame:
    """A picture whose unseen part has been synthesised.

    Attributes:
        index: the picture.
        picture: ``[H, W, 3]`` float16 working space.
    """

    index: int
    picture: np.ndarray


class Texture:
    """The detail that the key frames give the other pictures.

    Args:
        keys: of the whole shot.
        motion: of the shot, at the size of the key frames.
    """

    def __init__(self, keys: Sequence[KeyFrame], motion: Motion) -> None:
        self.keys, self._motion = keys, motion
        self._low = {key.index: _blurred(np.asarray(key.picture, np.float32), len(key.picture)) for key in keys}
        self.resized = lru_cache(2)(self._resized)

    def _resized(self, size: tuple[int, int]) -> Texture:
        """The same for pictures of another size."""
        keys = [KeyFrame(key.index, reduce_area(key.picture, size).astype(np.float16)) for key in self.keys]
        return Texture(keys, resized_motion(self._motion, size))

    def detail(self, index: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The detail at points of a picture.

        Args:
            points: ``[P, 2]`` (x, y) in pixels.

        Returns:
            ``[P, 3]`` float32 the detail, ``[P, 3]`` the low frequencies that it was taken from, and ``[P]`` bool:
            where there is any.
        """
        found, low = (np.zeros((len(points), 3), np.float32) for _ in range(2))
        there = np.zeros(len(points), bool)
        for key in sorted(self.keys, key=lambda key: abs(key.index - index)):
            camera = camera_between(self._motion, index, key.index)
            if camera is None or there.all():
                continue
            left = np.flatnonzero(~there)
            at = mapped(camera, points[left])
            inside = is_inside(at, self._motion.size)
            small = self._low[key.index]
            scale = np.array(small.shape[1::-1], np.float32) / np.array(self._motion.size[::-1], np.float32)
            inside, at = left[inside], at[inside]
            low[inside] = sample(small, (at + 0.5) * scale - 0.5)
            found[inside] = sample(key.picture, at, cv2.INTER_CUBIC) - low[inside]
            there[inside] = True
        return found, low, there


def make_keys(
    motion: Motion,
    count: int,
    views: int,
    unseen: Callable[[int], np.ndarray],
    seen: Callable[[int], Seen],
) -> list[KeyFrame]:
    """Choose the key frames of a shot and synthesise them.

    Args:
        motion: of the shot, at any size.
        count, views: pictures of the shot, and per frame.
        unseen: ``[P, 2]`` points (x, y) in pixels of ``motion``'s size that no frame shows, of a picture by index.
        seen: a picture by index.
    """
    made = []
    for run in _runs(motion, count, views):
        spread = np.linspace(0, len(run) - 1, min(LOOKED_AT, len(run))).round().astype(int)
        left = {run[number]: unseen(run[number]) for number in spread}
        most = max(len(points) for points in left.values())
        if most < SMALLEST * motion.size[0] * motion.size[1]:
            continue
        for _ in range(KEYS):
            index = max(left, key=lambda index: len(left[index]))
            if len(left[index]) < max(1, _LEFT * most):
                break
            made.append(KeyFrame(index, _completed(seen(index))))
            left = {other: _outside(motion, other, index, points) for other, points in left.items()}
    return made


def _runs(motion: Motion, count: int, views: int) -> Iterator[list[int]]:
    """The pictures of each view between cuts."""
    for view in range(views):
        run: list[int] = []
        for index in range(view, count, views):
            run.append(index)
            if motion.neighbour(index, FUTURE) is None:
                yield run
                run = []


def _outside(motion: Motion, index: int, key: int, points: np.ndarray) -> np.ndarray:
    """The points that a key frame does not hold."""
    return points[~is_inside(mapped(camera_between(motion, index, key), points), motion.size)]


def camera_between(motion: Motion, index: int, other: int) -> np.ndarray | None:
    """The homography from one picture to another, ``[3, 3]``; ``None`` across a cut and to another view."""
    camera, direction = np.eye(3), FUTURE if other > index else PAST
    while index != other:
        following = motion.neighbour(index, direction)
        if following is None:
            return None
        camera, index = motion.camera(index, direction) @ camera, following
    return camera


def _completed(seen: Seen) -> np.ndarray:
    """A picture with its unseen part synthesised: ``[H, W, 3]`` float16."""
    return exemplar_fill(seen.picture, seen.unseen, seen.sure).astype(np.float16)


def low_frequencies(picture: np.ndarray, height: int) -> np.ndarray:
    """A picture, or a part of one, without its detail: ``[h, w, 3]`` float32.

    Args:
        height: of the whole picture.
    """
    return enlarge_bilinear(_blurred(picture, height), picture.shape[:2])


def _blurred(picture: np.ndarray, height: int) -> np.ndarray:
    """The same, reduced as far as it has no detail."""
    sigma = LOW * height
    scale = max(1.0, sigma / 4)
    small = tuple(max(1, round(side / scale)) for side in picture.shape[:2])
    return cv2.GaussianBlur(reduce_area(picture, small), (0, 0), sigma / scale)

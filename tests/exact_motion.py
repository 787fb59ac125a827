"""A shot whose motion is known exactly: a pattern without end before a camera that pans by fractions of a pixel."""

import numpy as np

from internal_inpaint.motion.field import MotionField
from internal_inpaint.motion.follow import shows
from internal_inpaint.pixel_state import PixelState

SIZE = (48, 80)


def pattern(x, y):
    """Smooth texture in [-0.8, 0.8] at any position, ``[..., 3]``."""
    waves = np.sin(x / 3) * np.cos(y / 4), np.sin(x / 5 + y / 7), np.cos(x / 4 - y / 3)
    return (0.8 * np.stack(waves, axis=-1)).astype(np.float32)


def truth(count, by, size=SIZE):
    """``[N, h, w, 3]``: the pattern moves by ``by`` (x, y) from picture to picture."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    return np.stack([pattern(x - index * by[0], y - index * by[1]) for index in range(count)])


def panning(count, by, size=SIZE, views=1):
    """The motion of that."""
    flow = np.zeros((count, 2, *size, 2), np.float16)
    cameras = np.tile(np.eye(3), (count, 2, 1, 1))
    linked = np.ones((count, 2), bool)
    for direction, sign in ((0, -1), (1, 1)):
        flow[:, direction] = sign * np.array(by)
        cameras[:, direction, :2, 2] = sign * np.array(by)
    linked[:views, 0] = linked[count - views :, 1] = False
    return MotionField(flow, np.ones((count, 2, *size), np.uint8), cameras, linked, np.ones(count), views)


def moving_hole(count, by, size=SIZE, start=(14, 6), extent=(18, 20)):
    """``[N, h, w]`` uint8: a hole that moves by whole pixels (x, y)."""
    state = np.zeros((count, *size), np.uint8)
    for index, plane in enumerate(state):
        top, left = start[0] + index * by[1], start[1] + index * by[0]
        plane[max(0, top) : max(0, top + extent[0]), max(0, left) : max(0, left + extent[1])] = PixelState.HOLE
    return state


def shown_in(state):
    return lambda index: shows(state[index])


def best_copy(candidates):
    """The candidates mixed by their weights: ``[h, w, 3]``, what is copied before anything is learned."""
    total = np.maximum(candidates.weights.sum(axis=0), 1e-9)[..., None]
    return (candidates.weights[..., None] * candidates.colours).sum(axis=0) / total

"""How good the candidates of a hole are, and in what light they have to be put.

In the ring of known pixels round the hole, what would be copied can be compared with what is there: a difference in
brightness is a change of light, which is corrected, and what remains is a misregistration, or a thing that moves by
itself. A copy also has to come back to where it was searched (``candidates.astray``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from internal_inpaint.motion.candidates import COUNT, KINDS, Found, copied
from internal_inpaint.motion.follow import follow_camera, follow_flow
from internal_inpaint.resample import as_float32, enlarge_bilinear, push_pull, reduce_area

# Radius over which light and misregistration are averaged, as a share of the frame's height; 1.5 pixels or more.
SMOOTH = 1 / 240
_SMOOTH_PIXELS = 480 * 270  # they are interpolated at most at this size
_DECISIVE = 4  # power of the expected errors that the weights are inverse to: as sharp as the plate, and no noisier
NOTHING = 0.7  # expected error of the smooth continuation, as a share of the shot's contrast
_NO_RING = 0.5  # the misfit of a candidate without a ring to compare it in
_ASTRAY = 0.15  # of the frame's height: a copy that comes back so far from its pixel is worse than none


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
    """Copy the candidates, correct their light and weigh them, by what the ring shows and where they come back to.

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
    here = as_float32(picture(found.index)[found.box])
    sigma = max(1.5, SMOOTH * len(picture(found.index)))
    light, errors = np.zeros_like(colours), np.zeros(valid.shape, np.float32)
    for kind in range(COUNT):
        ring, missed = found.ring & valid[kind], np.full(valid.shape[1:], np.inf, np.float32)
        if ring.any():
            difference = np.where(ring[..., None], here - colours[kind], 0)
            misses = np.abs(difference).mean(axis=2, keepdims=True)
            smooth = _smooth(np.concatenate([difference, misses], axis=2), ring, sigma)
            light[kind], missed = smooth[..., :3], smooth[..., 3]
        errors[kind] = _expected_error(found, kind, missed / contrast, stray[kind], views)
    weights = np.where(valid, np.maximum(errors, 1e-3) ** -_DECISIVE, 0)
    total = weights.sum(axis=0) + NOTHING**-_DECISIVE
    colours = np.where(valid[..., None], colours + light, 0)
    return Candidates(found, stray, colours, light, errors, (weights / total).astype(np.float32))


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

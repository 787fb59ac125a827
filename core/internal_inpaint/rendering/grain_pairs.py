"""Pairs of neighbouring frames, one moved onto the other: where a plate's grain can be seen by itself.

Two neighbouring frames show the same scene under different grain. Once the second is moved onto the first along the
motion, texture cancels in their difference and grain does not. What is left of the texture, because motion and
interpolation are not exact, grows with the picture's gradient. The difference of two pictures with independent grain
is independent of their sum, so pixels can be chosen by their brightness and gradient in the sum without bias.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, fields

import cv2
import numpy as np

from internal_inpaint.motion.flow import optical_flow

BLOCK = 32  # pixels a side of the blocks that a picture is looked at in
MOST_BLOCKS = 400  # of a pair: enough for the statistics, and a bound on the memory
_STRATA = 8  # of brightness, from each of which as many blocks are taken
_LEAST_USABLE = 0.25  # of a block's pixels
_SMALLEST = 2 * BLOCK  # pixels a side of a picture that is worth looking at
_WINDOW = (1152, 2048)  # rows and columns round the hole: more of a large plate only takes time
_FLOW_SIGMA = 16.0  # pixels: a flow that is smoother than grain cannot follow grain
_FLICKER_SIGMA = 16.0  # pixels: slower changes of light between two frames are no grain
_LANCZOS = 4  # pixels on either side that OpenCV's INTER_LANCZOS4 reads
_STEP_BINS, _STEP_SAMPLES = 16, 200_000


@dataclass(frozen=True)
class PlatePicture:
    """A picture of the shot at plate size.

    Attributes:
        pixels: ``[H, W, 3]`` float32 working space.
        known: ``[H, W]`` bool, True where it shows the plate.
    """

    pixels: np.ndarray
    known: np.ndarray


@dataclass(frozen=True)
class Blocks:
    """Blocks of pairs of frames.

    Attributes:
        difference: ``[N, B, B, 3]`` float32 of the two frames, one moved onto the other.
        brightness: ``[N, B, B, 3]`` float32, their mean, slightly blurred.
        gradient: ``[N, B, B]`` float32, the squared gradient of their mean, per pixel of distance.
        usable: ``[N, B, B]`` bool, where both frames show the plate.
        interpolation: ``[N, 15, 15]`` autocorrelation, up to 7 pixels, of the weights that moved the second frame.
    """

    difference: np.ndarray
    brightness: np.ndarray
    gradient: np.ndarray
    usable: np.ndarray
    interpolation: np.ndarray


class QuantisationSteps:
    """The distances between the values that a plate's files can hold, found from the values themselves.

    Args:
        picture: any picture of the shot.
    """

    def __init__(self, picture: PlatePicture) -> None:
        values = picture.pixels[picture.known & np.isfinite(picture.pixels).all(axis=2)]
        values = values[:: max(1, len(values) // _STEP_SAMPLES)]
        self._tables = [_steps(values[:, c]) for c in range(3)]

    def at(self, picture: np.ndarray) -> np.ndarray:
        """The distance ``[..., 3]`` float32 between neighbouring values at those of ``picture`` ``[..., 3]``."""
        planes = [np.interp(picture[..., c], *table) for c, table in enumerate(self._tables)]
        return np.stack(planes, axis=-1).astype(np.float32)


def _steps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not len(values):
        return np.zeros(1), np.zeros(1)
    edges = np.linspace(values.min(), values.max(), _STEP_BINS + 1)
    centres, steps = (edges[1:] + edges[:-1]) / 2, np.zeros(_STEP_BINS)
    for k, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = values[(values >= low) & (values <= high)]
        levels = np.unique(inside)
        # Values that are not repeated say nothing: they may be any.
        if 1 < len(levels) < len(inside) / 4:
            steps[k] = np.median(np.diff(levels))
    return centres, steps


def blocks_of(pairs: Iterable[tuple[PlatePicture, PlatePicture]]) -> tuple[Blocks, QuantisationSteps] | None:
    """The blocks of all pairs, and the plate's quantisation; ``None`` if the pictures are too small or hidden.

    Takes one pair at a time, so that ``pairs`` can load them one by one.
    """
    parts, steps = [], None
    for first, second in pairs:
        if min(first.known.shape) < _SMALLEST:
            continue
        window = _window_round_hole(first.known)
        first, second = (PlatePicture(p.pixels[window], p.known[window]) for p in (first, second))
        steps = steps or QuantisationSteps(first)
        blocks = _blocks(first, second, steps, len(parts))
        if blocks is not None:
            parts.append(blocks)
    if not parts or steps is None:
        return None
    joined = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Blocks)}
    return Blocks(**joined), steps


def _window_round_hole(known: np.ndarray) -> tuple[slice, slice]:
    spans = []
    for axis, most in enumerate(_WINDOW):
        hidden = np.flatnonzero(~known.all(axis=1 - axis))
        middle = (hidden[0] + hidden[-1]) // 2 if len(hidden) else known.shape[axis] // 2
        start = int(np.clip(middle - most // 2, 0, max(0, known.shape[axis] - most)))
        spans.append(slice(start, start + most))
    return spans[0], spans[1]


def _blocks(first: PlatePicture, second: PlatePicture, steps: QuantisationSteps, seed: int) -> Blocks | None:
    height, width = first.known.shape
    # What moves the second frame must not read NaN: one would spoil its neighbours.
    first, second = _finite(first), _finite(second)
    flow = _steady_flow(first, second)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    here, there = (_dithered(picture.pixels, steps, [seed, n]) for n, picture in enumerate((first, second)))
    moved = cv2.remap(there, x, y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
    reach = np.ones((2 * _LANCZOS + 1, 2 * _LANCZOS + 1), np.uint8)
    unknown = cv2.dilate((~second.known).astype(np.uint8), reach, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    hidden = cv2.remap(unknown, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=1)
    usable = first.known & (hidden == 0)
    if not usable.any():
        return None
    mean = (here + moved) / 2
    difference = _without_flicker(here - moved, usable)
    grey = cv2.GaussianBlur(mean.mean(axis=2), (0, 0), 1)
    gradient = cv2.GaussianBlur(_squared_gradient(grey), (0, 0), 1.5)
    corners = _corners(usable, gradient, grey)
    if not corners:
        return None

    def cut(plane: np.ndarray) -> np.ndarray:
        return np.stack([plane[row : row + BLOCK, column : column + BLOCK] for row, column in corners])

    # A block over which the fraction passes a whole pixel has no mean of it; its middle will do.
    middle = BLOCK // 2
    fractions = [cut(axis)[:, middle, middle] % 1 for axis in (y, x)]
    interpolation = np.stack([np.outer(_lanczos(fy), _lanczos(fx)) for fy, fx in zip(*fractions, strict=True)])
    brightness = cv2.GaussianBlur(mean, (0, 0), 1)
    return Blocks(cut(difference), cut(brightness), cut(gradient), cut(usable), interpolation)


def _finite(picture: PlatePicture) -> PlatePicture:
    finite = np.isfinite(picture.pixels).all(axis=2)
    if finite.all():
        return picture
    return PlatePicture(np.where(finite[..., None], picture.pixels, np.float32(0)), picture.known & finite)


def _dithered(pixels: np.ndarray, steps: QuantisationSteps, seed: list[int]) -> np.ndarray:
    """Uniform noise of one quantisation step: medians of values that stand on a grid would stand on it too."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return pixels + steps.at(pixels) * (rng.random(pixels.shape, np.float32) - np.float32(0.5))


def _steady_flow(first: PlatePicture, second: PlatePicture) -> np.ndarray:
    """Flow ``[H, W, 2]`` from first to second that structure decides and grain does not."""
    flow = optical_flow(first.pixels, second.pixels)
    weight = _squared_gradient(cv2.GaussianBlur(first.pixels.mean(axis=2), (0, 0), 1))
    weight = cv2.GaussianBlur(weight, (0, 0), 2) * first.known + np.float32(1e-9)
    steady = cv2.GaussianBlur(flow * weight[..., None], (0, 0), _FLOW_SIGMA)
    return steady / cv2.GaussianBlur(weight, (0, 0), _FLOW_SIGMA)[..., None]


def _squared_gradient(plane: np.ndarray) -> np.ndarray:
    return cv2.Sobel(plane, -1, 1, 0, scale=1 / 8) ** 2 + cv2.Sobel(plane, -1, 0, 1, scale=1 / 8) ** 2


def _without_flicker(difference: np.ndarray, usable: np.ndarray) -> np.ndarray:
    most = 3 * np.median(np.abs(difference[usable]), axis=0) / 0.6745
    weight = cv2.GaussianBlur(usable.astype(np.float32), (0, 0), _FLICKER_SIGMA)[..., None] + np.float32(1e-6)
    clipped = np.clip(difference, -most, most) * usable[..., None]
    return difference - cv2.GaussianBlur(clipped, (0, 0), _FLICKER_SIGMA) / weight


def _corners(usable: np.ndarray, gradient: np.ndarray, grey: np.ndarray) -> list[tuple[int, int]]:
    """Top left corners of the blocks to look at: of those of like brightness, the ones with the least texture."""
    height, width = usable.shape
    rows, columns = range(0, height - BLOCK + 1, BLOCK), range(0, width - BLOCK + 1, BLOCK)

    def mean(plane: np.ndarray) -> np.ndarray:
        cropped = plane[: len(rows) * BLOCK, : len(columns) * BLOCK].astype(np.float32)
        return cropped.reshape(len(rows), BLOCK, len(columns), BLOCK).mean(axis=(1, 3)).ravel()

    corners = [(row, column) for row in rows for column in columns]
    good = np.flatnonzero(mean(usable) >= _LEAST_USABLE)
    if len(good) > MOST_BLOCKS:
        strata = np.array_split(good[np.argsort(mean(grey)[good], kind="stable")], _STRATA)
        texture, each = mean(gradient), MOST_BLOCKS // _STRATA
        good = np.concatenate([stratum[np.argsort(texture[stratum], kind="stable")[:each]] for stratum in strata])
    return [corners[k] for k in good]


def _lanczos(fraction: float) -> np.ndarray:
    """Autocorrelation ``[15]`` of the weights with which OpenCV's INTER_LANCZOS4 reads between two pixels."""
    offset = np.arange(1 - _LANCZOS, _LANCZOS + 1) - fraction
    weights = np.sinc(offset) * np.sinc(offset / _LANCZOS)
    weights /= weights.sum()
    return np.correlate(weights, weights, "full")

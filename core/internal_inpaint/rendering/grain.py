"""Grain for what has none: noise with the strength and the correlations of the plate's grain.

A pixel's noise follows from its place in the plate, the frame and the view alone. So every run draws the same grain,
a part of a frame has the grain of the whole, and every frame has its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import numpy as np

RADIUS = 7  # pixels: grain is taken to be uncorrelated beyond this distance
_TILE = 64  # pixels a side of what is drawn from one seed
_STRIP = 64  # rows that are filtered together, so that they stay in the processor's cache
_WORD = 2**32


@dataclass(frozen=True)
class GrainModel:
    """A plate's grain in the working space, where it is added to the picture.

    White noise is mixed between the channels, filtered and scaled: no step depends on how a machine sums, so the same
    model gives the same grain everywhere.

    Attributes:
        brightness: ``[3, K]`` knots per channel, increasing: the working-space value of that channel itself.
        std: ``[3, K]`` the grain's standard deviation there: linear between knots, constant beyond the last.
        mixing: ``[3, 3]`` channels of the grain out of independent ones; its rows have length 1.
        kernels: ``[3, 2 R + 1, 2 R + 1]`` the filter of each channel, symmetric about its middle, of energy 1.
    """

    brightness: np.ndarray
    std: np.ndarray
    mixing: np.ndarray
    kernels: np.ndarray

    @classmethod
    def none(cls) -> GrainModel:
        """A plate without grain."""
        kernels = np.zeros((3, 2 * RADIUS + 1, 2 * RADIUS + 1), np.float32)
        kernels[:, RADIUS, RADIUS] = 1
        knots = np.tile(np.float32([-1, 1]), (3, 1))
        return cls(knots, np.zeros_like(knots), np.eye(3, dtype=np.float32), kernels)

    @classmethod
    def from_plain(cls, plain: dict) -> GrainModel:
        """The model that ``plain`` has described."""
        return cls(**{field.name: np.array(plain[field.name], np.float32) for field in fields(cls)})

    def plain(self) -> dict:
        """The model as lists of numbers, for a JSON file."""
        return {name: np.asarray(values).astype(float).round(9).tolist() for name, values in asdict(self).items()}

    @property
    def is_none(self) -> bool:
        return not self.std.any()

    @property
    def correlation(self) -> np.ndarray:
        """``[3, 2 R + 1, 2 R + 1]`` spatial autocorrelation of each channel, 1 in the middle."""
        return np.stack([autocorrelation(kernel) for kernel in self.kernels])

    @property
    def channels(self) -> np.ndarray:
        """``[3, 3]`` correlation of the channels at one pixel."""
        return (self.mixing @ self.mixing.T) * np.einsum("iyx,jyx->ij", self.kernels, self.kernels)

    def std_at(self, picture: np.ndarray) -> np.ndarray:
        """The grain's standard deviation ``[..., 3]`` float32 at the values of ``picture`` ``[..., 3]``."""
        planes = [np.interp(picture[..., c], self.brightness[c], self.std[c]) for c in range(3)]
        return np.stack(planes, axis=-1).astype(np.float32)


def autocorrelation(kernel: np.ndarray) -> np.ndarray:
    """Of a filter ``[2 R + 1, 2 R + 1]``, at the lags up to R: what it makes of white noise."""
    size, lags = 4 * kernel.shape[0], np.arange(-RADIUS, RADIUS + 1)
    power = np.abs(np.fft.fft2(kernel, (size, size))) ** 2
    return np.fft.ifft2(power).real[np.ix_(lags, lags)]


def lacking_share(weights: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
    """The share of the grain's variance that a mix of copies lacks.

    The grain of different frames is independent: copies with the weights w keep the sum of w squared of its variance.
    What is invented has no grain, so its weight does not count.

    Args:
        weights: ``[K, H, W]`` weights of the copies, without that of the invented part; together at most 1.
        kept: ``[K, H, W]`` the share of its variance that each copy has kept, if interpolation took some.

    Returns:
        ``[H, W]`` float32, 0 (one copy, as it is) to 1 (all invented).
    """
    squares = np.square(weights, dtype=np.float32)
    share = 1 - (squares if kept is None else squares * kept).sum(axis=0)
    # Weights that add up to 1 only nearly must not grain a plain copy.
    return np.where(share < 1e-4, 0, np.clip(share, 0, 1)).astype(np.float32)


def add_grain(
    fill: np.ndarray,
    model: GrainModel,
    share: np.ndarray,
    frame: int,
    view: int = 0,
    *,
    origin: tuple[int, int] = (0, 0),
    amount: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """Give a fill the grain that it lacks.

    Args:
        fill: ``[H, W, 3]`` float32 working space, at plate size or a part of it.
        model: the plate's grain.
        share: ``[H, W]`` the share of the grain's variance that the fill lacks, 0 to 1 (``lacking_share``).
        frame, view: number of the frame, index of the view.
        origin: row and column of the plate where the fill begins.
        amount: factor on the grain's strength; 1: as the plate.
        seed: of the random numbers.

    Returns:
        ``[H, W, 3]`` float32; the fill itself, bit for bit, where ``share`` is 0.
    """
    lacks = share > 0
    if model.is_none or amount <= 0 or not lacks.any():
        return fill
    rows, columns = (np.flatnonzero(lacks.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    corner = origin[0] + int(rows[0]), origin[1] + int(columns[0])
    added = grain_field(model, fill[box], frame, view, origin=corner, seed=seed)
    added *= np.sqrt(share[box].astype(np.float32))[..., None] * np.float32(amount)
    result = fill.copy()
    result[box] = np.where(lacks[box][..., None], fill[box] + added, fill[box])
    return result


def grain_field(
    model: GrainModel,
    picture: np.ndarray,
    frame: int,
    view: int = 0,
    *,
    origin: tuple[int, int] = (0, 0),
    seed: int = 0,
) -> np.ndarray:
    """The grain of a frame or of a part of it, ``[H, W, 3]`` float32 working space, to be added.

    Args:
        picture: ``[H, W, 3]`` float32 working space: its values decide the strength.
        model, frame, view, origin, seed: as for ``add_grain``.
    """
    height, width = picture.shape[:2]
    result = model.std_at(picture)
    if model.is_none:
        return result
    taps = [_taps(kernel) for kernel in model.kernels]
    for top in range(0, height, _STRIP):
        rows = min(_STRIP, height - top)
        start = origin[0] + top - RADIUS, origin[1] - RADIUS
        noise = _white(start, (rows + 2 * RADIUS, width + 2 * RADIUS), [seed, frame % _WORD, view])
        for c in range(3):
            mixed = sum(noise[j] * model.mixing[c, j] for j in range(3))
            result[top : top + rows, :, c] *= _filtered(mixed, taps[c])
    return result


def _white(start: tuple[int, int], size: tuple[int, int], seed: list[int]) -> np.ndarray:
    """White noise ``[3, *size]`` float32 of the plate's pixels from ``start`` on."""
    (top, left), (height, width) = start, size
    result = np.empty((3, height, width), np.float32)
    for row in range(top // _TILE * _TILE, top + height, _TILE):
        for column in range(left // _TILE * _TILE, left + width, _TILE):
            key = [*seed, row // _TILE % _WORD, column // _TILE % _WORD]
            tile = np.random.Generator(np.random.PCG64(key)).standard_normal((3, _TILE, _TILE), np.float32)
            first, last = max(row, top), min(row + _TILE, top + height)
            begin, end = max(column, left), min(column + _TILE, left + width)
            part = tile[:, first - row : last - row, begin - column : end - column]
            result[:, first - top : last - top, begin - left : end - left] = part
    return result


def _taps(kernel: np.ndarray) -> list[tuple[int, int, np.float32]]:
    """Half of a symmetric filter, its middle first: row and column from the middle, weight."""
    offsets = [(y, x) for y in range(RADIUS + 1) for x in range(-RADIUS, RADIUS + 1) if (y, x) >= (0, 0)]
    taps = [(y, x, np.float32(kernel[RADIUS + y, RADIUS + x])) for y, x in offsets]
    return [tap for tap in taps if tap[2]]


def _filtered(noise: np.ndarray, taps: list[tuple[int, int, np.float32]]) -> np.ndarray:
    """``[H, W]`` of noise ``[H + 2 R, W + 2 R]``.

    One product and one sum at a time: a library's filter may sum in another order at the edge of a picture, or by
    Fourier transform, and a part of a frame would differ from the whole in its last bits.
    """
    height, width = (n - 2 * RADIUS for n in noise.shape)

    def moved(y: int, x: int) -> np.ndarray:
        return noise[RADIUS + y : RADIUS + y + height, RADIUS + x : RADIUS + x + width]

    total = np.zeros((height, width), np.float32)
    for y, x, weight in taps:
        both = moved(y, x) + moved(-y, -x) if (y, x) != (0, 0) else moved(0, 0)
        total += both * weight
    return total

"""Measures a plate's grain: its strength by channel and brightness, and its correlations."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from internal_inpaint.rendering.grain import RADIUS, GrainModel
from internal_inpaint.rendering.grain_pairs import Blocks, PlatePicture, QuantisationSteps, blocks_of

_KNOTS = 16  # of the table of strength by brightness
_FEWEST_PIXELS, _FEWEST_SHARE = 400, 0.001  # at a knot; of all pixels: what is rarer may be one object that moves
# Shares of the pixels of like brightness, by their gradient; those with the most are left out.
_CALMEST = (0.0, 0.05, 0.1, 0.2, 0.35)
# The most that texture can leave in a frame's part of the difference, as a share of its squared gradient. The sample
# shot, whose rendering takes few samples a pixel, leaves 0.12.
_TEXTURE = 0.15
_STEEPEST = 0.25  # growth of the variance with the squared gradient
_LEAST_SEEN = 0.3  # of the pixels must show more than texture can leave
_LEAST_STD = 2e-4  # of a range of 2: below, nobody sees it
_CALM_SHARE, _CALM = 0.12, 0.02  # pixels that the spatial correlation is measured on: the calmest, and all this calm
_CELL, _FEWEST_CELLS = 16, 12  # pixels a side; at a knot
_UNEVEN = 1.15  # how much the variance may vary where the brightness is the same
_OUTLIER = 3.0  # standard deviations
_PAIRS = ((0, 1), (1, 2), (0, 2))  # of channels
_ALL = ((0, 0), (1, 1), (2, 2), *_PAIRS)

Table = list[tuple[float, list["_Group"]]]  # of one channel: brightness, and its pixels from the calmest on


@dataclass(frozen=True)
class _Group:
    """Pixels of like brightness and gradient.

    Attributes:
        gradient: mean squared gradient.
        covariance: ``[3, 3]`` of one frame's part in the difference.
        pixels: how many.
    """

    gradient: float
    covariance: np.ndarray
    pixels: int


_MOST_PIXELS = 400_000  # of the blocks, for the strength


def measure_grain(pairs: Iterable[tuple[PlatePicture, PlatePicture]]) -> GrainModel:
    """Measure the grain of a plate.

    Texture that does not cancel between two frames is told from grain by two things. It grows with the gradient of
    the picture. And it is nearly the same in all channels of a logarithmic space, so it adds one number to every
    element of the channels' covariance.

    Args:
        pairs: neighbouring frames of one view, about four pairs spread over the shot. From a generator they are taken
            one by one, so that one pair is in memory at a time.

    Returns:
        The model, rounded so that the last bits of a machine's arithmetic do not show in it. It is
        ``GrainModel.none()`` for a plate without grain, or of a single frame. Quantisation is no grain, nor is what
        compression does to texture.
    """
    found = blocks_of(pairs)
    if found is None:
        return GrainModel.none()
    blocks, steps = found
    model = GrainModel.none()
    # How much of the second frame's grain its interpolation has left depends on the grain's own correlation.
    for _ in range(2):
        left = np.einsum("nij,cij->nc", blocks.interpolation, model.correlation)
        difference = blocks.difference / np.sqrt(1 + left)[:, None, None].astype(np.float32)
        tables = [_by_brightness(difference, blocks, steps, channel) for channel in range(3)]
        channels = _channel_correlation([group for table in tables for _, groups in table for group in groups])
        strengths = [_strength(table, channel, channels) for channel, table in enumerate(tables)]
        brightness, std = (np.stack(part) for part in zip(*strengths, strict=True))
        if not std.any():
            return GrainModel.none()
        model = _model(brightness, std, channels, _spatial_correlation(blocks, steps, brightness, std, channels))
    return replace(model, std=_rounded(model.std * _evenness(difference, blocks, model)))


def _model(brightness: np.ndarray, std: np.ndarray, channels: np.ndarray, correlation: np.ndarray) -> GrainModel:
    kernels = np.stack([_kernel(plane) for plane in correlation])
    # Channels of different filters have less in common than their noise before the filters.
    wanted = channels / np.maximum(np.einsum("iyx,jyx->ij", kernels, kernels), 0.1)
    values, vectors = np.linalg.eigh(wanted)
    possible = (vectors * np.maximum(values, 1e-6)) @ vectors.T
    mixing = np.linalg.cholesky(possible)
    mixing /= np.linalg.norm(mixing, axis=1, keepdims=True)
    return GrainModel(*(_rounded(part) for part in (brightness, std, mixing, kernels)))


def _kernel(correlation: np.ndarray) -> np.ndarray:
    """The symmetric filter of energy 1 ``[2 R + 1, 2 R + 1]`` that gives white noise an autocorrelation."""
    lags = np.arange(-RADIUS, RADIUS + 1)
    amplitude = np.sqrt(np.maximum(_spectrum(correlation), 0))
    kernel = np.fft.ifft2(amplitude).real[np.ix_(lags, lags)]
    kernel = (kernel + kernel[::-1, ::-1]) / 2
    # Small weights are errors of the measurement, and cost as much time as large ones.
    kernel[np.abs(kernel) < 0.005 * kernel.max()] = 0
    return kernel / np.linalg.norm(kernel)


def _spectrum(plane: np.ndarray) -> np.ndarray:
    """Of a symmetric plane ``[2 R + 1, 2 R + 1, ...]`` of lags, real."""
    lags = np.arange(-RADIUS, RADIUS + 1)
    whole = np.zeros((64, 64, *plane.shape[2:]))
    whole[np.ix_(lags, lags)] = plane
    return np.fft.fft2(whole, axes=(0, 1)).real


def _rounded(values: np.ndarray) -> np.ndarray:
    """To four significant digits, float32."""
    return np.array([float(f"{value:.4g}") for value in np.ravel(values)], np.float32).reshape(values.shape)


def _by_brightness(difference: np.ndarray, blocks: Blocks, steps: QuantisationSteps, channel: int) -> Table:
    """Covariances by the brightness of one channel and by gradient."""
    usable = np.flatnonzero(blocks.usable)
    usable = usable[:: max(1, len(usable) // _MOST_PIXELS)]
    brightness, difference = (plane.reshape(-1, 3)[usable] for plane in (blocks.brightness, difference))
    gradient = blocks.gradient.ravel()[usable]
    own = brightness[:, channel]
    low, high = np.quantile(own, [0.002, 0.998])
    knots = np.linspace(low, max(high, low + 1e-3), _KNOTS)
    nearest = np.rint((own - low) / (knots[-1] - low) * (_KNOTS - 1))
    table: Table = []
    for k, knot in enumerate(knots):
        at = np.flatnonzero(nearest == k)
        if len(at) < max(_FEWEST_PIXELS, _FEWEST_SHARE * len(own)):
            continue
        at = at[np.argsort(gradient[at], kind="stable")]
        edges = [round(len(at) * share) for share in _CALMEST]
        groups = []
        for first, last in itertools.pairwise(edges):
            these = at[first:last]
            covariance = _covariance(difference[these], _rounding_noise(steps, brightness[these]).mean(axis=0))
            groups.append(_Group(float(gradient[these].mean()), covariance, len(these)))
        table.append((float(knot), groups))
    return table


def _rounding_noise(steps: QuantisationSteps, brightness: np.ndarray) -> np.ndarray:
    """Variance that quantisation, and the dither against it, add to a frame."""
    return steps.at(brightness) ** 2 / 6


def _covariance(difference: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """``[3, 3]`` of differences ``[P, 3]``, from medians, without the noise of rounding ``[3]``."""
    own = _variance(difference)
    scaled = difference / np.sqrt(np.maximum(own, 1e-20)).astype(np.float32)
    covariance = np.diag(np.where(own > 1.5 * rounding, own - rounding, 0.0))
    for i, j in _PAIRS:
        # Gnanadesikan and Kettenring, 1972: a covariance is the variance of the sum less that of the difference.
        together, apart = _variance(scaled[:, i] + scaled[:, j]), _variance(scaled[:, i] - scaled[:, j])
        correlation = (together - apart) / max(together + apart, 1e-20)
        covariance[i, j] = covariance[j, i] = correlation * np.sqrt(own[i] * own[j])
    return covariance


def _variance(values: np.ndarray) -> np.ndarray:
    """Of normal values, by their median: outliers do not matter."""
    return (np.median(np.abs(values), axis=0).astype(np.float64) / 0.6745) ** 2


def _channel_correlation(groups: Sequence[_Group]) -> np.ndarray:
    """The one correlation ``[3, 3]`` of the channels' grain that explains all covariances, each with its texture."""
    groups = [group for group in groups if np.diag(group.covariance).min() > 0]
    if not groups:
        return np.eye(3)
    covariance = np.stack([group.covariance for group in groups])
    own = np.diagonal(covariance, axis1=1, axis2=2)
    gradient, pixels = (
        np.array([getattr(group, name) for group in groups], float) for name in ("gradient", "pixels")
    )
    most = np.minimum(_TEXTURE * gradient, 0.98 * own.min(axis=1))
    texture = np.linspace(0, 1, 33)[:, None] * most
    grain = np.sqrt(own - texture[..., None])

    def misfit(correlations: Sequence[float]) -> float:
        error = np.zeros_like(texture)
        for correlation, (i, j) in zip(correlations, _PAIRS, strict=True):
            expected = texture + correlation * grain[..., i] * grain[..., j]
            error += (covariance[:, i, j] - expected) ** 2 / (own[:, i] * own[:, j])
        return float(np.average(np.minimum(error.min(axis=0), 0.1), weights=pixels))

    start = float(min(np.arange(0, 1.01, 0.04), key=lambda correlation: misfit([correlation] * 3)))
    best = [start] * 3
    for step in (0.08, 0.04, 0.02, 0.02):
        for which in range(3):
            tried = [[*best[:which], best[which] + by, *best[which + 1 :]] for by in (0.0, -step, step)]
            # Three correlations are less certain than one: they stay near it unless the plate says otherwise.
            costs = [misfit(trial) + 0.1 * (trial[which] - start) ** 2 for trial in tried]
            best = tried[int(np.argmin(costs))]
    channels = np.eye(3)
    for correlation, (i, j) in zip(best, _PAIRS, strict=True):
        channels[i, j] = channels[j, i] = min(correlation, 1.0)
    return channels


def _strength(table: Table, channel: int, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots of brightness and the standard deviation at them, both ``[K]``."""
    calmest = [groups[0] for _, groups in table]
    pixels = np.array([group.pixels for group in calmest], float)
    seen = [group.covariance[channel, channel] > _TEXTURE * group.gradient for group in calmest]
    if not table or pixels @ seen < _LEAST_SEEN * pixels.sum():
        return np.linspace(-1, 1, _KNOTS), np.zeros(_KNOTS)
    std = [_std_without_texture(groups, channel, channels) for _, groups in table]
    knots = [knot for knot, _ in table]
    every = np.linspace(knots[0], knots[-1], _KNOTS)
    strength = np.interp(every, knots, std)
    return every, np.where(strength < _LEAST_STD, 0, strength)


def _std_without_texture(groups: Sequence[_Group], channel: int, channels: np.ndarray) -> float:
    """The standard deviation towards which pixels go whose gradient goes towards 0."""
    weight = np.array([group.pixels for group in groups], float)
    weight /= weight.sum()
    gradient = np.array([group.gradient for group in groups])
    variance = np.array([_grain_variance(group, channels)[channel] for group in groups])
    middle, mean = weight @ gradient, weight @ variance
    growth = weight @ ((gradient - middle) * (variance - mean)) / max(weight @ (gradient - middle) ** 2, 1e-20)
    return float(np.sqrt(max(0.0, mean - np.clip(growth, 0, _STEEPEST) * middle)))


def _grain_variance(group: _Group, channels: np.ndarray) -> np.ndarray:
    """Variance ``[3]`` of the grain alone: less what texture adds to every element of the covariance."""
    own = np.diag(group.covariance)
    texture = np.linspace(0, _TEXTURE * group.gradient, 65)
    grain = np.maximum(own[:, None] - texture, 0)
    error = np.zeros_like(texture)
    for i, j in _PAIRS:
        error += (group.covariance[i, j] - texture - channels[i, j] * np.sqrt(grain[i] * grain[j])) ** 2
    # Of what explains the covariance about as well, that with the most texture: rather too little grain.
    return grain[:, np.flatnonzero(error <= error.min() + (0.005 * own.mean()) ** 2).max()]


def _spatial_correlation(
    blocks: Blocks, steps: QuantisationSteps, brightness: np.ndarray, std: np.ndarray, channels: np.ndarray
) -> np.ndarray:
    """Autocorrelation ``[3, 2 R + 1, 2 R + 1]`` of each channel's grain."""
    measured = GrainModel(brightness, std, channels, GrainModel.none().kernels)
    expected = np.maximum(measured.std_at(blocks.brightness), 1e-6)
    # One scale for all channels, so that texture stays the same in all of them.
    scale = expected.mean(axis=-1, keepdims=True)
    trouble = _TEXTURE * blocks.gradient / scale[..., 0] ** 2
    calm = blocks.usable & (np.abs(blocks.difference / expected).max(axis=-1) < _OUTLIER * np.sqrt(2))
    if not calm.any():
        return GrainModel.none().correlation
    calm &= trouble <= max(np.quantile(trouble[calm], _CALM_SHARE), _CALM)
    weight = calm.mean(axis=(1, 2))
    variance = ((expected / scale)[calm] ** 2).mean(axis=0)
    rounding = (_rounding_noise(steps, blocks.brightness[calm]) / scale[calm] ** 2).mean(axis=0) / variance
    covariance = _lagged_covariance(blocks.difference / scale, calm)
    with_texture = _solved(covariance, variance, channels, std.any(axis=1))
    # The difference has the grain of one frame and that of the other, interpolated.
    interpolation = _spectrum(np.average(blocks.interpolation, axis=0, weights=weight))[..., None]
    lags = np.arange(-RADIUS, RADIUS + 1)
    own = np.fft.ifft2(_spectrum(with_texture) / (1 + interpolation), axes=(0, 1)).real[np.ix_(lags, lags)]
    own = (own + own[::-1, ::-1]) / 2
    middle = own[RADIUS, RADIUS]
    own[RADIUS, RADIUS] = np.maximum(middle - rounding, 0.1 * middle)
    return np.moveaxis(own / own[RADIUS, RADIUS], -1, 0)


def _evenness(difference: np.ndarray, blocks: Blocks, model: GrainModel) -> np.ndarray:
    """Factors ``[3, K]`` up to 1 on the strength: grain is equally strong wherever the brightness is the same.

    Water, leaves and what else the motion is wrong for are not: of them the calmest tenth counts.
    """
    tables = []
    squared = (difference / np.maximum(model.std_at(blocks.brightness), 1e-6)) ** 2
    whole = _cells(blocks.usable) == 1
    for c in range(3):
        ratio, brightness = _cells(squared[..., c])[whole], _cells(blocks.brightness[..., c])[whole]
        # Wilson and Hilferty, 1931: the lowest tenth of a mean of squares with so many degrees of freedom.
        spread = 2 * (model.correlation[c] ** 2).sum() / (9 * _CELL**2)
        lowest = max(1 - spread - 1.2816 * np.sqrt(spread), 0.1) ** 3
        knots, factors = model.brightness[c], []
        nearest = np.abs(brightness[:, None] - knots).argmin(axis=1)
        for k in range(len(knots)):
            here = ratio[nearest == k]
            if len(here) >= _FEWEST_CELLS:
                factors.append((knots[k], min(1.0, _UNEVEN * np.quantile(here, 0.1) / lowest)))
        at, factor = np.array(factors).T if factors else ([0.0], [1.0])
        tables.append(np.sqrt(np.interp(knots, at, factor)))
    return np.stack(tables)


def _cells(plane: np.ndarray) -> np.ndarray:
    """Means over cells of blocks ``[N, B, B]``."""
    count, side = len(plane), plane.shape[1] // _CELL
    return plane.reshape(count, side, _CELL, side, _CELL).mean(axis=(2, 4))


def _lagged_covariance(values: np.ndarray, calm: np.ndarray) -> np.ndarray:
    """Of the channels ``_ALL`` of calm pixels, at every lag: ``[2 R + 1, 2 R + 1, 6]``."""
    size, lags = calm.shape[1] + 2 * RADIUS + 2, np.arange(-RADIUS, RADIUS + 1)

    def at_lags(spectrum: np.ndarray) -> np.ndarray:
        return np.fft.irfft2(spectrum, (size, size))[np.ix_(lags, lags)]

    planes = [np.fft.rfft2(np.where(calm, values[..., c], 0), (size, size)) for c in range(3)]
    count = at_lags((np.abs(np.fft.rfft2(calm, (size, size))) ** 2).sum(axis=0))
    return np.stack(
        [at_lags((planes[i] * planes[j].conj()).real.sum(axis=0)) / np.maximum(count, 1) for i, j in _ALL], axis=-1
    )


def _solved(covariance: np.ndarray, variance: np.ndarray, channels: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """The channels' own covariance ``[2 R + 1, 2 R + 1, 3]`` in units of ``variance``, texture taken out, by lag.

    Unknown at each lag are the three channels and the texture, which all six covariances have in common.
    """
    equations, values = np.zeros((len(_ALL) + len(_PAIRS), 4)), np.zeros((*covariance.shape[:2], 9))
    for row, (i, j) in enumerate(_ALL):
        if alive[i] and alive[j]:
            unit = np.sqrt(variance[i] * variance[j])
            equations[row, i] += channels[i, j] / 2
            equations[row, j] += channels[i, j] / 2
            equations[row, 3] = 1 / unit
            values[..., row] = covariance[..., row] / unit
    for row, (i, j) in enumerate(_PAIRS):
        # Channels are alike unless they say otherwise.
        equations[len(_ALL) + row, [i, j]] = 0.1, -0.1
    return (values @ np.linalg.pinv(equations).T)[..., :3]

"""The ground of the sample shot: paving, paint and mosaic, with light and shadow baked into one texture.

No two stones look alike at the scale of the hole, so a fill has to come from other frames. Diffusing the border
colours into the hole fails visibly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from internal_inpaint.demo.geometry import Cylinder, Sphere, line_distance

X_RANGE = (-6.2, 6.2)
Y_RANGE = (-3.0, 5.0)
STONES = np.array(
    [
        [0.42, 0.38, 0.33],
        [0.30, 0.29, 0.28],
        [0.52, 0.43, 0.32],
        [0.20, 0.22, 0.25],
        [0.40, 0.24, 0.17],
        [0.60, 0.57, 0.50],
    ],
    np.float32,
)
MORTAR = np.array([0.055, 0.05, 0.045], np.float32)
WHITE_PAINT = np.array([0.80, 0.80, 0.76], np.float32)
YELLOW_PAINT = np.array([0.72, 0.46, 0.03], np.float32)
BLUE_PAINT = np.array([0.02, 0.10, 0.34], np.float32)
RED_PAINT = np.array([0.45, 0.03, 0.025], np.float32)


@dataclass(frozen=True)
class Light:
    """A sun and a sky: ``direction`` points to the sun, colours are scene-linear."""

    direction: np.ndarray
    sun: np.ndarray
    sky: np.ndarray


@dataclass(frozen=True)
class Ground:
    """``texels`` [H, W, 4] float32: lit scene-linear colour, and the share of it that is direct sunlight."""

    texels: np.ndarray
    density: float

    def look_up(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Texels [..., 4] at ground points ``x``, ``y`` in metres."""
        columns = ((x - X_RANGE[0]) * self.density).astype(np.int32)
        rows = ((y - Y_RANGE[0]) * self.density).astype(np.int32)
        height, width, _ = self.texels.shape
        flat = np.clip(rows, 0, height - 1) * width + np.clip(columns, 0, width - 1)
        return self.texels.reshape(-1, 4).take(flat, axis=0)


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def bake_ground(solids, light: Light, density: float, seed: int) -> Ground:
    """Paint the ground at ``density`` texels a metre and light it, with the shadows of ``solids``."""
    x = np.arange(X_RANGE[0], X_RANGE[1], 1 / density, dtype=np.float32)[None, :]
    y = np.arange(Y_RANGE[0], Y_RANGE[1], 1 / density, dtype=np.float32)[:, None]
    rng = np.random.default_rng([seed, 1])
    noise = _Noise(rng, (y.size, x.size), density)

    albedo = _paving(x, y, rng)
    albedo *= (1 + 0.12 * noise(0.02) + 0.13 * noise(0.25) + 0.10 * noise(1.2))[..., None]
    _paint(albedo, x, y, noise)
    _drain(albedo, x, y, (1.55, 1.05), 0.34)
    np.clip(albedo, 0.0015, 0.9, out=albedo)

    visible, open_sky = _shadows(x, y, solids, light, density)
    lambert = float(light.direction[2])
    sunlight = light.sun * lambert * visible[..., None]
    total = sunlight + light.sky * open_sky[..., None]
    share = sunlight.mean(-1) / total.mean(-1)
    lit = ndimage.gaussian_filter(albedo * total, (0.5, 0.5, 0))
    return Ground(np.concatenate([lit, share[..., None]], -1).astype(np.float32), density)


class _Noise:
    """Band-limited noise of unit variance; feature sizes in metres."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int], density: float):
        self._rng, self._shape, self._density = rng, shape, density

    def __call__(self, size: float) -> np.ndarray:
        # Coarse noise is generated on a coarse grid and enlarged: it looks the same and takes a fraction of the time.
        step = max(1, int(size * self._density / 3))
        coarse = [n // step + 3 for n in self._shape]
        field = ndimage.gaussian_filter(self._rng.standard_normal(coarse, np.float32), 1.2, mode="wrap")
        field /= field.std()
        if step == 1:
            return field[: self._shape[0], : self._shape[1]]
        enlarged = ndimage.zoom(field, step, order=1)
        return enlarged[: self._shape[0], : self._shape[1]]


def _paving(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of stones with varied widths and colours and dark joints; albedo [H, W, 3]."""
    albedo = np.empty((y.size, x.size, 3), np.float32)
    course = Y_RANGE[0]
    while course < Y_RANGE[1]:
        depth = rng.uniform(0.34, 0.62)
        edges = X_RANGE[0] - rng.uniform(0, 0.8) + np.cumsum(rng.uniform(0.36, 1.0, 60))
        edges = np.concatenate([[X_RANGE[0] - 1.0], edges])
        tint = STONES[rng.integers(0, len(STONES), 60)] * rng.uniform(0.75, 1.2, (60, 1))
        slope = rng.uniform(-0.18, 0.18, 60).astype(np.float32)
        rows = (y[:, 0] >= course) & (y[:, 0] < course + depth)
        stone = np.clip(np.searchsorted(edges, x[0]) - 1, 0, 59)
        across = np.minimum(x[0] - edges[stone], edges[stone + 1] - x[0])[None, :]
        along = np.minimum(y[rows, 0] - course, course + depth - y[rows, 0])[:, None]
        joint = smoothstep(0.012, 0.026, np.minimum(across, along))[..., None]
        worn = 0.80 + 0.20 * smoothstep(0.02, 0.09, np.minimum(across, along))[..., None]
        lean = 1 + (slope[stone] * (x[0] - edges[stone]) / 0.7)[None, :, None]
        albedo[rows] = MORTAR + (tint[stone][None] * lean * worn - MORTAR) * joint
        course += depth
    return albedo


def _paint(albedo: np.ndarray, x: np.ndarray, y: np.ndarray, noise: _Noise) -> None:
    """Lines, a ring, a zigzag and a mosaic, worn so that the stone shows through."""
    wear = smoothstep(-2.1, -1.3, noise(0.07) + 0.7 * noise(0.5))
    edge = 0.012

    def lay(colour: np.ndarray, distance: np.ndarray, half_width: float, opacity: float = 0.92) -> None:
        cover = (1 - smoothstep(half_width - edge, half_width + edge, np.abs(distance))) * wear * opacity
        albedo[...] += (colour - albedo) * cover[..., None]

    lay(YELLOW_PAINT, 0.26 * x - y - 0.05, 0.075)
    lay(YELLOW_PAINT, 0.26 * x - y - 0.30, 0.035)
    lay(WHITE_PAINT, np.hypot(x - 0.2, y - 0.7) - 1.75, 0.085)
    lay(BLUE_PAINT, np.hypot(x - 0.2, y - 0.7) - 1.48, 0.10)
    zigzag = np.abs((x / 0.9) % 1 - 0.5) * 0.9
    lay(WHITE_PAINT, y + 1.55 - zigzag, 0.065)
    stripes = np.abs((x + 0.35 * y) / 0.62 % 1 - 0.5) * 0.62
    crossing = np.maximum(stripes - 0.15, np.abs(y - 2.85) - 0.42)
    lay(WHITE_PAINT, np.maximum(crossing, 0), 0.012)
    lay(RED_PAINT, x + 3.1 + 0.4 * y, 0.11)
    for centre, colours in (
        ((-1.9, -0.45), (RED_PAINT, WHITE_PAINT)),
        ((2.75, -0.25), (BLUE_PAINT, YELLOW_PAINT)),
    ):
        _mosaic(albedo, x, y, centre, colours)


def _mosaic(albedo: np.ndarray, x: np.ndarray, y: np.ndarray, centre, colours) -> None:
    """A disc of rings and sectors in two alternating colours."""
    reach = 0.85
    rows = np.flatnonzero(np.abs(y[:, 0] - centre[1]) < reach)
    columns = np.flatnonzero(np.abs(x[0] - centre[0]) < reach)
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    x, y = x[:, window[1]] - centre[0], y[window[0]] - centre[1]
    radius = np.hypot(x, y)
    turn = np.arctan2(y, x) / (2 * np.pi)
    ring = np.clip((radius / 0.21).astype(np.int32), 0, 3)
    sector = np.floor((turn + 0.02 * ring) * (4 + 4 * ring)).astype(np.int32)
    colour = np.where(((ring + sector) % 2 == 0)[..., None], colours[0], colours[1])
    joint = np.minimum(radius % 0.21, 0.21 - radius % 0.21)
    tile = MORTAR + (colour - MORTAR) * smoothstep(0.008, 0.02, joint)[..., None]
    cover = 1 - smoothstep(reach - 0.02, reach, radius)
    albedo[window] += (tile - albedo[window]) * cover[..., None]


def _drain(albedo: np.ndarray, x: np.ndarray, y: np.ndarray, centre: tuple[float, float], half: float) -> None:
    """An iron grating over a dark shaft, in whose deep shadow the grain goes below zero."""
    inside = (np.abs(x - centre[0]) < half) & (np.abs(y - centre[1]) < half)
    frame = (np.abs(x - centre[0]) > half - 0.06) | (np.abs(y - centre[1]) > half - 0.06)
    bars = (x - centre[0]) / 0.14 % 1 < 0.4
    iron = np.where(frame | bars, 0.11, 0.0015)[..., None] * np.array([1.0, 0.96, 0.9], np.float32)
    np.copyto(albedo, iron.astype(np.float32), where=inside[..., None])


def _shadows(x, y, solids, light: Light, density: float) -> tuple[np.ndarray, np.ndarray]:
    """How much of the sun and of the sky each texel sees, 0..1, both [H, W]."""
    shape = (y.size, x.size)
    points = np.stack([np.broadcast_to(x, shape), np.broadcast_to(y, shape), np.full(shape, 1e-3, np.float32)])
    blocked = np.zeros(shape, bool)
    covered = np.zeros(shape, np.float32)
    for solid in solids:
        corners = solid.corners()
        cast = corners[:, :2] - corners[:, 2:] * (light.direction[:2] / light.direction[2])
        reach = np.concatenate([corners[:, :2], cast])
        low = np.floor((reach.min(0) - (X_RANGE[0], Y_RANGE[0])) * density).astype(int) - 2
        high = np.ceil((reach.max(0) - (X_RANGE[0], Y_RANGE[0])) * density).astype(int) + 3
        window = (slice(max(low[1], 0), max(high[1], 0)), slice(max(low[0], 0), max(high[0], 0)))
        part = points[:, window[0], window[1]]
        if part.size:
            blocked[window] |= _blocks_sun(solid, part, light.direction)
            covered[window] = np.maximum(covered[window], _footprint(part, corners))
    visible = 1 - ndimage.gaussian_filter(blocked.astype(np.float32), 0.022 * density)
    # The dimming around a solid's foot is wide and soft, so it is blurred at a small size and enlarged.
    step = max(1, int(density / 24))
    small = covered[::step, ::step]
    nearby = sum(ndimage.gaussian_filter(small, size * density / step) for size in (0.09, 0.3))
    nearby = ndimage.zoom(nearby, (shape[0] / small.shape[0], shape[1] / small.shape[1]), order=1)
    return visible, 1 - 0.75 * np.clip(nearby, 0, 1)


def _blocks_sun(solid, points: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Whether ``solid`` stands between ``points`` [3, H, W] and the sun."""
    if isinstance(solid, Sphere):
        return line_distance(points, np.asarray(solid.centre), direction) < solid.radius
    # `hit` takes one origin for all rays, and a shadow needs one origin per ray. So the shadow of an upright solid is
    # swept instead: the ray to the sun is followed in short steps.
    blocked = np.zeros(points.shape[1:], bool)
    top = solid.corners()[:, 2].max()
    slope = direction[:2] / direction[2]
    for z in np.linspace(0, top, 48):
        px, py = points[0] + np.float32(slope[0] * z), points[1] + np.float32(slope[1] * z)
        if isinstance(solid, Cylinder):
            blocked |= (px - solid.x) ** 2 + (py - solid.y) ** 2 < solid.radius**2
        elif z >= solid.lo[2]:
            blocked |= (px > solid.lo[0]) & (px < solid.hi[0]) & (py > solid.lo[1]) & (py < solid.hi[1])
    return blocked


def _footprint(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """1 under a solid that stands on the ground, to dim the sky light around its foot."""
    if corners[:, 2].min() > 0.05:
        return np.zeros(points.shape[1:], np.float32)
    low, high = corners.min(0), corners.max(0)
    inside = (points[0] > low[0]) & (points[0] < high[0]) & (points[1] > low[1]) & (points[1] < high[1])
    return inside.astype(np.float32)

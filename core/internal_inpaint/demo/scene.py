"""The sample shot's scene: a beach ball rolls over a paved plaza, seen by a moving camera.

Everything is scene-linear RGB, rendered with NumPy alone; the same seed gives the same pixels. Each frame averages
samples over the pixel and over the shutter interval, so edges are antialiased, and everything that moves is
motion-blurred, including the ball's matte.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from internal_inpaint.demo.geometry import Box, Camera, Cylinder, Sphere, line_distance
from internal_inpaint.demo.ground import Light, bake_ground, smoothstep

LIGHT = Light(
    direction=np.array([-0.52, -0.28, 0.80]) / np.linalg.norm([-0.52, -0.28, 0.80]),
    sun=np.array([0.98, 0.88, 0.71], np.float32),
    sky=np.array([0.16, 0.20, 0.27], np.float32),
)
# From the camera's own primaries to scene-linear: saturated colours end slightly below zero.
CAMERA_MATRIX = np.array([[1.05, -0.03, -0.02], [-0.02, 1.04, -0.02], [-0.01, -0.04, 1.05]], np.float32)
BALL_RADIUS = 0.40
BALL_START = np.array([2.15, -0.65])
BALL_PANELS = np.array(
    [
        [0.70, 0.06, 0.04],
        [0.82, 0.80, 0.74],
        [0.03, 0.20, 0.48],
        [0.82, 0.80, 0.74],
        [0.80, 0.42, 0.02],
        [0.82, 0.80, 0.74],
    ],
    np.float32,
)
SHUTTER = 0.5
SAMPLES = 6
BALL_STEPS = 3


@dataclass(frozen=True)
class Surface:
    """A solid and its material: scene-linear albedo, emission, rows of bricks or bands, gloss."""

    solid: Box | Cylinder | Sphere
    albedo: tuple[float, float, float]
    emission: tuple[float, float, float] = (0.0, 0.0, 0.0)
    bands: float = 0.0
    bricks: float = 0.0
    gloss: float = 0.0


def _plaza() -> tuple[Surface, ...]:
    """Blocks and posts on the ground; nearer and taller ones cross the frame faster."""
    stone, warm, iron = (0.36, 0.33, 0.30), (0.44, 0.27, 0.18), (0.05, 0.055, 0.06)
    surfaces = [
        Surface(Box((-3.6, 1.55, 0.0), (-1.7, 1.95, 0.42)), warm, bricks=0.14),
        Surface(Box((2.2, 1.9, 0.0), (5.6, 2.25, 0.55)), warm, bricks=0.14),
        Surface(Box((-0.35, 0.95, 0.0), (0.45, 1.55, 0.24)), stone, bricks=0.4),
        Surface(Box((-0.13, 1.12, 0.24), (0.23, 1.38, 0.40)), (0.5, 0.47, 0.42)),
        Surface(Cylinder(1.05, 1.75, 0.05, 0.85), iron, gloss=0.6),
        Surface(Sphere((1.05, 1.75, 0.97), 0.16), (0.9, 0.9, 0.9), emission=(14.0, 11.0, 7.0)),
    ]
    for x in (-3.55, -2.05, -0.55, 0.95, 2.45, 3.95):
        surfaces.append(Surface(Cylinder(x, -1.85, 0.10, 0.85), (0.55, 0.07, 0.05), bands=0.24, gloss=1.2))
        surfaces.append(Surface(Sphere((x, -1.85, 0.88), 0.115), (0.30, 0.28, 0.26), gloss=2.5))
    return tuple(surfaces)


@dataclass(frozen=True)
class Frame:
    """One rendered frame over the data window, float32, all [H, W, ...].

    ``clean`` is the plaza alone; ``plate`` is the same pixels with the ball and its shadow on top. Both have grain.
    ``matte`` is 1 where a roto artist would draw (the ball and its shadow), soft at its edges. The depths are in
    metres along the optical axis, unfiltered.
    """

    clean: np.ndarray
    plate: np.ndarray
    matte: np.ndarray
    clean_depth: np.ndarray
    plate_depth: np.ndarray


class SampleScene:
    """The plaza: baked once, then rendered frame by frame.

    ``width`` and ``height`` are the size of the display window in pixels; ``overscan`` pixels are rendered on every
    side of it. Camera and ball make their whole move over ``frames`` frames.
    """

    def __init__(self, frames: int, width: int, height: int, overscan: int, seed: int = 0):
        self._last, self._seed = max(frames - 1, 1), seed
        self._width, self._height, self._overscan = width, height, overscan
        self._surfaces = _plaza()
        # About two texels per pixel; more than 240 per metre would only cost memory.
        density = min(110.0 * max(height / 240, 0.25), 240.0)
        self._ground = bake_ground([s.solid for s in self._surfaces], LIGHT, density, seed)

    def render(self, index: int) -> Frame:
        """Frame ``index``, 0-based."""
        shape = (self._height + 2 * self._overscan, self._width + 2 * self._overscan)
        clean = np.zeros((*shape, 3), np.float32)
        ball = np.zeros((*shape, 3), np.float32)
        alpha, matte = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        order = np.random.default_rng([self._seed, 2, index]).permutation(SAMPLES)
        for k in range(SAMPLES):
            time = (index + SHUTTER * (order[k] + 0.5) / SAMPLES) / self._last
            shift = ((k + 0.5) / SAMPLES, (k * 0.618 + 0.25) % 1)
            view = _View(self._camera(time), shape, self._overscan, shift)
            colour, share, depth = self._static(view)
            clean += colour / SAMPLES
            # The ball moves several pixels while the shutter is open, so it needs finer time steps.
            for step in range(BALL_STEPS):
                late = SHUTTER * (step / BALL_STEPS - 0.5) / (SAMPLES * self._last)
                seen = self._ball(view, time + late, share, depth)
                for total, part in ((ball, seen.colour), (alpha, seen.alpha), (matte, seen.matte)):
                    total[seen.window] += part / (SAMPLES * BALL_STEPS)
            if k == 0:
                clean_depth, plate_depth = depth.copy(), depth.copy()
                plate_depth[seen.window] = np.minimum(plate_depth[seen.window], seen.depth)
        # Values too small to matter next to 1 in half float count as no coverage.
        matte = np.where(matte < 1 / 512, 0, matte).astype(np.float16).astype(np.float32)
        plate_depth = np.where(matte > 0.5, plate_depth, clean_depth)
        return self._develop(index, clean, ball, np.where(matte > 0, alpha, 0), matte, clean_depth, plate_depth)

    def _develop(self, index, clean, ball, alpha, matte, clean_depth, plate_depth) -> Frame:
        """Apply glow, the camera's colour matrix and grain; then composite the ball over the same clean pixels."""
        over = np.maximum(clean - 1, 0)
        scale = self._height / 240
        glow = sum(
            weight * ndimage.gaussian_filter(over, (size * scale, size * scale, 0), truncate=2.5)
            for size, weight in ((2.0, 0.10), (6.0, 0.08))
        )
        clean = (clean + glow) @ CAMERA_MATRIX.T
        ball = ball @ CAMERA_MATRIX.T
        grain = _grain(np.random.default_rng([self._seed, 3, index]), clean.shape)
        clean = _half(clean + grain * _grain_strength(clean))
        cover = alpha[..., None]
        opaque = ball / np.maximum(cover, 1e-6)
        plate = clean * (1 - cover) + ball + grain * _grain_strength(opaque) * cover
        plate = np.where(matte[..., None] > 0, _half(plate), clean)
        return Frame(clean, plate, matte, clean_depth, plate_depth)

    def _camera(self, time: float) -> Camera:
        """A dolly to the right that pans and rolls a little; ``time`` goes from 0 to 1 over the shot."""
        ease = time + 0.03 * np.sin(2 * np.pi * time)
        position = (-1.25 + 2.3 * ease, -4.6 + 0.25 * np.sin(2.2 * time), 5.0 + 0.15 * time)
        target = (-1.05 + 2.0 * ease, 0.28 + 0.10 * np.sin(3.0 * time), 0.0)
        centre = (self._width / 2, self._height / 2)
        return Camera.looking_at(position, target, np.radians(-2.0 + 4.0 * ease), 1.05 * self._width, centre)

    def _static(self, view: _View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colour [H, W, 3], share of direct sunlight [H, W] and depth [H, W] of the plaza."""
        origin, rays = view.camera.position, view.rays
        depth = np.float32(-origin[2]) / rays[2]
        texel = self._ground.look_up(np.float32(origin[0]) + depth * rays[0], np.float32(origin[1]) + depth * rays[1])
        colour, share = np.ascontiguousarray(texel[..., :3]), np.ascontiguousarray(texel[..., 3])
        for surface in self._surfaces:
            window = view.crop(surface.solid.corners())
            part = rays[:, window[0], window[1]]
            if not part.size:
                continue
            reach, normal = surface.solid.hit(origin, part)
            nearer = reach < depth[window]
            if nearer.any():
                reach, normal, part = reach[nearer], normal[:, nearer], part[:, nearer]
                points = origin.astype(np.float32)[:, None] + reach * part
                depth[window][nearer] = reach
                colour[window][nearer] = _shade(surface, points, normal, part)
                share[window][nearer] = 0.45
        return colour, share, depth

    def _ball(self, view: _View, time: float, share: np.ndarray, depth: np.ndarray) -> _Seen:
        """The ball and its shadow in the part of the frame in which they are visible."""
        path = np.array([BALL_START[0] - 4.3 * time, BALL_START[1] + 0.9 * time])
        centre = np.array([path[0], path[1], BALL_RADIUS])
        sun = LIGHT.direction
        fall = centre - sun * (centre[2] / sun[2])
        wide = np.array([1.5, 1.5, 0.0]) * BALL_RADIUS
        solid = Sphere(tuple(centre), BALL_RADIUS)
        window = view.crop(np.concatenate([solid.corners(), [fall - wide, fall + wide]]))
        rays, behind = view.rays[:, window[0], window[1]], depth[window]
        origin = view.camera.position
        reach, normal = solid.hit(origin, rays)
        hit = reach < behind

        ground = origin.astype(np.float32)[:, None, None] + behind * rays
        dark = 1 - smoothstep(0.86 * BALL_RADIUS, 1.12 * BALL_RADIUS, line_distance(ground, centre, sun))
        height = np.hypot(np.hypot(ground[0] - centre[0], ground[1] - centre[1]), ground[2])
        contact = 0.55 * (1 - smoothstep(0.15 * BALL_RADIUS, 0.95 * BALL_RADIUS, height))
        # Points higher than the ball's middle lie between it and the sun, not in its shadow.
        dark, contact = np.where(ground[2] < BALL_RADIUS, (dark, contact), 0)
        density = 1 - (1 - dark * share[window]) * (1 - contact)
        matte = np.where(hit, 1, np.clip(4 * np.maximum(dark, contact), 0, 1))

        colour = np.zeros((*hit.shape, 3), np.float32)
        if hit.any():
            spin = np.hypot(*(path - BALL_START)) / BALL_RADIUS
            colour[hit] = _shade_ball(normal[:, hit], rays[:, hit], spin)
        return _Seen(window, colour, np.where(hit, 1, density), matte, np.where(hit, reach, np.inf))


@dataclass(frozen=True)
class _Seen:
    """The contribution of one ball sample to ``window``: premultiplied colour, opacity, matte, depth."""

    window: tuple[slice, slice]
    colour: np.ndarray
    alpha: np.ndarray
    matte: np.ndarray
    depth: np.ndarray


class _View:
    """One camera position and one sub-pixel offset, with the ray of every pixel."""

    def __init__(self, camera: Camera, shape: tuple[int, int], overscan: int, shift: tuple[float, float]):
        self.camera, self._shape, self._overscan = camera, shape, overscan
        columns = np.arange(shape[1]) - overscan + shift[0]
        rows = np.arange(shape[0]) - overscan + shift[1]
        self.rays = camera.rays(columns, rows)

    def crop(self, points: np.ndarray) -> tuple[slice, slice]:
        """Rows and columns of the raster that can show the convex hull of ``points``."""
        x0, y0, x1, y1 = np.array(self.camera.window(points)) + self._overscan
        height, width = self._shape
        rows = slice(int(np.clip(y0 - 2, 0, height)), int(np.clip(y1 + 3, 0, height)))
        return rows, slice(int(np.clip(x0 - 2, 0, width)), int(np.clip(x1 + 3, 0, width)))


def _shade(surface: Surface, points: np.ndarray, normal: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Scene-linear colour [P, 3] of points [3, P] on a solid."""
    albedo = np.broadcast_to(np.asarray(surface.albedo, np.float32), (points.shape[1], 3)).copy()
    if surface.bands:
        white = (points[2] / surface.bands) % 1 > 0.55
        albedo[white] = (0.75, 0.74, 0.70)
    if surface.bricks:
        albedo *= _bricks(points, normal, surface.bricks)[:, None]
    facing = np.maximum(np.tensordot(LIGHT.direction.astype(np.float32), normal, 1), 0)
    # Points low on a wall see less sky and some dark ground.
    open_sky = (0.55 + 0.45 * normal[2]) * (0.6 + 0.4 * smoothstep(0.0, 0.35, points[2]))
    colour = albedo * (LIGHT.sun * facing[:, None] + LIGHT.sky * open_sky[:, None])
    if surface.gloss:
        colour += surface.gloss * _highlight(normal, rays, 40.0)[:, None] * LIGHT.sun
    return colour + np.asarray(surface.emission, np.float32)


def _bricks(points: np.ndarray, normal: np.ndarray, size: float) -> np.ndarray:
    """Brightness [P] of rows of bricks, ``size`` metres high and twice as long, with dark joints."""
    across = np.where(np.abs(normal[0]) > 0.5, points[1], points[0]) / (2 * size)
    up = np.where(normal[2] > 0.5, points[1], points[2]) / size
    course = np.floor(up)
    across = across + 0.5 * (course % 2)
    joint = np.minimum(np.minimum(across % 1, 1 - across % 1) * 2, np.minimum(up % 1, 1 - up % 1)) * size
    tint = np.sin(np.floor(across) * 12.9898 + course * 78.233) * 43758.5453
    return (0.72 + 0.5 * (tint % 1)) * (0.35 + 0.65 * smoothstep(0.004, 0.018, joint))


def _highlight(normal: np.ndarray, rays: np.ndarray, sharpness: float) -> np.ndarray:
    """The sun's specular highlight [P], after Blinn."""
    toward = -rays / np.sqrt((rays * rays).sum(0))
    half = LIGHT.direction.astype(np.float32)[:, None] + toward
    half /= np.sqrt((half * half).sum(0))
    return np.maximum((half * normal).sum(0), 0) ** sharpness


def _shade_ball(normal: np.ndarray, rays: np.ndarray, spin: float) -> np.ndarray:
    """Scene-linear colour [P, 3] of the glossy beach ball, rotated by ``spin`` radians as it rolls."""
    c, s = np.cos(spin), np.sin(spin)
    # It rolls towards -x: the top of the ball turns that way.
    turned = np.stack([c * normal[0] + s * normal[2], normal[1], c * normal[2] - s * normal[0]])
    # The poles of the panels are off the rolling axis, so that the rotation is visible.
    pole = np.array([0.45, 0.62, 0.64])
    side = np.cross(pole, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    frame = np.stack([side, np.cross(pole, side), pole]).astype(np.float32)
    local = np.tensordot(frame, turned, 1)
    panel = ((np.arctan2(local[1], local[0]) / (2 * np.pi) + 0.5) * 6).astype(np.int32) % 6
    albedo = BALL_PANELS[panel]
    albedo[np.abs(local[2]) > 0.95] = (0.82, 0.80, 0.74)
    facing = np.maximum(np.tensordot(LIGHT.direction.astype(np.float32), normal, 1), 0)
    sky = 0.5 + 0.5 * normal[2]
    bounce = np.maximum(0.35 - 0.5 * normal[2], 0)
    light = LIGHT.sun * facing[:, None] + LIGHT.sky * sky[:, None]
    light = light + np.array([0.16, 0.14, 0.11], np.float32) * bounce[:, None]
    return albedo * light + 3.5 * _highlight(normal, rays, 90.0)[:, None] * LIGHT.sun


def _grain(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Slightly soft grain of unit variance, partly shared by the channels, as in film and sensors."""
    field = rng.standard_normal(shape, np.float32) + 0.8 * rng.standard_normal((*shape[:2], 1), np.float32)
    field = ndimage.gaussian_filter(field, (0.55, 0.55, 0))
    return field / field.std()


def _grain_strength(signal: np.ndarray) -> np.ndarray:
    """Standard deviation of the grain: constant in the blacks, then growing with the square root of the light."""
    weight = np.array([1.0, 0.85, 1.3], np.float32)
    return weight * np.sqrt(0.0028**2 + 0.00011 * np.clip(signal, 0, 4))


def _half(image: np.ndarray) -> np.ndarray:
    """Rounded to half-float precision, as float32."""
    return np.clip(image, -65504, 65504).astype(np.float16).astype(np.float32)

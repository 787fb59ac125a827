"""The solids and the camera of the sample shot, with the ray casting that a small plaza needs.

World units are metres: x to the right, y away from the camera, z up, the ground at z = 0. Rays are
``origin + t * direction`` with directions scaled so that t is the depth along the optical axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; ``axes`` holds right, down and forward as rows, ``focal`` is in pixels."""

    position: np.ndarray
    axes: np.ndarray
    focal: float
    centre: tuple[float, float]

    @classmethod
    def looking_at(cls, position, target, roll: float, focal: float, centre: tuple[float, float]) -> Camera:
        """Camera at ``position`` aimed at ``target``, rolled by ``roll`` radians clockwise."""
        position = np.asarray(position, np.float64)
        forward = np.asarray(target, np.float64) - position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        down = np.cross(forward, right)
        c, s = np.cos(roll), np.sin(roll)
        return cls(position, np.stack([c * right + s * down, c * down - s * right, forward]), focal, centre)

    def rays(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Directions [3, H, W] through pixel columns ``x`` [W] and rows ``y`` [H]."""
        u = ((x - self.centre[0]) / self.focal).astype(np.float32)
        v = ((y - self.centre[1]) / self.focal).astype(np.float32)
        right, down, forward = self.axes.astype(np.float32)
        return np.stack([forward[k] + down[k] * v[:, None] + right[k] * u[None, :] for k in range(3)])

    def window(self, points: np.ndarray) -> tuple[float, float, float, float]:
        """The bounding box x0, y0, x1, y1 in pixels of the projections of ``points`` [P, 3]."""
        local = (points - self.position) @ self.axes.T
        depth = np.maximum(local[:, 2], 1e-3)
        x = local[:, 0] / depth * self.focal + self.centre[0]
        y = local[:, 1] / depth * self.focal + self.centre[1]
        return x.min(), y.min(), x.max(), y.max()


def _corners(lo, hi) -> np.ndarray:
    return np.array([[x, y, z] for x in (lo[0], hi[0]) for y in (lo[1], hi[1]) for z in (lo[2], hi[2])])


@dataclass(frozen=True)
class Box:
    """An axis-aligned block from corner ``lo`` to corner ``hi``."""

    lo: tuple[float, float, float]
    hi: tuple[float, float, float]

    def corners(self) -> np.ndarray:
        """Points [8, 3] whose convex hull contains the solid."""
        return _corners(self.lo, self.hi)

    def hit(self, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depth (inf where a ray misses) and outward normal [3, ...] of the first surface along each ray."""
        near = np.full(rays.shape[1:], -np.inf, np.float32)
        far = np.full(rays.shape[1:], np.inf, np.float32)
        axis = np.zeros(rays.shape[1:], np.int8)
        for k in range(3):
            step = np.where(np.abs(rays[k]) < 1e-9, np.float32(1e-9), rays[k])
            a = np.float32(self.lo[k] - origin[k]) / step
            b = np.float32(self.hi[k] - origin[k]) / step
            entry = np.minimum(a, b)
            axis = np.where(entry > near, np.int8(k), axis)
            near = np.maximum(near, entry)
            far = np.minimum(far, np.maximum(a, b))
        normal = np.stack([np.where(axis == k, -np.sign(rays[k]), 0) for k in range(3)]).astype(np.float32)
        return np.where((near < far) & (far > 0), near, np.inf), normal


@dataclass(frozen=True)
class Cylinder:
    """An upright post of ``radius`` around (``x``, ``y``), from the ground to ``height``."""

    x: float
    y: float
    radius: float
    height: float

    def corners(self) -> np.ndarray:
        """Points [8, 3] whose convex hull contains the solid."""
        r = self.radius
        return _corners((self.x - r, self.y - r, 0.0), (self.x + r, self.y + r, self.height))

    def hit(self, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depth (inf where a ray misses) and outward normal [3, ...] of the first surface along each ray."""
        ox, oy = np.float32(origin[0] - self.x), np.float32(origin[1] - self.y)
        a = rays[0] ** 2 + rays[1] ** 2 + np.float32(1e-12)
        b = ox * rays[0] + oy * rays[1]
        root = b * b - a * np.float32(ox * ox + oy * oy - self.radius**2)
        side = (-b - np.sqrt(np.maximum(root, 0))) / a
        z = np.float32(origin[2]) + side * rays[2]
        side = np.where((root > 0) & (z > 0) & (z < self.height), side, np.inf)

        top = np.float32(self.height - origin[2]) / rays[2]
        outside = (ox + top * rays[0]) ** 2 + (oy + top * rays[1]) ** 2 > self.radius**2
        top = np.where(outside, np.inf, top)

        depth = np.minimum(side, top)
        reach = np.where(np.isfinite(depth), depth, 0)
        on_side = side <= top
        normal = np.zeros_like(rays)
        normal[0] = np.where(on_side, (ox + reach * rays[0]) / np.float32(self.radius), 0)
        normal[1] = np.where(on_side, (oy + reach * rays[1]) / np.float32(self.radius), 0)
        normal[2] = np.where(on_side, 0, 1)
        return np.where(depth > 0, depth, np.inf), normal


@dataclass(frozen=True)
class Sphere:
    """A ball of ``radius`` around ``centre``."""

    centre: tuple[float, float, float]
    radius: float

    def corners(self) -> np.ndarray:
        """Points [8, 3] whose convex hull contains the solid."""
        c, r = np.asarray(self.centre), self.radius
        return _corners(c - r, c + r)

    def hit(self, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depth (inf where a ray misses) and outward normal [3, ...] of the first surface along each ray."""
        o = (origin - np.asarray(self.centre)).astype(np.float32)
        a = (rays * rays).sum(0)
        b = o[0] * rays[0] + o[1] * rays[1] + o[2] * rays[2]
        root = b * b - a * np.float32(o @ o - self.radius**2)
        depth = (-b - np.sqrt(np.maximum(root, 0))) / a
        normal = (o[:, None, None] + depth * rays) / np.float32(self.radius)
        return np.where((root > 0) & (depth > 0), depth, np.inf), normal


def line_distance(points: np.ndarray, centre: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Distance from ``centre`` to the lines through ``points`` [3, ...] along the unit ``direction``."""
    away = np.asarray(centre, np.float32).reshape((3,) + (1,) * (points.ndim - 1)) - points
    along = np.tensordot(np.asarray(direction, np.float32), away, 1)
    return np.sqrt(np.maximum((away * away).sum(0) - along * along, 0))

"""Training samples: the object of a labelled frame pasted at another position (equation 6, figure 4).

A sample is a crop of one frame under a random affine transform. In most samples, an object cut out of a
labelled frame is pasted over it: moved, rotated, scaled, relit and blurred. The matte of the pasted object is known
exactly. In addition to the paper, a share of the samples are labelled frames without a pasted object, and most
samples contain a guess: the matte as it would come from a neighbouring frame, with typical errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from internal_inpaint.methods.base import Clip
from internal_inpaint.roto.config import RotoConfig

EDGE = 0.1  # matte values above this belong to the real object, which the loss leaves out
FEATHER = 0.7  # pixels: hides the edge of the pasted object, which the network would otherwise learn to detect


@dataclass(frozen=True)
class Labelled:
    """A frame and its matte, as far as it is known.

    Attributes:
        frame: ``[h, w, 3]`` float32 working space.
        motion: ``[h, w]`` float32 0..1, how far pixels do not move with the camera.
        matte: ``[h, w]`` float32 0..1.
        weight: ``[h, w]`` float32 0..1, the reliability of ``matte``; 0 outside the data window.
    """

    frame: np.ndarray
    motion: np.ndarray
    matte: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Sample:
    """One training sample: a frame ``[h, w, 3]`` and planes ``[h, w]``, all float32.

    Attributes:
        guess: -1 to 1; 0 everywhere if there is no guess.
        weight: of the loss; 0 on the real object if another one is pasted (``1 - M_0``).
    """

    frame: np.ndarray
    motion: np.ndarray
    guess: np.ndarray
    matte: np.ndarray
    weight: np.ndarray


class MatteSampler:
    """Draws random training samples.

    Args:
        config: contains the shares of the kinds of samples.
        size: height and width of the frames.
        read: returns a labelled frame by its index.
    """

    def __init__(self, config: RotoConfig, size: tuple[int, int], read: Callable[[int], Labelled]) -> None:
        self.config, self.size, self._read = config, size, read
        self.crop = tuple(
            min(-(-side // 32) * 32, max(64, round(side * share / 32) * 32))
            for side, share in zip(size, config.crop_share, strict=True)
        )

    def batch(
        self,
        rng: np.random.Generator,
        references: list[int],
        others: list[int],
        count: int,
        crop: tuple[int, int],
        device: torch.device,
    ) -> Clip:
        """``count`` samples of ``crop`` pixels as a clip of one frame each, with the planes of ``MatteMethod``."""
        samples = [self.draw(rng, references, others, crop) for _ in range(count)]
        planes = {
            name: np.stack([getattr(sample, name) for sample in samples])[:, None]
            for name in ("motion", "guess", "matte", "weight")
        }
        frame = torch.from_numpy(np.stack([sample.frame for sample in samples])).permute(0, 3, 1, 2)
        tensors = {
            name: tensor.to(device, torch.float32, memory_format=torch.channels_last)[:, None]
            for name, tensor in {"frame": frame, **{k: torch.from_numpy(v) for k, v in planes.items()}}.items()
        }
        return Clip(tensors.pop("frame"), planes=tensors)

    def draw(
        self, rng: np.random.Generator, references: list[int], others: list[int], crop: tuple[int, int]
    ) -> Sample:
        """One sample from the reference frames and the ``others`` that are labelled already."""
        base = self._read(self._choose(rng, references, others, self.config.reference_share))
        transform = _random_transform(rng, base.matte, crop)
        frame, matte = _transformed(base.frame, transform, crop), _transformed(base.matte, transform, crop)
        weight, motion = _transformed(base.weight, transform, crop), _transformed(base.motion, transform, crop)
        guessed = matte
        if rng.random() < self.config.pasted:
            source = self._read(self._choose(rng, references, others, max(0.6, self.config.reference_share)))
            if (source.matte > 0.5).any():
                frame, motion, matte, weight = _pasted(rng, frame, motion, matte, weight, source, crop)
                guessed = np.maximum(matte, guessed) if rng.random() < 0.3 else matte
        frame, matte, weight = _augmented(rng, frame, matte, weight)
        if rng.random() < self.config.without_motion:
            motion = np.zeros_like(motion)
        else:
            motion = cv2.GaussianBlur(motion * np.float32(rng.uniform(0.5, 1.2)), (0, 0), rng.uniform(0.3, 4))
        if rng.random() < self.config.without_guess:
            guess = np.zeros_like(matte)
        else:
            guess = 2 * degraded(rng, guessed) - 1
        return Sample(frame, motion, guess, matte, weight)

    @staticmethod
    def _choose(rng: np.random.Generator, references: list[int], others: list[int], share: float) -> int:
        frames = references if not others or rng.random() < share else others
        return frames[int(rng.integers(len(frames)))]


def _random_transform(rng: np.random.Generator, matte: np.ndarray, crop: tuple[int, int]) -> np.ndarray:
    """A random affine transform ``[2, 3]`` from the crop's pixels to the frame's, mostly near the object."""
    height, width = matte.shape
    scale = np.exp(rng.uniform(np.log(0.75), np.log(1.3)))
    inside = np.flatnonzero(matte > 0.5) if rng.random() < 0.75 else ()
    if len(inside):
        y, x = divmod(int(inside[rng.integers(len(inside))]), width)
        centre = np.array([x, y]) + rng.uniform(-0.3, 0.3, 2) * (crop[1], crop[0])
    else:
        centre = rng.uniform(0, 1, 2) * (width, height)
    # Keep the crop inside the frame if its size allows.
    half_crop = np.array([crop[1], crop[0]]) * scale / 2
    half_frame = np.array([width, height]) / 2
    centre = np.clip(centre, np.minimum(half_crop, half_frame), np.maximum((width, height) - half_crop, half_frame))
    linear = _random_matrix(rng, scale, rotation=10, shear=0.08, mirror=True)
    return _affine(linear, (crop[1] / 2, crop[0] / 2), centre)


def _pasted(
    rng: np.random.Generator,
    frame: np.ndarray,
    motion: np.ndarray,
    matte: np.ndarray,
    weight: np.ndarray,
    source: Labelled,
    crop: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Paste the object of ``source`` over a crop; the loss leaves out the crop's own object."""
    rows, columns = np.nonzero(source.matte > 0.5)
    centre = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
    linear = _random_matrix(
        rng, np.exp(rng.uniform(np.log(0.75), np.log(1.45))), rotation=20, shear=0.15, mirror=True
    )
    position = rng.uniform(0.05, 0.95, 2) * (crop[1], crop[0])
    transform = _affine(linear, position, np.array(centre))
    colour = _transformed(source.frame, transform, crop)
    pasted = _transformed(source.matte * source.weight, transform, crop, outside=0)
    pasted = cv2.GaussianBlur(pasted, (0, 0), FEATHER * rng.uniform(0.6, 1.6))
    gain = rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)
    colour = colour * gain.astype(np.float32) + np.float32(rng.uniform(-0.08, 0.08))
    if rng.random() < 0.25:
        colour = cv2.GaussianBlur(colour, (0, 0), rng.uniform(0.4, 1.5))
    frame = frame + (colour - frame) * pasted[..., None]
    # The object moves as in its own frame, or faster, or slower.
    speed = np.float32(1 if rng.random() < 0.5 else rng.uniform(0.2, 1.7))
    moves = _transformed(source.motion, transform, crop) * speed
    motion = motion + (np.minimum(moves, 1) - motion) * pasted
    # Equation (6): the loss leaves out the real object, 1 - M_0, except where the pasted object covers it.
    real = cv2.dilate(matte, np.ones((5, 5), np.uint8)) > EDGE
    weight = np.where(pasted > 0.5, np.float32(1), weight * ~real)
    return frame, motion, pasted, weight


def _augmented(
    rng: np.random.Generator, frame: np.ndarray, matte: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Change the exposure of the whole crop, blur it and add noise, at random."""
    frame = frame * np.float32(rng.uniform(0.88, 1.12)) + np.float32(rng.uniform(-0.08, 0.08))
    kind = rng.random()
    if kind < 0.15:
        frame = cv2.GaussianBlur(frame, (0, 0), rng.uniform(0.4, 1.5))
    elif kind < 0.3:
        kernel = _motion_blur_kernel(rng.uniform(3, 11), rng.uniform(0, 180))
        frame, matte = cv2.filter2D(frame, -1, kernel), cv2.filter2D(matte, -1, kernel)
    if rng.random() < 0.5:
        frame = frame + rng.standard_normal(frame.shape, np.float32) * np.float32(rng.uniform(0.005, 0.03))
    return frame, matte, weight


def degraded(rng: np.random.Generator, matte: np.ndarray) -> np.ndarray:
    """A matte ``[h, w]``, 0..1, with errors like those of a guess from a neighbouring frame.

    It is moved, warped, loses pieces or gains pieces of the background, and is grown or shrunk.
    """
    height, width = matte.shape
    rows, columns = np.nonzero(matte > 0.5)
    if len(rows):
        size = max(6.0, len(rows) ** 0.5)
        centre = np.array([columns.mean(), rows.mean()])
        linear = _random_matrix(rng, np.exp(rng.normal(0, 0.06)), rotation=6, shear=0.08, mirror=False)
        moved = centre + rng.normal(0, 0.05 * size + 1, 2)
        transform = _affine(linear, centre, moved)
        warp = rng.normal(0, 1, (2, 5, 5)).astype(np.float32) * np.float32(rng.uniform(0, 0.05 * size + 1.5))
        dx, dy = (cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) for plane in warp)
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        a = transform.astype(np.float32)
        matte = cv2.remap(
            matte,
            a[0, 0] * x + a[0, 1] * y + a[0, 2] + dx,
            a[1, 0] * x + a[1, 1] * y + a[1, 2] + dy,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for value, chance in ((0.0, 0.4), (1.0, 0.3)):
            # Lose a piece of the object, or add a piece of the background.
            if rng.random() < chance:
                matte = matte.copy() if matte.base is not None else matte
                pick = int(rng.integers(len(rows)))
                at = np.array([columns[pick], rows[pick]]) + rng.normal(0, 0.3 * size * value + 1, 2)
                axes = np.maximum(2, rng.uniform(0.08, 0.35, 2) * size)
                spot = tuple(int(v) for v in at), tuple(int(v) for v in axes)
                cv2.ellipse(matte, *spot, float(rng.uniform(0, 180)), 0, 360, value, -1)
        radius = int(rng.integers(-2, 4))
        if radius:
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(radius) + 1,) * 2)
            matte = cv2.dilate(matte, kernel) if radius > 0 else cv2.erode(matte, kernel)
    return np.clip(cv2.GaussianBlur(matte, (0, 0), rng.uniform(0.5, 2.5)), 0, 1)


def _random_matrix(rng: np.random.Generator, scale: float, rotation: float, shear: float, mirror: bool) -> np.ndarray:
    """A random 2x2 matrix from output to source pixels: scale, rotation, shear and, if ``mirror``, sometimes a flip.

    Args:
        scale: source pixels per output pixel.
        rotation: maximum angle in degrees.
    """
    angle = np.deg2rad(rng.uniform(-rotation, rotation))
    rotated = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    sheared = np.array([[1, rng.uniform(-shear, shear)], [rng.uniform(-shear, shear), 1]])
    flipped = np.diag([-1.0 if mirror and rng.random() < 0.4 else 1.0, 1.0])
    return scale * rotated @ sheared @ flipped


def _affine(linear: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The affine transform ``[2, 3]`` with this linear part that maps ``start`` to ``end``."""
    return np.column_stack([linear, np.asarray(end) - linear @ np.asarray(start)])


def _transformed(
    picture: np.ndarray, transform: np.ndarray, crop: tuple[int, int], outside: float | None = None
) -> np.ndarray:
    """Resample a picture; beyond its border it is reflected, or has the value ``outside``."""
    border = cv2.BORDER_REFLECT_101 if outside is None else cv2.BORDER_CONSTANT
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, transform, crop[::-1], flags=flags, borderMode=border, borderValue=outside or 0)


def _motion_blur_kernel(length: float, angle: float) -> np.ndarray:
    """The kernel of a linear motion blur: ``length`` in pixels, ``angle`` in degrees."""
    side = 2 * int(length // 2) + 3
    kernel = np.zeros((side, side), np.float32)
    centre, direction = side // 2, np.deg2rad(angle)
    for at in np.linspace(-length / 2, length / 2, 4 * side):
        x, y = round(centre + at * np.cos(direction)), round(centre + at * np.sin(direction))
        kernel[min(max(y, 0), side - 1), min(max(x, 0), side - 1)] += 1
    return kernel / kernel.sum()

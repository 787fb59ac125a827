"""Training samples: the object of a labelled frame pasted over another place (equation 6, figure 4).

A sample is a crop of one frame seen through a random view, and in most samples an object cut from a
labelled frame, moved, turned, scaled, relit and blurred, lies over it. What the network is to say of
the pasted object is known exactly. Beyond the paper, a share of the samples are labelled frames as
they are, and the network is given a guess: the matte as a neighbouring frame would hand it on,
spoilt in all the ways in which such a guess can be wrong, or none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from internal_inpaint.methods.base import Clip
from internal_inpaint.roto.config import RotoConfig

EDGE = 0.1  # matte values above this belong to the real object, whose surroundings teach nothing
FEATHER = 0.7  # pixels: hides the cut from a network that would otherwise learn to see it


@dataclass(frozen=True)
class Labelled:
    """A frame and what is known of its matte.

    Attributes:
        frame: ``[h, w, 3]`` float32 working space.
        motion: ``[h, w]`` float32 0..1, how far pixels do not move with the camera.
        matte: ``[h, w]`` float32 0..1.
        weight: ``[h, w]`` float32, how far ``matte`` can be relied on; 0 outside the data window.
    """

    frame: np.ndarray
    motion: np.ndarray
    matte: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Sample:
    """One training sample, ``[h, w]`` planes beside an ``[h, w, 3]`` frame, all float32.

    Attributes:
        guess: -1 to 1; 0 everywhere where there is none.
        weight: what the loss counts; 0 on the real object where another was pasted (``1 - M_0``).
    """

    frame: np.ndarray
    motion: np.ndarray
    guess: np.ndarray
    matte: np.ndarray
    weight: np.ndarray


class MatteSampler:
    """Draws samples.

    Args:
        config: shares of the kinds of samples.
        size: height and width of the frames.
        read: gives a labelled frame by its index.
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
        """One sample from the reference frames and the ``others`` that are labelled by now."""
        base = self._read(self._choose(rng, references, others, self.config.reference_share))
        view = _view(rng, base.matte, crop)
        frame, matte = _seen(base.frame, view, crop), _seen(base.matte, view, crop)
        weight, motion = _seen(base.weight, view, crop), _seen(base.motion, view, crop)
        hinted = matte
        if rng.random() < self.config.pasted:
            source = self._read(self._choose(rng, references, others, max(0.6, self.config.reference_share)))
            if (source.matte > 0.5).any():
                frame, motion, matte, weight = _pasted(rng, frame, motion, matte, weight, source, crop)
                hinted = np.maximum(matte, hinted) if rng.random() < 0.3 else matte
        frame, matte, weight = _shaken(rng, frame, matte, weight)
        if rng.random() < self.config.without_motion:
            motion = np.zeros_like(motion)
        else:
            motion = cv2.GaussianBlur(motion * np.float32(rng.uniform(0.5, 1.2)), (0, 0), rng.uniform(0.3, 4))
        if rng.random() < self.config.without_guess:
            guess = np.zeros_like(matte)
        else:
            guess = 2 * spoilt(rng, hinted) - 1
        return Sample(frame, motion, guess, matte, weight)

    @staticmethod
    def _choose(rng: np.random.Generator, references: list[int], others: list[int], share: float) -> int:
        frames = references if not others or rng.random() < share else others
        return frames[int(rng.integers(len(frames)))]


def _view(rng: np.random.Generator, matte: np.ndarray, crop: tuple[int, int]) -> np.ndarray:
    """A random affine map ``[2, 3]`` from the crop's pixels to the frame's, mostly near the object."""
    height, width = matte.shape
    scale = np.exp(rng.uniform(np.log(0.75), np.log(1.3)))
    inside = np.flatnonzero(matte > 0.5) if rng.random() < 0.75 else ()
    if len(inside):
        y, x = divmod(int(inside[rng.integers(len(inside))]), width)
        centre = np.array([x, y]) + rng.uniform(-0.3, 0.3, 2) * (crop[1], crop[0])
    else:
        centre = rng.uniform(0, 1, 2) * (width, height)
    # Inside the frame as far as the crop's size allows.
    reach = np.array([crop[1], crop[0]]) * scale / 2
    middle = np.array([width, height]) / 2
    centre = np.clip(centre, np.minimum(reach, middle), np.maximum((width, height) - reach, middle))
    linear = _linear(rng, scale, turn=10, shear=0.08, mirror=True)
    return _about(linear, (crop[1] / 2, crop[0] / 2), centre)


def _pasted(
    rng: np.random.Generator,
    frame: np.ndarray,
    motion: np.ndarray,
    matte: np.ndarray,
    weight: np.ndarray,
    source: Labelled,
    crop: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The object of ``source`` laid over a crop; the crop's own object no longer counts."""
    rows, columns = np.nonzero(source.matte > 0.5)
    middle = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
    linear = _linear(rng, np.exp(rng.uniform(np.log(0.75), np.log(1.45))), turn=20, shear=0.15, mirror=True)
    place = rng.uniform(0.05, 0.95, 2) * (crop[1], crop[0])
    view = _about(linear, place, np.array(middle))
    colour = _seen(source.frame, view, crop)
    laid = _seen(source.matte * source.weight, view, crop, outside=0)
    laid = cv2.GaussianBlur(laid, (0, 0), FEATHER * rng.uniform(0.6, 1.6))
    gain = rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)
    colour = colour * gain.astype(np.float32) + np.float32(rng.uniform(-0.08, 0.08))
    if rng.random() < 0.25:
        colour = cv2.GaussianBlur(colour, (0, 0), rng.uniform(0.4, 1.5))
    frame = frame + (colour - frame) * laid[..., None]
    # It moves as it does in its own frame, or faster, or slower.
    moves = _seen(source.motion, view, crop) * np.float32(1 if rng.random() < 0.5 else rng.uniform(0.2, 1.7))
    motion = motion + (np.minimum(moves, 1) - motion) * laid
    # Equation (6): the loss leaves out the real object, 1 - M_0, but for what was pasted over it.
    real = cv2.dilate(matte, np.ones((5, 5), np.uint8)) > EDGE
    weight = np.where(laid > 0.5, np.float32(1), weight * ~real)
    return frame, motion, laid, weight


def _shaken(
    rng: np.random.Generator, frame: np.ndarray, matte: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The whole crop relit, blurred and made noisy."""
    frame = frame * np.float32(rng.uniform(0.88, 1.12)) + np.float32(rng.uniform(-0.08, 0.08))
    kind = rng.random()
    if kind < 0.15:
        frame = cv2.GaussianBlur(frame, (0, 0), rng.uniform(0.4, 1.5))
    elif kind < 0.3:
        kernel = _streak(rng.uniform(3, 11), rng.uniform(0, 180))
        frame, matte = cv2.filter2D(frame, -1, kernel), cv2.filter2D(matte, -1, kernel)
    if rng.random() < 0.5:
        frame = frame + rng.standard_normal(frame.shape, np.float32) * np.float32(rng.uniform(0.005, 0.03))
    return frame, matte, weight


def spoilt(rng: np.random.Generator, matte: np.ndarray) -> np.ndarray:
    """A matte ``[h, w]`` 0..1 as a neighbouring frame might hand it on: moved, bent, torn, 0..1."""
    height, width = matte.shape
    rows, columns = np.nonzero(matte > 0.5)
    if len(rows):
        size = max(6.0, len(rows) ** 0.5)
        centre = np.array([columns.mean(), rows.mean()])
        linear = _linear(rng, np.exp(rng.normal(0, 0.06)), turn=6, shear=0.08, mirror=False)
        moved = centre + rng.normal(0, 0.05 * size + 1, 2)
        view = _about(linear, centre, moved)
        bent = rng.normal(0, 1, (2, 5, 5)).astype(np.float32) * np.float32(rng.uniform(0, 0.05 * size + 1.5))
        dx, dy = (cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) for plane in bent)
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        a = view.astype(np.float32)
        matte = cv2.remap(
            matte,
            a[0, 0] * x + a[0, 1] * y + a[0, 2] + dx,
            a[1, 0] * x + a[1, 1] * y + a[1, 2] + dy,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for value, chance in ((0.0, 0.4), (1.0, 0.3)):
            # A piece lost, or a piece of the background taken along.
            if rng.random() < chance:
                matte = matte.copy() if matte.base is not None else matte
                pick = int(rng.integers(len(rows)))
                at = np.array([columns[pick], rows[pick]]) + rng.normal(0, 0.3 * size * value + 1, 2)
                axes = np.maximum(2, rng.uniform(0.08, 0.35, 2) * size)
                spot = tuple(int(v) for v in at), tuple(int(v) for v in axes)
                cv2.ellipse(matte, *spot, float(rng.uniform(0, 180)), 0, 360, value, -1)
        reach = int(rng.integers(-2, 4))
        if reach:
            tool = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(reach) + 1,) * 2)
            matte = cv2.dilate(matte, tool) if reach > 0 else cv2.erode(matte, tool)
    return np.clip(cv2.GaussianBlur(matte, (0, 0), rng.uniform(0.5, 2.5)), 0, 1)


def _linear(rng: np.random.Generator, scale: float, turn: float, shear: float, mirror: bool) -> np.ndarray:
    """A random 2x2 matrix: turned by up to ``turn`` degrees, sheared, maybe mirrored; ``scale`` source
    pixels a pixel."""
    angle = np.deg2rad(rng.uniform(-turn, turn))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    skew = np.array([[1, rng.uniform(-shear, shear)], [rng.uniform(-shear, shear), 1]])
    flip = np.diag([-1.0 if mirror and rng.random() < 0.4 else 1.0, 1.0])
    return scale * rotation @ skew @ flip


def _about(linear: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The affine map ``[2, 3]`` with this linear part that takes ``here`` to ``there``."""
    return np.column_stack([linear, np.asarray(there) - linear @ np.asarray(here)])


def _seen(picture: np.ndarray, view: np.ndarray, crop: tuple[int, int], outside: float | None = None) -> np.ndarray:
    """A picture through a view; beyond its border it is reflected, or ``outside`` everywhere."""
    border = cv2.BORDER_REFLECT_101 if outside is None else cv2.BORDER_CONSTANT
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, view, crop[::-1], flags=flags, borderMode=border, borderValue=outside or 0)


def _streak(length: float, angle: float) -> np.ndarray:
    """A motion blur's kernel: a line of so many pixels at so many degrees."""
    side = 2 * int(length // 2) + 3
    kernel = np.zeros((side, side), np.float32)
    middle, along = side // 2, np.deg2rad(angle)
    for at in np.linspace(-length / 2, length / 2, 4 * side):
        x, y = round(middle + at * np.cos(along)), round(middle + at * np.sin(along))
        kernel[min(max(y, 0), side - 1), min(max(x, 0), side - 1)] += 1
    return kernel / kernel.sum()

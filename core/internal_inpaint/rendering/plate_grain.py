"""The plate's grain, given to what a fill lacks of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from internal_inpaint.motion.candidates import overlap
from internal_inpaint.rendering.copying import Filled
from internal_inpaint.rendering.grain import RADIUS, GrainModel, add_grain, lacking_share

_STEPS = 32  # fractions of a pixel that OpenCV's interpolation distinguishes
_CUBIC = -0.75  # OpenCV's parameter of bicubic interpolation


@dataclass(frozen=True)
class PlateGrain:
    """The grain of a shot's fills.

    Attributes:
        model: of the plate's grain.
        amount: factor on its strength.
        seed: of the random numbers.
        pictures: (frame, index of the view) of each picture: the grain differs from one to the other.
    """

    model: GrainModel
    amount: float
    seed: int
    pictures: Sequence[tuple[int, int]]

    def added(
        self, fill: np.ndarray, index: int, box: tuple[slice, slice], filled: Filled | None = None
    ) -> np.ndarray:
        """A part of a fill, with the grain that it lacks.

        Args:
            fill: ``[h, w, 3]`` working space, at plate size.
            index: of the picture.
            box: where the part is in the plate.
            filled: what was copied; ``None`` where everything is invented.

        Returns:
            ``[h, w, 3]``; where the fill is a copy that kept its grain, or the plate's own, unchanged bit for bit.
        """
        frame, view = self.pictures[index]
        share = np.ones(fill.shape[:2], np.float32)
        if filled is not None:
            share[:] = 0  # the plate's own
            inside, of_filled = overlap(box, filled.box)
            if filled.points is not None:
                copied, kept = filled.copied, kept_share(filled.points, self.model)
                if filled.texture is not None:
                    copied = np.concatenate([copied, filled.texture[None]])
                    kept = np.concatenate([kept, np.full_like(kept[:1], self._mean_kept)])
                lacking = lacking_share(copied, kept)
                share[inside] = np.where(filled.hidden, lacking, 0)[of_filled]
        origin = box[0].start, box[1].start
        return add_grain(fill, self.model, share, frame, view, origin=origin, amount=self.amount, seed=self.seed)

    @property
    def _mean_kept(self) -> float:
        """Of a picture that is interpolated anywhere between its pixels."""
        fractions = np.arange(_STEPS, dtype=np.float32) / _STEPS
        return float(kept_share(np.stack(np.meshgrid(fractions, fractions), axis=-1), self.model).mean())


def kept_share(points: np.ndarray, model: GrainModel) -> np.ndarray:
    """The share of its grain's variance that bicubic interpolation leaves a copy.

    Args:
        points: ``[..., 2]`` positions that were copied from, (x, y) in pixels.
        model: of the grain: coarse grain loses less.

    Returns:
        ``[...]`` float32, about 0.5 half way between the pixels to 1 at a pixel; mean over the channels.
    """
    if model.is_none:
        return np.ones(points.shape[:-1], np.float32)
    step = np.floor(points * _STEPS + 0.5).astype(np.int64) % _STEPS
    correlation = model.correlation
    kept = np.zeros(points.shape[:-1], np.float32)
    for channel in range(3):
        along_x = _kept_on_axis(correlation[channel][RADIUS, RADIUS : RADIUS + 4])
        along_y = _kept_on_axis(correlation[channel][RADIUS : RADIUS + 4, RADIUS])
        kept += along_x[step[..., 0]] * along_y[step[..., 1]] / 3
    return np.minimum(kept, 1)


def _kept_on_axis(correlation: np.ndarray) -> np.ndarray:
    """``[32]``: the variance left on one axis, by the fraction; ``correlation`` at the lags 0 to 3."""
    fraction = np.arange(_STEPS)[:, None] / _STEPS
    distance = np.abs(fraction - np.arange(-1, 3))
    near = (_CUBIC + 2) * distance**3 - (_CUBIC + 3) * distance**2 + 1
    far = _CUBIC * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    weights = np.where(distance <= 1, near, far)
    lags = np.abs(np.arange(4)[:, None] - np.arange(4))
    return np.einsum("fi,fj,ij->f", weights, weights, correlation[lags]).astype(np.float32)

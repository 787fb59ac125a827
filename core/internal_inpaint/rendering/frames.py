"""Renders finished frames at plate size from a trained shot."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from internal_inpaint.rendering.composite import composite
from internal_inpaint.rendering.copying import Filled
from internal_inpaint.rendering.inference import enlarge
from internal_inpaint.rendering.plate_grain import PlateGrain
from internal_inpaint.rendering.trained_shot import TrainedShot
from internal_inpaint.resample import reduce_max


class Renderer:
    """Fills frames with a trained shot.

    Args:
        trained: fills them.
        grain: what they lack of the plate's grain; ``None``: they get none.
    """

    def __init__(self, trained: TrainedShot, grain: PlateGrain | None = None) -> None:
        self.trained, self._grain = trained, grain

    def render(self, index: int, plate: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fill one picture and composite it.

        Args:
            index: index of the picture in the store.
            plate: ``[H, W, 3]`` float32 scene-linear at plate size, or reduced.
            alpha: ``[H, W]`` float32, the grown and feathered matte.

        Returns:
            result and fill, both ``[H, W, 3]`` float32 scene-linear; the fill is meaningful where alpha > 0.
        """
        return self.rendered(index, plate, alpha)[:2]

    def rendered(
        self, index: int, plate: np.ndarray, alpha: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Filled | None]:
        """As ``render``; also what was copied, ``None`` where nothing was."""
        if not alpha.any():
            return plate, np.zeros_like(plate), None
        fill, filled = self.trained.filled(index, _wanted(alpha, self.trained.size))
        # Only the matte's bounding box changes; most of a 4K frame is outside it.
        box = _box(alpha)
        result, fill_linear = plate.copy(), np.zeros_like(plate)
        working = enlarge(fill, alpha.shape).numpy()[box]
        if self._grain is not None:
            working = self._grain.added(working, index, box, filled)
        fill_linear[box] = self.trained.space.to_linear(working)
        result[box] = composite(plate[box], fill_linear[box], alpha[box])
        return result, fill_linear, filled


def _box(alpha: np.ndarray) -> tuple[slice, slice]:
    covered = alpha > 0
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _wanted(alpha: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """Working pixels ``[h, w]`` bool under the matte, and the neighbours that enlarging reads."""
    touched = alpha > 0
    if tuple(size) == alpha.shape:
        return torch.from_numpy(touched)
    small = torch.from_numpy(reduce_max(touched, size))[None, None].float()
    return F.max_pool2d(small, 5, stride=1, padding=2)[0, 0] > 0

"""Training patches of finer levels (section 4.1 and appendix A.4): grid mattes and boundary-aware sampling."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from internal_inpaint.pixel_state import PixelState
from internal_inpaint.training.sampling import HoleSampler, Placement

# The paper's figures, for patches of 960x540: grid mattes with fewer object pixels than this are left out ...
PATCH = 540, 960
MIN_PIXELS = 1000
# ... and the synthetic hole's centre is five times as likely within this distance (in pixels) of the edge of the
# real hole's box. For patches of another size, both scale with it.
BOUNDARY_HEIGHT, BOUNDARY_WIDTH, BOUNDARY_PREFERENCE = 45, 80, 5.0
TRIES = 32


class PatchSampler(HoleSampler):
    """Draws training patches from frames that are too large to train on as a whole.

    The synthetic hole of a patch is one cell of the grid that a real matte is split into. Patches are more likely
    near the boundary of the frame's real hole, where known pixels are most useful.
    """

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.cells = grid_cells(self.state, self.boxes, self.crop)
        # Pixels farther than one patch from every hole of the shot do not help to fill it: patches leave them out.
        boxes = self.boxes[self.boxes[:, 2] > 0]
        low, high = boxes[:, :2].min(axis=0) - self.crop, boxes[:, 2:].max(axis=0)
        self._corners = [
            (max(0, int(first)), max(0, min(limit - side, int(last))))
            for first, last, limit, side in zip(low, high, self.size, self.crop, strict=True)
        ]

    def draw(self, rng: np.random.Generator) -> Placement:
        """A random frame, a random cell of a random matte, and a random position."""
        frame = int(rng.integers(len(self.state)))
        source, cell_top, cell_left, centre_y, centre_x = map(int, self.cells[rng.integers(len(self.cells))])
        top, left = self._corner(rng, self.boxes[frame], (centre_y - cell_top, centre_x - cell_left))
        return Placement(frame, source, top - cell_top, left - cell_left, top, left, *self._strokes_and_drift(rng))

    def _corner(self, rng: np.random.Generator, box: np.ndarray, centre: tuple[int, int]) -> tuple[int, int]:
        """The patch's corner: near the holes, and more likely where the hole's centre is near the boundary."""
        corner = (0, 0)
        for _ in range(TRIES):
            corner = tuple(int(rng.integers(low, high + 1)) for low, high in self._corners)
            y, x = corner[0] + centre[0], corner[1] + centre[1]
            if near_boundary(box, y, x, self.crop) or rng.random() < 1 / BOUNDARY_PREFERENCE:
                break
        return corner


def near_boundary(box: np.ndarray, y: float, x: float, patch: tuple[int, int] = PATCH) -> bool:
    """Whether a point lies within 45 pixels in height and 80 in width of the edge of a box (A.4).

    Args:
        patch: (height, width); the distances are for 540 x 960, and scale in proportion for other sizes.
    """
    top, left, bottom, right = (int(side) for side in box)
    if bottom <= top:
        return True  # a frame without a hole has no preferred place

    def inside(grown: int) -> bool:
        high, wide = grown * BOUNDARY_HEIGHT * patch[0] / PATCH[0], grown * BOUNDARY_WIDTH * patch[1] / PATCH[1]
        return top - high <= y < bottom + high and left - wide <= x < right + wide

    return inside(1) and not inside(-1)


def grid_cells(state: Tensor, boxes: np.ndarray, crop: tuple[int, int]) -> np.ndarray:
    """The grid mattes: each frame's matte split into cells of the size of a patch.

    The grid is aligned with the matte's own bounding box, so that a matte that fits into a patch is one cell,
    centred. Cells with fewer than 1,000 object pixels of 960x540 (in proportion for other patches) are left
    out, unless all cells are that small.

    Args:
        state: ``[N, H, W]`` uint8; boxes: ``hole_boxes`` of it; crop: (height, width) of a patch.

    Returns:
        ``[K, 5]`` integers: frame, top, left (may be negative), centre row, centre column of its matte.
    """
    minimum = MIN_PIXELS * crop[0] * crop[1] / (PATCH[0] * PATCH[1])
    cells, counts = [], []
    for frame in np.flatnonzero(boxes[:, 2] > 0):
        top, left, bottom, right = (int(side) for side in boxes[frame])
        hole = (state[frame, top:bottom, left:right] == PixelState.HOLE).cpu().numpy()
        for y in _starts(top, bottom, crop[0]):
            for x in _starts(left, right, crop[1]):
                cell = hole[max(0, y - top) : y + crop[0] - top, max(0, x - left) : x + crop[1] - left]
                rows, columns = np.nonzero(cell)
                if not len(rows):
                    continue
                centre = rows.mean() + max(y, top), columns.mean() + max(x, left)
                cells.append((frame, y, x, round(centre[0]), round(centre[1])))
                counts.append(len(rows))
    counts = np.array(counts)
    large_enough = counts >= min(minimum, counts.max())
    return np.array(cells, dtype=np.int64)[large_enough]


def _starts(start: int, end: int, side: int) -> list[int]:
    """First pixels of the cells that cover ``start:end`` evenly."""
    count = max(1, -(-(end - start) // side))
    if count == 1:
        return [(start + end - side) // 2]
    return [start + round(i * (end - start - side) / (count - 1)) for i in range(count)]

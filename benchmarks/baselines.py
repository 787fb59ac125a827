"""What a person could use instead, without training anything.

Every baseline takes display-encoded frames [N, H, W, 3], float 0..1, and holes [N, H, W], bool, and
returns the frames filled. Pixels inside the holes are blanked before anything looks at them.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

INPAINT_RADIUS = 3
FLOW_MARGIN = 4


def telea(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """OpenCV's fast marching (Telea 2004), each frame alone."""
    return _inpaint(frames, holes, cv2.INPAINT_TELEA)


def navier_stokes(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """OpenCV's fluid dynamics inpainting (Bertalmio et al. 2001), each frame alone."""
    return _inpaint(frames, holes, cv2.INPAINT_NS)


def temporal_median(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """The median of a pixel's known values over all frames; Telea where it is never known."""
    ever, never = holes.any(axis=0), holes.all(axis=0)
    column = np.where(holes[:, ever, None], np.nan, frames[:, ever]).astype(np.float32)
    column[:, never[ever]] = 0
    filled = frames.copy()
    filled[:, ever] = np.where(holes[:, ever, None], np.nanmedian(column, axis=0), frames[:, ever])
    return telea(filled, holes & never)


def flow_propagation(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Known pixels carried into the hole along DIS flow from both directions, Telea for the rest.

    Each hole pixel is followed from frame to frame, backwards and forwards, until it comes out of
    the hole; the two colours found are mixed, the nearer frame weighing more. The flow inside the
    hole is the smoothest continuation of the flow around it.
    """
    # Even one percent of a hidden pixel, taken along by interpolation, would be peeping.
    blank = telea(frames, holes)
    past, future = _complete_flows(blank, holes, -1), _complete_flows(blank, holes, +1)
    filled, missing = frames.copy(), np.zeros_like(holes)
    for t, hole in enumerate(holes):
        points = np.argwhere(hole).astype(np.float64)
        behind, behind_steps = _follow(blank, holes, past, t, points, -1)
        ahead, ahead_steps = _follow(blank, holes, future, t, points, +1)
        weights = np.stack([1 / behind_steps, 1 / ahead_steps])
        found = weights.sum(0) > 0
        mix = (weights[0, :, None] * behind + weights[1, :, None] * ahead)[found] / weights.sum(0)[found, None]
        rows, columns = points.astype(int).T
        filled[t, rows[found], columns[found]] = mix
        missing[t, rows[~found], columns[~found]] = True
    return telea(filled, missing)


def _inpaint(frames: np.ndarray, holes: np.ndarray, method: int) -> np.ndarray:
    filled = frames.copy()
    for frame, hole in zip(filled, holes, strict=True):
        if hole.any():
            codes = np.round(np.where(hole[..., None], 0, frame) * 255).astype(np.uint8)
            painted = cv2.inpaint(codes, hole.astype(np.uint8), INPAINT_RADIUS, method)
            frame[hole] = painted[hole].astype(np.float32) / 255
    return filled


def _complete_flows(blank: np.ndarray, holes: np.ndarray, step: int) -> list[np.ndarray | None]:
    """Flow [H, W, 2] from each frame to its neighbour ``step`` away, None where there is none."""
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(np.round(frame * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY) for frame in blank]
    completed: list[np.ndarray | None] = []
    for t, image in enumerate(grey):
        if not 0 <= t + step < len(grey):
            completed.append(None)
            continue
        flow = estimator.calc(image, grey[t + step], None)
        # DIS matches patches: round the hole, and where the neighbour's hole lands, it saw invented pixels.
        doubtful = ndimage.binary_dilation(holes[t] | holes[t + step], iterations=FLOW_MARGIN)
        completed.append(_continue_smoothly(flow, doubtful))
    return completed


def _continue_smoothly(field: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Replace ``field`` [H, W, C] where ``unknown`` by the solution of Laplace's equation."""
    if not unknown.any() or unknown.all():
        return np.zeros_like(field) if unknown.all() else field
    height, width = unknown.shape
    index = np.full(unknown.shape, -1)
    index[unknown] = np.arange(unknown.sum())
    rows, columns = np.nonzero(unknown)
    here = index[rows, columns]
    neighbours = np.zeros(len(here))
    known = np.zeros((len(here), field.shape[-1]))
    pairs = []
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        y, x = rows + dy, columns + dx
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        neighbours += inside
        there = np.full(len(here), -1)
        there[inside] = index[y[inside], x[inside]]
        given = inside & (there < 0)
        known[given] += field[y[given], x[given]]
        pairs.append((here[there >= 0], there[there >= 0]))
    source, target = (np.concatenate(side) for side in zip(*pairs, strict=True))
    matrix = sparse.diags(neighbours) - sparse.coo_matrix((np.ones(len(source)), (source, target)), (len(here),) * 2)
    result = field.copy()
    result[unknown] = np.reshape(spsolve(matrix.tocsc(), known), known.shape)
    return result


def _follow(
    blank: np.ndarray, holes: np.ndarray, flows: list, start: int, points: np.ndarray, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Colour [P, 3] and number of frames away [P] (inf: none) of the first known pixel on each path."""
    colours = np.zeros((len(points), 3))
    steps = np.full(len(points), np.inf)
    position, active, t = points.copy(), np.arange(len(points)), start
    limit = np.array(holes.shape[1:]) - 1
    while len(active) and 0 <= t + step < len(blank):
        at = position[active]
        motion = np.stack([_sample(flows[t][..., k], at) for k in (1, 0)], axis=1)
        at = at + motion
        t += step
        inside = ((at >= 0) & (at <= limit)).all(axis=1)
        active, at = active[inside], at[inside]
        position[active] = at
        known = _sample(holes[t].astype(np.float32), at) < 0.01
        colours[active[known]] = np.stack([_sample(blank[t, ..., c], at[known]) for c in range(3)], axis=1)
        steps[active[known]] = abs(t - start)
        active = active[~known]
    return colours, steps


def _sample(plane: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bilinear values of ``plane`` [H, W] at ``points`` [P, 2] (row, column)."""
    return ndimage.map_coordinates(plane, points.T, order=1, mode="nearest")


BASELINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "telea": telea,
    "navier-stokes": navier_stokes,
    "median": temporal_median,
    "flow": flow_propagation,
}

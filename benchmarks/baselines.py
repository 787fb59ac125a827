"""What a person could use instead, without training anything.

Every baseline takes display-encoded frames [N, H, W, 3], float 0..1, and holes [N, H, W], bool, and
returns the frames filled. Pixels inside the holes are blanked before anything looks at them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

INPAINT_RADIUS = 3
FLOW_MARGIN = 4
TRACKED_POINTS = 1500
TRACKED_LEAST = 12  # a homography has eight unknowns; four points fit always, whatever they are
TRACKED_WITHIN = 1.5  # pixels, for the way forth and back as for RANSAC

# Where the points [P, 2] (row, column) of a frame are in its neighbour; NaN where that is not known.
Motion = Callable[[int, np.ndarray], np.ndarray]


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
    blank = telea(frames, holes)
    past, future = _complete_flows(blank, holes, -1), _complete_flows(blank, holes, +1)
    return _carry(frames, blank, holes, partial(_along_flow, past), partial(_along_flow, future))


def homography_propagation(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Known pixels carried into the hole as if the shot were one plane, Telea for the rest.

    A homography between neighbouring frames is fitted (RANSAC) to features tracked over known pixels; chained, they
    lead each hole pixel to the nearest past and future frame that shows it, mixed as in ``flow_propagation``. Where
    too few features agree, nothing is carried from one frame to the next.
    """
    blank = telea(frames, holes)
    ahead = _homographies(blank, holes)
    back = [None] + [None if matrix is None else np.linalg.inv(matrix) for matrix in ahead]
    return _carry(frames, blank, holes, partial(_along_plane, back), partial(_along_plane, [*ahead, None]))


def _carry(frames: np.ndarray, blank: np.ndarray, holes: np.ndarray, past: Motion, future: Motion) -> np.ndarray:
    """Fill the holes with what their pixels show in other frames; Telea where none shows it.

    ``blank`` are the frames with holes painted over: even one percent of a hidden pixel, taken along by
    interpolation, would be peeping.
    """
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
    grey = _grey(blank)
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


def _grey(frames: np.ndarray) -> list[np.ndarray]:
    return [cv2.cvtColor(np.round(frame * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY) for frame in frames]


def _homographies(blank: np.ndarray, holes: np.ndarray) -> list[np.ndarray | None]:
    """Matrix [3, 3] from each frame to the next on (x, y, 1), None where features do not agree on one."""
    grey = _grey(blank)
    known = [~ndimage.binary_dilation(hole, iterations=FLOW_MARGIN) for hole in holes]
    return [_homography(*grey[t : t + 2], *known[t : t + 2]) for t in range(len(grey) - 1)]


def _homography(here: np.ndarray, there: np.ndarray, known: np.ndarray, known_there: np.ndarray) -> np.ndarray | None:
    apart = max(3, here.shape[1] // 100)
    corners = cv2.goodFeaturesToTrack(here, TRACKED_POINTS, 0.005, apart, mask=known.astype(np.uint8))
    if corners is None:
        return None
    moved, followed, _ = cv2.calcOpticalFlowPyrLK(here, there, corners, None)
    returned, followed_back, _ = cv2.calcOpticalFlowPyrLK(there, here, moved, None)
    kept = (followed & followed_back)[:, 0] > 0
    kept &= np.linalg.norm(returned - corners, axis=-1)[:, 0] < TRACKED_WITHIN
    at = np.round(moved[:, 0, ::-1]).astype(int).clip(0, np.array(known.shape) - 1)
    kept &= known_there[at[:, 0], at[:, 1]]
    if kept.sum() < 4:
        return None
    matrix, agrees = cv2.findHomography(corners[kept], moved[kept], cv2.RANSAC, TRACKED_WITHIN)
    singular = matrix is None or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-6
    return None if singular or agrees.sum() < TRACKED_LEAST else matrix


def _along_plane(homographies: list[np.ndarray | None], t: int, points: np.ndarray) -> np.ndarray:
    if homographies[t] is None:
        return np.full_like(points, np.nan)
    moved = np.column_stack([points[:, ::-1], np.ones(len(points))]) @ homographies[t].T
    depth = moved[:, 2:]
    return np.where(depth > 1e-6, moved[:, 1::-1] / np.where(depth > 1e-6, depth, 1), np.nan)


def _along_flow(flows: list[np.ndarray | None], t: int, points: np.ndarray) -> np.ndarray:
    if flows[t] is None:
        return np.full_like(points, np.nan)
    moved = points + np.stack([_sample(flows[t][..., k], points) for k in (1, 0)], axis=1)
    # Outside the frame there is no flow: what has left it is lost.
    inside = ((points >= 0) & (points <= np.array(flows[t].shape[:2]) - 1)).all(axis=1)
    return np.where(inside[:, None], moved, np.nan)


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
    blank: np.ndarray, holes: np.ndarray, motion: Motion, start: int, points: np.ndarray, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Colour [P, 3] and number of frames away [P] (inf: none) of the first known pixel on each path."""
    colours = np.zeros((len(points), 3))
    steps = np.full(len(points), np.inf)
    at, active, t = points, np.arange(len(points)), start
    limit = np.array(holes.shape[1:]) - 1
    while len(active) and 0 <= t + step < len(blank):
        at = motion(t, at)
        t += step
        followed = np.isfinite(at).all(axis=1)
        active, at = active[followed], at[followed]
        known = ((at >= 0) & (at <= limit)).all(axis=1)
        known[known] = _sample(holes[t].astype(np.float32), at[known]) < 0.01
        colours[active[known]] = np.stack([_sample(blank[t, ..., c], at[known]) for c in range(3)], axis=1)
        steps[active[known]] = abs(t - start)
        active, at = active[~known], at[~known]
    return colours, steps


def _sample(plane: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bilinear values of ``plane`` [H, W] at ``points`` [P, 2] (row, column)."""
    return ndimage.map_coordinates(plane, points.T, order=1, mode="nearest")


BASELINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "telea": telea,
    "navier-stokes": navier_stokes,
    "median": temporal_median,
    "flow": flow_propagation,
    "homography": homography_propagation,
}

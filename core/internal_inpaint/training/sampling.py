"""Batches of synthetic holes (equation 1): frame i with the matte of a random frame t moved over it.

Everything a batch needs lies on the training device (or in the memory-mapped store, on the CPU); the
host draws a handful of integers a step from a seeded generator and never waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from internal_inpaint.training.strokes import stroke_hole

HOLE, VOID = 1, 2  # bits of the store's state plane; 0 is known


@dataclass(frozen=True)
class Batch:
    """One training batch, ``[B, C, h, w]``.

    Attributes:
        target: ``[B, 3, h, w]`` working-space pixels; meaningless where not ``known``.
        hidden: ``[B, 1, h, w]``, 1 where the network may not look: real hole, void, held out, synthetic.
        known: ``[B, 1, h, w]``, 1 where the loss may look: everything but real hole, void and held out.
        synthetic: ``[B, 1, h, w]``, 1 inside the synthetic hole.
        prior: ``[B, 3, h, w]`` the coarser stage's picture of the same crop with the same hole, in [-1, 1];
            ``None`` at the coarsest stage.
    """

    target: Tensor
    hidden: Tensor
    known: Tensor
    synthetic: Tensor
    prior: Tensor | None = None

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the network is shown: the masked pixels, the mask, the prior (equation 1)."""
        return self.target * (1 - self.hidden), self.hidden, self.prior


# Which pixels of a stage a synthetic hole covers: rows ``[B, n]`` and columns ``[B, m]`` to ``[B, n, m]`` bool.
Covers = Callable[[Tensor, Tensor], Tensor]


class Prior(Protocol):
    """What a coarser stage makes of a crop (``cascade.Level``)."""

    def picture(
        self, frame: Tensor, top: Tensor, left: Tensor, hidden: Tensor, size: tuple[int, int], covers: Covers | None
    ) -> Tensor: ...


@dataclass(frozen=True)
class Placement:
    """A hole of frame ``source`` moved by (dy, dx) over frame ``frame``, seen through a crop at (top, left).

    Where ``strokes`` is given, random strokes of about that hole's area stand in its place, anywhere in the
    crop; the number fixes them.
    """

    frame: int
    source: int
    dy: int
    dx: int
    top: int
    left: int
    strokes: int | None = None


def hole_boxes(state: Tensor) -> np.ndarray:
    """Bounding box (top, left, bottom, right; exclusive) of each frame's hole: ``[N, 4]``, zeros if empty.

    Args:
        state: ``[N, H, W]`` uint8; read a frame at a time, so that a memory map stays on disk.
    """
    boxes = np.zeros((len(state), 4), dtype=np.int64)
    for index in range(len(state)):
        hole = (state[index] & HOLE).cpu().numpy().astype(bool)
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        if len(rows):
            boxes[index] = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    return boxes


def moved_hole(state: Tensor, dy: int, dx: int) -> Tensor:
    """The hole of one frame's state ``[H, W]`` moved by (dy, dx), as ``[H, W]`` bool; what leaves is lost."""
    height, width = state.shape
    moved = torch.zeros_like(state, dtype=torch.bool)
    rows = slice(max(0, dy), min(height, height + dy))
    columns = slice(max(0, dx), min(width, width + dx))
    from_rows = slice(max(0, -dy), min(height, height - dy))
    from_columns = slice(max(0, -dx), min(width, width - dx))
    moved[rows, columns] = (state[from_rows, from_columns] & HOLE) != 0
    return moved


def crop_size(
    boxes: np.ndarray, size: tuple[int, int], scale: float | None, smallest: int, most_pixels: int
) -> tuple[int, int]:
    """Height and width of a training crop: it leaves context round the largest hole.

    Args:
        boxes: ``hole_boxes`` of the shot.
        size: height and width of the frames, which the crop never exceeds.
        scale: crop side over hole side; ``None`` is the whole frame.
        smallest: least side in pixels.
        most_pixels: the crop's area stays below this, keeping its shape.
    """
    height, width = size
    if scale is not None:
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).max(axis=0)
        height, width = (
            min(room, max(smallest, round(scale * side))) for room, side in zip(size, sides, strict=True)
        )
    shrink = min(1.0, (most_pixels / (height * width)) ** 0.5)
    # Multiples of 8 need no padding inside the network and suit vector units.
    return tuple(
        min(room, max(8, int(side * shrink) // 8 * 8 if shrink < 1 else -(-side // 8) * 8))
        for side, room in ((height, size[0]), (width, size[1]))
    )


class HoleSampler:
    """Draws placements and turns them into batches.

    Args:
        frames: ``[N, H, W, 3]`` working space (half or float; hole and void pixels are 0).
        state: ``[N, H, W]`` uint8 of ``HOLE`` and ``VOID`` bits.
        crop: (height, width) of a training crop, at most the frame's.
        device: where batches are wanted.
        held_out: masks ``[H, W]`` bool by frame index: pixels kept away from training for validation.
        boxes: ``hole_boxes(state)`` where they are known already.
        prior: gives each batch the coarser stage's picture.
        holes: ``object`` or ``strokes`` (``TrainingConfig.holes``).
    """

    def __init__(
        self,
        frames: Tensor,
        state: Tensor,
        crop: tuple[int, int],
        device: torch.device,
        held_out: dict[int, Tensor] | None = None,
        boxes: np.ndarray | None = None,
        prior: Prior | None = None,
        holes: str = "object",
    ) -> None:
        self.prior = prior
        self.frames, self.state, self.crop, self.device = frames, state, crop, device
        self.size = tuple(state.shape[1:])
        self.boxes = hole_boxes(state) if boxes is None else boxes
        self.sources = np.flatnonzero(self.boxes[:, 2] > 0)
        if holes not in ("object", "strokes"):
            raise ValueError(f"unknown synthetic holes {holes!r}: choose object or strokes")
        self.areas = [int((frame & HOLE).sum()) for frame in state] if holes == "strokes" else None
        self._rows = torch.arange(crop[0], device=frames.device)
        self._columns = torch.arange(crop[1], device=frames.device)
        masks = [torch.zeros(self.size, dtype=torch.bool), *(held_out or {}).values()]
        self._held = torch.stack(masks).to(frames.device)
        which = torch.zeros(len(state), dtype=torch.int64)
        for slot, frame in enumerate(held_out or {}, start=1):
            which[frame] = slot
        self._held_slot = which.to(frames.device)

    def draw(self, rng: np.random.Generator) -> Placement:
        """A random frame, a random matte, a random place for it, and a crop round that place."""
        frame = int(rng.integers(len(self.state)))
        source = int(rng.choice(self.sources))
        box = self.boxes[source]
        dy, dx = (self._shift(rng, axis, box) for axis in (0, 1))
        top, left = (self._window(rng, axis, box, shift) for axis, shift in ((0, dy), (1, dx)))
        strokes = None if self.areas is None else int(rng.integers(2**63))
        return Placement(frame, source, dy, dx, top, left, strokes)

    def _shift(self, rng: np.random.Generator, axis: int, box: np.ndarray) -> int:
        # Anywhere in the frame with the whole hole inside it; a hole larger than the frame slides over it.
        length, room = int(box[axis + 2] - box[axis]), self.size[axis]
        low, high = min(0, room - length), max(0, room - length)
        return int(rng.integers(low, high + 1)) - int(box[axis])

    def _window(self, rng: np.random.Generator, axis: int, box: np.ndarray, shift: int) -> int:
        crop, room = self.crop[axis], self.size[axis]
        if crop >= room:
            return 0
        start, end = int(box[axis]) + shift, int(box[axis + 2]) + shift
        if end - start <= crop:
            # The hole fits: somewhere in the crop, not always its centre.
            low, high = end - crop, start
            middle, slack = (low + high) // 2, (high - low) // 4
            first = int(rng.integers(middle - slack, middle + slack + 1))
        else:
            first = int(rng.integers(start, end - crop + 1))
        return min(max(first, 0), room - crop)

    def gather(self, placements: list[Placement], with_prior: bool = True) -> Batch:
        """Assemble a batch on the device from placements drawn on the host."""
        numbers = torch.tensor([[p.frame, p.source, p.dy, p.dx, p.top, p.left] for p in placements])
        if self.frames.is_cuda:
            numbers = numbers.pin_memory().to(self.frames.device, non_blocking=True)
        frame, source, dy, dx, top, left = (column[:, None, None] for column in numbers.unbind(1))
        rows = top + self._rows[None, :, None]
        columns = left + self._columns[None, None, :]
        target, blocked = self.look(frame, rows, columns)

        def covers(rows: Tensor, columns: Tensor) -> Tensor:
            from_rows, from_columns = rows[:, :, None] - dy, columns[:, None, :] - dx
            inside = (from_rows >= 0) & (from_rows < self.size[0])
            inside = inside & (from_columns >= 0) & (from_columns < self.size[1])
            from_rows, from_columns = (
                from_rows.clamp(0, self.size[0] - 1),
                from_columns.clamp(0, self.size[1] - 1),
            )
            return (self.state[source, from_rows, from_columns] & HOLE != 0) & inside

        synthetic = covers(rows[:, :, 0], columns[:, 0, :]) if self.areas is None else self._strokes(placements)
        planes = torch.stack([synthetic | blocked, ~blocked, synthetic]).to(self.device, torch.float32)
        hidden, known, synthetic = planes.unsqueeze(2)
        prior = None
        if with_prior and self.prior is not None:
            beyond = covers if self.areas is None else None
            prior = self.prior.picture(numbers[:, 0], numbers[:, 4], numbers[:, 5], hidden, self.size, beyond)
        return Batch(target, hidden, known, synthetic, prior)

    def look(self, frame: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels ``[B, 3, h, w]`` on the device, and which of them nobody may see ``[B, h, w]`` bool.

        Args:
            frame: ``[B, 1, 1]``; rows: ``[B, h, 1]``; columns: ``[B, 1, w]``: indices beside the frames.
        """
        pixels = self.frames[frame, rows, columns].to(self.device, torch.float32, non_blocking=True)
        blocked = (self.state[frame, rows, columns] != 0) | self._held[self._held_slot[frame], rows, columns]
        return pixels.permute(0, 3, 1, 2), blocked

    def _strokes(self, placements: list[Placement]) -> Tensor:
        drawn = [stroke_hole(np.random.default_rng(p.strokes), self.crop, self.areas[p.source]) for p in placements]
        return torch.from_numpy(np.stack(drawn)).to(self.frames.device, non_blocking=True)

"""Batches of synthetic holes (equation 1): frame i with the matte of a random frame t moved over it.

A method that looks at several frames gets a *track*: the matte as it is over the frames round t, moved by one shift,
drifting, hidden in every frame of the clip. Hidden in the middle frame alone, its neighbours would show the
answer, which the real hole's never do. The paper's single frame is the track of length 1.

Everything a batch needs lies on the training device (or in the memory-mapped store, on the CPU); the
host draws a handful of integers a step from a seeded generator and never waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from internal_inpaint.methods.base import Clip, in_time
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.training.strokes import stroke_hole

DRIFT = 1.5  # pixels a frame, at most, that a track moves beside the motion of its own matte

# Which pixels of a level a synthetic hole covers: rows ``[B, n]`` and columns ``[B, m]`` to ``[B, n, m]`` bool.
Covers = Callable[[Tensor, Tensor], Tensor]


class Prior(Protocol):
    """What a coarser level shows of a crop (``prior.CoarsePrior``)."""

    def picture(
        self, frame: Tensor, top: Tensor, left: Tensor, hidden: Tensor, size: tuple[int, int], covers: Covers | None
    ) -> Tensor: ...


@dataclass(frozen=True)
class Placement:
    """The track of frame ``source``'s hole, moved by (dy, dx) over frame ``frame``, in a crop at (top, left).

    Attributes:
        strokes: where given, random strokes of about that hole's area stand in its place, anywhere in the
            crop; the number fixes them.
        drift: (rows, columns) that the track moves a frame, in pixels.
    """

    frame: int
    source: int
    dy: int
    dx: int
    top: int
    left: int
    strokes: int | None = None
    drift: tuple[float, float] = (0.0, 0.0)


def hole_boxes(state: Tensor) -> np.ndarray:
    """Bounding box (top, left, bottom, right; exclusive) of each frame's hole: ``[N, 4]``, zeros if empty.

    Args:
        state: ``[N, H, W]`` uint8; read a frame at a time, so that a memory map stays on disk.
    """
    boxes = np.zeros((len(state), 4), dtype=np.int64)
    for index in range(len(state)):
        hole = (state[index] == PixelState.HOLE).cpu().numpy()
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
    moved[rows, columns] = state[from_rows, from_columns] == PixelState.HOLE
    return moved


def crop_size(
    boxes: np.ndarray, size: tuple[int, int], scale: float | None, smallest: tuple[int, int], most_pixels: int
) -> tuple[int, int]:
    """Height and width of a training crop: it leaves context round the largest hole.

    Args:
        boxes: ``hole_boxes`` of the shot.
        size: height and width of the frames, which the crop never exceeds.
        scale: crop side over hole side; ``None`` is the whole frame.
        smallest: least height and width in pixels.
        most_pixels: the crop's area stays below this, keeping its shape.
    """
    height, width = size
    if scale is not None:
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).max(axis=0)
        height, width = (
            min(room, max(least, round(scale * side)))
            for room, least, side in zip(size, smallest, sides, strict=True)
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
        frames: ``[N, H, W, 3]`` working space (half or float; 0 where not known).
        state: ``[N, H, W]`` uint8 of ``PixelState``.
        crop: (height, width) of a training crop, at most the frame's.
        device: where batches are wanted.
        held_out: masks ``[H, W]`` bool by frame index: pixels kept away from training for validation.
        boxes: ``hole_boxes(state)`` where they are known already.
        prior: gives each batch the coarser level's picture.
        holes: ``object`` or ``strokes`` (``TrainingConfig.holes``).
        offsets: frames of a clip, in time from its own (``Geometry.frames``).
        views: pictures a frame; pictures of one view are ``views`` apart.
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
        offsets: tuple[int, ...] = (0,),
        views: int = 1,
    ) -> None:
        self._offsets, self._views = offsets, views
        self.offset_zero = offsets.index(0)
        self.prior = prior
        self.frames, self.state, self.crop, self.device = frames, state, crop, device
        self.size = tuple(state.shape[1:])
        self.boxes = hole_boxes(state) if boxes is None else boxes
        self.sources = np.flatnonzero(self.boxes[:, 2] > 0)
        if holes not in ("object", "strokes"):
            raise ValueError(f"unknown synthetic holes {holes!r}: choose object or strokes")
        self.areas = [int((frame == PixelState.HOLE).sum()) for frame in state] if holes == "strokes" else None
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
        return Placement(frame, source, dy, dx, top, left, *self._strokes_and_drift(rng))

    def _strokes_and_drift(self, rng: np.random.Generator) -> tuple[int | None, tuple[float, float]]:
        strokes = None if self.areas is None else int(rng.integers(2**63))
        # A single frame draws nothing for it.
        drift = (0.0, 0.0) if self._offsets == (0,) else tuple(rng.uniform(-DRIFT, DRIFT, 2).tolist())
        return strokes, drift

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

    def gather(self, placements: list[Placement], others: np.random.Generator | None = None) -> Clip:
        """Assemble a batch on the device from placements drawn on the host.

        Args:
            others: draws the other frames of ``Clip.others``; ``None`` leaves them out.
        """
        clip = self._gather(placements, self._offsets, self.prior)
        if others is None:
            return clip
        return replace(clip, others=self._gather(_other_frames(placements, len(self.state), others), (0,), None))

    def _gather(self, placements: list[Placement], offsets: tuple[int, ...], prior: Prior | None) -> Clip:
        # All frames of all clips side by side, [B * T], then folded into [B, T].
        shape = len(placements), len(offsets)
        numbers = torch.tensor([self._numbers(p, offset) for p in placements for offset in offsets])
        if self.frames.is_cuda:
            numbers = numbers.pin_memory().to(self.frames.device, non_blocking=True)
        frame, source, dy, dx, top, left = (column[:, None, None] for column in numbers.unbind(1))
        rows = top + self._rows[None, :, None]
        columns = left + self._columns[None, None, :]
        pixels, blocked = self.look(frame, rows, columns)

        if self.areas is None:
            synthetic = self._covers(source, dy, dx)(rows[:, :, 0], columns[:, 0, :])
        else:
            synthetic = self._strokes(placements).repeat_interleave(len(offsets), 0)
        planes = torch.stack([synthetic | blocked, ~blocked, synthetic]).to(self.device, torch.float32)
        pixels, hidden, known, synthetic = (t.unflatten(0, shape) for t in (pixels, *planes.unsqueeze(2)))
        coarse = None
        if prior is not None:
            middle = offsets.index(0)
            frame, source, dy, dx, top, left = numbers.unflatten(0, shape)[:, middle].unbind(1)
            covers = self._covers(*(n[:, None, None] for n in (source, dy, dx))) if self.areas is None else None
            coarse = prior.picture(frame, top, left, hidden[:, middle], self.size, covers)[:, None]
        return Clip(pixels, hidden, known, synthetic, coarse)

    def _covers(self, source: Tensor, dy: Tensor, dx: Tensor) -> Covers:
        """The moved holes of frames ``source`` ``[B, 1, 1]``."""

        def covers(rows: Tensor, columns: Tensor) -> Tensor:
            from_rows, from_columns = rows[:, :, None] - dy, columns[:, None, :] - dx
            inside = (from_rows >= 0) & (from_rows < self.size[0])
            inside = inside & (from_columns >= 0) & (from_columns < self.size[1])
            from_rows, from_columns = (
                from_rows.clamp(0, self.size[0] - 1),
                from_columns.clamp(0, self.size[1] - 1),
            )
            return (self.state[source, from_rows, from_columns] == PixelState.HOLE) & inside

        return covers

    def _numbers(self, p: Placement, offset: int) -> list[int]:
        """Frame, source, dy, dx, top, left of one frame of a clip."""
        frame, source = (in_time(index, offset, len(self.state), self._views) for index in (p.frame, p.source))
        dy, dx = (shift + round(offset * drift) for shift, drift in zip((p.dy, p.dx), p.drift, strict=True))
        return [frame, source, dy, dx, p.top, p.left]

    def look(self, frame: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels ``[B, 3, h, w]`` on the device, and which of them nobody may see ``[B, h, w]`` bool.

        Args:
            frame: ``[B, 1, 1]``; rows: ``[B, h, 1]``; columns: ``[B, 1, w]``: indices beside the frames.
        """
        pixels = self.frames[frame, rows, columns].to(self.device, torch.float32, non_blocking=True)
        blocked = (self.state[frame, rows, columns] != PixelState.KNOWN) | self._held[
            self._held_slot[frame], rows, columns
        ]
        return pixels.permute(0, 3, 1, 2), blocked

    def _strokes(self, placements: list[Placement]) -> Tensor:
        drawn = [stroke_hole(np.random.default_rng(p.strokes), self.crop, self.areas[p.source]) for p in placements]
        return torch.from_numpy(np.stack(drawn)).to(self.frames.device, non_blocking=True)


def _other_frames(placements: list[Placement], length: int, rng: np.random.Generator) -> list[Placement]:
    """The same crops of random other frames; a shot of one frame has only itself."""
    steps = rng.integers(1, length, size=len(placements)) if length > 1 else np.zeros(len(placements), int)
    return [replace(p, frame=int((p.frame + step) % length)) for p, step in zip(placements, steps, strict=True)]

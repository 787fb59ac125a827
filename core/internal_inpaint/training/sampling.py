"""Batches of synthetic holes (equation 1): frame i with the matte of a random frame t, shifted, as its hole.

A method that uses several frames gets a *track*: the mattes of the frames around t, moved by one common shift and
a drift, hidden in every frame of the clip. If only the frame to fill were hidden, its neighbours would show the
answer, which they never do for the real hole. The paper's single frame is the track of length 1.

All data of a batch is on the training device (or in the memory-mapped store, on the CPU). Per step the host
draws a few integers from a seeded generator, and it never waits for the device.
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

DRIFT = 1.5  # maximum drift of a track in pixels per frame, in addition to the motion of its own matte

# Whether a synthetic hole covers pixels of a level: rows ``[B, n]`` and columns ``[B, m]`` to ``[B, n, m]`` bool.
Covers = Callable[[Tensor, Tensor], Tensor]


class Prior(Protocol):
    """Supplies a coarser level's picture of a crop (``prior.CoarsePrior``)."""

    def picture(
        self, frame: Tensor, top: Tensor, left: Tensor, hidden: Tensor, size: tuple[int, int], covers: Covers | None
    ) -> Tensor: ...


@dataclass(frozen=True)
class Placement:
    """The track of frame ``source``'s hole, moved by (dy, dx) over frame ``frame``, in a crop at (top, left).

    Attributes:
        strokes: seed of random strokes of about that hole's area, anywhere in the crop, which replace the hole;
            ``None``: no strokes.
        drift: (rows, columns) in pixels that the track moves per frame.
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
        state: ``[N, H, W]`` uint8; read one frame at a time, so that a memory map stays on disk.
    """
    boxes = np.zeros((len(state), 4), dtype=np.int64)
    for index in range(len(state)):
        hole = (state[index] == PixelState.HOLE).cpu().numpy()
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        if len(rows):
            boxes[index] = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    return boxes


def moved_hole(state: Tensor, dy: int, dx: int) -> Tensor:
    """The hole of one frame's state ``[H, W]``, moved by (dy, dx) and clipped at the edges: ``[H, W]`` bool."""
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
    """Height and width of a training crop, with context around the largest hole.

    Args:
        boxes: ``hole_boxes`` of the shot.
        size: height and width of the frames, which the crop never exceeds.
        scale: crop side divided by hole side; ``None``: the whole frame; 0: patches of exactly ``smallest``.
        smallest: minimum height and width in pixels.
        most_pixels: maximum area of the crop; a larger crop is scaled down, with the same aspect ratio.
    """
    if scale == 0:
        return tuple(map(min, size, smallest))
    height, width = size
    if scale is not None:
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).max(axis=0)
        height, width = (
            min(limit, max(minimum, round(scale * side)))
            for limit, minimum, side in zip(size, smallest, sides, strict=True)
        )
    shrink = min(1.0, (most_pixels / (height * width)) ** 0.5)
    # Multiples of 8 need no padding inside the network and suit vector units.
    return tuple(
        min(limit, max(8, int(side * shrink) // 8 * 8 if shrink < 1 else -(-side // 8) * 8))
        for side, limit in ((height, size[0]), (width, size[1]))
    )


class HoleSampler:
    """Draws random placements and assembles them into batches.

    Args:
        frames: ``[N, H, W, 3]`` working space (half or float; 0 where not known).
        state: ``[N, H, W]`` uint8 of ``PixelState``.
        crop: (height, width) of a training crop, at most the frame's.
        device: device of the batches.
        held_out: masks ``[H, W]`` bool by frame index: pixels that are hidden from training for validation.
        boxes: ``hole_boxes(state)``, if already computed.
        prior: supplies the coarser level's picture for each batch.
        holes: ``object`` or ``strokes`` (``TrainingConfig.holes``).
        offsets: frames of a clip, as offsets in time from the frame to fill (``Geometry.frames``).
        views: pictures per frame; pictures of one view are ``views`` apart.
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
        self._held_out = torch.stack(masks).to(frames.device)
        slots = torch.zeros(len(state), dtype=torch.int64)
        for slot, frame in enumerate(held_out or {}, start=1):
            slots[frame] = slot
        self._held_out_slot = slots.to(frames.device)

    def draw(self, rng: np.random.Generator) -> Placement:
        """A random frame, a random matte, a random position for it, and a crop around that position."""
        frame = int(rng.integers(len(self.state)))
        source = int(rng.choice(self.sources))
        box = self.boxes[source]
        dy, dx = (self._shift(rng, axis, box) for axis in (0, 1))
        top, left = (self._window(rng, axis, box, shift) for axis, shift in ((0, dy), (1, dx)))
        return Placement(frame, source, dy, dx, top, left, *self._strokes_and_drift(rng))

    def _strokes_and_drift(self, rng: np.random.Generator) -> tuple[int | None, tuple[float, float]]:
        strokes = None if self.areas is None else int(rng.integers(2**63))
        # No random numbers are drawn for a single frame: it has no drift.
        drift = (0.0, 0.0) if self._offsets == (0,) else tuple(rng.uniform(-DRIFT, DRIFT, 2).tolist())
        return strokes, drift

    def _shift(self, rng: np.random.Generator, axis: int, box: np.ndarray) -> int:
        # Anywhere with the whole hole inside the frame. A hole larger than the frame covers the whole axis.
        length, limit = int(box[axis + 2] - box[axis]), self.size[axis]
        low, high = min(0, limit - length), max(0, limit - length)
        return int(rng.integers(low, high + 1)) - int(box[axis])

    def _window(self, rng: np.random.Generator, axis: int, box: np.ndarray, shift: int) -> int:
        crop, limit = self.crop[axis], self.size[axis]
        if crop >= limit:
            return 0
        start, end = int(box[axis]) + shift, int(box[axis + 2]) + shift
        if end - start <= crop:
            # The hole fits: near the centre of the crop, but not always at the centre.
            low, high = end - crop, start
            centre, slack = (low + high) // 2, (high - low) // 4
            first = int(rng.integers(centre - slack, centre + slack + 1))
        else:
            first = int(rng.integers(start, end - crop + 1))
        return min(max(first, 0), limit - crop)

    def gather(self, placements: list[Placement], others: np.random.Generator | None = None) -> Clip:
        """Assemble a batch on the device from placements that were drawn on the host.

        Args:
            others: random generator that selects the frames of ``Clip.others``; ``None`` leaves them out.
        """
        clip = self._gather(placements, self._offsets, self.prior)
        if others is None:
            return clip
        return replace(clip, others=self._gather(_other_frames(placements, len(self.state), others), (0,), None))

    def _gather(self, placements: list[Placement], offsets: tuple[int, ...], prior: Prior | None) -> Clip:
        # First all frames of all clips as [B * T], then reshaped to [B, T].
        shape = len(placements), len(offsets)
        numbers = torch.tensor([self._numbers(p, offset) for p in placements for offset in offsets])
        if self.frames.is_cuda:
            numbers = numbers.pin_memory().to(self.frames.device, non_blocking=True)
        frame, source, dy, dx, top, left = (column[:, None, None] for column in numbers.unbind(1))
        rows = top + self._rows[None, :, None]
        columns = left + self._columns[None, None, :]
        pixels, blocked = self.read(frame, rows, columns)

        if self.areas is None:
            synthetic = self._covers(source, dy, dx)(rows[:, :, 0], columns[:, 0, :])
        else:
            synthetic = self._strokes(placements).repeat_interleave(len(offsets), 0)
        planes = torch.stack([synthetic | blocked, ~blocked, synthetic]).to(self.device, torch.float32)
        pixels, hidden, known, synthetic = (t.unflatten(0, shape) for t in (pixels, *planes.unsqueeze(2)))
        coarse = None
        if prior is not None:
            now = offsets.index(0)
            frame, source, dy, dx, top, left = numbers.unflatten(0, shape)[:, now].unbind(1)
            covers = self._covers(*(n[:, None, None] for n in (source, dy, dx))) if self.areas is None else None
            coarse = prior.picture(frame, top, left, hidden[:, now], self.size, covers)[:, None]
        return Clip(pixels, hidden, known, synthetic, coarse)

    def _covers(self, source: Tensor, dy: Tensor, dx: Tensor) -> Covers:
        """The shifted holes of frames ``source`` ``[B, 1, 1]``."""

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
        """(frame, source, dy, dx, top, left) of one frame of a clip."""
        frame, source = (in_time(index, offset, len(self.state), self._views) for index in (p.frame, p.source))
        dy, dx = (shift + round(offset * drift) for shift, drift in zip((p.dy, p.dx), p.drift, strict=True))
        return [frame, source, dy, dx, p.top, p.left]

    def read(self, frame: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels ``[B, 3, h, w]`` on ``device``, and ``[B, h, w]`` bool, True where they are unknown or held out.

        Args:
            frame: ``[B, 1, 1]``; rows: ``[B, h, 1]``; columns: ``[B, 1, w]``: indices on the frames' device.
        """
        pixels = self.frames[frame, rows, columns].to(self.device, torch.float32, non_blocking=True)
        blocked = (self.state[frame, rows, columns] != PixelState.KNOWN) | self._held_out[
            self._held_out_slot[frame], rows, columns
        ]
        return pixels.permute(0, 3, 1, 2), blocked

    def _strokes(self, placements: list[Placement]) -> Tensor:
        holes = [stroke_hole(np.random.default_rng(p.strokes), self.crop, self.areas[p.source]) for p in placements]
        return torch.from_numpy(np.stack(holes)).to(self.frames.device, non_blocking=True)


def _other_frames(placements: list[Placement], length: int, rng: np.random.Generator) -> list[Placement]:
    """The same crops of random other frames. In a shot of one frame, these are of the frame itself."""
    steps = rng.integers(1, length, size=len(placements)) if length > 1 else np.zeros(len(placements), int)
    return [replace(p, frame=int((p.frame + step) % length)) for p, step in zip(placements, steps, strict=True)]

"""Filling frames with a trained network: whole where they fit, in overlapping tiles where not.

Only the neighbourhood of the hole is computed: the network sees no farther than ``REACH`` pixels, so
a region that leaves that much context round the hole gives what the whole frame would have given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internal_inpaint.methods.implicit.networks import SMALLEST, STRIDE
from internal_inpaint.methods.memory import is_out_of_memory

# Radius of what one output pixel depends on, in pixels: the sum over the layer tables of
# dilation x (kernel - 1) / 2 x the layer's stride so far, plus a little for the bilinear up-sampling.
REACH = 164
WHOLE_FRAME_PIXELS = 1280 * 720  # the most that is computed in one piece; halved when memory runs out
SMALLEST_TILE_PIXELS = 192 * 192


@dataclass(frozen=True)
class Tile:
    """A rectangle of the frame, rows ``top:bottom``, columns ``left:right``."""

    top: int
    left: int
    bottom: int
    right: int


@torch.no_grad()
def fill_frame(
    network: nn.Module,
    frame: Tensor,
    unknown: Tensor,
    wanted: Tensor,
    most_pixels: int = WHOLE_FRAME_PIXELS,
    overlap: int = 64,
    reach: int | None = None,
    prior: Tensor | None = None,
) -> Tensor:
    """The network's picture of a frame, computed where it is wanted.

    Args:
        network: ``(masked, mask, prior) -> [..., output]``.
        frame: ``[H, W, 3]`` working space.
        unknown: ``[H, W]`` bool, True where the network may not look.
        wanted: ``[H, W]`` bool, where the fill is needed.
        most_pixels: area of the largest piece computed at once; a larger neighbourhood is tiled.
        overlap: width in pixels over which neighbouring tiles are blended.
        reach: context round the wanted pixels; by default what the network can see.
        prior: ``[H, W, 3]`` the coarser stage's filled picture, where the network wants one.

    Returns:
        ``[H, W, 3]`` float32 in [-1, 1], zero away from the wanted pixels.
    """
    height, width = wanted.shape
    rows, columns = wanted.any(dim=1).nonzero(), wanted.any(dim=0).nonzero()
    if not len(rows):
        return torch.zeros(height, width, 3)
    stages = 1 if getattr(network, "second", None) is None else 2
    reach = REACH * stages if reach is None else reach
    box = Tile(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    region = _grown(box, reach, height, width)
    most_pixels = min(most_pixels, (region.bottom - region.top) * (region.right - region.left))
    while True:
        try:
            return _fill_region(network, frame, unknown, wanted, _tiles(region, most_pixels, overlap), prior)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or most_pixels <= SMALLEST_TILE_PIXELS:
                raise
        most_pixels //= 2


def _fill_region(
    network: nn.Module,
    frame: Tensor,
    unknown: Tensor,
    wanted: Tensor,
    tiles: list[tuple[Tile, Tensor]],
    prior: Tensor | None,
) -> Tensor:
    height, width = wanted.shape
    result, weight = torch.zeros(height, width, 3), torch.zeros(height, width, 1)
    device = next(network.parameters()).device
    for tile, ramp in tiles:
        rows_, columns_ = slice(tile.top, tile.bottom), slice(tile.left, tile.right)
        if not wanted[rows_, columns_].any():
            continue
        mask = unknown[rows_, columns_][None, None].to(device, torch.float32)
        pixels, below = (
            None if picture is None else picture[rows_, columns_].permute(2, 0, 1)[None].to(device, torch.float32)
            for picture in (frame, prior)
        )
        output = network(pixels * (1 - mask), mask, below)[-1]
        result[rows_, columns_] += output[0].permute(1, 2, 0).float().clamp(-1, 1).cpu() * ramp
        weight[rows_, columns_] += ramp
    return result / weight.clamp(min=1e-12)


def _grown(box: Tile, reach: int, height: int, width: int) -> Tile:
    # Edges on multiples of the stride, so that the strided layers sample the same pixels as for the
    # whole frame; at least as large as the network's smallest input where the frame allows.
    def axis(start: int, end: int, room: int) -> tuple[int, int]:
        start, end = max(0, start - reach), min(room, end + reach)
        if end - start < SMALLEST:
            end = min(room, start + SMALLEST)
            start = max(0, end - SMALLEST)
        start = start // STRIDE * STRIDE
        return start, min(room, start + -(-(end - start) // STRIDE) * STRIDE)

    top, bottom = axis(box.top, box.bottom, height)
    left, right = axis(box.left, box.right, width)
    return Tile(top, left, bottom, right)


def _tiles(region: Tile, most_pixels: int, overlap: int) -> list[tuple[Tile, Tensor]]:
    """Tiles that cover a region, each with its blending weights ``[h, w, 1]`` (ramps over the overlaps)."""
    height, width = region.bottom - region.top, region.right - region.left
    if height * width <= most_pixels:
        return [(region, torch.ones(height, width, 1))]
    side = max(SMALLEST + overlap, int(most_pixels**0.5))
    tiles = []
    for top, bottom, ramp_y in _spans(region.top, region.bottom, side, overlap):
        for left, right, ramp_x in _spans(region.left, region.right, side, overlap):
            ramp = torch.from_numpy(ramp_y[:, None] * ramp_x[None, :])[..., None]
            tiles.append((Tile(top, left, bottom, right), ramp))
    return tiles


def _spans(start: int, end: int, side: int, overlap: int) -> list[tuple[int, int, np.ndarray]]:
    """Overlapping intervals on multiples of the stride that cover ``start:end``, with their ramps."""
    length = end - start
    count = max(1, -(-(length - overlap) // max(1, side - overlap)))
    size = -(-(length + (count - 1) * overlap) // count)
    starts = [start + i * (size - overlap) // STRIDE * STRIDE for i in range(count)]
    starts = [start + (s - start) // STRIDE * STRIDE for s in starts]
    ends = [min(end, s + size + 2 * STRIDE) for s in starts[:-1]] + [end]
    spans = []
    for i, (first, last) in enumerate(zip(starts, ends, strict=True)):
        ramp = np.ones(last - first, dtype=np.float32)
        if i > 0:
            shared = ends[i - 1] - first
            ramp[:shared] = np.minimum(ramp[:shared], (np.arange(shared) + 1) / (shared + 1))
        if i < count - 1:
            shared = last - starts[i + 1]
            ramp[-shared:] = np.minimum(ramp[-shared:], (np.arange(shared, 0, -1)) / (shared + 1))
        spans.append((first, last, ramp))
    return spans


def enlarge(fill: Tensor, size: tuple[int, int]) -> Tensor:
    """A fill ``[h, w, 3]`` of the working size brought to the plate's ``(height, width)``, bicubically."""
    if tuple(fill.shape[:2]) == tuple(size):
        return fill
    planes = fill.permute(2, 0, 1)[None]
    large = F.interpolate(planes, size=size, mode="bicubic", align_corners=False)
    return large[0].permute(1, 2, 0).clamp_(-1, 1)

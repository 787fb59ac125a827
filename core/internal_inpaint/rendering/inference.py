"""Fills frames with a trained network, in overlapping tiles where they do not fit into memory.

Only the neighbourhood of the hole is computed. An output pixel depends on no pixel farther than
``Geometry.reach``, so a region with this much context around the hole gives the same result as the whole frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internal_inpaint.methods.base import Clip, Geometry, Method
from internal_inpaint.methods.memory import is_out_of_memory

WHOLE_FRAME_PIXELS = 1280 * 720  # largest region that is computed at once; halved when memory runs out
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
    method: Method,
    network: nn.Module,
    frames: Tensor,
    unknown: Tensor,
    wanted: Tensor,
    most_pixels: int = WHOLE_FRAME_PIXELS,
    overlap: int = 64,
    reach: int | None = None,
    prior: Tensor | None = None,
    planes: dict[str, Tensor] | None = None,
    compute: Callable[[nn.Module, Clip], Tensor] | None = None,
) -> Tensor:
    """The network's picture of a frame, or what else ``compute`` gives, computed where ``wanted``.

    Args:
        method: fills clips with the network.
        frames: ``[T, H, W, 3]`` working space, the frames of ``method.geometry.frames``.
        unknown: ``[T, H, W]`` bool, True where pixels are hidden from the network.
        wanted: ``[H, W]`` bool, where the fill is needed.
        most_pixels: area of the largest region that is computed at once; a larger one is tiled.
        overlap: width in pixels over which neighbouring tiles are blended.
        reach: context in pixels around the wanted pixels; default: ``method.geometry.reach``.
        prior: ``[H, W, 3]`` the coarser level's filled picture, if the network takes one.
        planes: ``[C, H, W]`` by name, the additional planes of the clip.
        compute: gives ``[1, C, h, w]`` in [-1, 1] for a clip; default: ``method.fill``.

    Returns:
        ``[H, W, C]`` float32 in [-1, 1], zero in tiles without wanted pixels.
    """
    height, width = wanted.shape
    compute = compute or method.fill
    rows, columns = wanted.any(dim=1).nonzero(), wanted.any(dim=0).nonzero()
    if not len(rows):
        return torch.zeros(height, width, 3)
    geometry = method.geometry
    reach = geometry.reach if reach is None else reach
    box = Tile(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    region = _grown(box, reach, height, width, geometry)
    most_pixels = min(most_pixels, (region.bottom - region.top) * (region.right - region.left))
    while True:
        try:
            tiles = _tiles(region, most_pixels, overlap, geometry)
            return _fill_tiles(compute, network, frames, unknown, wanted, tiles, prior, planes or {})
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or most_pixels <= SMALLEST_TILE_PIXELS:
                raise
        most_pixels //= 2


def _fill_tiles(
    compute: Callable[[nn.Module, Clip], Tensor],
    network: nn.Module,
    frames: Tensor,
    unknown: Tensor,
    wanted: Tensor,
    tiles: list[tuple[Tile, Tensor]],
    prior: Tensor | None,
    planes: dict[str, Tensor],
) -> Tensor:
    height, width = wanted.shape
    result, weight = torch.zeros(height, width, 1), torch.zeros(height, width, 1)
    device = next(network.parameters()).device
    for tile, ramp in tiles:
        rows, columns = slice(tile.top, tile.bottom), slice(tile.left, tile.right)
        if not wanted[rows, columns].any():
            continue
        hidden = unknown[:, rows, columns][None, :, None].to(device, torch.float32)
        pixels, coarse = (
            None
            if pictures is None
            else pictures[:, rows, columns].permute(0, 3, 1, 2)[None].to(device, torch.float32)
            for pictures in (frames, None if prior is None else prior[None])
        )
        extra = {name: plane[:, rows, columns][None, None].to(device) for name, plane in planes.items()}
        output = compute(network, Clip(pixels, hidden, prior=coarse, planes=extra))
        if result.shape[2] != output.shape[1]:  # the first tile
            result = torch.zeros(height, width, output.shape[1])
        result[rows, columns] += output[0].permute(1, 2, 0).float().clamp(-1, 1).cpu() * ramp
        weight[rows, columns] += ramp
    return result / weight.clamp(min=1e-12)


def _grown(box: Tile, reach: int, height: int, width: int, geometry: Geometry) -> Tile:
    smallest, stride = geometry.smallest, geometry.stride

    # Edges are multiples of the stride, so that the strided layers sample the same pixels as for the
    # whole frame. The region is at least as large as the network's smallest input where the frame allows.
    def axis(start: int, end: int, limit: int) -> tuple[int, int]:
        start, end = max(0, start - reach), min(limit, end + reach)
        if end - start < smallest:
            end = min(limit, start + smallest)
            start = max(0, end - smallest)
        start = start // stride * stride
        return start, min(limit, start + -(-(end - start) // stride) * stride)

    top, bottom = axis(box.top, box.bottom, height)
    left, right = axis(box.left, box.right, width)
    return Tile(top, left, bottom, right)


def _tiles(region: Tile, most_pixels: int, overlap: int, geometry: Geometry) -> list[tuple[Tile, Tensor]]:
    """Tiles that cover a region, each with its blending weights ``[h, w, 1]`` (ramps over the overlaps)."""
    height, width = region.bottom - region.top, region.right - region.left
    if height * width <= most_pixels:
        return [(region, torch.ones(height, width, 1))]
    side = max(geometry.smallest + overlap, int(most_pixels**0.5))
    tiles = []
    for top, bottom, ramp_y in _spans(region.top, region.bottom, side, overlap, geometry.stride):
        for left, right, ramp_x in _spans(region.left, region.right, side, overlap, geometry.stride):
            ramp = torch.from_numpy(ramp_y[:, None] * ramp_x[None, :])[..., None]
            tiles.append((Tile(top, left, bottom, right), ramp))
    return tiles


def _spans(start: int, end: int, side: int, overlap: int, stride: int) -> list[tuple[int, int, np.ndarray]]:
    """Overlapping intervals, aligned to the stride, that cover ``start:end``, with their ramps."""
    length = end - start
    count = max(1, -(-(length - overlap) // max(1, side - overlap)))
    size = -(-(length + (count - 1) * overlap) // count)
    starts = [start + i * (size - overlap) // stride * stride for i in range(count)]
    starts = [start + (s - start) // stride * stride for s in starts]
    ends = [min(end, s + size + 2 * stride) for s in starts[:-1]] + [end]
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
    """Enlarge a fill ``[h, w, 3]`` to the plate's ``(height, width)``, bicubic."""
    if tuple(fill.shape[:2]) == tuple(size):
        return fill
    planes = fill.permute(2, 0, 1)[None]
    large = F.interpolate(planes, size=size, mode="bicubic", align_corners=False)
    return large[0].permute(1, 2, 0).clamp_(-1, 1)

"""The job folder's contact sheet, renewed while the network trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from internal_inpaint.rendering.frames import Renderer
from internal_inpaint.report.contact_sheet import Row, write_contact_sheet
from internal_inpaint.shot import FrameStore, Shot

FRAMES = 3
SHARE = 20  # a preview may take one part in this many of the time that has passed since the last


class Preview:
    """Renders a few frames at working size and writes them as a contact sheet.

    Args:
        shot, store: what is being learned.
        path: of the PNG.
        bf16: run the network as the training and the final rendering do.
    """

    def __init__(self, shot: Shot, store: FrameStore, path: Path, bf16: bool = False) -> None:
        self._shot, self._store, self.path, self._bf16 = shot, store, path, bf16
        self._pictures: list[tuple] | None = None
        self._last, self._cost = time.monotonic(), 0.0

    def renew_if_cheap(self, network: Callable[[], nn.Module]) -> None:
        """Renew, unless that would take more than its share of the time since the last renewal."""
        if time.monotonic() - self._last >= SHARE * self._cost:
            self.renew(network())

    def renew(self, network: nn.Module) -> None:
        """Write the contact sheet as this network fills it."""
        began = time.monotonic()
        renderer = Renderer(network, self._store.working_space.to_linear, self._bf16)
        rows = []
        for index, plate, alpha in self._chosen():
            state = self._store.state[index]
            result, fill = renderer.render(self._store.frames[index], state, plate, alpha)
            frame = self._shot.pictures[index].frame
            rows.append(Row(frame, plate, alpha, fill, result))
        write_contact_sheet(rows, self.path)
        self._last = time.monotonic()
        self._cost = self._last - began

    def _chosen(self) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """A few pictures with a hole, spread over the shot, reduced to working size once."""
        if self._pictures is None:
            holes = [i for i, plane in enumerate(self._store.state) if (plane & 1).any()]
            spread = np.linspace(0, len(holes) - 1, min(FRAMES, len(holes))).round().astype(int)
            self._pictures = []
            for index in (holes[i] for i in spread):
                loaded = self._shot.load(index)
                plate = reduced(loaded.rgb, self._store.size)
                alpha = reduced(loaded.alpha[..., None], self._store.size)[..., 0]
                self._pictures.append((index, plate, alpha))
        return self._pictures


def reduced(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``[H, W, C]`` reduced to ``size`` by area."""
    planes = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    small = torch.nn.functional.adaptive_avg_pool2d(planes, size)
    return small[0].permute(1, 2, 0).contiguous().numpy()

"""The job folder's contact sheet, renewed while the network trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from internal_inpaint.rendering.frames import Renderer
from internal_inpaint.rendering.trained_shot import TrainedShot
from internal_inpaint.report.contact_sheet import MOST_WIDTH, Row, write_contact_sheet
from internal_inpaint.resample import reduce_area
from internal_inpaint.shot import Shot

FRAMES = 3
SHARE = 20  # a preview may take one part in this many of the time that has passed since the last


class Preview:
    """Renders a few frames at the size that is being learned and writes them as a contact sheet.

    Args:
        shot: what is being learned.
        holes: indices of the pictures that have a hole.
        path: of the PNG.
    """

    def __init__(self, shot: Shot, holes: list[int], path: Path) -> None:
        self._shot, self.path = shot, path
        spread = np.linspace(0, len(holes) - 1, min(FRAMES, len(holes))).round().astype(int)
        self._indices = [holes[i] for i in spread]
        self._pictures: tuple[tuple[int, int], list[tuple]] = (0, 0), []
        self._last, self._cost, self._complete = time.monotonic(), 0.0, False

    def renew_if_cheap(self, trained: Callable[[], TrainedShot]) -> None:
        """Renew, unless that would take more than its share of the time since the last renewal.

        Of a large plate only as many levels are rendered as the sheet can show, and once they are trained the sheet
        stays as it is; the last sheet has every level.
        """
        if time.monotonic() - self._last < SHARE * self._cost:
            return
        whole = trained()
        shown = whole.up_to(MOST_WIDTH)
        complete = len(shown.levels) < len(whole.levels)
        if not (complete and self._complete):
            self.renew(shown)
            self._complete = complete

    def renew(self, trained: TrainedShot) -> None:
        """Write the contact sheet as these networks fill it."""
        began = time.monotonic()
        renderer = Renderer(trained)
        rows = []
        for index, plate, alpha in self._chosen(trained.size):
            result, fill = renderer.render(index, plate, alpha)
            frame = self._shot.pictures[index].frame
            rows.append(Row(frame, plate, alpha, fill, result))
        write_contact_sheet(rows, self.path)
        self._last = time.monotonic()
        self._cost = self._last - began

    def _chosen(self, size: tuple[int, int]) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """A few pictures with a hole, spread over the shot, reduced to this size once."""
        if self._pictures[0] != size:
            pictures = []
            for index in self._indices:
                loaded = self._shot.load(index)
                plate = reduce_area(loaded.rgb, size)
                alpha = reduce_area(loaded.alpha, size)
                pictures.append((index, plate, alpha))
            self._pictures = size, pictures
        return self._pictures[1]

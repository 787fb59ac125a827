"""The job folder's contact sheet, updated during the training."""

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
SHARE = 20  # a preview may take at most 1 / SHARE of the time since the last one


class Preview:
    """Renders a few frames at the size of the current level and writes them as a contact sheet.

    Args:
        shot: the shot in training.
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
        """Update the contact sheet, unless that would take more than its share of the time since the last update.

        Of a large plate, only the levels up to the size of the sheet's pictures are rendered. Once these are trained,
        the sheet is not updated any more. The final sheet, after the training, has every level.
        """
        if time.monotonic() - self._last < SHARE * self._cost:
            return
        shot = trained()
        visible = shot.up_to(MOST_WIDTH)
        complete = len(visible.levels) < len(shot.levels)
        if not (complete and self._complete):
            self.renew(visible)
            self._complete = complete

    def renew(self, trained: TrainedShot) -> None:
        """Write the contact sheet with the fills of this trained shot."""
        start = time.monotonic()
        renderer = Renderer(trained)
        rows = []
        for index, plate, alpha in self._chosen(trained.size):
            result, fill = renderer.render(index, plate, alpha)
            frame = self._shot.pictures[index].frame
            rows.append(Row(frame, plate, alpha, fill, result))
        write_contact_sheet(rows, self.path)
        self._last = time.monotonic()
        self._cost = self._last - start

    def forget(self) -> None:
        """Give back the memory of the pictures that are kept."""
        self._pictures = (0, 0), []

    def _chosen(self, size: tuple[int, int]) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """(index, plate, alpha) of a few pictures with a hole, spread over the shot, reduced to this size; cached."""
        if self._pictures[0] != size:
            pictures = []
            for index in self._indices:
                loaded = self._shot.load(index)
                plate = reduce_area(loaded.rgb, size)
                alpha = reduce_area(loaded.alpha, size)
                pictures.append((index, plate, alpha))
            self._pictures = size, pictures
        return self._pictures[1]

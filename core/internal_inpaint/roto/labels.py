"""Labels, the mattes found so far: two memory-mapped files that the rounds of labelling write in turn.

A round reads neighbours that it has not labelled yet from the other file. A frame that is labelled again after a
kill therefore gets the same result, independent of how far the interrupted attempt had come.
"""

from __future__ import annotations

import numpy as np

from internal_inpaint.files import new_memory_map
from internal_inpaint.job_folder import RotoFolder
from internal_inpaint.motion.flow import independent_motion, optical_flow
from internal_inpaint.resample import enlarge_bicubic, reduce_area
from internal_inpaint.roto.sampling import Labelled

CERTAIN = 0.35  # a pixel counts fully in training if its probability differs from one half by at least this much


class Frames:
    """The shot as the network sees it: float32, reduced to the working size if it is larger.

    Args:
        frames: ``[N, h, w, 3]`` working space, 0 where not known.
        outside: ``[N, h, w]`` bool, outside the data window.
        most: maximum pixels of a working frame.
        folder: holds the file that caches the motion.
        views: pictures per frame.

    Attributes:
        pictures, outside_full: ``frames`` and ``outside`` as they were given.
        full, size: (height, width) of these, and of the working frames.
    """

    def __init__(
        self, frames: np.ndarray, outside: np.ndarray, most: int, folder: RotoFolder, views: int = 1
    ) -> None:
        self.pictures, self.outside_full, self.views = frames, outside, views
        height, width = frames.shape[1:3]
        scale = min(1.0, (most / (height * width)) ** 0.5)
        self.full, self.size = (height, width), tuple(max(16, round(s * scale)) for s in (height, width))

        # A cache for the lifetime of this object. It is computed again after a kill, at two flows per frame.
        self._motion = new_memory_map(folder.motion, np.uint8, (len(frames), *self.size))
        self._motion_cached = np.zeros(len(frames), bool)
        self._flows: dict[tuple[int, int], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.pictures)

    def neighbours(self, index: int) -> list[int]:
        """The pictures of the same view in the previous and the next frame."""
        return [n for n in (index - self.views, index + self.views) if 0 <= n < len(self)]

    def flow(self, start: int, end: int) -> np.ndarray:
        """``[h, w, 2]`` the flow from one frame to another; the last few flows are cached."""
        if (start, end) not in self._flows:
            while len(self._flows) >= 4:
                del self._flows[next(iter(self._flows))]
            self._flows[start, end] = optical_flow(self.frame(start), self.frame(end))
        return self._flows[start, end]

    def motion(self, index: int) -> np.ndarray:
        """``[h, w]`` float32 0..1: how far pixels do not move with the camera, from both neighbours."""
        if not self._motion_cached[index]:
            motions = [independent_motion(self.flow(index, n)) for n in self.neighbours(index)]
            # Motion relative to only one of the neighbours is mostly background that comes into view.
            smallest = np.min(motions, axis=0) if motions else np.zeros(self.size, np.float32)
            self._motion[index] = np.round(255 * smallest).astype(np.uint8)
            self._motion_cached[index] = True
        return self._motion[index].astype(np.float32) / 255

    def frame(self, index: int) -> np.ndarray:
        """``[h, w, 3]`` float32 at the working size."""
        return self.reduced(self.pictures[index])

    def outside(self, index: int) -> np.ndarray:
        """``[h, w]`` bool at the working size: outside the data window.

        Unknown pixels inside the data window are NaN or infinite. They may belong to the object, so they count as
        inside.
        """
        inside = self.reduced(self.outside_full[index].astype(np.float32)) <= 0.5
        rows, columns = inside.any(axis=1), inside.any(axis=0)
        if not rows.any():
            return ~inside
        return ~(_span(rows)[:, None] & _span(columns)[None, :])

    def reduced(self, plane: np.ndarray) -> np.ndarray:
        """Reduce a full-size plane to the working size."""
        return reduce_area(plane, self.size)

    def enlarged(self, plane: np.ndarray) -> np.ndarray:
        """Enlarge a working-size plane to full size."""
        if self.size == self.full:
            return plane
        return np.clip(enlarge_bicubic(plane, self.full), 0, 1)


def _span(mask: np.ndarray) -> np.ndarray:
    """``[n]`` bool: True from the first to the last True element of ``mask``."""
    indices = np.flatnonzero(mask)
    span = np.zeros(len(mask), bool)
    span[indices[0] : indices[-1] + 1] = True
    return span


class Labels:
    """The labels, stored as probabilities in steps of 1/255.

    Args:
        folder: holds the two files.
        frames: the shot.
        references: the artist's mattes, ``[h, w]`` at the working size, by frame index.
        fresh: whether to create new files; otherwise the existing ones are continued.
    """

    def __init__(self, folder: RotoFolder, frames: Frames, references: dict[int, np.ndarray], fresh: bool) -> None:
        self.frames, self.references = frames, references
        shape = (len(frames), *frames.size)
        self._files = []
        for path in folder.labels:
            if fresh:
                self._files.append(new_memory_map(path, np.uint8, shape))
            else:
                self._files.append(np.lib.format.open_memmap(path, "r+", np.uint8, shape))

    @staticmethod
    def exist(folder: RotoFolder, frames: Frames) -> bool:
        """Whether the folder holds both label files for a shot of this size."""
        try:
            files = [np.load(path, mmap_mode="r") for path in folder.labels]
        except (OSError, ValueError, EOFError):
            return False
        return all(file.shape == (len(frames), *frames.size) and file.dtype == np.uint8 for file in files)

    def probability(self, index: int, file: int) -> np.ndarray:
        """``[h, w]`` float32 from file 0 or 1; for a reference frame the artist's matte."""
        if index in self.references:
            return self.references[index]
        return self._files[file][index].astype(np.float32) / 255

    def put(self, index: int, file: int, probability: np.ndarray) -> None:
        self._files[file][index] = np.round(255 * probability).astype(np.uint8)

    def flush(self) -> None:
        for file in self._files:
            file.flush()

    def labelled(self, index: int, file: int) -> Labelled:
        """A frame to train on; uncertain pixels of a predicted matte do not count."""
        matte = self.probability(index, file)
        weight = (~self.frames.outside(index)).astype(np.float32)
        if index not in self.references:
            weight *= np.clip((np.abs(matte - 0.5) - CERTAIN + 0.15) / 0.15, 0, 1)
        return Labelled(self.frames.frame(index), self.frames.motion(index), matte, weight)

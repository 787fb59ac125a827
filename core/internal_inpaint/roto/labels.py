"""What is known of each frame's matte so far: two memory-mapped files, written in turn, round by round.

A round reads the other file where it looks ahead. So a frame labelled again after a kill comes out
the same, and nothing of a round depends on how far an interrupted attempt at it had come.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from internal_inpaint.files import new_memory_map
from internal_inpaint.motion.flow import independent_motion, optical_flow
from internal_inpaint.resample import enlarge_bicubic, reduce_area
from internal_inpaint.roto.sampling import Labelled

MOTION = "motion.npy"
FILES = ("labels-0.npy", "labels-1.npy")
CERTAIN = 0.35  # a probability this far from one half on the way to 0 or 1 begins to count


class Frames:
    """The shot as the network sees it: float32, reduced to the working size where need be.

    Args:
        frames: ``[N, h, w, 3]`` working space, 0 where not known.
        outside: ``[N, h, w]`` bool, outside the data window.
        most: pixels of a working frame.
        folder: for the file that keeps what was found out about motion.
        views: pictures a frame.
    """

    def __init__(self, frames: np.ndarray, outside: np.ndarray, most: int, folder: Path, views: int = 1) -> None:
        self._frames, self._outside, self.views = frames, outside, views
        height, width = frames.shape[1:3]
        scale = min(1.0, (most / (height * width)) ** 0.5)
        self.full, self.size = (height, width), tuple(max(16, round(s * scale)) for s in (height, width))

        # Kept as long as this object lives, and made again after a kill: it costs two flows a frame.
        self._motion = new_memory_map(folder / MOTION, np.uint8, (len(frames), *self.size))
        self._known_motion = np.zeros(len(frames), bool)
        self._flows: dict[tuple[int, int], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def beside(self, index: int) -> list[int]:
        """The same view's pictures in the frames before and after."""
        return [n for n in (index - self.views, index + self.views) if 0 <= n < len(self)]

    def flow(self, start: int, end: int) -> np.ndarray:
        """``[h, w, 2]`` the motion from one frame to another; that of the last few pairs is kept."""
        if (start, end) not in self._flows:
            while len(self._flows) >= 4:
                del self._flows[next(iter(self._flows))]
            self._flows[start, end] = optical_flow(self.frame(start), self.frame(end))
        return self._flows[start, end]

    def motion(self, index: int) -> np.ndarray:
        """``[h, w]`` float32 0..1: how far pixels do not move with the camera, from both neighbours."""
        if not self._known_motion[index]:
            found = [independent_motion(self.flow(index, n)) for n in self.beside(index)]
            # What only one of the neighbours says is mostly ground that comes into view.
            least = np.min(found, axis=0) if found else np.zeros(self.size, np.float32)
            self._motion[index] = np.round(255 * least).astype(np.uint8)
            self._known_motion[index] = True
        return self._motion[index].astype(np.float32) / 255

    def frame(self, index: int) -> np.ndarray:
        """``[h, w, 3]`` float32 at the working size."""
        return self.reduced(np.asarray(self._frames[index], np.float32))

    def outside(self, index: int) -> np.ndarray:
        """``[h, w]`` bool at the working size: outside the data window.

        Unknown pixels amid the picture are NaN or infinite. They may well be the object's, and have to go with it.
        """
        there = self.reduced(self._outside[index].astype(np.float32)) <= 0.5
        rows, columns = there.any(axis=1), there.any(axis=0)
        if not rows.any():
            return ~there
        return ~(_between(rows)[:, None] & _between(columns)[None, :])

    def reduced(self, plane: np.ndarray) -> np.ndarray:
        """A full-size plane at the working size."""
        return reduce_area(plane, self.size)

    def enlarged(self, plane: np.ndarray) -> np.ndarray:
        """A working-size plane at full size."""
        if self.size == self.full:
            return plane
        return np.clip(enlarge_bicubic(plane, self.full), 0, 1)


def _between(found: np.ndarray) -> np.ndarray:
    """``[n]`` bool: from the first to the last place of those found."""
    places = np.flatnonzero(found)
    between = np.zeros(len(found), bool)
    between[places[0] : places[-1] + 1] = True
    return between


class Labels:
    """The mattes found so far, as probabilities in steps of 1/255.

    Args:
        folder: holds the two files.
        frames: the shot.
        references: mattes as drawn, ``[h, w]`` at the working size, by frame index.
        fresh: start anew; otherwise go on with what is there.
    """

    def __init__(self, folder: Path, frames: Frames, references: dict[int, np.ndarray], fresh: bool) -> None:
        self.frames, self.references = frames, references
        shape = (len(frames), *frames.size)
        self._files = []
        for name in FILES:
            if fresh:
                self._files.append(new_memory_map(folder / name, np.uint8, shape))
            else:
                self._files.append(np.lib.format.open_memmap(folder / name, "r+", np.uint8, shape))

    @staticmethod
    def there(folder: Path, frames: Frames) -> bool:
        """Whether the folder holds both files of a shot of this size."""
        try:
            files = [np.load(folder / name, mmap_mode="r") for name in FILES]
        except (OSError, ValueError, EOFError):
            return False
        return all(file.shape == (len(frames), *frames.size) and file.dtype == np.uint8 for file in files)

    def probability(self, index: int, which: int) -> np.ndarray:
        """``[h, w]`` float32 of the file ``which``; a reference frame's matte is always as drawn."""
        if index in self.references:
            return self.references[index]
        return self._files[which][index].astype(np.float32) / 255

    def put(self, index: int, which: int, probability: np.ndarray) -> None:
        self._files[which][index] = np.round(255 * probability).astype(np.uint8)

    def flush(self) -> None:
        for file in self._files:
            file.flush()

    def labelled(self, index: int, which: int) -> Labelled:
        """A frame to learn from: uncertain pixels of what was predicted do not count."""
        matte = self.probability(index, which)
        weight = (~self.frames.outside(index)).astype(np.float32)
        if index not in self.references:
            weight *= np.clip((np.abs(matte - 0.5) - CERTAIN + 0.15) / 0.15, 0, 1)
        return Labelled(self.frames.frame(index), self.frames.motion(index), matte, weight)

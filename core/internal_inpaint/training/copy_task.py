"""The task of copying and inventing: batches of examples from tracks that are made beside the training.

The tracks are made in a thread of their own, a few ahead of their use. On a CPU, which track an example comes from
depends on the number of steps alone, so that a resumed training draws the same batches; the training waits for a
track that is not ready. On a CUDA device it takes those that are ready and never waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from internal_inpaint.methods.base import Clip
from internal_inpaint.training.config import TrainingConfig, batch_size
from internal_inpaint.training.task import Task
from internal_inpaint.training.validation import psnr_of

STEPS_PER_TRACK = 8  # steps after which the oldest track is replaced by a new one
TRACKS = 24  # kept at a time, and fewer if they take more memory than ``POOL_BYTES``
FEWEST_TRACKS = 4
POOL_BYTES = 384e6
AHEAD = 3  # tracks that are made before they are needed
SCORED_AT_ONCE = 2  # validation examples


class Example(Protocol):
    """A crop with a synthetic hole and its candidates (``motion.tracks.Example``), as NumPy arrays.

    Attributes:
        pixels, smooth: ``[h, w, 3]``; hidden, known, synthetic: ``[h, w]`` bool; copies: ``[K, h, w, 3]``;
        weights: ``[K, h, w]``.
    """

    pixels: np.ndarray
    hidden: np.ndarray
    known: np.ndarray
    synthetic: np.ndarray
    copies: np.ndarray
    weights: np.ndarray
    smooth: np.ndarray


class CopyTask(Task):
    """The fill of a shot by copying and inventing, as a ``Task``.

    Args:
        config: the training settings.
        crop: (height, width) of the examples.
        size: (height, width) of the frames.
        examples: makes the examples of a track by its number; called from another thread.
        held_out: gives the examples of the validation, always the same.
        device: of the batches.
        track_bytes: memory of one track's examples.
    """

    def __init__(
        self,
        config: TrainingConfig,
        crop: tuple[int, int],
        size: tuple[int, int],
        examples: Callable[[int], Sequence[Example]],
        held_out: Callable[[], Sequence[Example]],
        device: torch.device,
        track_bytes: int = 0,
    ) -> None:
        self._kept = int(min(TRACKS, max(FEWEST_TRACKS, POOL_BYTES // max(1, track_bytes))))
        self.config, self.crop, self.size, self.device = config, crop, size, device
        self._held_out = held_out
        self._make, self._waits = examples, device.type == "cpu"
        self._pool: ThreadPoolExecutor | None = None
        self._coming: dict[int, Future] = {}
        self._tracks: deque[Sequence[Example]] = deque(maxlen=self._kept)
        self._taken = 0  # tracks, over the whole training
        self._drawn = 0  # batches, over the whole training

    @property
    def scored_holes(self) -> int:
        """Holes of a validation."""
        return len(self._held_out())

    def first_sizes(self) -> tuple[int, tuple[int, int]]:
        return batch_size(self.config, self.crop, self.device.type == "cuda"), self.crop

    def prepare(self) -> None:
        self._held_out()

    def draw(self, rng: np.random.Generator, batch: int, crop: tuple[int, int], with_others: bool) -> Clip:
        self._take_tracks()
        examples = [example for track in self._tracks for example in track]
        chosen = [examples[int(number)] for number in rng.integers(len(examples), size=batch)]
        self._drawn += 1
        return _clip(chosen, crop, self.device)

    def score(self, fill: Callable[[Clip], Tensor]) -> float | None:
        """PSNR in dB inside the held-out holes, in working space, whose range is 2; ``None`` without such pixels."""
        pairs, examples = [], self._held_out()
        for start in range(0, len(examples), SCORED_AT_ONCE):
            clip = _clip(examples[start : start + SCORED_AT_ONCE], self.crop, self.device)
            with torch.no_grad():
                output = fill(clip)
            pairs.append((output, clip.pixels[:, 0], (clip.synthetic * clip.known)[:, 0]))
        return psnr_of(pairs)

    def state_dict(self) -> dict:
        return {"drawn": self._drawn}

    def load_state_dict(self, state: dict) -> None:
        self._drawn = int(state["drawn"])
        # The tracks that are in use then; they are made again at the next draw.
        self._tracks.clear()
        self._taken = max(0, self._due() - self._kept)

    def close(self) -> None:
        """Stop making tracks."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        self._coming.clear()

    def _due(self) -> int:
        """Tracks that have been taken when the next batch is drawn."""
        return self._drawn // STEPS_PER_TRACK + 1

    def _take_tracks(self) -> None:
        while self._taken < self._due():
            coming = self._order(self._taken)
            if not (self._waits or coming.done() or not self._tracks):
                return
            self._tracks.append(coming.result())
            del self._coming[self._taken]
            self._taken += 1

    def _order(self, number: int) -> Future:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="tracks")
        for each in range(number, number + 1 + AHEAD):
            if each not in self._coming:
                self._coming[each] = self._pool.submit(self._make, each)
        return self._coming[number]


def _clip(examples: Sequence[Example], crop: tuple[int, int], device: torch.device) -> Clip:
    """A batch; where ``crop`` is smaller than the examples, of their middle."""
    height, width = examples[0].hidden.shape
    top, left = (height - crop[0]) // 2, (width - crop[1]) // 2
    rows, columns = slice(top, top + crop[0]), slice(left, left + crop[1])

    def planes(name: str) -> Tensor:
        stacked = np.stack([getattr(example, name)[..., rows, columns] for example in examples])
        return torch.from_numpy(stacked).to(device, torch.float32)

    def pictures(name: str) -> Tensor:
        stacked = np.stack([getattr(example, name)[..., rows, columns, :] for example in examples])
        return torch.from_numpy(stacked).to(device, torch.float32).movedim(-1, -3)

    return Clip(
        pictures("pixels")[:, None],
        planes("hidden")[:, None, None],
        planes("known")[:, None, None],
        planes("synthetic")[:, None, None],
        planes={
            "copies": pictures("copies").flatten(1, 2)[:, None],
            "weights": planes("weights")[:, None],
            "smooth": pictures("smooth")[:, None],
        },
    )

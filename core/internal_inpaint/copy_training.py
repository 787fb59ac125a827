"""The training of a method that copies: its examples, and the trainer that learns from them."""

from __future__ import annotations

from threading import Lock

import torch

from internal_inpaint.methods.registry import method_of
from internal_inpaint.motion.held_out import HeldOut, hold_out
from internal_inpaint.motion.tracks import Example, TrackSource, hole_boxes
from internal_inpaint.rendering.copying import ShotCopies
from internal_inpaint.training.config import TrainingConfig
from internal_inpaint.training.copy_task import CopyTask
from internal_inpaint.training.sampling import crop_size
from internal_inpaint.training.trainer import Trainer


def copy_trainer(
    config: TrainingConfig, copies: ShotCopies, device: torch.device, seed: int = 0, bf16: bool = False
) -> Trainer:
    """A new training of a shot's fill by copying and inventing.

    Args:
        config: the training settings.
        copies: the shot and its motion.
        device, seed, bf16: as for ``Trainer``.
    """
    level = copies.level
    frames, state, size = level.frames, level.state, level.size
    crop = crop_size(hole_boxes(state), size, config.crop_scale, config.crop_smallest, config.crop_pixels)
    shot = frames, state, level.motion, crop, copies.contrast
    examples = _Examples(shot, len(state) // copies.views, seed)
    task = CopyTask(config, crop, size, examples.of_track, examples.held_out, device, examples.track_bytes)
    return Trainer(method_of(config.method), task, config, device, seed, bf16)


class _Examples:
    """The examples of a training: of tracks, and those that are held out of all of them.

    What is held out is chosen when an example is asked for. A training of no steps asks for none.

    Args:
        shot: as for ``TrackSource``.
        length: frames of the shot.
        seed: as for ``TrackSource``.
    """

    def __init__(self, shot: tuple, length: int, seed: int) -> None:
        self._shot, self._length, self._seed = shot, length, seed
        self._every = TrackSource(*shot, seed)
        self._lock = Lock()  # tracks are made in another thread than that which scores
        self._chosen: tuple[HeldOut, TrackSource] | None = None
        self.track_bytes = self._every.track_bytes

    def held_out(self) -> list[Example]:
        return self._split()[0].examples

    def of_track(self, number: int) -> list[Example]:
        return self._split()[1].examples(number)

    def _split(self) -> tuple[HeldOut, TrackSource]:
        with self._lock:
            if self._chosen is None:
                held_out = hold_out(self._every, self._length, self._seed)
                self._chosen = held_out, TrackSource(*self._shot, self._seed, held_out.masks)
            return self._chosen

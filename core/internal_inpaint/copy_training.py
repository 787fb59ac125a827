"""The training of a method that copies: its examples, and the trainer that learns from them."""

from __future__ import annotations

import torch

from internal_inpaint.methods.registry import method_of
from internal_inpaint.motion.held_out import hold_out
from internal_inpaint.motion.tracks import TrackSource, hole_boxes
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
    shot = frames, state, level.motion, crop, copies.contrast, seed
    held_out = hold_out(TrackSource(*shot), len(state) // copies.views, seed)
    tracks = TrackSource(*shot, held_out.masks)
    task = CopyTask(config, crop, size, tracks.examples, held_out.examples, device, tracks.track_bytes)
    return Trainer(method_of(config.method), task, config, device, seed, bf16)

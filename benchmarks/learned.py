"""What several benchmarks share: open a clip, train on it in this process, and fill it with what was learned."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from clips import Shot
from internal_inpaint.rendering.frames import Renderer
from internal_inpaint.rendering.trained_shot import TrainedLevel, TrainedShot
from internal_inpaint.report.contact_sheet import srgb_encoded
from internal_inpaint.shot import FrameStore, ShotSettings, WorkingSpace, build_store, open_shot
from internal_inpaint.shot import Shot as OpenedShot
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import TrainingConfig
from internal_inpaint.training.fill_task import fill_trainer
from internal_inpaint.training.state import Hooks
from internal_inpaint.training.trainer import Trainer

CPU = torch.device("cpu")


def with_method(config: TrainingConfig, **settings) -> TrainingConfig:
    """The same recipe with other settings of its method (``ImplicitConfig``)."""
    return replace(config, method=replace(config.method, **settings))


def opened(shot: Shot) -> OpenedShot:
    """A clip as the engine reads it, its mattes neither grown nor feathered."""
    return open_shot(ShotSettings(shot.plate, shot.matte, f"{shot.frames[0]}-{shot.frames[-1]}", grow=0, feather=0))


def planes(store: FrameStore) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames ``[N, h, w, 3]`` and state ``[N, h, w]`` of a store, in memory."""
    return torch.from_numpy(np.array(store.frames)), torch.from_numpy(np.array(store.state))


def trained_level(trainer: Trainer, frames: np.ndarray, state: np.ndarray) -> TrainedLevel:
    """A level with the best weights so far."""
    return TrainedLevel(trainer.method, trainer.best_network(), frames, state)


def filled(shot: OpenedShot, levels: Sequence[TrainedLevel], space: WorkingSpace) -> np.ndarray:
    """The shot's frames with their holes filled, display-encoded ``[N, H, W, 3]``, 0..1."""
    renderer = Renderer(TrainedShot(tuple(levels), space, (shot.canvas.height, shot.canvas.width)))
    results = []
    for index in range(len(shot.pictures)):
        loaded = shot.load(index)
        results.append(srgb_encoded(renderer.render(index, loaded.rgb, loaded.alpha)[0]))
    return np.stack(results)


@dataclass(frozen=True)
class Learned:
    """A shot as the network saw it, and the training on it."""

    opened: OpenedShot
    store: FrameStore
    trainer: Trainer

    def filled(self) -> np.ndarray:
        """What the best weights make of the shot: display-encoded frames ``[N, H, W, 3]``, 0..1."""
        level = trained_level(self.trainer, self.store.frames, self.store.state)
        return filled(self.opened, [level], self.store.working_space)


def learn(shot: Shot, config: TrainingConfig, budget: Budget, folder: Path) -> Learned:
    """Train on a clip at its own size, with one thread and without stopping early; ``folder`` takes the store."""
    torch.set_num_threads(1)
    plate = opened(shot)
    store = build_store(plate, folder / "store", (plate.canvas.height, plate.canvas.width))
    trainer = fill_trainer(replace(config, patience=0), *planes(store), CPU)
    # Processor time of the one thread: what else the machine does takes nothing from any variant.
    trainer.run(budget, Hooks(clock=time.process_time))
    return Learned(plate, store, trainer)

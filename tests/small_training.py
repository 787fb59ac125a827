"""A shot and a network so small that a training takes seconds."""

from dataclasses import replace

import numpy as np
import torch

from internal_inpaint import checkpoints
from internal_inpaint.methods.implicit.config import ImplicitConfig
from internal_inpaint.methods.implicit.networks import NetworkConfig
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.rendering.trained_shot import TrainedLevel, TrainedShot
from internal_inpaint.shot import WorkingSpace
from internal_inpaint.training.config import TrainingConfig
from internal_inpaint.training.fill_task import fill_trainer

CPU = torch.device("cpu")
TINY = TrainingConfig(
    method=ImplicitConfig(NetworkConfig("base", width=0.17)), lr=5e-3, batch=2, crop_smallest=(32, 32)
)
SHOT = "fingerprint of the shot"


def with_method(config, **settings):
    """The same recipe with other settings of its method."""
    return replace(config, method=replace(config.method, **settings))


BOTH = with_method(replace(TINY, patience=0), ambiguity=0.1, stabilise=0.2)  # with both regularisers


def shot(frames=10, size=(48, 64)):
    """A panning pattern of stripes with a small hole, in [-1, 1]."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    pictures = [
        np.stack([np.sin((x + 2 * i) / 3), np.sin((x + 2 * i) / 5 + y / 4), np.cos(y / 6)], axis=-1) * 0.8
        for i in range(frames)
    ]
    state = torch.zeros(frames, *size, dtype=torch.uint8)
    state[:, 18:28, 26:38] = PixelState.HOLE
    pixels = torch.from_numpy(np.stack(pictures))
    return (pixels * (state == 0)[..., None]).half(), state


def trainer(config=TINY, seed=3, device=CPU, **options):
    return fill_trainer(config, *shot(), device, seed, **options)


def stop_at(t, step):
    return lambda: t.counters.step >= step


def save(t, folder, fingerprint=SHOT):
    """A checkpoint of a trainer of a fill."""
    return checkpoints.save(t, folder, fingerprint, t.task.size)


def fills(t, network=None):
    """Every frame of ``shot`` as a trainer's best network renders it, ``[N, H, W, 3]``."""
    frames, state = shot()
    level = TrainedLevel(t.method, network or t.best_network(), frames.numpy(), state.numpy())
    trained = TrainedShot([level], WorkingSpace.for_range(0.0, 1.0), level.size)
    everywhere = torch.ones(trained.size, dtype=torch.bool)
    return torch.stack([trained.fill(index, everywhere) for index in range(len(frames))])


def assert_same_training(one, other):
    """Whether two trainers have the same weights, bit for bit, in training and at their best."""
    for weights, others in ((one.network.state_dict(), other.network.state_dict()), (one.best, other.best)):
        for name, tensor in weights.items():
            assert torch.equal(tensor, others[name]), name

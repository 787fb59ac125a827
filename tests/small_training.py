"""A shot and a network so small that a training takes seconds."""

import numpy as np
import torch

from internal_inpaint.methods.implicit.networks import NetworkConfig
from internal_inpaint.training.config import TrainingConfig
from internal_inpaint.training.loop import Trainer
from internal_inpaint.training.sampling import HOLE

CPU = torch.device("cpu")
TINY = TrainingConfig(network=NetworkConfig("base", width=0.17), lr=5e-3, batch=2, crop_smallest=32)
SHOT = "fingerprint of the shot"


def shot(frames=10, size=(48, 64)):
    """A panning pattern of stripes with a small hole, in [-1, 1]."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    pictures = [
        np.stack([np.sin((x + 2 * i) / 3), np.sin((x + 2 * i) / 5 + y / 4), np.cos(y / 6)], axis=-1) * 0.8
        for i in range(frames)
    ]
    state = torch.zeros(frames, *size, dtype=torch.uint8)
    state[:, 18:28, 26:38] = HOLE
    pixels = torch.from_numpy(np.stack(pictures))
    return (pixels * (state == 0)[..., None]).half(), state


def trainer(config=TINY, seed=3, device=CPU, bf16=False):
    return Trainer(config, *shot(), device, seed, bf16)


def stop_at(t, step):
    return lambda: t.counters.step >= step

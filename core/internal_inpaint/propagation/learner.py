"""The network in training, its averaged copy that labels frames, and their checkpoint."""

from __future__ import annotations

import copy
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from internal_inpaint.errors import BadInput
from internal_inpaint.files import replace, sync
from internal_inpaint.methods.matte.networks import MatteNetwork, weighted_cross_entropy
from internal_inpaint.propagation.config import PropagationConfig
from internal_inpaint.training.budget import Schedule
from internal_inpaint.training.muon import MuonAdam

FORMAT = 1
NAME = "propagation.safetensors"


@dataclass
class State:
    """How far a propagation is, beside its tensors; plain values, saved as JSON.

    Attributes:
        step, seconds: of the training; seconds count labelling too.
        budget: [steps, seconds] of the last run.
        visits: frames labelled on the way, over all rounds.
        final: frames of the last round that are in the result.
        trained: the training is over.
        confidence: of each frame's newest label in the two label files.
        spent: seconds that visits took, to foresee the last round's time.
        progress: as last reported; it never falls.
    """

    step: int = 0
    seconds: float = 0.0
    budget: list = field(default_factory=list)
    visits: int = 0
    final: int = 0
    trained: bool = False
    confidence: list = field(default_factory=list)
    spent: float = 0.0
    progress: float = 0.0
    rng: dict = field(default_factory=dict)


class Learner:
    """Network, averaged network, optimiser, random numbers and ``State``.

    Args:
        config: the recipe.
        device: where the network runs.
        seed: fixes the weights and all samples.
    """

    def __init__(self, config: PropagationConfig, device: torch.device, seed: int) -> None:
        self.config, self.device = config, device
        torch.manual_seed(seed)
        self.network = MatteNetwork(config.network).to(device, memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = MuonAdam(self.network, config.lr, config.adam_lr)
        self._rates = [group["lr"] for group in self.optimiser.param_groups]
        self._schedule = Schedule("held")
        self.rng = np.random.default_rng(seed)
        self.state = State()

    def step(self, batch: tuple[Tensor, ...], progress: float) -> Tensor:
        """One optimiser step on a batch of ``MatteSampler``; the loss, still on the device."""
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._schedule.rate(progress)
        frame, motion, guess, target, weight = (
            t.to(self.device, torch.float32, memory_format=torch.channels_last) for t in batch
        )
        self.network.train()
        loss = weighted_cross_entropy(self.network(frame, motion, guess), target, weight, self.config.alpha)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.state.step += 1
        self._average()
        return loss.detach()

    @torch.no_grad()
    def _average(self) -> None:
        # In the beginning the average follows closely: the first weights are worth nothing.
        share = max(1 - self.config.average, 1 / (1 + self.state.step / 10))
        current = self.network.state_dict()
        for name, kept in self.averaged.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(current[name], share)
            else:
                kept.copy_(current[name])

    @torch.inference_mode()
    def probabilities(
        self, frame: np.ndarray, motion: np.ndarray, guess: np.ndarray | None, mirror: bool = False
    ) -> np.ndarray:
        """The averaged network's probabilities of one frame: with all that is known of it, and by its looks alone.

        Args:
            frame: ``[h, w, 3]`` working space.
            motion: ``[h, w]`` 0..1, of its own.
            guess: ``[h, w]`` 0..1, or ``None`` where there is none.
            mirror: look at the mirrored frame too and take the mean.

        Returns:
            ``[2, h, w]`` float32.
        """
        nothing = np.zeros_like(motion)
        hints = np.stack([[motion, nothing if guess is None else 2 * guess - 1], [nothing, nothing]])
        picture = np.concatenate([np.stack([frame.transpose(2, 0, 1)] * 2), hints], axis=1).astype(np.float32)
        planes = torch.from_numpy(picture).to(self.device, memory_format=torch.channels_last)
        found = self._looked_at(planes)
        if mirror:
            found = (found + self._looked_at(planes.flip(-1)).flip(-1)) / 2
        return found[:, 0].float().cpu().numpy()

    def _looked_at(self, planes: Tensor) -> Tensor:
        return torch.sigmoid(self.averaged(planes[:, :3], planes[:, 3:4], planes[:, 4:]))

    def save(self, folder: Path, fingerprint: str) -> None:
        """Replace the folder's checkpoint, atomically."""
        self.state.rng = self.rng.bit_generator.state
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        for index, values in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": v for k, v in values.items()}
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        about = {"format": FORMAT, "fingerprint": fingerprint, "state": asdict(self.state)}
        temporary = folder / f".{NAME}.{os.getpid()}.part"
        try:
            temporary.write_bytes(to_bytes(plain, metadata={"about": json.dumps(about)}))
            sync(temporary)
            replace(temporary, folder / NAME)
        finally:
            temporary.unlink(missing_ok=True)

    def resume(self, folder: Path, fingerprint: str) -> bool:
        """Go on from the folder's checkpoint. False if there is none for these inputs.

        Raises:
            BadInput: it is damaged.
        """
        path = folder / NAME
        if not path.is_file():
            return False
        try:
            with safe_open(path, framework="pt") as opened:
                about = json.loads(opened.metadata()["about"])
                if about["format"] != FORMAT or about["fingerprint"] != fingerprint:
                    return False
                tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
            state = State(**about["state"])
            self.network.load_state_dict(_under("network.", tensors))
            self.averaged.load_state_dict(_under("averaged.", tensors))
            optimiser = self.optimiser.state_dict()
            optimiser["state"] = {}
            for name, tensor in _under("optimiser.", tensors).items():
                index, key = name.split(".", 1)
                optimiser["state"].setdefault(int(index), {})[key] = tensor
            self.optimiser.load_state_dict(optimiser)
            self.rng.bit_generator.state = state.rng
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BadInput(f"{path} is damaged ({error}): delete it and run again") from error
        self.state = state
        return True


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

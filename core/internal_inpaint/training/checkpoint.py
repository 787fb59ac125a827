"""Checkpoints: safetensors and JSON, written atomically, loaded without executing code.

A checkpoint is one folder, ``step-0000001200``, that appears under its name only when complete:

    weights.safetensors     the network as it trains
    best.safetensors        the weights that validated best, with the network's configuration inside
    optimiser.safetensors   momentum and second moments by parameter number
    training.json           recipe, counters, random state, fingerprint of the shot
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from internal_inpaint.errors import BadInput
from internal_inpaint.files import replace, sync
from internal_inpaint.methods.implicit.networks import InpaintNetwork, NetworkConfig
from internal_inpaint.training.config import TrainingConfig
from internal_inpaint.training.loop import Counters, Trainer

FORMAT = 1
ABOUT = {"fingerprint", "size", "seed", "device", "config", "counters", "optimiser_numbers"}


def save(trainer: Trainer, folder: Path, fingerprint: str) -> Path:
    """Write the trainer's state as the newest checkpoint of ``folder``, then remove older ones.

    Nothing is removed before the new one stands under its name.

    Args:
        folder: the job's ``checkpoints`` folder.
        fingerprint: of the shot as the network sees it (``FrameStore.fingerprint``).

    Raises:
        OSError: disk full or folder not writable; older checkpoints are still there then.
    """
    counters = trainer.counters
    counters.rng = trainer.rng.bit_generator.state
    remove_unfinished(folder)
    number = 0  # counts the checkpoints made at one step: a stop, and a restart that stops at once
    while (final := folder / f"step-{counters.step:010d}.{number:03d}").exists():
        number += 1
    temporary = folder / f".{final.name}.part"
    temporary.mkdir(parents=True)
    described = {"network": json.dumps(asdict(trainer.config.network)), "fingerprint": fingerprint}
    _save_tensors(trainer.network.state_dict(), temporary / "weights.safetensors", described)
    _save_tensors(trainer.best, temporary / "best.safetensors", described)
    tensors, numbers = _flatten(trainer.optimiser.state_dict()["state"])
    _save_tensors(tensors, temporary / "optimiser.safetensors", {"format": str(FORMAT)})
    about = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "size": list(trainer.size),
        "seed": trainer.seed,
        "device": trainer.device.type,
        "config": trainer.config.to_dict(),
        "counters": asdict(counters),
        "optimiser_numbers": numbers,
    }
    (temporary / "training.json").write_text(json.dumps(about, indent=1))
    for path in temporary.iterdir():
        sync(path)
    replace(temporary, final)
    sync(folder)
    for old in newest_first(folder)[1:]:
        # Out of sight first: half a removed folder must not look like a checkpoint.
        replace(old, folder / f".{old.name}.part")
    remove_unfinished(folder)
    return final


def newest_first(folder: Path) -> list[Path]:
    """Complete checkpoints of a folder, the newest first."""
    return sorted((p for p in folder.glob("step-*") if p.is_dir()), reverse=True)


def digest(checkpoint: Path) -> str:
    """SHA-256 of a checkpoint's best weights: two checkpoints that render alike have the same."""
    return hashlib.sha256((checkpoint / "best.safetensors").read_bytes()).hexdigest()


def remove_unfinished(folder: Path) -> None:
    """Remove what a kill has left of a checkpoint that was being written or removed."""
    for left in folder.glob(".step-*.part"):
        shutil.rmtree(left, ignore_errors=True)


def resume(trainer: Trainer, checkpoint: Path, fingerprint: str) -> None:
    """Put a new trainer into the state that a checkpoint holds.

    Raises:
        BadInput: damaged, of another shot, another recipe or another seed, or from a newer version.
    """
    about = _read_about(checkpoint)
    if about["fingerprint"] != fingerprint:
        raise BadInput(
            f"{checkpoint} was trained on another shot or matte: "
            "use another --work folder, or --restart to train anew"
        )
    # Through JSON, so that tuples and lists compare equal.
    if about["config"] != json.loads(json.dumps(trainer.config.to_dict())) or about["seed"] != trainer.seed:
        raise BadInput(
            f"{checkpoint} was trained with other settings: use another --work folder, or --restart to train anew"
        )
    numbers = about["optimiser_numbers"]
    try:
        trainer.network.load_state_dict(_load_tensors(checkpoint / "weights.safetensors"))
        trainer.best = {
            name: tensor.to(trainer.device) for name, tensor in _load_tensors(checkpoint / "best.safetensors").items()
        }
        tensors = _load_tensors(checkpoint / "optimiser.safetensors")
        state = trainer.optimiser.state_dict()
        state["state"] = _unflatten(tensors, numbers)
        trainer.optimiser.load_state_dict(state)
        counters = _counters(about)
        trainer.rng.bit_generator.state = counters.rng
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(checkpoint, error) from error
    counters.crop = tuple(counters.crop)
    if about["device"] != trainer.device.type:
        # Another kind of device: bit-equality is gone anyway, and its precision may not suit this one.
        counters.bf16 = trainer.counters.bf16
    trainer.counters = counters


def load_best(checkpoint: Path, fingerprint: str, device: torch.device) -> nn.Module:
    """The network with the best weights of a checkpoint, for rendering.

    Raises:
        BadInput: damaged, of another shot, or from a newer version.
    """
    about = _read_about(checkpoint)
    path = checkpoint / "best.safetensors"
    if about["fingerprint"] != fingerprint:
        raise BadInput(f"{checkpoint} was trained on another shot or matte: train this one first")
    try:
        with safe_open(path, framework="pt") as opened:
            config = NetworkConfig(**json.loads(opened.metadata()["network"]))
        network = InpaintNetwork(config)
        network.load_state_dict(_load_tensors(path))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(checkpoint, error) from error
    return network.to(device, memory_format=torch.channels_last).eval()


@dataclass(frozen=True)
class About:
    """What a checkpoint says of itself: recipe, counters, and (height, width) of the frames it learned."""

    config: TrainingConfig
    counters: Counters
    size: tuple[int, int]


def read_about(checkpoint: Path) -> About:
    """What a checkpoint says of itself. Raises ``BadInput`` if it is damaged or too new."""
    about = _read_about(checkpoint)
    try:
        height, width = map(int, about["size"])
        return About(TrainingConfig.from_dict(about["config"]), _counters(about), (height, width))
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(checkpoint, error) from error


def _read_about(checkpoint: Path) -> dict:
    try:
        about = json.loads((checkpoint / "training.json").read_text())
        if about["format"] > FORMAT:
            raise BadInput(f"{checkpoint} is from a newer version of Internal Inpaint: update this one")
        if missing := ABOUT - set(about):
            raise KeyError(", ".join(sorted(missing)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(checkpoint, error) from error
    return about


def _counters(about: dict) -> Counters:
    counters = Counters(**about["counters"])
    numbers = (counters.step, counters.seconds, counters.batch, *counters.crop)
    if not all(isinstance(n, int | float) and n >= 0 for n in numbers):
        raise ValueError("its counters are no numbers")
    return counters


def _damaged(checkpoint: Path, error: Exception) -> BadInput:
    return BadInput(f"{checkpoint} is damaged ({error}): --restart trains anew, nothing of it can be used")


def _save_tensors(tensors: dict[str, Tensor], path: Path, about: dict[str, str]) -> None:
    # safetensors stores row-major data: the filters' channels_last layout is put back when loading.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    path.write_bytes(to_bytes(plain, metadata=about))


def _load_tensors(path: Path) -> dict[str, Tensor]:
    # Copies: tensors over the mapped file would keep it open, and Windows does not remove open files.
    layout = {4: torch.channels_last}
    tensors = {
        name: tensor.clone(memory_format=layout.get(tensor.ndim, torch.contiguous_format))
        for name, tensor in load_file(path).items()
    }
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise ValueError(f"{path.name} holds values that are no numbers")
    return tensors


def _flatten(state: dict[int, dict]) -> tuple[dict[str, Tensor], dict[str, float]]:
    tensors, numbers = {}, {}
    for index, values in state.items():
        for key, value in values.items():
            (tensors if isinstance(value, Tensor) else numbers)[f"{index}.{key}"] = value
    return tensors, numbers


def _unflatten(tensors: dict[str, Tensor], numbers: dict[str, float]) -> dict[int, dict]:
    state: dict[int, dict] = {}
    for name, value in {**tensors, **numbers}.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    return state

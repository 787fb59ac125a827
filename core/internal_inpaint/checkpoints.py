"""Checkpoints: safetensors and JSON files, written atomically, loaded without executing code.

A checkpoint is a folder, for example ``step-0000001200.000``, that appears under its name only when it is complete:

    weights.safetensors     the network in training
    averaged.safetensors    its averaged weights, if the training averages weights
    best.safetensors        the weights with the best validation score
    optimisers.safetensors  momentum and second moments, by optimiser and parameter number
    training.json           settings, counters, random state, precision, fingerprint of the shot
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from internal_inpaint.errors import BadInput
from internal_inpaint.files import replace, sync
from internal_inpaint.methods.registry import method_of
from internal_inpaint.training.config import TrainingConfig
from internal_inpaint.training.device import precision
from internal_inpaint.training.state import Counters
from internal_inpaint.training.trainer import Trainer

Result = TypeVar("Result")

FORMAT = 3
ABOUT = {"fingerprint", "size", "seed", "config", "counters", "optimiser_numbers"}
WEIGHTS, AVERAGED, BEST = "weights.safetensors", "averaged.safetensors", "best.safetensors"
BEFORE = "before-"
OPTIMISERS, TRAINING = "optimisers.safetensors", "training.json"


def save(trainer: Trainer, folder: Path, fingerprint: str, size: tuple[int, int]) -> Path:
    """Write the trainer's state as the newest checkpoint of ``folder``, then remove older ones.

    Older checkpoints are removed only after the new one is complete.

    Args:
        folder: of one level's checkpoints.
        fingerprint: of the training data (``FrameStore.fingerprint``).
        size: (height, width) of the frames.

    Raises:
        OSError: disk full or folder not writable; older checkpoints remain.
    """
    counters = trainer.counters
    counters.rng, counters.task = trainer.rng.bit_generator.state, trainer.task.state_dict()
    remove_unfinished(folder)
    # Checkpoints made at one step are numbered: a stop, and a restart that stops at once; work between two steps.
    last = newest(folder)
    step, number = (-1, 0) if last is None else (*_numbers(last), 0)[:2]
    final = folder / f"step-{counters.step:010d}.{number + 1 if step == counters.step else 0:03d}"
    temporary = folder / f".{final.name}.part"
    temporary.mkdir(parents=True)
    _save_tensors(trainer.network.state_dict(), temporary / WEIGHTS)
    _save_tensors(trainer.best, temporary / BEST)
    if trainer.averaged is not None:
        _save_tensors(trainer.averaged.state_dict(), temporary / AVERAGED)
    tensors, numbers = _flatten({name: each.state_dict()["state"] for name, each in trainer.optimisers.items()})
    _save_tensors(tensors, temporary / OPTIMISERS)
    about = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "size": list(size),
        "seed": trainer.seed,
        "config": trainer.recipe.to_dict(),
        "counters": asdict(counters),
        "optimiser_numbers": numbers,
    }
    (temporary / TRAINING).write_text(json.dumps(about, indent=1))
    for path in temporary.iterdir():
        sync(path)
    replace(temporary, final)
    sync(folder)
    for old in newest_first(folder)[1:]:
        # Rename before removing: a partly removed folder must not look like a checkpoint.
        replace(old, folder / f".{old.name}.part")
    remove_unfinished(folder)
    remove_set_aside(folder)
    return final


def newest_first(folder: Path) -> list[Path]:
    """Complete checkpoints of a folder, the newest first."""
    return sorted((p for p in folder.glob("step-*") if p.is_dir()), key=_numbers, reverse=True)


def _numbers(checkpoint: Path) -> list[int]:
    """Step and number of a checkpoint, by its name."""
    return [int(digits) for digits in re.findall(r"\d+", checkpoint.name)]


def newest(folder: Path) -> Path | None:
    """The newest complete checkpoint of a folder."""
    return next(iter(newest_first(folder)), None)


def read_newest(checkpoint: Path, read: Callable[[Path], Result]) -> Result:
    """``read(checkpoint)``, or of a newer one beside it where the run that trains there has replaced it meanwhile.

    Raises:
        BadInput: as ``read``.
    """
    while True:
        try:
            return read(checkpoint)
        except BadInput:
            beside = newest(checkpoint.parent)
            if beside is None or beside == checkpoint:
                raise
            checkpoint = beside


def set_aside(folder: Path) -> Path | None:
    """Set the newest checkpoint aside, to start a new training in this folder. The next ``save`` removes it.

    Returns:
        path of the checkpoint that is set aside, by this or an earlier call; ``None`` if there is none.
    """
    if (found := newest(folder)) is not None:
        remove_set_aside(folder)
        replace(found, folder / f"{BEFORE}{found.name}")
        for older in newest_first(folder):
            shutil.rmtree(older, ignore_errors=True)
    return aside(folder)


def aside(folder: Path) -> Path | None:
    """The checkpoint that ``set_aside`` has set aside, until another one is saved."""
    return next(iter(folder.glob(f"{BEFORE}*")), None)


def newest_or_aside(folder: Path) -> Path | None:
    """The newest complete checkpoint, else the one that is set aside."""
    return newest(folder) or aside(folder)


def has_learned(levels: Iterable[Path]) -> bool:
    """Whether there are weights that were trained, in any of these folders of one level each.

    A draft that copies trains nothing, and a training may have been stopped before its first step.
    """
    found = [checkpoint for checkpoint in map(newest_or_aside, levels) if checkpoint is not None]
    try:
        return any(read_about(checkpoint).counters.learned for checkpoint in found)
    except BadInput:
        return True  # whoever reads the damaged one says so


def remove_set_aside(folder: Path) -> None:
    for left in folder.glob(f"{BEFORE}*"):
        shutil.rmtree(left, ignore_errors=True)


def digest(checkpoint: Path) -> str:
    """SHA-256 of the names, shapes and values of a checkpoint's best weights, independent of the file format."""
    return digest_of(_read(checkpoint, BEST))


def digest_of(weights: dict[str, Tensor]) -> str:
    """SHA-256 of the names, shapes and values of a network's weights."""
    found = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def remove_unfinished(folder: Path) -> None:
    """Remove incomplete checkpoints, which remain if a process is killed while it writes or removes one."""
    for left in folder.glob(".step-*.part"):
        shutil.rmtree(left, ignore_errors=True)


def resume(trainer: Trainer, checkpoint: Path, fingerprint: str) -> None:
    """Restore the state of a checkpoint in a new trainer.

    Raises:
        BadInput: the checkpoint is damaged, belongs to another shot, settings or seed, or has another format version.
        ValueError: the precision of the trainer differs from the checkpoint's.
    """
    about = _read_about(checkpoint)
    if about["fingerprint"] != fingerprint:
        raise BadInput(
            f"{checkpoint} was trained on another shot or matte: "
            "use another --work folder, or --restart to train from scratch"
        )
    # Through JSON, so that tuples and lists compare equal.
    if about["config"] != json.loads(json.dumps(trainer.recipe.to_dict())) or about["seed"] != trainer.seed:
        raise BadInput(
            f"{checkpoint} was trained with other settings: "
            "use another --work folder, or --restart to train from scratch"
        )
    best, weights = _read(checkpoint, BEST), _read(checkpoint, WEIGHTS)
    averaged = {} if trainer.averaged is None else _read(checkpoint, AVERAGED)
    tensors = _read(checkpoint, OPTIMISERS)
    try:
        trainer.network.load_state_dict(weights)
        trainer.best = {name: tensor.to(trainer.device) for name, tensor in best.items()}
        if trainer.averaged is not None:
            trainer.averaged.load_state_dict(averaged)
        states = _unflatten(tensors, about["optimiser_numbers"])
        for name, optimiser in trainer.optimisers.items():
            optimiser.load_state_dict({**optimiser.state_dict(), "state": states.get(name, {})})
        counters = _counters(about)
        trainer.rng.bit_generator.state = counters.rng
        trainer.task.load_state_dict(counters.task)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(checkpoint, error) from error
    if counters.bf16 != trainer.counters.bf16:
        raise ValueError(f"{checkpoint} was trained in {precision(counters.bf16)}: use a trainer of that precision")
    counters.crop = tuple(counters.crop)
    trainer.counters = counters


def start_from(trainer: Trainer, checkpoint: Path) -> bool:
    """Load the best weights of another shot's checkpoint into an untrained trainer (warm start).

    Returns:
        False if the weights belong to another network; the trainer is then unchanged.

    Raises:
        BadInput: the checkpoint is damaged or has another format version.
    """
    _read_about(checkpoint)
    best = _read(checkpoint, BEST)
    own = trainer.network.state_dict()
    if {name: tensor.shape for name, tensor in best.items()} != {name: tensor.shape for name, tensor in own.items()}:
        return False
    for network in (trainer.network, trainer.averaged):
        if network is not None:
            network.load_state_dict(best)
    trainer.best = {name: tensor.to(trainer.device) for name, tensor in best.items()}
    return True


def load_best(checkpoint: Path, device: torch.device) -> tuple[object, nn.Module]:
    """The method of a checkpoint, and its network with the best weights, at the precision of the training.

    Raises:
        BadInput: the checkpoint is damaged or has another format version.
    """
    about = read_about(checkpoint)
    weights = _read(checkpoint, BEST)
    method = method_of(about.config.method)
    network = method.build(about.counters.bf16)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise _damaged(checkpoint, error) from error
    return method, network.to(device, memory_format=torch.channels_last).eval()


@dataclass(frozen=True)
class About:
    """The description of a checkpoint: settings, counters, (height, width) and fingerprint of the training data."""

    config: TrainingConfig
    counters: Counters
    size: tuple[int, int]
    fingerprint: str
    seed: int


def read_about(checkpoint: Path) -> About:
    """Read the description of a fill's checkpoint. Raises ``BadInput`` if it is damaged or of another version."""
    about = _read_about(checkpoint)
    try:
        height, width = map(int, about["size"])
        config = TrainingConfig.from_dict(about["config"])
        return About(config, _counters(about), (height, width), str(about["fingerprint"]), about["seed"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(checkpoint, error) from error


def verified(checkpoint: Path) -> Path:
    """The checkpoint, if it can be read. Raises ``BadInput`` if it is damaged or of another version."""
    read_about(checkpoint)
    for name in (WEIGHTS, BEST, OPTIMISERS):
        _read(checkpoint, name)
    return checkpoint


def fingerprint_of(checkpoint: Path) -> str:
    """Fingerprint of a checkpoint's training data. Raises ``BadInput`` like ``read_about``."""
    return _read_about(checkpoint)["fingerprint"]


def threads_of(checkpoint: Path) -> int:
    """CPU threads that a training has had; 0 if that is not known. Raises ``BadInput`` as ``read_about``."""
    return _read_about(checkpoint)["counters"].get("threads", 0)


def _read_about(checkpoint: Path) -> dict:
    try:
        about = json.loads((checkpoint / TRAINING).read_text())
        version = about["format"]
        if version == FORMAT and (missing := ABOUT - set(about)):
            raise KeyError(", ".join(sorted(missing)))
        if not isinstance(version, int):
            raise TypeError("its format is not a number")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(checkpoint, error) from error
    if version != FORMAT:
        origin, advice = (
            ("a newer", "update this one")
            if version > FORMAT
            else ("an older", "use --restart to train from scratch")
        )
        raise BadInput(f"{checkpoint} is from {origin} version of Internal Inpaint: {advice}")
    return about


def _counters(about: dict) -> Counters:
    counters = Counters(**about["counters"])
    numbers = (counters.step, counters.seconds, counters.batch, *counters.crop)
    if not all(isinstance(n, int | float) and n >= 0 for n in numbers):
        raise ValueError("its counters are not numbers")
    return counters


def _damaged(checkpoint: Path, error: Exception) -> BadInput:
    return BadInput(f"{checkpoint} is damaged ({error}) and cannot be used: use --restart to train from scratch")


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    # safetensors stores row-major data: loading restores the filters' channels_last layout.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    path.write_bytes(to_bytes(plain))


def _read(checkpoint: Path, name: str) -> dict[str, Tensor]:
    """The tensors of one file. Raises ``BadInput`` if it is missing, damaged, or contains NaN or infinity."""
    # Copies: tensors that map the file would keep it open, and Windows cannot remove open files.
    layout = {4: torch.channels_last}
    try:
        tensors = {
            key: tensor.clone(memory_format=layout.get(tensor.ndim, torch.contiguous_format))
            for key, tensor in load_file(checkpoint / name).items()
        }
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
            raise ValueError(f"{name} contains NaN or infinity")
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _damaged(checkpoint, error) from error
    return tensors


def _flatten(states: dict[str, dict[int, dict]]) -> tuple[dict[str, Tensor], dict[str, float]]:
    tensors, numbers = {}, {}
    for name, state in states.items():
        for index, values in state.items():
            for key, value in values.items():
                (tensors if isinstance(value, Tensor) else numbers)[f"{name}.{index}.{key}"] = value
    return tensors, numbers


def _unflatten(tensors: dict[str, Tensor], numbers: dict[str, float]) -> dict[str, dict[int, dict]]:
    states: dict[str, dict[int, dict]] = {}
    for path, value in {**tensors, **numbers}.items():
        name, index, key = path.split(".", 2)
        states.setdefault(name, {}).setdefault(int(index), {})[key] = value
    return states

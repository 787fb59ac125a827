"""Checkpoints on disk: safetensors and JSON, written atomically, loaded without executing code.

A checkpoint is one folder, ``step-0000001200.000``, that appears under its name only when complete:

    weights.safetensors     the network as it trains
    averaged.safetensors    its averaged weights, where the recipe averages
    best.safetensors        the weights that scored best
    optimisers.safetensors  momentum and second moments, by optimiser and parameter number
    training.json           recipe, counters, random state, precision, fingerprint of the shot
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
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

FORMAT = 2
ABOUT = {"fingerprint", "size", "seed", "config", "counters", "optimiser_numbers"}
WEIGHTS, AVERAGED, BEST = "weights.safetensors", "averaged.safetensors", "best.safetensors"
BEFORE = "before-"
OPTIMISERS, TRAINING = "optimisers.safetensors", "training.json"


def save(trainer: Trainer, folder: Path, fingerprint: str, size: tuple[int, int]) -> Path:
    """Write the trainer's state as the newest checkpoint of ``folder``, then remove older ones.

    Nothing is removed before the new one stands under its name.

    Args:
        folder: of one level's checkpoints.
        fingerprint: of the shot as the network sees it (``FrameStore.fingerprint``).
        size: (height, width) of the frames that are learned.

    Raises:
        OSError: disk full or folder not writable; older checkpoints are still there then.
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
        # Out of sight first: half a removed folder must not look like a checkpoint.
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
    """Take the checkpoint of what was trained before out of the way; gone once another one has been saved.

    Returns:
        where it is, also where an earlier call has left it; ``None`` if there is none.
    """
    if (found := newest(folder)) is not None:
        remove_set_aside(folder)
        replace(found, folder / f"{BEFORE}{found.name}")
        for older in newest_first(folder):
            shutil.rmtree(older, ignore_errors=True)
    return aside(folder)


def aside(folder: Path) -> Path | None:
    """What ``set_aside`` has taken out of the way, as long as no other checkpoint has been saved."""
    return next(iter(folder.glob(f"{BEFORE}*")), None)


def remove_set_aside(folder: Path) -> None:
    for left in folder.glob(f"{BEFORE}*"):
        shutil.rmtree(left, ignore_errors=True)


def digest(checkpoint: Path) -> str:
    """SHA-256 of a checkpoint's best weights: names, shapes and values, whatever the file around them."""
    return digest_of(_read(checkpoint, BEST))


def digest_of(weights: dict[str, Tensor]) -> str:
    """SHA-256 of the names, shapes and values of a network's weights."""
    found = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def remove_unfinished(folder: Path) -> None:
    """Remove what a kill has left of a checkpoint that was being written or removed."""
    for left in folder.glob(".step-*.part"):
        shutil.rmtree(left, ignore_errors=True)


def resume(trainer: Trainer, checkpoint: Path, fingerprint: str) -> None:
    """Put a new trainer into the state that a checkpoint holds.

    Raises:
        BadInput: damaged, of another shot, another recipe or another seed, or from another version.
        ValueError: the trainer was made for another precision than the checkpoint's.
    """
    about = _read_about(checkpoint)
    if about["fingerprint"] != fingerprint:
        raise BadInput(
            f"{checkpoint} was trained on another shot or matte: "
            "use another --work folder, or --restart to train anew"
        )
    # Through JSON, so that tuples and lists compare equal.
    if about["config"] != json.loads(json.dumps(trainer.recipe.to_dict())) or about["seed"] != trainer.seed:
        raise BadInput(
            f"{checkpoint} was trained with other settings: use another --work folder, or --restart to train anew"
        )
    best, weights = _read(checkpoint, BEST), _read(checkpoint, WEIGHTS)
    averaged = {} if trainer.averaged is None else _read(checkpoint, AVERAGED)
    tensors = _read(checkpoint, OPTIMISERS)
    try:
        trainer.network.load_state_dict(weights)
        trainer.best = {name: tensor.to(trainer.device) for name, tensor in best.items()}
        if trainer.averaged is not None:
            trainer.averaged.load_state_dict(averaged)
        kept = _unflatten(tensors, about["optimiser_numbers"])
        for name, optimiser in trainer.optimisers.items():
            optimiser.load_state_dict({**optimiser.state_dict(), "state": kept.get(name, {})})
        counters = _counters(about)
        trainer.rng.bit_generator.state = counters.rng
        trainer.task.load_state_dict(counters.task)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(checkpoint, error) from error
    if counters.bf16 != trainer.counters.bf16:
        raise ValueError(f"{checkpoint} was trained in {precision(counters.bf16)}: make the trainer for that")
    counters.crop = tuple(counters.crop)
    trainer.counters = counters


def start_from(trainer: Trainer, checkpoint: Path) -> bool:
    """Give an untrained trainer the best weights of another shot's checkpoint (warm start).

    Returns:
        False if those weights are of another network, and the trainer keeps its own.

    Raises:
        BadInput: damaged, or from another version.
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
    """The method, and its network with the best weights of a checkpoint at the precision it was trained at.

    Raises:
        BadInput: damaged, or from another version.
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
    """What a checkpoint says of itself: recipe, counters, (height, width) and fingerprint of what it learned."""

    config: TrainingConfig
    counters: Counters
    size: tuple[int, int]
    fingerprint: str
    seed: int


def read_about(checkpoint: Path) -> About:
    """What a checkpoint of a fill says of itself. Raises ``BadInput`` if it is damaged or of another version."""
    about = _read_about(checkpoint)
    try:
        height, width = map(int, about["size"])
        config = TrainingConfig.from_dict(about["config"])
        return About(config, _counters(about), (height, width), str(about["fingerprint"]), about["seed"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(checkpoint, error) from error


def fingerprint_of(checkpoint: Path) -> str:
    """Of the shot that a checkpoint was trained on. Raises ``BadInput`` as ``read_about``."""
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
            raise TypeError("its format is no number")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(checkpoint, error) from error
    if version != FORMAT:
        other, advice = ("newer", "update this one") if version > FORMAT else ("older", "--restart trains anew")
        raise BadInput(
            f"{checkpoint} is from an {other} version of Internal Inpaint: {advice}".replace("an n", "a n")
        )
    return about


def _counters(about: dict) -> Counters:
    counters = Counters(**about["counters"])
    numbers = (counters.step, counters.seconds, counters.batch, *counters.crop)
    if not all(isinstance(n, int | float) and n >= 0 for n in numbers):
        raise ValueError("its counters are no numbers")
    return counters


def _damaged(checkpoint: Path, error: Exception) -> BadInput:
    return BadInput(f"{checkpoint} is damaged ({error}): --restart trains anew, nothing of it can be used")


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    # safetensors stores row-major data: the filters' channels_last layout is put back when loading.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    path.write_bytes(to_bytes(plain))


def _read(checkpoint: Path, name: str) -> dict[str, Tensor]:
    """The tensors of one file. Raises ``BadInput`` if it is not there, damaged, or holds NaN or infinity."""
    # Copies: tensors over the mapped file would keep it open, and Windows does not remove open files.
    layout = {4: torch.channels_last}
    try:
        tensors = {
            key: tensor.clone(memory_format=layout.get(tensor.ndim, torch.contiguous_format))
            for key, tensor in load_file(checkpoint / name).items()
        }
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
            raise ValueError(f"{name} holds values that are no numbers")
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

"""Reads the VGG-19 weights that a user has named, for the anti-ambiguity term; executes nothing from the file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from internal_inpaint.errors import BadInput
from internal_inpaint.methods.implicit.encoders import VGG_CHANNELS, Vgg19


def encoder_from(path: str | Path | None, device: torch.device) -> Vgg19 | None:
    """The encoder of a file the user has named; ``None`` without one: the trainer then makes its own.

    Raises:
        BadInput: as ``load_vgg19``.
    """
    return load_vgg19(Path(path), device) if path else None


def load_vgg19(path: Path, device: torch.device) -> Vgg19:
    """VGG-19 from safetensors or a torchvision state dict (``vgg19-*.pth``); executes nothing from the file.

    Raises:
        BadInput: not there, not such a file, keys or shapes missing, or values that are no numbers.
    """
    advice = "give torchvision's vgg19 state dict (.pth) or the same weights as safetensors, or leave --vgg19 out"
    if not path.is_file():
        raise BadInput(f"the VGG-19 weights {path} are not there: {advice}")
    try:
        weights = _read(path)
        for index, (channels_in, channels_out) in VGG_CHANNELS.items():
            for part, shape in (("weight", (channels_out, channels_in, 3, 3)), ("bias", (channels_out,))):
                tensor = weights[f"features.{index}.{part}"]
                if tuple(tensor.shape) != shape or not tensor.is_floating_point():
                    raise ValueError(f"features.{index}.{part} has the shape {tuple(tensor.shape)}, not {shape}")
                if not bool(torch.isfinite(tensor).all()):
                    raise ValueError(f"features.{index}.{part} holds values that are no numbers")
        return Vgg19(weights).to(device).eval()
    except KeyError as error:
        raise BadInput(f"{path} holds no VGG-19 weights ({error.args[0]} is missing): {advice}") from None
    except Exception as error:  # a broken archive raises whatever its reader stumbles over
        if isinstance(error, MemoryError):
            raise
        reason = " ".join(str(error).split()).split(". ")[0][:160] or type(error).__name__
        raise BadInput(f"{path} cannot be read as VGG-19 weights ({reason}): {advice}") from None


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ValueError("it is no state dict")
    return loaded

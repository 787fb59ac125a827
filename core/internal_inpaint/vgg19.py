"""Loads VGG-19 weights for the anti-ambiguity term from a file, without executing code from it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from internal_inpaint.errors import BadInput
from internal_inpaint.methods.implicit.encoders import VGG_CHANNELS, Vgg19


def load_vgg19(path: Path, device: torch.device) -> Vgg19:
    """VGG-19 from a safetensors file or a torchvision state dict (``vgg19-*.pth``).

    Code in the file is not executed.

    Raises:
        BadInput: the file is missing or has another format, keys are missing, or shapes or values are invalid.
    """
    advice = "give torchvision's vgg19 state dict (.pth) or the same weights as safetensors, or leave --vgg19 out"
    if not path.is_file():
        raise BadInput(f"the VGG-19 weights {path} do not exist: {advice}")
    try:
        weights = _read(path)
        for index, (channels_in, channels_out) in VGG_CHANNELS.items():
            for part, shape in (("weight", (channels_out, channels_in, 3, 3)), ("bias", (channels_out,))):
                tensor = weights[f"features.{index}.{part}"]
                if tuple(tensor.shape) != shape or not tensor.is_floating_point():
                    raise ValueError(f"features.{index}.{part} has the shape {tuple(tensor.shape)}, not {shape}")
                if not bool(torch.isfinite(tensor).all()):
                    raise ValueError(f"features.{index}.{part} contains NaN or infinity")
        return Vgg19(weights).to(device).eval()
    except KeyError as error:
        raise BadInput(f"{path} does not contain VGG-19 weights ({error.args[0]} is missing): {advice}") from None
    except Exception as error:  # a broken archive can raise any exception
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
        raise ValueError("it is not a state dict")
    return loaded

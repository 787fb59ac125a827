"""Choice of the device and of the precision."""

from __future__ import annotations

import os

import torch


def choose_device(name: str) -> torch.device:
    """The device of this name: ``auto`` (CUDA if available, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ValueError: the name is unknown, or the device is not available; the message names the available ones.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device {name} is not known: use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            found = f"only {count} CUDA device(s)" if count else "no CUDA device"
            raise ValueError(f"--device {name} is not available: PyTorch finds {found}; use --device auto or cpu")
        # Code that asks for "the current device" (bf16 support, pinned memory) must get this one.
        torch.cuda.set_device(device.index or 0)
    return device


PRECISIONS = ("float32", "bfloat16")
FORCED = "INTERNAL_INPAINT_PRECISION"  # environment variable: one of PRECISIONS, overrides the device's default


def trains_in_bf16(device: torch.device) -> bool:
    """Whether a new training on this device runs in bfloat16. It does where the device supports it natively.

    A CPU without bfloat16 instructions emulates them: a step of the half-width base network then takes
    two and a half times as long as in float32 (docs/benchmarks.md). ``INTERNAL_INPAINT_PRECISION`` overrides the
    default.

    Raises:
        ValueError: the variable holds neither ``float32`` nor ``bfloat16``.
    """
    forced = os.environ.get(FORCED)
    if forced:
        if forced not in PRECISIONS:
            raise ValueError(f"{FORCED}={forced} is not known: use {' or '.join(PRECISIONS)}")
        return forced == "bfloat16"
    return has_bf16(device)


def has_bf16(device: torch.device) -> bool:
    """Whether the device has native bfloat16 arithmetic."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def precision(bf16: bool) -> str:
    """The name of a precision in messages and files."""
    return PRECISIONS[bf16]

"""Which device and which precision: one code path for CPU and CUDA."""

from __future__ import annotations

import os

import torch


def choose_device(name: str) -> torch.device:
    """``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ValueError: a device that is not there, or a name that is none; the message says what is there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device {name} is not a device: use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= there:
            found = f"only {there} CUDA device(s)" if there else "no CUDA device"
            raise ValueError(f"--device {name} is not there: PyTorch finds {found}; use --device auto or cpu")
        # Whatever asks for "the current device" (bf16 support, pinned memory) then means this one.
        torch.cuda.set_device(device.index or 0)
    return device


PRECISIONS = ("float32", "bfloat16")
FORCED = "INTERNAL_INPAINT_PRECISION"  # environment variable: one of PRECISIONS instead of what suits the device


def trains_in_bf16(device: torch.device) -> bool:
    """Whether a new training on this device runs in bfloat16: where the device multiplies it natively.

    A CPU without such instructions emulates them: a step of the half-width base network then takes
    two and a half times as long as in float32 (docs/benchmarks.md). ``INTERNAL_INPAINT_PRECISION`` overrules it.

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
    """Whether the device multiplies bfloat16 natively."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def precision(bf16: bool) -> str:
    """The name of a precision, for people and files."""
    return PRECISIONS[bf16]

"""Which device and which precision: one code path for CPU and CUDA."""

from __future__ import annotations

import contextlib

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


def gains_by_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively.

    A CPU without such instructions emulates them: a step of the half-width base network then takes
    two and a half times as long as in float32 (docs/benchmarks.md).
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def autocast(device: torch.device, bf16: bool):
    """A fresh context manager for the network's arithmetic."""
    if not bf16:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)

"""Runs the networks with onnxruntime instead of PyTorch when rendering."""

from __future__ import annotations

import importlib
from dataclasses import replace
from types import ModuleType

import torch
from torch import Tensor, nn

from internal_inpaint.errors import BadInput
from internal_inpaint.methods.implicit.networks import InpaintNetwork
from internal_inpaint.rendering.trained_shot import TrainedShot

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def require(*packages: str) -> list[ModuleType]:
    """Import optional packages. Raises ``BadInput`` if one is missing."""
    try:
        return [importlib.import_module(name) for name in packages]
    except ImportError as error:
        raise BadInput(
            f"{error.name or packages[0]} is not installed: run `pip install 'internal-inpaint[onnx]'`, "
            "or choose another runtime or format than onnx"
        ) from None


def on_onnxruntime(trained: TrainedShot, device: str) -> TrainedShot:
    """The same shot with networks that run in onnxruntime, in float32.

    Args:
        device: ``auto`` (CUDA if onnxruntime supports it, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        BadInput: onnxruntime is not installed, or does not support the device.
    """
    levels = [replace(level, network=OnnxNetwork(level.network.in_float32(), device)) for level in trained.levels]
    return replace(trained, levels=levels)


def providers(device: str) -> list:
    """onnxruntime's execution providers for a device, the preferred one first."""
    (runtime,) = require("onnxruntime")
    has_cuda = CUDA in runtime.get_available_providers()
    if device == "cpu" or (device == "auto" and not has_cuda):
        return [CPU]
    if not has_cuda:
        raise BadInput(
            f"--device {device} is not available to onnxruntime: install onnxruntime-gpu instead of "
            'onnxruntime, or use --device cpu (in a job file: "device": "cpu")'
        )
    number = int(device.partition(":")[2] or 0)
    return [(CUDA, {"device_id": number}), CPU]


class OnnxNetwork(nn.Module):
    """A replacement for ``InpaintNetwork`` in the renderer; its tensors are on the CPU.

    Args:
        network: the trained network; may be deleted afterwards.
        device: as for ``on_onnxruntime``.
    """

    def __init__(self, network: InpaintNetwork, device: str) -> None:
        super().__init__()
        runtime, _ = require("onnxruntime", "onnx")
        from internal_inpaint.export.onnx_file import network_as_onnx

        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        # Sizes differ from frame to frame, and the memory that is reserved for each size would only grow.
        options.enable_mem_pattern = False
        self.session = runtime.InferenceSession(network_as_onnx(network), options, providers=providers(device))
        # The renderer takes the device of the first parameter.
        self.device_marker = nn.Parameter(torch.empty(0), requires_grad=False)
        self.second = network.second is not None or None

    def forward(self, masked: Tensor, mask: Tensor, extra: Tensor | None = None) -> list[Tensor]:
        """Like ``InpaintNetwork.forward``, but returns only the output of the last stage."""
        planes = torch.cat([masked, mask] if extra is None else [masked, mask, extra], dim=1)
        try:
            return [torch.from_numpy(self.session.run(["fill"], {"planes": planes.contiguous().numpy()})[0])]
        except Exception as error:
            if "alloc" in str(error).lower():  # the renderer then continues with smaller tiles
                raise MemoryError(str(error)) from error
            raise

"""onnxruntime instead of PyTorch as what computes the networks while rendering."""

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
    """The optional packages, imported. Raises ``BadInput`` where one is missing."""
    try:
        return [importlib.import_module(name) for name in packages]
    except ImportError as error:
        raise BadInput(
            f"{error.name or packages[0]} is not installed: run `pip install 'internal-inpaint[onnx]'`, "
            "or leave ONNX out"
        ) from None


def on_onnxruntime(trained: TrainedShot, device: str) -> TrainedShot:
    """The same shot, its networks computed by onnxruntime, in float32.

    Args:
        device: ``auto``: on CUDA where onnxruntime has it; ``cpu``; ``cuda`` or ``cuda:N``.

    Raises:
        BadInput: onnxruntime is missing, or has no CUDA where that is asked for.
    """
    levels = [replace(level, network=OnnxNetwork(level.network.in_float32(), device)) for level in trained.levels]
    return replace(trained, levels=levels)


def providers(device: str) -> list:
    """onnxruntime's execution providers for a device, the preferred one first."""
    (runtime,) = require("onnxruntime")
    there = CUDA in runtime.get_available_providers()
    if device == "cpu" or (device == "auto" and not there):
        return [CPU]
    if not there:
        raise BadInput(
            f"--device {device} is not available to onnxruntime: install onnxruntime-gpu in the place of "
            'onnxruntime, or choose cpu (in a job file: "device": "cpu")'
        )
    number = int(device.partition(":")[2] or 0)
    return [(CUDA, {"device_id": number}), CPU]


class OnnxNetwork(nn.Module):
    """Takes the place of an ``InpaintNetwork`` in the renderer; its tensors are on the CPU.

    Args:
        network: trained; not needed any more afterwards.
        device: as for ``on_onnxruntime``.
    """

    def __init__(self, network: InpaintNetwork, device: str) -> None:
        super().__init__()
        runtime, _ = require("onnxruntime", "onnx")
        from internal_inpaint.export.onnx_file import network_as_onnx

        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        # Sizes differ from frame to frame: memory kept for each of them would only grow.
        options.enable_mem_pattern = False
        self.session = runtime.InferenceSession(network_as_onnx(network), options, providers=providers(device))
        # The renderer asks a network for its device and for how far it sees.
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)
        self.second = network.second is not None or None

    def forward(self, masked: Tensor, mask: Tensor, extra: Tensor | None = None) -> list[Tensor]:
        """As ``InpaintNetwork.forward``; only the last stage's output is there."""
        planes = torch.cat([masked, mask] if extra is None else [masked, mask, extra], dim=1)
        try:
            return [torch.from_numpy(self.session.run(["fill"], {"planes": planes.contiguous().numpy()})[0])]
        except Exception as error:
            if "alloc" in str(error).lower():  # the renderer then goes on with smaller tiles
                raise MemoryError(str(error)) from error
            raise

"""ONNX files, exported by PyTorch from the same compiled models as TorchScript files.

PyTorch's TorchScript-based exporter (``dynamo=False``) supports variable height and width, including the padding
that depends on them. The newer exporter, based on ``torch.export``, gives the same results on these models, but
takes about ten times as long and needs two more packages (PyTorch 2.13).
"""

from __future__ import annotations

import io
import warnings

import torch
from torch import Tensor, nn

from internal_inpaint.export.model import ExportedShot, ShotModel
from internal_inpaint.export.portable import PortableNetwork
from internal_inpaint.export.torchscript import scripted
from internal_inpaint.methods.implicit.networks import InpaintNetwork
from internal_inpaint.version import __version__

OPSET = 17  # supported by onnxruntime 1.12 and later
PRODUCER = "Internal Inpaint"  # is near the beginning of the file


def network_as_onnx(network: InpaintNetwork) -> bytes:
    """One network: ``planes`` in working space, the input of ``PortableNetwork``, to ``fill``."""
    return _exported(PortableNetwork(network), {"planes": 4 + network.config.extra_planes}, "working space")


def shot_as_onnx(shot: ExportedShot) -> bytes:
    """All levels of a shot: scene-linear ``plate`` and ``matte`` to scene-linear ``fill``."""
    return _exported(_PlateAndMatte(shot), {"plate": 3, "matte": 1}, "scene-linear")


class _PlateAndMatte(nn.Module):
    """``ShotModel`` with separate inputs for the plate and the matte."""

    def __init__(self, shot: ExportedShot) -> None:
        super().__init__()
        self.model = ShotModel(shot)

    def forward(self, plate: Tensor, matte: Tensor) -> Tensor:
        return self.model(torch.cat([plate, matte], 1))


def _exported(model: nn.Module, inputs: dict[str, int], colour: str) -> bytes:
    """The content of an ONNX file of a model; ``inputs``: the number of channels of each input by name."""
    import onnx

    axes = {0: "batch", 2: "height", 3: "width"}
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation of this exporter, and constants that it does not fold
        torch.onnx.export(
            scripted(model),
            tuple(torch.zeros(1, channels, 16, 16) for channels in inputs.values()),
            content,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=["fill"],
            dynamic_axes=dict.fromkeys([*inputs, "fill"], axes),
        )
    written = onnx.load_model_from_string(content.getvalue())
    written.producer_name, written.producer_version = PRODUCER, __version__
    written.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    onnx.helper.set_model_props(written, {"colour": colour})
    onnx.checker.check_model(written)
    return written.SerializeToString()

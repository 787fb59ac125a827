"""Writes a shot's model, with a description, to a file. Independent of the job."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import torch

from internal_inpaint.errors import BadInput
from internal_inpaint.export.model import ExportedShot, ShotModel
from internal_inpaint.export.onnx_file import PRODUCER, shot_as_onnx
from internal_inpaint.export.torchscript import as_torchscript
from internal_inpaint.files import appearing
from internal_inpaint.version import __version__

MARK = "internal_inpaint.json"  # inside a TorchScript file


def write(shot: ExportedShot, kind: str, output: Path) -> list[str]:
    """Write the model of a shot.

    Args:
        kind: ``torchscript`` or ``onnx``.
        output: path of the file, checked with ``refuse_target``.

    Returns:
        sentences for the user that describe the file, its inputs and its outputs.
    """
    with torch.no_grad():
        content = shot_as_onnx(shot) if kind == "onnx" else as_torchscript(ShotModel(shot), {MARK: _about(shot)})
    with appearing(output, str(output)) as unfinished:
        unfinished.write_bytes(content)
    sizes = ", ".join(f"{width}x{height}" for height, width in shot.sizes)
    height, width = shot.canvas
    channels = "inputs plate and matte, output fill" if kind == "onnx" else "rgba in (alpha is the matte), rgb out"
    return [
        f"{output}: {len(content) / 1e6:.1f} MB, {channels}, scene-linear",
        f"trained at {sizes} on a plate of {width}x{height}: use it at the plate's own resolution",
    ]


def refuse_target(output: Path) -> None:
    """Raises ``BadInput`` if the file cannot be written, or if a file exists there that is not an earlier export."""
    if output.is_dir():
        raise BadInput(f"--output {output} is a folder: give a file name")
    if not output.absolute().parent.is_dir():
        raise BadInput(f"--output {output}: its folder does not exist, create it first")
    if output.exists() and not _is_export(output):
        raise BadInput(f"--output {output} exists and is not an earlier export: choose another name or delete it")


def _is_export(path: Path) -> bool:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith(f"/extra/{MARK}") for name in archive.namelist())
        with path.open("rb") as file:
            return PRODUCER.encode() in file.read(64)
    except (OSError, zipfile.BadZipFile) as error:
        raise BadInput(f"--output {path} cannot be read ({error}): choose another name") from None


def _about(shot: ExportedShot) -> str:
    height, width = shot.canvas
    return json.dumps(
        {
            "producer": PRODUCER,
            "version": __version__,
            "channels_in": ["red", "green", "blue", "matte"],
            "channels_out": ["red", "green", "blue"],
            "colour": "scene-linear",
            "plate": [width, height],
        }
    )

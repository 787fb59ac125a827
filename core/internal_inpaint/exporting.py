"""``internal-inpaint export``: the model of a job folder as one file for other programs (docs/export.md)."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import torch

from internal_inpaint.checkpoints import newest
from internal_inpaint.errors import BadInput
from internal_inpaint.export.model import ExportedShot, ShotModel
from internal_inpaint.export.onnx_runtime import require
from internal_inpaint.files import appearing
from internal_inpaint.fit import load_trained, require_checkpoint
from internal_inpaint.job import Job
from internal_inpaint.job_folder import JobFolder
from internal_inpaint.plan import levels_of
from internal_inpaint.run import shot_settings
from internal_inpaint.shot import FrameStore, open_shot, open_store
from internal_inpaint.version import __version__

MARK = "internal_inpaint.json"  # inside a TorchScript file
PRODUCER = b"Internal Inpaint"  # at the beginning of an ONNX file


def export(job: Job, folder: Path, kind: str, output: Path) -> list[str]:
    """Write the model that a job folder has learned.

    Args:
        job: of the folder.
        folder: with the checkpoints and the frame store.
        kind: ``torchscript`` or ``onnx``.
        output: the file; an earlier export is replaced, anything else is not.

    Returns:
        sentences for the user: what was written, and how it is fed.

    Raises:
        BadInput: nothing learned, the store or the plate is gone, or the file cannot be written there.
    """
    if job.task != "inpaint":
        raise BadInput(f"{folder} holds a {job.task} job: its network finds mattes, and only fills can be exported")
    _refuse_target(output)
    if kind == "onnx":
        require("onnx")
    shot = trained(job, folder)
    with torch.no_grad():
        content = _as_onnx(shot) if kind == "onnx" else _as_torchscript(shot)
    with appearing(output, str(output)) as unfinished:
        unfinished.write_bytes(content)
    sizes = ", ".join(f"{width}x{height}" for height, width in shot.sizes)
    height, width = shot.canvas
    fed = "inputs plate and matte, output fill" if kind == "onnx" else "channels in rgba (alpha: the matte), out rgb"
    return [
        f"{output}: {len(content) / 1e6:.1f} MB, {fed}, scene-linear",
        f"learned at {sizes} from a plate of {width}x{height}: feed it at the plate's own resolution",
    ]


def trained(job: Job, folder: Path) -> ExportedShot:
    """The networks of a job folder with their best weights, on the CPU.

    Raises:
        BadInput: as ``export``.
    """
    home = JobFolder(folder)
    while True:
        before = sorted(home.checkpoints.glob("*x*/step-*"))
        try:
            return _trained(job, home)
        except BadInput:
            # A run that is under way replaces its checkpoint, perhaps while it was being read here.
            if before == sorted(home.checkpoints.glob("*x*/step-*")):
                raise


def _trained(job: Job, folder: JobFolder) -> ExportedShot:
    require_checkpoint(folder)
    shot, cpu = open_shot(shot_settings(job)), torch.device("cpu")
    levels = levels_of(job, (shot.canvas.height, shot.canvas.width), cpu, folder)
    there = tuple(level for level in levels if newest(folder.level(level.name)))
    if not there:
        raise BadInput(f"{folder.checkpoints} lacks the first level: run `internal-inpaint run {folder}` again")
    stores = tuple(_store(folder, level.name) for level in there)
    found = load_trained(folder, there, stores, shot, cpu)
    return ExportedShot(
        networks=tuple(level.network for level in found.levels),
        sizes=tuple(level.size for level in found.levels),
        canvas=found.canvas,
        space=found.space,
    )


def _store(folder: JobFolder, name: str) -> FrameStore:
    place = folder.store / name
    if not place.is_dir():
        raise BadInput(
            f"{place} is gone, and with it the shot's working range: "
            f"run `internal-inpaint render {folder}` first, which makes it again"
        )
    return open_store(place)


def _as_torchscript(shot: ExportedShot) -> bytes:
    from internal_inpaint.export.torchscript import as_torchscript

    about = {
        "producer": PRODUCER.decode(),
        "version": __version__,
        "channels_in": ["red", "green", "blue", "matte"],
        "channels_out": ["red", "green", "blue"],
        "colour": "scene-linear",
        "plate": [shot.canvas[1], shot.canvas[0]],
    }
    return as_torchscript(ShotModel(shot), {MARK: json.dumps(about)})


def _as_onnx(shot: ExportedShot) -> bytes:
    from internal_inpaint.export.onnx_graph import shot_graph

    return shot_graph(shot)


def _refuse_target(output: Path) -> None:
    if output.is_dir():
        raise BadInput(f"--output {output} is a folder: name a file in it")
    if not output.absolute().parent.is_dir():
        raise BadInput(f"--output {output}: its folder does not exist, make it first")
    if output.exists() and not _is_export(output):
        raise BadInput(f"--output {output} is there and is no earlier export: choose another name or delete it")


def _is_export(path: Path) -> bool:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith(f"/extra/{MARK}") for name in archive.namelist())
        with path.open("rb") as file:
            return PRODUCER in file.read(64)
    except (OSError, zipfile.BadZipFile) as error:
        raise BadInput(f"--output {path} cannot be read ({error}): choose another name") from None

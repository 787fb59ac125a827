"""``internal-inpaint export``: writes the trained model of a job folder as a file for other programs."""

from __future__ import annotations

from pathlib import Path

import torch

from internal_inpaint.checkpoints import newest
from internal_inpaint.errors import BadInput
from internal_inpaint.export.model import ExportedShot
from internal_inpaint.export.onnx_runtime import require
from internal_inpaint.export.write import refuse_target, write
from internal_inpaint.fit import load_trained, require_checkpoint
from internal_inpaint.ingest import Ingested
from internal_inpaint.job import Job
from internal_inpaint.job_folder import JobFolder
from internal_inpaint.methods.copying.network import CopyNetwork
from internal_inpaint.methods.implicit.networks import InpaintNetwork
from internal_inpaint.plan import levels_of
from internal_inpaint.run import shot_settings
from internal_inpaint.shot import FrameStore, open_shot, open_store


def export(job: Job, folder: Path, kind: str, output: Path) -> list[str]:
    """Write the trained model of a job folder (docs/export.md).

    Args:
        job: the job of the folder.
        folder: the job folder, with the checkpoints and the frame store.
        kind: ``torchscript`` or ``onnx``.
        output: the file; an earlier export is replaced, any other file is refused.

    Returns:
        sentences for the user that describe the file, its inputs and its outputs.

    Raises:
        BadInput: nothing is trained, the store or the plate is missing, or the file cannot be written.
    """
    if job.task != "inpaint":
        raise BadInput(f"{folder} holds a {job.task} job: its network finds mattes, and only fills can be exported")
    refuse_target(output)
    if kind == "onnx":
        require("onnx")
    return write(trained(job, folder), kind, output)


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
            # A running job may have replaced its checkpoint while it was read here.
            if before == sorted(home.checkpoints.glob("*x*/step-*")):
                raise


def _trained(job: Job, folder: JobFolder) -> ExportedShot:
    require_checkpoint(folder)
    shot, cpu = open_shot(shot_settings(job)), torch.device("cpu")
    levels = levels_of(job, (shot.canvas.height, shot.canvas.width), cpu, folder)
    trained_levels = tuple(level for level in levels if newest(folder.level(level.name)))
    if not trained_levels:
        raise BadInput(f"{folder.checkpoints} lacks the first level: run `internal-inpaint run {folder}` again")
    stores = tuple(_store(folder, level.name) for level in trained_levels)
    result = load_trained(folder, Ingested(trained_levels, stores, None), shot, cpu)
    if not any(level.learned for level in result.levels):
        raise BadInput(
            f"{folder} holds a copy without training, so there is no network to export: run it with --time 5m"
        )
    return ExportedShot(
        networks=tuple(_inventing(level.network) for level in result.levels),
        sizes=tuple(level.size for level in result.levels),
        canvas=result.canvas,
        space=result.space,
    )


def _inventing(network: CopyNetwork | InpaintNetwork) -> InpaintNetwork:
    """A level's network for a model that has no other frames to copy from."""
    return network.inventing() if isinstance(network, CopyNetwork) else network.in_float32()


def _store(folder: JobFolder, name: str) -> FrameStore:
    path = folder.store / name
    if not path.is_dir():
        raise BadInput(
            f"{path} is missing, and the shot's working range is stored there: "
            f"run `internal-inpaint render {folder}` first, which creates it again"
        )
    return open_store(path)

"""``internal-inpaint export``: the model of a job folder as one file for other programs (docs/export.md)."""

from __future__ import annotations

from pathlib import Path

import torch

from internal_inpaint.checkpoints import newest
from internal_inpaint.errors import BadInput
from internal_inpaint.export.model import ExportedShot
from internal_inpaint.export.onnx_runtime import require
from internal_inpaint.export.write import refuse_target, write
from internal_inpaint.fit import load_trained, require_checkpoint
from internal_inpaint.job import Job
from internal_inpaint.job_folder import JobFolder
from internal_inpaint.plan import levels_of
from internal_inpaint.run import shot_settings
from internal_inpaint.shot import FrameStore, open_shot, open_store


def export(job: Job, folder: Path, kind: str, output: Path) -> list[str]:
    """Write the model that a job folder has learned.

    Args:
        job: of the folder.
        folder: with the checkpoints and the frame store.
        kind: ``torchscript`` or ``onnx``.
        output: the file; an earlier export is replaced, anything else is not.

    Returns:
        sentences for the user: what was written, and what its inputs and outputs are.

    Raises:
        BadInput: nothing learned, the store or the plate is gone, or the file cannot be written there.
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
        networks=tuple(level.network.in_float32() for level in found.levels),
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

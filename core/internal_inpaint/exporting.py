"""``internal-inpaint export``: the model of a job folder as one file for other programs (docs/export.md)."""

from __future__ import annotations

from pathlib import Path

import torch

from internal_inpaint.errors import BadInput
from internal_inpaint.export.model import ExportedShot
from internal_inpaint.export.onnx_runtime import require
from internal_inpaint.export.write import refuse_target, write
from internal_inpaint.job import Job
from internal_inpaint.learning import learned, render_stages, require_checkpoint, stages_of
from internal_inpaint.pipeline import shot_settings
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
    checkpoints = folder / "checkpoints"
    while True:
        before = sorted(checkpoints.glob("*x*/step-*"))
        try:
            return _trained(job, folder, checkpoints)
        except BadInput:
            # A run in progress replaces its checkpoint, perhaps while it was being read here.
            if before == sorted(checkpoints.glob("*x*/step-*")):
                raise


def _trained(job: Job, folder: Path, checkpoints: Path) -> ExportedShot:
    require_checkpoint(checkpoints, folder)
    canvas = open_shot(shot_settings(job)).canvas
    size = (canvas.height, canvas.width)
    levels = [found.stage for found in learned(stages_of(job, size, torch.device("cpu"), checkpoints), checkpoints)]
    if not levels:
        raise BadInput(f"{checkpoints} lacks the first level: run `internal-inpaint run {folder}` again")
    stores = tuple(_store(folder, level.name) for level in levels)
    ready = render_stages(tuple(levels), stores, checkpoints, torch.device("cpu"))
    return ExportedShot(
        networks=tuple(level.network for level in ready),
        sizes=tuple(tuple(level.size) for level in levels),
        canvas=size,
        space=stores[0].working_space,
    )


def _store(folder: Path, name: str) -> FrameStore:
    place = folder / "store" / name
    if not place.is_dir():
        raise BadInput(
            f"{place} is gone, and with it the shot's working range: "
            f"run `internal-inpaint render {folder}` first, which makes it again"
        )
    return open_store(place)

"""The report step of a run: its page, its summary, and what it says at the end."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import torch

from internal_inpaint.confidence.measure import Confidence
from internal_inpaint.context import Context
from internal_inpaint.rendering.frames import Renderer
from internal_inpaint.rendering.plate_grain import PlateGrain
from internal_inpaint.rendering.trained_shot import TrainedShot
from internal_inpaint.report.page import Exhibit, Level, ReportData, chosen_frames, write_report
from internal_inpaint.resample import reduce_area
from internal_inpaint.roto.result import Propagated
from internal_inpaint.roto.step import by_frame_number, mattes_output
from internal_inpaint.shot import Shot, compact_frames
from internal_inpaint.version import __version__

WIDEST = 960  # pixels of a picture in the report


@dataclass(frozen=True)
class Result:
    """What a finished run has to say; also the content of the job folder's ``summary.json``."""

    frames: int
    total_s: float
    warnings: tuple[str, ...]
    output: str
    steps: int = 0
    psnr: float | None = None
    training_s: float = 0.0
    contact_sheet: str = ""
    report: str = ""
    confidence: float | None = None
    copied: float | None = None
    invented: float | None = None
    mattes: str = ""
    matte_s: float = 0.0
    matte_steps: int = 0
    doubtful_frames: tuple[int, ...] = ()
    matte_confidence: dict[int, float] = field(default_factory=dict)


def report(
    context: Context,
    shot: Shot,
    trained: TrainedShot,
    confidence: Confidence,
    grain: PlateGrain | None,
    found: Propagated | None,
    timings: dict[str, float],
) -> Path:
    """Write the job folder's ``report.html``; returns its path."""
    job, folder, device = context.job, context.folder, context.device
    settings = {name: value for name, value in asdict(job).items() if value is not None}
    settings |= {
        "working colour space": shot.colour.name,
        "matte grown, feathered": f"{shot.grow} px, {shot.feather} px",
        "trained at": ", ".join(level.name for level in trained.levels),
        "training steps": ", ".join(str(level.steps) for level in trained.levels),
        "network": trained.levels[0].method.config.network.kind,
        "precision": trained.precision,
    }
    if found is not None:
        settings["mattes propagated to"] = mattes_output(job, folder)
        settings["matte doubtful in frames"] = compact_frames(by_frame_number(shot, found)[1]) or "none"
    data = ReportData(
        title=Path(job.output).name,
        frames=confidence.frames,
        exhibits=_exhibits(shot, trained, confidence, grain),
        output=job.output,
        folder=str(folder.path.absolute()),
        quality=job.quality,
        psnr=trained.psnr,
        levels=[Level(level.name, level.history) for level in trained.levels],
        timings=timings,
        settings=settings,
        versions={
            "Internal Inpaint": __version__,
            "PyTorch": torch.__version__,
            "OpenImageIO": oiio.VERSION_STRING,
            "Python": platform.python_version(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu(),
        },
        warnings=context.events.warnings,
        pixel_aspect=shot.pixel_aspect,
        finished=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    write_report(data, folder.report)
    return folder.report


def _exhibits(shot: Shot, trained: TrainedShot, confidence: Confidence, grain: PlateGrain | None) -> list[Exhibit]:
    """A few pictures to compare, rendered once more and reduced."""
    exhibits, renderer = [], Renderer(trained, grain)
    for index in chosen_frames(confidence.frames):
        picture, loaded = shot.pictures[index], shot.load(index)
        result, _ = renderer.render(index, loaded.rgb, loaded.alpha)
        plane = confidence.plane(index, loaded.alpha.shape)
        height, width = loaded.alpha.shape
        small = (max(1, round(height * min(1.0, WIDEST / width))), min(width, WIDEST))
        planes = (loaded.rgb, result, loaded.alpha, plane)
        plate, result, alpha, plane = (reduce_area(np.nan_to_num(plane), small) for plane in planes)
        exhibits.append(Exhibit(picture.frame, plate, result, alpha, plane, picture.view))
    return exhibits


def _cpu() -> str:
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"


def finished(
    context: Context,
    shot: Shot,
    started: float,
    trained: TrainedShot | None = None,
    confidence: Confidence | None = None,
    found: Propagated | None = None,
    frames: int = 0,
) -> Result:
    """Say what came out, last of all.

    Args:
        started: when, by ``time.monotonic``.
        frames: written to the job's output.
    """
    events, folder, values = context.events, context.folder, {}
    if trained is not None:
        values |= {
            "steps": trained.steps,
            "psnr": trained.psnr,
            "training_s": round(trained.seconds, 1),
            "contact_sheet": str(folder.contact_sheet),
        }
    if confidence is not None:
        copied = confidence.copied
        invented = None if copied is None else 1 - copied
        values |= {"report": str(folder.report), "confidence": confidence.mean}
        values |= {"copied": copied, "invented": invented}
    if found is not None:
        by_frame, doubtful = by_frame_number(shot, found)
        values |= {
            "mattes": mattes_output(context.job, folder),
            "doubtful_frames": doubtful,
            "matte_confidence": by_frame,
            "matte_s": round(found.seconds, 1),
            "matte_steps": found.steps,
        }
    result = Result(
        frames=frames,
        total_s=round(time.monotonic() - started, 1),
        warnings=tuple(events.warnings),
        output=context.job.output if frames else "",
        **values,
    )
    folder.write_summary(asdict(result))
    events.tell(state="done", eta_s=0.0, message="done", progress=1.0)
    return result

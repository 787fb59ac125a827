"""How a run came out: the confidence of its fill, and the report."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import torch

from internal_inpaint.control import StopRequest
from internal_inpaint.events import Events
from internal_inpaint.files import write_atomically
from internal_inpaint.job import Job
from internal_inpaint.learning import Learned
from internal_inpaint.mattes import PropagatedMattes
from internal_inpaint.reduce import reduced
from internal_inpaint.rendering.cascade import Cascade
from internal_inpaint.rendering.confidence import enlarged, figures, measure_confidence
from internal_inpaint.rendering.frames import Renderer
from internal_inpaint.rendering.planes import write_fills
from internal_inpaint.report.page import Exhibit, FrameFigures, Level, ReportData, chosen_frames, write_report
from internal_inpaint.shot import FrameStore, Shot, compact_frames
from internal_inpaint.version import __version__

WIDEST = 960  # pixels of a picture in the report
FILLING = 0.5  # share of the judging that goes into filling the frames once more, small


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
    mattes: str = ""
    matte_s: float = 0.0
    matte_steps: int = 0
    doubtful_frames: tuple[int, ...] = ()
    matte_confidence: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """The confidence of every picture ``[N, h, w]`` float16 at the coarsest stage's size, and what it comes to."""

    planes: np.ndarray
    frames: tuple[FrameFigures, ...]

    def plane(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """``[H, W]`` float32: the confidence of one picture, enlarged to ``size``."""
        return enlarged(self.planes[index], size)

    @property
    def mean(self) -> float | None:
        """Over all hole pixels; ``None`` without any."""
        weighed = [(f.confidence, f.coverage) for f in self.frames if f.confidence is not None]
        whole = sum(weight for _, weight in weighed)
        return sum(value * weight for value, weight in weighed) / whole if whole else None


def judge(
    cascade: Cascade, store: FrameStore, shot: Shot, folder: Path, key: str, events: Events, stop: StopRequest
) -> Judgement:
    """Measure how far the shot shows what was filled, or read what an earlier run with these weights measured.

    Args:
        cascade: what fills the frames; only its coarsest stage is used.
        store: of the coarsest stage.
        folder: of the job.
        key: of all that the fill depends on.

    Raises:
        Stopped, OutOfResources, BadInput.
    """
    planes, about = folder / "confidence.npy", folder / "confidence.json"
    events.tell(stage="judge", progress=0.0, frames=None, frames_done=None)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        read = json.loads(about.read_text())
        if read["key"] == key:  # only then is the file opened: one that is open cannot be replaced everywhere
            there = np.load(planes, mmap_mode="r")
            if there.shape == store.state.shape:
                return Judgement(there, tuple(FrameFigures(**figure) for figure in read["frames"]))
            del there
    fills = folder / "fills.npy"
    try:
        filled = write_fills(
            cascade.stages[0].network,
            store.frames,
            store.state,
            fills,
            cascade.bf16,
            progress=lambda done, of: events.tell(progress=FILLING * done / max(1, of)),
            should_stop=stop,
        )
        found = measure_confidence(
            store.frames,
            store.state,
            filled,
            planes,
            len(shot.views),
            progress=lambda done, of: events.tell(progress=FILLING + (1 - FILLING) * done / max(1, of)),
            should_stop=stop,
        )
        del filled
    finally:
        with contextlib.suppress(OSError):
            fills.unlink(missing_ok=True)
    frames = []
    for picture in shot.pictures:
        measured = figures(found[picture.index], store.state[picture.index])
        frames.append(FrameFigures(picture.frame, **asdict(measured), view=picture.view))
    judged = {"key": key, "frames": [asdict(figure) for figure in frames]}
    write_atomically(about, json.dumps(judged, indent=1))
    return Judgement(found, tuple(frames))


def report(
    job: Job,
    folder: Path,
    shot: Shot,
    renderer: Renderer,
    judgement: Judgement,
    learned: tuple[Learned, ...],
    mattes: PropagatedMattes | None,
    device: torch.device,
    timings: dict[str, float],
    warnings: list[str],
) -> Path:
    """Write the job folder's ``report.html``; returns its path."""
    exhibits = []
    for index in chosen_frames(judgement.frames):
        picture, loaded = shot.pictures[index], shot.load(index)
        result, _ = renderer.render(index, loaded.rgb, loaded.alpha)
        sure = judgement.plane(index, loaded.alpha.shape)
        height, width = loaded.alpha.shape
        small = (max(1, round(height * min(1.0, WIDEST / width))), min(width, WIDEST))
        planes = (loaded.rgb, result, loaded.alpha[..., None], sure[..., None])
        plate, result, alpha, sure = (reduced(np.nan_to_num(plane), small) for plane in planes)
        exhibits.append(Exhibit(picture.frame, plate, result, alpha[..., 0], sure[..., 0], picture.view))
    counters = learned[-1].counters
    settings = {name: value for name, value in asdict(job).items() if value is not None}
    settings |= {
        "working colour space": shot.colour.name,
        "matte grown, feathered": f"{shot.grow} px, {shot.feather} px",
        "learned at": ", ".join(stage.stage.name for stage in learned),
        "training steps": ", ".join(str(stage.counters.step) for stage in learned),
        "network": learned[0].stage.config.network.kind,
    }
    if mattes is not None:
        settings["mattes propagated to"] = mattes.pattern
        settings["matte doubtful in frames"] = compact_frames(mattes.doubtful_frames) or "none"
    path = folder / "report.html"
    write_report(
        ReportData(
            title=Path(job.output).name,
            frames=judgement.frames,
            exhibits=exhibits,
            output=job.output,
            folder=str(folder.absolute()),
            quality=job.quality,
            psnr=counters.best_psnr,
            levels=[Level(stage.stage.name, stage.counters.history) for stage in learned],
            timings=timings,
            settings=settings,
            versions={
                "Internal Inpaint": __version__,
                "PyTorch": torch.__version__,
                "OpenImageIO": oiio.VERSION_STRING,
                "Python": platform.python_version(),
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu(),
            },
            warnings=warnings,
            pixel_aspect=shot.pixel_aspect,
            finished=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        ),
        path,
    )
    return path


def _cpu() -> str:
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"


def forget(folder: Path) -> None:
    """Remove what an earlier run of the folder has judged."""
    for name in ("confidence.npy", "confidence.json", "fills.npy", "report.html"):
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def finished(
    folder: Path,
    events: Events,
    started: float,
    job: Job,
    mattes: PropagatedMattes | None,
    frames: int,
    **learned: object,
) -> Result:
    """Say what came out, last of all."""
    if mattes is not None:
        learned = {
            **learned,
            "mattes": mattes.pattern,
            "doubtful_frames": mattes.doubtful_frames,
            "matte_confidence": mattes.confidence,
            "matte_s": round(mattes.seconds, 1),
            "matte_steps": mattes.steps,
        }
    result = Result(
        frames=frames,
        total_s=round(time.monotonic() - started, 1),
        warnings=tuple(events.warnings),
        output=job.output if frames else "",
        **learned,
    )
    write_atomically(folder / "summary.json", json.dumps(asdict(result), indent=1))
    events.tell(state="done", eta_s=0.0, message="done", progress=1.0)
    return result

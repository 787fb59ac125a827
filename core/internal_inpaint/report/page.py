"""``report.html``: one page that shows how well the fill agrees with the shot, and which frames to check.

``report.html.j2`` is the template; this module computes its values. The template escapes every value. The page
embeds all of its content, and its Content-Security-Policy forbids it to load anything.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from internal_inpaint.durations import duration
from internal_inpaint.files import as_user_error, write_atomically
from internal_inpaint.report.charts import Chart, Series, frame_chart, line_chart
from internal_inpaint.report.pictures import (
    CONFIDENCE_COLOURS,
    OVERLAY_WIDTH,
    confidence_overlay,
    matte_overlay,
    photograph,
)
from internal_inpaint.report.text import frame_ranges, percent, printable, setting

LOW_CONFIDENCE = 0.5  # a frame with a lower mean confidence is one to check
NAMED_FRAMES = 5  # frames that are listed to check first
MOST_BYTES = 6_000_000
# Width in pixels and JPEG quality of the pictures: the first that keeps the page below MOST_BYTES is used.
_PICTURE_SIZES = ((960, 90), (960, 75), (720, 70), (480, 60), (320, 50))
_SECONDS_AXIS = 600  # a longer training is plotted in minutes


@dataclass(frozen=True)
class FrameFigures:
    """The figures of one picture of the shot.

    Attributes:
        frame: its number.
        coverage: share of the picture that the hole covers, 0 to 1.
        confidence: mean confidence over the hole, 0 to 1; ``None``: no hole, or not measured.
        confident: share of the hole with a confidence of at least 0.5; ``None`` as above.
        view: of a stereo shot.
        copied: share of the hole that is copied from other frames, 0 to 1; ``None``: no hole, or a method that
            invents everything.
    """

    frame: int
    coverage: float
    confidence: float | None = None
    confident: float | None = None
    view: str = ""
    copied: float | None = None


@dataclass(frozen=True)
class Exhibit:
    """One picture to look at.

    Attributes:
        frame: its number.
        plate, result: ``[H, W, 3]`` float32, scene-linear.
        matte, confidence: ``[H, W]`` float32, 0 to 1; ``confidence`` is ``None`` where it was not measured.
        view: of a stereo shot.
    """

    frame: int
    plate: np.ndarray
    result: np.ndarray
    matte: np.ndarray
    confidence: np.ndarray | None = None
    view: str = ""


@dataclass(frozen=True)
class Level:
    """The training of one level, a resolution that the shot is learned at.

    Attributes:
        name: for example the resolution.
        history: [step, seconds, loss, PSNR] of each validation. Seconds count from the start of the run or of the
            level; the PSNR is in dB and may be ``None``.
    """

    name: str
    history: Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class ReportData:
    """The content of the page, as plain values.

    Attributes:
        title: of the page, for example the file name of the output.
        frames: every picture of the shot, in order.
        exhibits: the pictures to show.
        output: pattern of the frames that were written.
        folder: the job folder.
        quality: name of the preset.
        psnr: validation PSNR in dB; ``None``: not measured.
        levels: that were trained, coarsest first.
        timings: seconds by step of the run, in order.
        settings, versions: value by name.
        warnings: sentences.
        pixel_aspect: of the plate.
        finished: date and time, as text.
    """

    title: str
    frames: Sequence[FrameFigures]
    exhibits: Sequence[Exhibit] = ()
    output: str = ""
    folder: str = ""
    quality: str = ""
    psnr: float | None = None
    levels: Sequence[Level] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, object] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    pixel_aspect: float = 1.0
    finished: str = ""


def chosen_frames(frames: Sequence[FrameFigures], most: int = 4) -> list[int]:
    """The pictures to show, as sorted positions in ``frames``; only pictures with a hole.

    The first choice is the picture with the largest area of low confidence. Each further one is as far as possible
    in time from those already chosen.
    """
    holes = [i for i, frame in enumerate(frames) if frame.coverage > 0]
    chosen: list[int] = []
    while holes and len(chosen) < most:
        if chosen:
            best = max(holes, key=lambda i: min(abs(i - other) for other in chosen))
        else:
            best = max(holes, key=lambda i: _unconfirmed(frames[i]))
        chosen.append(best)
        holes.remove(best)
    return sorted(chosen)


def write_report(data: ReportData, path: Path) -> None:
    """Write the page atomically.

    Raises:
        BadInput, OutOfResources: the file cannot be written.
    """
    try:
        for width, quality in _PICTURE_SIZES:
            text = page(data, width, quality)
            if len(text) <= MOST_BYTES:
                break
        write_atomically(path, text)
    except OSError as error:
        raise as_user_error(error, f"the report {path}") from error


def page(data: ReportData, width: int = _PICTURE_SIZES[0][0], quality: int = _PICTURE_SIZES[0][1]) -> str:
    """The page as text. Its pictures are at most ``width`` pixels wide, and JPEGs of this ``quality`` (0 to 100)."""
    low = [f for f in data.frames if _measured(f.confidence) and f.confidence < LOW_CONFIDENCE]
    first = sorted(low, key=_unconfirmed, reverse=True)[:NAMED_FRAMES]
    total = sum(data.timings.values())
    stops = (f"rgb({' '.join(str(round(255 * c)) for c in stop)})" for stop in CONFIDENCE_COLOURS)
    return _template().render(
        data=data,
        verdict=_verdict(data.frames),
        origin=_origin(data.frames),
        numbers=frame_ranges(frame.frame for frame in data.frames),
        facts=_facts(data),
        frame_chart=_frame_chart(data.frames),
        low_confidence=LOW_CONFIDENCE,
        measured=any(_measured(frame.confidence) for frame in data.frames),
        low_frames=frame_ranges(frame.frame for frame in low),
        first_frames=", ".join(f"{_name(f.frame, f.view)} ({f.confidence:.2f})" for f in first),
        figures=[_figure(exhibit, data.pixel_aspect, width, quality) for exhibit in data.exhibits],
        has_confidence=any(exhibit.confidence is not None for exhibit in data.exhibits),
        gradient=", ".join(stops),
        training_charts=_training_charts(data.levels),
        timings=[(name, duration(s), f"{100 * s / max(total, 1e-9):.1f}") for name, s in data.timings.items()],
        tables=[("Settings", _table(data.settings)), ("Versions", _table(data.versions))],
    )


def confident_share(frames: Sequence[FrameFigures]) -> float | None:
    """Share of all hole pixels of the shot that are confident; ``None``: not measured."""
    return _mean_of_holes([(f.confident, f.coverage) for f in frames])


def copied_share(frames: Sequence[FrameFigures]) -> float | None:
    """Share of all hole pixels of the shot that are copied; ``None``: not measured."""
    return _mean_of_holes([(f.copied, f.coverage) for f in frames])


def _mean_of_holes(figures: Sequence[tuple[float | None, float]]) -> float | None:
    """The mean of (value, coverage), weighted by the coverage; ``None`` where nothing was measured."""
    measured = [(value, area) for value, area in figures if _measured(value) and area > 0]
    total = sum(area for _, area in measured)
    return sum(value * area for value, area in measured) / total if total else None


@functools.cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["csp_hash"] = _csp_hash
    return environment.get_template("report.html.j2")


def _csp_hash(script: str) -> str:
    """The hash by which a Content-Security-Policy allows one inline script."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _verdict(frames: Sequence[FrameFigures]) -> str:
    if not any(frame.coverage > 0 for frame in frames):
        return "The matte is empty in every frame: nothing was filled."
    share = confident_share(frames)
    if share is None:
        return "Confidence was not measured."
    if share >= 0.8:
        return f"The fill agrees with what other frames show in {percent(share)} of its area."
    if share >= 0.5:
        return f"The fill agrees with what other frames show in {percent(share)} of its area. Check the rest."
    return f"The fill agrees with what other frames show in only {percent(share)} of its area. Check every frame."


def _origin(frames: Sequence[FrameFigures]) -> str:
    """Where the fill comes from, in a sentence or two; empty where a method invents everything."""
    copied, confident = copied_share(frames), confident_share(frames)
    if copied is None:
        return ""
    said = f"{percent(copied)} of the fill is copied from other frames, {percent(1 - copied)} is invented."
    return said if confident is None else f"{said} {percent(1 - confident)} of it is doubtful (confidence below 0.5)."


def _facts(data: ReportData) -> list[tuple[str, str]]:
    share, copied = confident_share(data.frames), copied_share(data.frames)
    return [
        ("frames", f"{len({frame.frame for frame in data.frames})}"),
        ("fill that agrees with other frames", "not measured" if share is None else percent(share)),
        *([] if copied is None else [("copied, invented", f"{percent(copied)}, {percent(1 - copied)}")]),
        ("validation PSNR", f"{data.psnr:.1f} dB" if _measured(data.psnr) else "not measured"),
        ("quality", data.quality or "-"),
        ("total time", duration(sum(data.timings.values())) if data.timings else "-"),
    ]


def _frame_chart(frames: Sequence[FrameFigures]) -> Chart | None:
    if not frames:
        return None
    named = [(_name(f.frame, f.view), f.coverage, f.confidence, f.copied) for f in frames]
    return frame_chart(named, LOW_CONFIDENCE, "Matte coverage and mean confidence of every frame")


def _figure(exhibit: Exhibit, aspect: float, width: int, quality: int) -> dict[str, object]:
    height, wide = exhibit.matte.shape
    small = min(width, OVERLAY_WIDTH)
    overlays = [("matte", matte_overlay(exhibit.matte, small))]
    if exhibit.confidence is not None:
        overlays.append(("confidence", confidence_overlay(exhibit.confidence, exhibit.matte, small)))
    return {
        "name": _name(exhibit.frame, exhibit.view),
        "shape": f"{wide * aspect if math.isfinite(aspect) and aspect > 0 else wide:.6g} / {height}",
        "plate": photograph(exhibit.plate, width, quality),
        "result": photograph(exhibit.result, width, quality),
        "overlays": overlays,
    }


def _training_charts(levels: Sequence[Level]) -> list[Chart]:
    """PSNR and loss over the training time, the levels one after the other; only charts that have points."""
    histories, ended = [], 0.0
    for level in levels:
        # Malformed rows of an old checkpoint are left out.
        rows = [row for row in level.history if len(row) >= 4 and _measured(row[1])]
        start = ended if rows and rows[0][1] < ended else 0.0
        ended = max([ended] + [start + row[1] for row in rows])
        histories.append((level.name, start, rows))
    scale, unit = (60, "min") if ended > _SECONDS_AXIS else (1, "s")

    def chart(column: int, axis: str, decibel: str, description: str) -> Chart | None:
        series = []
        for name, start, rows in histories:
            usable = [row for row in rows if _measured(row[column])]
            points = [((start + float(row[1])) / scale, float(row[column])) for row in usable]
            labels = [f"{name}: step {row[0]}, {duration(row[1])}: {row[column]:.4g}{decibel}" for row in usable]
            series.append(Series(name, points, labels))
        return line_chart(series, f"training time ({unit})", axis, description)

    charts = (
        chart(3, "PSNR (dB)", " dB", "Validation PSNR over the training time"),
        chart(2, "loss", "", "Training loss over the training time"),
    )
    return [one for one in charts if one is not None]


def _table(values: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(name, setting(value)) for name, value in values.items()]


def _name(frame: int, view: str) -> str:
    return f"{frame} {view}" if view else f"{frame}"


def _unconfirmed(frame: FrameFigures) -> float:
    """Share of the picture that other frames do not confirm. A person should check the largest ones first."""
    return frame.coverage * (1 - frame.confidence) if _measured(frame.confidence) else 0.0


def _measured(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)

"""``report.html``: one page that says how good a fill is and where it is doubtful.

The page holds all it shows: it loads nothing from anywhere, and its own policy forbids it to. Everything that is
not written here is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path

import numpy as np

from internal_inpaint.files import as_user_error, write_atomically
from internal_inpaint.report.charts import Line, line_chart, strip
from internal_inpaint.report.pictures import (
    CONFIDENCE_COLOURS,
    OVERLAY_WIDTH,
    confidence_overlay,
    matte_overlay,
    photograph,
)
from internal_inpaint.report.style import SCRIPT, STYLE
from internal_inpaint.report.text import duration, escaped, frame_list, percent

DOUBTFUL = 0.5  # mean confidence below which a frame is doubtful
WORST = 5  # doubtful frames that are named one by one
MOST_BYTES = 6_000_000
# Width in pixels and JPEG quality of the pictures: the first that keeps the page small enough.
_PICTURE_SIZES = ((960, 90), (960, 75), (720, 70), (480, 60), (320, 50))


@dataclass(frozen=True)
class FrameFigures:
    """One picture of the shot: coverage of the hole, and mean confidence and confident share over it (0 to 1,
    ``None`` where there is no hole or it was not measured)."""

    frame: int
    coverage: float
    confidence: float | None = None
    confident: float | None = None
    view: str = ""


@dataclass(frozen=True)
class Exhibit:
    """One picture to look at; ``plate`` and ``result`` ``[H, W, 3]`` scene-linear, ``matte`` and ``confidence``
    ``[H, W]`` 0 to 1, all float32."""

    frame: int
    plate: np.ndarray
    result: np.ndarray
    matte: np.ndarray
    confidence: np.ndarray | None = None
    view: str = ""


@dataclass(frozen=True)
class Stage:
    """One training: ``history`` has [step, seconds, loss, psnr] a validation, the seconds counted from the start of
    the run or of the stage; psnr in dB may be ``None``."""

    name: str
    history: Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class ReportData:
    """All that a report says. Texts may hold anything: they are escaped.

    Attributes:
        title: of the shot, for example the output's name.
        frames: every picture of the shot in order.
        exhibits: a few pictures to compare.
        output, folder: where the frames and the job folder are.
        quality: the preset's name.
        psnr: validation PSNR in dB inside holes whose content is known; ``None``: not measured.
        stages: of training.
        timings: seconds by what they went into, in order.
        settings, versions: name and value.
        warnings: sentences.
        pixel_aspect: of the plate.
        finished: when, as text.
    """

    title: str
    frames: Sequence[FrameFigures]
    exhibits: Sequence[Exhibit] = ()
    output: str = ""
    folder: str = ""
    quality: str = ""
    psnr: float | None = None
    stages: Sequence[Stage] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, object] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    pixel_aspect: float = 1.0
    finished: str = ""


def chosen_frames(frames: Sequence[FrameFigures], most: int = 4) -> list[int]:
    """Which pictures to show, as positions in ``frames``, in order: the most doubtful one, then always the one
    farthest in time from those already chosen; only such as have a hole."""
    holes = [i for i, frame in enumerate(frames) if frame.coverage > 0]
    chosen: list[int] = []
    while holes and len(chosen) < most:
        if chosen:
            best = max(holes, key=lambda i: min(abs(i - other) for other in chosen))
        else:
            best = max(holes, key=lambda i: _doubt(frames[i]))
        chosen.append(best)
        holes.remove(best)
    return sorted(chosen)


def write_report(data: ReportData, path: Path) -> None:
    """Write the page; a reader sees the old one or the new one, whole.

    Raises:
        BadInput, OutOfResources: it cannot be written.
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
    """The page as text, its pictures at most ``width`` pixels wide, as JPEG of that quality."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    sections = [
        _headline(data),
        _warnings(data.warnings),
        _frames(data.frames),
        _pictures(data, width, quality),
        _training(data.stages),
        _timings(data.timings),
        '<div class="columns">',
        _table("Settings", data.settings),
        _table("Versions", data.versions),
        "</div>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(data.title)} - Internal Inpaint</title>"
        f'<link rel="icon" href="data:,"><style>{STYLE}</style></head><body>\n'
        + "\n".join(section for section in sections if section)
        + f"\n<script>{SCRIPT}</script></body></html>\n"
    )


def _headline(data: ReportData) -> str:
    numbers = sorted({frame.frame for frame in data.frames})
    share = confident_share(data.frames)
    facts = [
        ("frames", f"{len(numbers)}"),
        ("confident share of the fill", "not measured" if share is None else percent(share)),
        ("validation PSNR", "not measured" if not _usable(data.psnr) else f"{data.psnr:.1f} dB"),
        ("quality", data.quality or "-"),
        ("time", duration(sum(data.timings.values())) if data.timings else "-"),
    ]
    cells = "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in facts)
    finished = f' <span class="dim">finished {escaped(data.finished)}</span>' if data.finished else ""
    places = [("Frames", data.output), ("Job folder", data.folder)]
    where = "".join(f'<p>{name}: <span class="path">{escaped(place)}</span></p>' for name, place in places if place)
    shown = f" Frames {escaped(frame_list(numbers))}." if numbers else ""
    return (
        f"<header><h1>{escaped(data.title)}</h1><p>{_verdict(data.frames)}{shown}{finished}</p></header>"
        f'<dl class="headline">{cells}</dl>{where}'
    )


def confident_share(frames: Sequence[FrameFigures]) -> float | None:
    """Share of all hole pixels of the shot that are confident; ``None`` where nothing was measured."""
    measured = [f for f in frames if _usable(f.confident) and f.coverage > 0]
    area = sum(f.coverage for f in measured)
    return sum(f.coverage * f.confident for f in measured) / area if area else None


def _verdict(frames: Sequence[FrameFigures]) -> str:
    if not any(frame.coverage > 0 for frame in frames):
        return "The matte covers nothing."
    share = confident_share(frames)
    if share is None:
        return "How far the shot shows what was filled has not been measured."
    if share >= 0.8:
        return f"The shot itself shows most of what was filled ({percent(share)} of it)."
    if share >= 0.5:
        return f"The shot shows {percent(share)} of what was filled; look at the rest."
    return (
        f"Most of the fill is doubtful or invented: the shot bears out {percent(share)} of it. Look at every frame."
    )


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escaped(warning)}</li>" for warning in warnings)
    return f'<h2>Warnings</h2><ul class="warnings">{items}</ul>'


def _pictures(data: ReportData, width: int, quality: int) -> str:
    if not data.exhibits:
        return ""
    measured = any(exhibit.confidence is not None for exhibit in data.exhibits)
    tools = '<label><input type="checkbox" value="matte"> matte</label>'
    if measured:
        colours = ", ".join(f"rgb({' '.join(str(round(255 * c)) for c in stop)})" for stop in CONFIDENCE_COLOURS)
        tools += (
            '<label><input type="checkbox" value="confidence"> confidence</label>'
            f'<span class="legend">invented or doubtful <i style="background: linear-gradient(to right, {colours})">'
            "</i> shown by the shot</span>"
        )
    figures = "".join(_compare(exhibit, data.pixel_aspect, width, quality) for exhibit in data.exhibits)
    return (
        '<h2>Plate and result</h2><p class="dim">Drag the line, or focus a picture and use the arrow keys. '
        "Scene-linear values clipped to 0..1, shown as sRGB.</p>"
        f'<div id="pictures"><div class="tools">{tools}</div>{figures}</div>'
    )


def _compare(exhibit: Exhibit, aspect: float, width: int, quality: int) -> str:
    name = escaped(_name(exhibit.frame, exhibit.view))
    height, wide = exhibit.matte.shape
    overlays = [("matte", matte_overlay(exhibit.matte, min(width, OVERLAY_WIDTH)))]
    if exhibit.confidence is not None:
        plane = confidence_overlay(exhibit.confidence, exhibit.matte, min(width, OVERLAY_WIDTH))
        overlays.append(("confidence", plane))
    layers = "".join(f'<img class="overlay {kind}" alt="" src="{uri}">' for kind, uri in overlays)
    shape = f"{wide * aspect:.6g} / {height}" if math.isfinite(aspect) and aspect > 0 else f"{wide} / {height}"
    return (
        f'<figure><div class="compare" style="--shape: {shape}">'
        f'<img class="result" alt="Frame {name}: the result" src="{photograph(exhibit.result, width, quality)}">'
        f'<img class="plate" alt="Frame {name}: the plate" src="{photograph(exhibit.plate, width, quality)}">'
        f'{layers}<div class="rule"></div>'
        f'<span class="left">plate</span><span class="right">result</span>'
        f'<input type="range" min="0" max="100" step="0.5" value="50" '
        f'aria-label="Frame {name}: how much of the plate is shown, in per cent"></div>'
        f"<figcaption>frame {name}</figcaption></figure>"
    )


def _frames(frames: Sequence[FrameFigures]) -> str:
    if not frames:
        return ""
    chart = strip(
        [(_name(f.frame, f.view), f.coverage, f.confidence) for f in frames],
        DOUBTFUL,
        "Matte coverage and mean confidence of every frame",
    )
    measured = [f for f in frames if _usable(f.confidence)]
    doubtful = [f for f in measured if f.confidence < DOUBTFUL]
    if doubtful:
        worst = sorted(doubtful, key=_doubt, reverse=True)[:WORST]
        named = ", ".join(f"{escaped(_name(f.frame, f.view))} ({f.confidence:.2f})" for f in worst)
        said = (
            f'<p id="doubtful">Doubtful frames (mean confidence below {DOUBTFUL:g}): '
            f"{escaped(frame_list([f.frame for f in doubtful]))}. Most of all: {named}.</p>"
        )
    elif measured:
        said = f'<p id="doubtful">No frame has a mean confidence below {DOUBTFUL:g}.</p>'
    else:
        said = ""
    return (
        f'<h2>Frame by frame</h2><div class="scroll">{chart}</div>{said}'
        '<p class="dim">Confidence is 1 where other frames show what was filled and the fill agrees with them, and 0 '
        "where the shot never shows it, so that it is invented, or shows something else.</p>"
    )


def _training(stages: Sequence[Stage]) -> str:
    losses, psnrs, ended = [], [], 0.0
    for stage in stages:
        # Malformed rows of an old checkpoint are left out.
        rows = [row for row in stage.history if len(row) >= 4 and _usable(row[1])]
        labels = [f"{stage.name}: step {row[0]}, {duration(row[1])}" for row in rows]
        start = ended if rows and rows[0][1] < ended else 0.0
        ended = max([ended] + [start + row[1] for row in rows])
        for lines, column, unit in ((losses, 2, ""), (psnrs, 3, " dB")):
            kept = [(row, label) for row, label in zip(rows, labels, strict=True) if _usable(row[column])]
            points = [(start + float(row[1]), float(row[column])) for row, _ in kept]
            lines.append(Line(stage.name, points, [f"{label}: {row[column]:.4g}{unit}" for row, label in kept]))
    psnr = line_chart(psnrs, "seconds of training", "PSNR (dB)", "Validation PSNR over the time of training")
    loss = line_chart(losses, "seconds of training", "loss", "Training loss over the time of training")
    if not psnr and not loss:
        return ""
    return (
        '<h2>Training</h2><p class="dim">PSNR inside holes cut into known parts of the shot and kept from the '
        "training; the best weights by it were rendered.</p>"
        f'<div class="scroll">{psnr}</div><p></p><div class="scroll">{loss}</div>'
    )


def _timings(timings: Mapping[str, float]) -> str:
    total = sum(timings.values())
    if not timings:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escaped(name)}</th><td class="number">{duration(seconds)}</td>'
        f'<td class="share"><i style="width: {100 * seconds / max(total, 1e-9):.1f}%"></i></td></tr>'
        for name, seconds in timings.items()
    )
    return f"<h2>Time</h2><table>{rows}</table>"


def _table(name: str, values: Mapping[str, object]) -> str:
    if not values:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escaped(key)}</th><td>{escaped("-" if value is None else value)}</td></tr>'
        for key, value in values.items()
    )
    return f"<section><h2>{escaped(name)}</h2><table>{rows}</table></section>"


def _name(frame: int, view: str) -> str:
    return f"{frame} {view}" if view else f"{frame}"


def _doubt(frame: FrameFigures) -> float:
    """Share of the picture that is doubtful: what a person should look at first."""
    return frame.coverage * (1 - frame.confidence) if _usable(frame.confidence) else 0.0


def _usable(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)

"""Charts as plain values: positions in SVG user units, which the template renders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 960, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 944, 14, 186  # of the plotted area
BAR_HEIGHT = 0.45  # of the plotted area: the bar of the frame with the largest matte
COLOURS = ("#8ab4d8", "#d8b26a", "#9ccf9c", "#c9a0d8")


@dataclass(frozen=True)
class Series:
    """Points (x, y) in data units, and the tooltip of each."""

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str]


@dataclass(frozen=True)
class Tick:
    """A number on an axis, and its position."""

    at: float
    text: str


@dataclass(frozen=True)
class Dot:
    """A measured point; ``kind`` is its CSS class."""

    x: float
    y: float
    label: str
    kind: str = ""


@dataclass(frozen=True)
class Bar:
    """A bar standing on the lower edge of the plotted area; ``kind`` is a further CSS class."""

    x: float
    y: float
    width: float
    height: float
    label: str
    kind: str = ""


@dataclass(frozen=True)
class Curve:
    """Dots joined by a line; ``path`` is the ``points`` attribute of an SVG polyline, empty for a single dot."""

    name: str
    colour: str
    path: str
    dots: Sequence[Dot]


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        description: what the chart shows, read out by screen readers.
        x_name, y_name: of the axes.
        rows, columns: ticks of the y and of the x axis.
        curves, bars: what is plotted.
        threshold: y of a dashed line, or ``None``.
        note: a line of text below the chart.
        column_lines: whether each tick of the x axis has a line.
    """

    description: str
    x_name: str
    y_name: str
    rows: Sequence[Tick]
    columns: Sequence[Tick]
    curves: Sequence[Curve]
    bars: Sequence[Bar] = ()
    threshold: float | None = None
    note: str = ""
    column_lines: bool = True
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM


@dataclass(frozen=True)
class _Axes:
    """Ranges in data units, mapped to the plotted area."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / max(self.x[1] - self.x[0], 1e-12)
        up = (y - self.y[0]) / max(self.y[1] - self.y[0], 1e-12)
        return round(LEFT + across * (RIGHT - LEFT), 1), round(BOTTOM - up * (BOTTOM - TOP), 1)


def line_chart(series: Sequence[Series], x_name: str, y_name: str, description: str) -> Chart | None:
    """Curves over one pair of axes, without points that are not finite; ``None`` if no point is left."""
    finite = [
        [(p, label) for p, label in zip(s.points, s.labels, strict=True) if all(map(math.isfinite, p))]
        for s in series
    ]
    points = [point for remaining in finite for point, _ in remaining]
    if not points:
        return None
    ys = [y for _, y in points]
    margin = max((max(ys) - min(ys)) * 0.08, abs(max(ys)) * 0.01, 1e-6)
    axes = _Axes((0.0, max(max(x for x, _ in points), 1e-6)), (min(ys) - margin, max(ys) + margin))
    curves = []
    for number, (one, remaining) in enumerate(zip(series, finite, strict=True)):
        dots = [Dot(*axes.at(*point), label) for point, label in remaining]
        curves.append(_curve(one.name, number, dots))
    columns = [Tick(axes.at(value, axes.y[0])[0], f"{value:g}") for value in ticks(*axes.x, most=8)]
    return Chart(description, x_name, y_name, _rows(axes), columns, curves)


def frame_chart(
    frames: Sequence[tuple[str, float, float | None, float | None]], threshold: float, description: str
) -> Chart:
    """Matte coverage (bars), how much of it is copied (their lower part), and mean confidence (dots) of every frame.

    Args:
        frames: (name, coverage, mean confidence or ``None``, copied share or ``None``) of each, in order; 0 to 1.
        threshold: confidence below which a dot is marked as low; shown as a dashed line.
        description: see ``Chart``.
    """
    axes = _Axes((0.0, float(max(1, len(frames)))), (0.0, 1.0))
    highest = max([coverage for _, coverage, _, _ in frames] + [1e-6])
    width = round(max(0.5, 0.8 * (RIGHT - LEFT) / max(1, len(frames))), 1)
    bars, dots, note = [], [], f"bars: matte coverage, up to {100 * highest:.1f} % of the frame"
    if any(copied is not None for *_, copied in frames):
        note += "; the lower, lighter part is copied from other frames"
    for number, (name, coverage, confidence, copied) in enumerate(frames):
        x, top = axes.at(number + 0.5, BAR_HEIGHT * coverage / highest)
        label = f"{name}: matte {100 * coverage:.1f} %"
        label += "" if confidence is None else f", confidence {confidence:.2f}"
        label += "" if copied is None else f", copied {100 * copied:.0f} %"
        left = round(x - width / 2, 1)
        bars.append(Bar(left, top, width, round(BOTTOM - top, 1), label))
        if copied:
            height = round(copied * (BOTTOM - top), 1)
            bars.append(Bar(left, round(BOTTOM - height, 1), width, height, label, "copied"))
        if confidence is not None and math.isfinite(confidence):
            kind = "low" if confidence < threshold else "high"
            dots.append(Dot(*axes.at(number + 0.5, confidence), label, kind))
    every = max(1, math.ceil(len(frames) / 12))
    columns = [Tick(axes.at(n + 0.5, 0)[0], frames[n][0]) for n in range(0, len(frames), every)]
    return Chart(
        description,
        "frame",
        "confidence",
        _rows(axes),
        columns,
        [_curve("confidence", 0, dots)],
        bars,
        threshold=axes.at(0, threshold)[1],
        note=note,
        column_lines=False,
    )


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``, about ``most`` of them."""
    span = max(high - low, 1e-12)
    step = 10.0 ** math.floor(math.log10(span / most))
    for factor in (1, 2, 5, 10):
        if span / (step * factor) <= most:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _rows(axes: _Axes) -> list[Tick]:
    return [Tick(axes.at(axes.x[0], value)[1], f"{value:g}") for value in ticks(*axes.y, most=5)]


def _curve(name: str, number: int, dots: Sequence[Dot]) -> Curve:
    path = " ".join(f"{dot.x:g},{dot.y:g}" for dot in dots) if len(dots) > 1 else ""
    return Curve(name, COLOURS[number % len(COLOURS)], path, dots)

"""Charts as inline SVG: no library, sharp on paper, readable without colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from internal_inpaint.report.text import escaped

WIDTH, HEIGHT = 960, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 34
COLOURS = ("#8ab4d8", "#d8b26a", "#9ccf9c", "#c9a0d8")


@dataclass(frozen=True)
class Line:
    """Points (x, y) of one curve, and what each is called when pointed at."""

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()
    marks: bool = True


@dataclass(frozen=True)
class Axes:
    """Ranges of a chart and how they are mapped to its pixels."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / max(self.x[1] - self.x[0], 1e-12)
        up = (y - self.y[0]) / max(self.y[1] - self.y[0], 1e-12)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def line_chart(lines: Sequence[Line], x_name: str, y_name: str, describe: str) -> str:
    """Curves over one pair of axes; what is not finite is left out. Empty text where nothing is left."""
    finite = [
        (line, [(p, _label(line, i)) for i, p in enumerate(line.points) if all(map(math.isfinite, p))])
        for line in lines
    ]
    points = [p for _, kept in finite for p, _ in kept]
    if not points:
        return ""
    ys = [y for _, y in points]
    margin = max((max(ys) - min(ys)) * 0.08, abs(max(ys)) * 0.01, 1e-6)
    axes = Axes((0.0, max(max(x for x, _ in points), 1e-6)), (min(ys) - margin, max(ys) + margin))
    parts = [_grid(axes, x_name, y_name)]
    for number, (line, kept) in enumerate(finite):
        colour = COLOURS[number % len(COLOURS)]
        places = [axes.at(*p) for p, _ in kept]
        if len(places) > 1:
            parts.append(f'<polyline class="curve" stroke="{colour}" points="{_points(places)}"/>')
        for (x, y), (_, label) in zip(places, kept, strict=True):
            radius = 3 if line.marks else 1.5
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"><title>{label}</title></circle>'
            )
    if len(lines) > 1:
        for number, line in enumerate(lines):
            x = LEFT + 10 + 220 * number
            parts.append(f'<rect x="{x}" y="4" width="10" height="4" fill="{COLOURS[number % len(COLOURS)]}"/>')
            parts.append(f'<text x="{x + 16}" y="10">{escaped(line.name)}</text>')
    return _svg(parts, describe)


def strip(frames: Sequence[tuple[str, float, float | None]], low: float, describe: str) -> str:
    """Matte coverage (bars) and mean confidence (dots) over the pictures of a shot.

    Args:
        frames: (name, coverage 0 to 1, mean confidence 0 to 1 or ``None``) a picture, in order.
        low: confidence below which a picture is doubtful: drawn as a line, its dots filled.
        describe: what the chart shows, for those who do not see it.
    """
    axes = Axes((0.0, float(max(1, len(frames)))), (0.0, 1.0))
    highest = max([coverage for _, coverage, _ in frames] + [1e-6])
    parts = [_grid(axes, "", "confidence", x_ticks=False)]
    bar = max(0.5, (axes.at(1, 0)[0] - axes.at(0, 0)[0]) * 0.8)
    foot = axes.at(0, 0)[1]
    measured = []
    for number, (name, coverage, confidence) in enumerate(frames):
        x, top = axes.at(number + 0.5, 0.45 * coverage / highest)
        said = f"{escaped(name)}: matte {100 * coverage:.1f} %"
        said += "" if confidence is None else f", confidence {confidence:.2f}"
        parts.append(
            f'<rect class="bar" x="{x - bar / 2:.1f}" y="{top:.1f}" width="{bar:.1f}" height="{foot - top:.1f}">'
            f"<title>{said}</title></rect>"
        )
        if confidence is not None and math.isfinite(confidence):
            measured.append((*axes.at(number + 0.5, confidence), confidence, said))
    (start, level), (end, _) = axes.at(axes.x[0], low), axes.at(axes.x[1], low)
    parts.append(f'<path class="low" d="M{start:.1f} {level:.1f}H{end:.1f}"/>')
    if len(measured) > 1:
        parts.append(
            f'<polyline class="curve thin" stroke="{COLOURS[0]}" points="{_points([m[:2] for m in measured])}"/>'
        )
    for x, y, confidence, said in measured:
        kind = "doubtful" if confidence < low else "fine"
        parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{said}</title></circle>')
    for number in _few(len(frames)):
        x = axes.at(number + 0.5, 0)[0]
        parts.append(f'<text class="x" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}">{escaped(frames[number][0])}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">frame</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 3}">bars: matte coverage, up to {100 * highest:.1f} %</text>')
    return _svg(parts, describe)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two values, at most so many."""
    span = max(high - low, 1e-12)
    step = 10.0 ** math.floor(math.log10(span / most))
    for factor in (1, 2, 5, 10):
        if span / (step * factor) <= most:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _grid(axes: Axes, x_name: str, y_name: str, x_ticks: bool = True) -> str:
    parts = []
    for value in ticks(*axes.y, most=5):
        x, y = axes.at(axes.x[0], value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="y" x="{x - 6:.1f}" y="{y + 4:.1f}">{value:g}</text>')
    if x_ticks:
        for value in ticks(*axes.x, most=8):
            x, _ = axes.at(value, axes.y[0])
            parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
            parts.append(f'<text class="x" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}">{value:g}</text>')
        parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escaped(x_name)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class="name" transform="translate(12 {middle}) rotate(-90)">{escaped(y_name)}</text>')
    return "".join(parts)


def _svg(parts: Sequence[str], describe: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escaped(describe)}">'
        f"{''.join(parts)}</svg>"
    )


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _label(line: Line, index: int) -> str:
    return escaped(line.labels[index]) if index < len(line.labels) else escaped(line.name)


def _few(count: int, most: int = 12) -> list[int]:
    """At most so many positions, evenly spread."""
    step = max(1, math.ceil(count / most))
    return list(range(0, count, step))

"""Words and numbers for a page: everything that comes from outside is escaped here."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence


def escaped(value: object) -> str:
    """Any value as text that is safe between tags and in quoted attributes.

    File names may hold anything: control characters and bytes that are no text are shown as a replacement sign.
    """
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    text = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return html.escape(text, quote=True)


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def percent(share: float) -> str:
    """A share as per cent; what is more than nothing never reads as 0, less than all never as 100."""
    if 0 < share < 0.01:
        return f"{max(100 * share, 0.1):.1f} %"
    return f"{min(round(100 * share), 99 if share < 1 else 100)} %"


def frame_list(frames: Sequence[int]) -> str:
    """Frame numbers as ranges: ``1001-1004, 1009``. A frame that comes twice (two views) is named once."""
    runs: list[list[int]] = []
    for frame in sorted(set(frames)):
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)

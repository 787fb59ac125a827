"""Durations as text."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """Seconds for a person to read: ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``; ``unknown`` if not finite."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 9.95:
        return f"{round(seconds, 1):g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

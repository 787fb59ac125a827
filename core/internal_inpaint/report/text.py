"""Formats text and numbers for the page. The template escapes HTML; the functions here do not."""

from __future__ import annotations

from collections.abc import Iterable

import fileseq


def printable(value: object) -> object:
    """The value as text, with control characters and undecodable bytes replaced by U+FFFD.

    File names can hold both. Text that is marked as HTML already (``__html__``) is returned as it is.
    """
    if hasattr(value, "__html__"):
        return value
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def percent(share: float) -> str:
    """A share (0 to 1) in percent; only exactly 0 reads as 0 %, and only exactly 1 as 100 %."""
    if 0 < share < 0.01:
        return f"{max(100 * share, 0.1):.1f} %"
    return f"{min(round(100 * share), 99 if share < 1 else 100)} %"


def frame_ranges(frames: Iterable[int]) -> str:
    """Frame numbers as ranges: ``1001-1004, 1009``; the two views of a stereo frame count once."""
    return fileseq.framesToFrameRange(sorted(set(frames))).replace(",", ", ")


def setting(value: object) -> str:
    """The value of a setting: ``yes`` or ``no`` for a switch, ``-`` where it is not set."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)

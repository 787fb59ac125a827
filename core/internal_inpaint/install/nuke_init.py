"""The one line in ``~/.nuke/init.py`` that makes Nuke look into ``InternalInpaint``."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from internal_inpaint.errors import BadInput

MARK = b"# Internal Inpaint: `internal-inpaint uninstall nuke` takes this line away"
LINE = b"import nuke; nuke.pluginAddPath('./InternalInpaint')  " + MARK


@dataclass(frozen=True)
class Line:
    """What was added to ``init.py``, byte for byte, and whether the file was made for it.

    ``content`` is the whole file as it is to be.
    """

    added: bytes
    created: bool
    content: bytes = b""


def added(path: Path, earlier: Line | None) -> Line:
    """``init.py`` with the line at its end; every byte that is there stays.

    Raises:
        BadInput: the file cannot be read as Python's text, or a line at its end would break it.
    """
    if not path.exists():
        return Line(LINE + b"\n", True, LINE + b"\n")
    if not path.is_file():
        raise BadInput(f"{path} is no file: Nuke's init.py is needed there")
    before = path.read_bytes()
    if MARK in before:
        return Line(earlier.added, earlier.created, before) if earlier else Line(LINE + b"\n", False, before)
    newline = b"\r\n" if b"\r\n" in before else b"\n"
    joint = b"" if not before or before.endswith((b"\n", b"\r")) else newline
    new = joint + LINE + newline
    if b"\0" in before or (_compiles(before, path) and not _compiles(before + new, path)):
        raise BadInput(f"{path} cannot take a line at its end: add there yourself: {LINE.decode()}")
    return Line(new, False, before + new)


def without(now: bytes, line: Line) -> bytes | None:
    """``init.py`` as it was before; ``None``: there was none."""
    if now.endswith(line.added):
        before = now[: -len(line.added)]
    else:
        # Something follows it now: only the line itself goes, not the end of the line before it.
        before = re.sub(rb"[^\r\n]*" + re.escape(MARK) + rb"[^\r\n]*(\r\n|\n|\r)?", b"", now, count=1)
    return None if line.created and not before.strip() else before


def _compiles(content: bytes, path: Path) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(content, str(path), "exec")
        except (SyntaxError, ValueError):
            return False
    return True

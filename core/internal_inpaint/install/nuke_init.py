"""The line in ``~/.nuke/init.py`` that adds ``InternalInpaint`` to Nuke's plugin path."""

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
    """A change to ``init.py``.

    Attributes:
        added: the bytes that were added.
        created: whether the file was created for them.
        content: the new content of the whole file.
    """

    added: bytes
    created: bool
    content: bytes = b""


def added(path: Path, earlier: Line | None) -> Line:
    """``init.py`` with the line appended; every existing byte stays.

    Raises:
        BadInput: the path is not a file, or appending a line would break the file's syntax.
    """
    if not path.exists():
        return Line(LINE + b"\n", True, LINE + b"\n")
    if not path.is_file():
        raise BadInput(f"{path} is not a file, but Nuke's init.py belongs there: move it away")
    before = path.read_bytes()
    if MARK in before:
        return Line(earlier.added, earlier.created, before) if earlier else Line(LINE + b"\n", False, before)
    newline = b"\r\n" if b"\r\n" in before else b"\n"
    joint = b"" if not before or before.endswith((b"\n", b"\r")) else newline
    new = joint + LINE + newline
    if b"\0" in before or (_compiles(before, path) and not _compiles(before + new, path)):
        raise BadInput(
            f"a line cannot be appended to {path} without breaking it: add this line yourself: {LINE.decode()}"
        )
    return Line(new, False, before + new)


def without(now: bytes, line: Line) -> bytes | None:
    """``init.py`` without the line; ``None`` if the file was created for it and is empty now."""
    if now.endswith(line.added):
        before = now[: -len(line.added)]
    else:
        # Other lines follow it now: remove only the line itself, not the end of the line before it.
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

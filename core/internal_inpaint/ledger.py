"""Which frames a job has written: a second run keeps them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Protocol

from internal_inpaint.files import write_atomically


class Writer(Protocol):
    """What puts frames into files."""

    def path(self, frame: int) -> Path:
        """The file of a frame."""


class Ledger:
    """Which frames this job has written, as which files, and from what.

    A frame's key says what it was made from. A frame that was made from something else, that somebody has changed
    since, or whose file is not there, is written again; every other one is kept.
    """

    def __init__(self, path: Path, writer: Writer) -> None:
        self._path, self._writer = path, writer
        self._frames: dict[str, list] = {}  # [size, time, key] of each file
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            self._frames = dict(json.loads(path.read_text())["frames"])

    def has(self, frame: int, key: str) -> bool:
        """Whether the file that stands there is this job's, made from what ``key`` says."""
        return self.wrote(frame) and self._frames[str(frame)][2:] == [key]

    def wrote(self, frame: int) -> bool:
        """Whether the file that stands there is this job's, whatever it was made from."""
        mark, before = self._mark(frame), self._frames.get(str(frame))
        return mark is not None and before is not None and before[:2] == mark

    def changed(self, frame: int) -> bool:
        """Whether this job wrote the frame's file and somebody has changed it since: a copy has another time."""
        mark, before = self._mark(frame), self._frames.get(str(frame))
        return before is not None and mark is not None and before[0] != mark[0]

    def add(self, frame: int, key: str) -> None:
        """The frame has been written."""
        self._frames[str(frame)] = [*(self._mark(frame) or []), key]
        write_atomically(self._path, json.dumps({"frames": self._frames}))

    def _mark(self, frame: int) -> list | None:
        try:
            found = self._writer.path(frame).stat()
        except OSError:
            return None
        return [found.st_size, found.st_mtime_ns]

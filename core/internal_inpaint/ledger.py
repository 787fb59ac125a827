"""Which frames a job has written: a second run keeps them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from internal_inpaint.files import write_atomically
from internal_inpaint.shot import FrameWriter


class Ledger:
    """Which frames this job has written with these weights, and as which files.

    A frame that has changed since, that was written with other weights, or whose file is not there, is rendered
    again.
    """

    def __init__(self, path: Path, writer: FrameWriter, key: str) -> None:
        self._path, self._writer, self._key = path, writer, key
        self._frames: dict[str, list] = {}
        self._earlier: dict[str, list] = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            read = json.loads(path.read_text())
            self._earlier = dict(read["frames"])
            self._frames = read["frames"] if read["key"] == self._key else {}

    def has(self, frame: int) -> bool:
        mark = self._mark(self._writer.path(frame))
        return mark is not None and mark == self._frames.get(str(frame))

    def wrote(self, frame: int) -> bool:
        """Whether the file that stands there is this job's, of whatever weights."""
        return self._earlier.get(str(frame)) == self._mark(self._writer.path(frame))

    def changed(self, frame: int) -> bool:
        """Whether this job wrote the frame's file and somebody has changed it since: a copy has another time."""
        before, now = self._earlier.get(str(frame)), self._mark(self._writer.path(frame))
        return before is not None and now is not None and before[0] != now[0]

    def add(self, frame: int, path: Path) -> None:
        self._frames[str(frame)] = self._mark(path)
        write_atomically(self._path, json.dumps({"key": self._key, "frames": self._frames}))

    @staticmethod
    def _mark(path: Path) -> list | None:
        try:
            found = path.stat()
        except OSError:
            return None
        return [found.st_size, found.st_mtime_ns]

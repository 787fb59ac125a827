"""A record of the frames that a job has written, so that a second run need not write them again."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Protocol

from internal_inpaint.files import write_atomically


class Writer(Protocol):
    """Writes frames to files."""

    def path(self, frame: int) -> Path:
        """The file of a frame."""


class Ledger:
    """The files that a job has written, by frame.

    The key of a frame identifies the inputs that it was made from. A frame is written again if its key differs, if
    its file has been changed since, or if its file is missing.
    """

    def __init__(self, path: Path, writer: Writer) -> None:
        self._path, self._writer = path, writer
        self._frames: dict[str, list] = {}  # [size, time, key] of each file
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            frames = json.loads(path.read_text())["frames"]
            self._frames = {frame: entry for frame, entry in frames.items() if isinstance(entry, list)}

    def has(self, frame: int, key: str) -> bool:
        """Whether the existing file is this job's and was made with ``key``."""
        return self.wrote(frame) and self._frames[str(frame)][2:] == [key]

    def wrote(self, frame: int) -> bool:
        """Whether the existing file is this job's, with any key."""
        mark, entry = self._mark(frame), self._frames.get(str(frame))
        return mark is not None and entry is not None and entry[:2] == mark

    def changed(self, frame: int) -> bool:
        """Whether the file of a frame was changed since this job wrote it.

        Only the size is compared, because a copied file has another time.
        """
        mark, entry = self._mark(frame), self._frames.get(str(frame))
        return entry is not None and mark is not None and entry[0] != mark[0]

    def add(self, frame: int, key: str) -> None:
        """Record that the frame has been written."""
        self._frames[str(frame)] = [*(self._mark(frame) or []), key]
        write_atomically(self._path, json.dumps({"frames": self._frames}))

    def _mark(self, frame: int) -> list | None:
        """[size, modification time] of a frame's file; ``None`` if it does not exist."""
        try:
            found = self._writer.path(frame).stat()
        except OSError:
            return None
        return [found.st_size, found.st_mtime_ns]

"""Asking a run to stop: by a signal, or by a file in its job folder."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from internal_inpaint.job_folder import JobFolder

STOPPED = "stopped on request; run the same command again to go on"
BROKEN_OFF = "broken off; run the same command again to go on from the last checkpoint"
LOOK_SECONDS = 0.5  # how often the stop file is looked for: folders may lie on slow network drives
# Windows sends a process group SIGBREAK where others send SIGTERM.
SIGNALS = [signal.SIGTERM, signal.SIGINT] + ([signal.SIGBREAK] if hasattr(signal, "SIGBREAK") else [])


class StopRequest:
    """True once SIGTERM or SIGINT came or the job folder's ``stop`` file appeared.

    Made first thing in a process, so that whoever asks while PyTorch is still loading is heard.
    """

    def __init__(self) -> None:
        self._made = time.time()
        self._file: Path | None = None
        self._asked, self._looked = False, 0.0

    def watch(self, folder: JobFolder) -> None:
        """Look for ``stop`` in this job folder; one from before this run was meant for an earlier one."""
        self._file = folder.stop
        # A second of grace for network drives that keep their own clock.
        begun = min(self._made - 1, _started_by_host(folder))
        with contextlib.suppress(FileNotFoundError):
            if self._file.is_file() and self._file.stat().st_mtime < begun:
                self._file.unlink()

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self._asked and self._file and now - self._looked >= LOOK_SECONDS:
            self._looked, self._asked = now, self._file.exists()
        return self._asked

    def heeded(self) -> None:
        """The run has stopped: the file has done its work."""
        if self._file and self._file.is_file():
            self._file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """While this lasts, the signals ask for a stop; a second SIGINT breaks off at once."""

        def heard(number, frame):
            if number == signal.SIGINT and self._asked:
                raise KeyboardInterrupt
            self._asked = True

        before = {number: signal.signal(number, heard) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _started_by_host(folder: JobFolder) -> float:
    """When a host started the worker that this process must be, as the last one started has not said a word yet.

    Python itself may take long to come up from a network drive, and the artist may press Stop meanwhile.
    """
    try:
        started = folder.worker.stat().st_mtime
    except OSError:
        return math.inf
    with contextlib.suppress(OSError):
        if folder.status.stat().st_mtime >= started:
            return math.inf
    return started

"""Stop requests: by a signal, or by a file in the job folder."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from internal_inpaint.job_folder import JobFolder

STOPPED = "stopped on request; run the same command again to resume"
INTERRUPTED = "interrupted; run the same command again to resume from the last checkpoint"
POLL_SECONDS = 0.5  # how often to check for the stop file, because folders may be on slow network drives
# Windows sends SIGBREAK to a process group, where other systems send SIGTERM.
SIGNALS = [signal.SIGTERM, signal.SIGINT] + ([signal.SIGBREAK] if hasattr(signal, "SIGBREAK") else [])


class StopRequest:
    """True after SIGTERM or SIGINT, or once the job folder's ``stop`` file exists.

    Create it first in a process, so that it notices requests while PyTorch is still loading.
    """

    def __init__(self) -> None:
        self._created = time.time()
        self._file: Path | None = None
        self._requested, self._last_poll = False, 0.0

    def watch(self, folder: JobFolder) -> None:
        """Watch for ``stop`` in this job folder. A file from before this run was meant for an earlier run."""
        self._file = folder.stop
        # Allow one second of difference to the clock of a network drive.
        start = min(self._created - 1, _started_by_host(folder))
        with contextlib.suppress(FileNotFoundError):
            if self._file.is_file() and self._file.stat().st_mtime < start:
                self._file.unlink()

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self._requested and self._file and now - self._last_poll >= POLL_SECONDS:
            self._last_poll, self._requested = now, self._file.exists()
        return self._requested

    def heeded(self) -> None:
        """Remove the file after the run has stopped."""
        if self._file and self._file.is_file():
            self._file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Inside this context, the signals request a stop. A second SIGINT interrupts the run immediately."""

        def on_signal(number, frame):
            if number == signal.SIGINT and self._requested:
                raise KeyboardInterrupt
            self._requested = True

        previous = {number: signal.signal(number, on_signal) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _started_by_host(folder: JobFolder) -> float:
    """The time at which a host started this worker process; infinity if no host did.

    If the worker that a host started last has not written a status yet, it is this process. Python may start slowly
    from a network drive, and the artist may press Stop during that time.
    """
    try:
        started = folder.worker.stat().st_mtime
    except OSError:
        return math.inf
    with contextlib.suppress(OSError):
        if folder.status.stat().st_mtime >= started:
            return math.inf
    return started

"""Asking a run to stop, and keeping two runs out of one job folder."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from internal_inpaint.errors import BadInput

LOOK_SECONDS = 0.5  # how often the stop file is looked for: folders may lie on slow network drives


class StopRequest:
    """True once SIGTERM or SIGINT came or the job folder's ``stop`` file appeared."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "stop"
        # One left by an earlier run was meant for that run.
        self._file.unlink(missing_ok=True)
        self._asked, self._looked = False, 0.0

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self._asked and now - self._looked >= LOOK_SECONDS:
            self._looked, self._asked = now, self._file.exists()
        return self._asked

    def ask(self) -> None:
        self._asked = True

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """While this lasts, SIGTERM and SIGINT ask for a stop; a second SIGINT breaks off at once."""

        def heard(number, frame):
            if number == signal.SIGINT and self._asked:
                raise KeyboardInterrupt
            self.ask()

        before = {number: signal.signal(number, heard) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold the job folder's lock. Raises ``BadInput`` if another live run holds it.

    The operating system drops the lock with the process, so that a killed run leaves nothing behind.
    """
    with open(folder / ".lock", "a+b") as lock:
        try:
            _lock(lock)
        except OSError:
            raise BadInput(
                f"{folder} is in use by another run: wait for it, stop it, or use another --work folder"
            ) from None
        yield


def _lock(file) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

"""What lets a thread wait, forbidden where Nuke's window would stand still meanwhile."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time

# Everything in the standard library that waits for another thread (events, queues, barriers), for another process
# or for the clock goes through one of these. Starting a process waits until the system has loaded it.
WAITS = (
    (time, "sleep"),
    (threading.Condition, "wait"),
    (threading.Thread, "join"),
    (subprocess.Popen, "__init__"),
    (subprocess.Popen, "wait"),
    (subprocess.Popen, "communicate"),
)


@contextlib.contextmanager
def no_waiting(noted):
    """Nothing on this thread may wait; other threads may.

    Args:
        noted: called with a sentence for each wait, which raises besides.
    """
    thread, originals = threading.current_thread(), [getattr(owner, name) for owner, name in WAITS]
    for (owner, name), original in zip(WAITS, originals, strict=True):
        setattr(owner, name, _guarded(original, owner, name, thread, noted))
    try:
        yield
    finally:
        for (owner, name), original in zip(WAITS, originals, strict=True):
            setattr(owner, name, original)


def _guarded(original, owner, name, thread, noted):
    def call(*args, **kwargs):
        if threading.current_thread() is thread and not _starts_a_thread():
            what = f"{owner.__name__}.{name} on the main thread: Nuke's window stands still"
            noted(what)
            raise RuntimeError(what)
        return original(*args, **kwargs)

    return call


def _starts_a_thread():
    """``Thread.start`` waits until its thread is there, which takes no time worth speaking of."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code is threading.Thread.start.__code__:
            return True
        frame = frame.f_back
    return False

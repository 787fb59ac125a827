"""How PyTorch's CPU threads wait for each other: by spinning on a quiet machine, by sleeping on a busy one.

The threads wait for each other in every layer, mostly for microseconds. Spinning is the fastest way to wait. But
where other programs use the processors too, a thread spins for another one that has no processor, and keeps a
processor from it: a training becomes many times slower (docs/benchmarks.md, "On a busy machine").

Importing this module loads the standard library only. ``limited_while_busy`` imports psutil.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from internal_inpaint.threads import usable_cpus

# What a user can set for GNU's OpenMP, and for LLVM's and Intel's; if any is set, it stays as it is.
GNU_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
LLVM_SETTINGS = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME")
SAMPLE_SECONDS = 2.0
INTERACTIVE_CPUS = 0.5  # programs that use less than half a processor do not count, as in ``threads.threads_for``


def set_block_time() -> None:
    """Let LLVM's and Intel's OpenMP (PyTorch's wheels for macOS and Windows) spin for 1 ms instead of 200 ms.

    This has an effect only before OpenMP is loaded, which ``import torch`` does. GNU's OpenMP (Linux) ignores it.
    """
    if not any(name in os.environ for name in LLVM_SETTINGS):
        os.environ["KMP_BLOCKTIME"] = "1"


@contextlib.contextmanager
def limited_while_busy(threads: int) -> Iterator[None]:
    """Limit the spinning of GNU's OpenMP whenever other programs need the processors that this process uses.

    Args:
        threads: how many threads this process computes with.
    """
    runtimes = _gnu_runtimes()
    if threads < 2 or not runtimes or any(name in os.environ for name in GNU_SETTINGS):
        yield
        return
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(threads, runtimes, ended), name="spinning", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def contended(others: float, threads: int, cpus: int) -> bool:
    """Whether other programs, which use ``others`` of ``cpus`` processors, leave fewer than ``threads`` of them."""
    return others > cpus - threads + INTERACTIVE_CPUS


def _watch(threads: int, runtimes: list[ctypes.CDLL], ended: threading.Event) -> None:
    cpus, team = usable_cpus(), None
    # A system that does not say what its processors do: the threads spin as they do by themselves.
    with contextlib.suppress(OSError, RuntimeError, NotImplementedError):
        usage = _OthersUsage(cpus)
        while not ended.wait(SAMPLE_SECONDS):
            busy = contended(usage.since_last(), threads, len(cpus))
            if busy and team is None:
                team = _IdleTeam(runtimes, len(cpus) - threads + 2)
            elif not busy and team is not None:
                team.end()
                team = None
    if team is not None:
        team.end()


class _OthersUsage:
    """How many of these processors other programs use, on average since it was asked last."""

    def __init__(self, cpus: list[int]) -> None:
        self._cpus = cpus
        self._last = self._now()

    def since_last(self) -> float:
        now, last = self._now(), self._last
        self._last = now
        wall, own, busy = (a - b for a, b in zip(now, last, strict=True))
        return max(0.0, busy - own) / max(wall, 1e-3)

    def _now(self) -> tuple[float, float, float]:
        """Wall time, CPU time of this process, and CPU time of all programs."""
        import psutil

        times = psutil.cpu_times(percpu=True)
        # Guests are counted as user time already. Steal is another virtual machine's: sleeping would not help it.
        not_ours = ("idle", "iowait", "steal", "guest", "guest_nice")
        busy = sum(
            sum(seconds for kind, seconds in times[cpu]._asdict().items() if kind not in not_ours)
            for cpu in self._cpus
            if cpu < len(times)
        )
        return time.monotonic(), time.process_time(), busy


class _IdleTeam:
    """A team of OpenMP threads that does nothing.

    GNU's OpenMP has no function that changes for how long its threads spin. But while a process has more OpenMP
    threads than processors, they spin 1,000 times instead of 300,000 (libgomp's manual, ``GOMP_SPINCOUNT``). So a
    team that only sleeps limits the spinning of the others, without changing what they compute.

    Args:
        runtimes: GNU's OpenMP libraries.
        size: threads of the team, with its own first one, which OpenMP does not count.
    """

    def __init__(self, runtimes: list[ctypes.CDLL], size: int) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._hold, args=(runtimes, size), name="idle team", daemon=True)
        self._thread.start()

    def _hold(self, runtimes: list[ctypes.CDLL], size: int) -> None:
        for gomp in runtimes:
            # Every thread of the team runs a function that has no effect, and sleeps until this thread ends.
            gomp.GOMP_parallel(ctypes.cast(gomp.omp_get_level, ctypes.c_void_p), None, size, 0)
        self._ended.wait()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def _gnu_runtimes() -> list[ctypes.CDLL]:
    """GNU's OpenMP libraries that this process has loaded; there may be several, each of another package."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    paths = {line.split(maxsplit=5)[5] for line in lines if "libgomp" in line}
    found = []
    for path in sorted(paths):
        with contextlib.suppress(OSError, AttributeError):
            gomp = ctypes.CDLL(path)
            gomp.GOMP_parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
            gomp.GOMP_parallel.restype = None
            found.append(gomp)
    return found

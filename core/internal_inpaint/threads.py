"""CPU use of a run: the number of threads and their priority. How they wait for each other: ``spinning``.

Importing this module loads the standard library only. Functions that import more document it.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

# Environment variable that a program sets when it starts a background worker: the increase of its nice value.
NICE = "INTERNAL_INPAINT_NICE"
AUTOGROUP = Path("/proc/self/autogroup")
SAMPLE_SECONDS = 0.2


def lower_priority() -> None:
    """Raise this process's nice value by ``$INTERNAL_INPAINT_NICE``, if that is set.

    Call this before the process has other threads, which inherit the value. It removes the variable from the
    environment, because child processes inherit the nice value too. It does nothing on Windows, where the program
    that starts the worker sets its priority class.
    """
    try:
        increment = int(os.environ.pop(NICE, ""))
    except ValueError:
        return
    if increment <= 0 or not hasattr(os, "nice"):
        return
    nice = os.nice(increment)
    # With autogroups, Linux shares the CPU between sessions first, and a process's nice value counts only within its
    # session. The session has its own nice value; set it only if this process leads the session.
    if os.getsid(0) == os.getpid():
        _set_autogroup(nice)


def _set_autogroup(nice: int) -> None:
    for _ in range(5):
        try:
            AUTOGROUP.write_text(str(nice))
            return
        except BlockingIOError:
            time.sleep(0.1)  # the kernel accepts only one such change per 0.1 s, from all processes together
        except OSError:
            return  # no autogroups


def choose_threads(requested: int | None, earlier: int | None = None) -> int:
    """The number of threads to compute with. Imports psutil, unless an argument or the environment sets the number.

    The order of sums depends on the number of threads, so results on the CPU are bit-identical only for the same
    number. A resumed training therefore uses as many threads as before.

    By default the number depends on the processors that this process may use (its affinity and its control group's
    quota) and on how many of them other programs use; see ``threads_for``.

    Args:
        requested: the user's setting, which takes precedence. ``OMP_NUM_THREADS`` comes next.
        earlier: the number of threads of the training to resume.
    """
    if requested is not None:
        return requested
    with contextlib.suppress(ValueError):  # OpenMP also accepts a list, one number per level of nesting
        return max(1, int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0]))
    if earlier:
        return earlier
    cpus = usable_cpus()
    nice = os.getpriority(os.PRIO_PROCESS, 0) if hasattr(os, "getpriority") else 0
    return threads_for(len(cpus), physical_cores(cpus), taken_by_others(cpus), cpu_quota(), nice)


def threads_for(cpus: int, cores: int, taken: float, quota: float | None = None, nice: int = 0) -> int:
    """The fastest number of threads on a machine with other busy programs; at least one.

    The threads wait for each other in every layer, so all are as slow as the slowest, which shares its processor. If
    other programs use few processors, it is best to avoid those. If they use nearly all, a share of every processor
    is more than the few that remain.

    Args:
        cpus: logical processors that this process may use.
        cores: physical cores among them. Two threads on one core are no faster than one, because they share its
            arithmetic units.
        taken: how many of ``cpus`` other programs use.
        quota: CPU time limit of this process, in processors; ``None``: no limit.
        nice: this process's nice value; the other programs' is assumed to be 0.
    """
    most = min(cores, cpus if quota is None else int(quota))
    # A program that uses less than half a processor is interactive, and does not count.
    free = min(most, cpus - int(taken + 0.5))
    # Each decrement of the nice value gives a process 25 % more of a contended processor on Linux.
    share = 1 / (1 + 1.25**nice)
    return max(1, free if free >= share * most else most)


def usable_cpus() -> list[int]:
    """The logical processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def physical_cores(cpus: list[int]) -> int:
    """The number of physical cores of these logical processors. Imports psutil on systems other than Linux."""
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    try:
        return len({Path(topology.format(cpu)).read_text() for cpu in cpus})
    except OSError:
        import psutil

        return min(psutil.cpu_count(logical=False) or len(cpus), len(cpus))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPU time limit of this process's control groups, in processors (Linux); None: no limit.

    Args:
        root: folder that contains ``proc`` and ``sys``.
    """
    limits = []
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                group, files = root / "sys/fs/cgroup", ("cpu.max",)
            elif "cpu" in controllers.split(","):
                group, files = root / "sys/fs/cgroup" / controllers, ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            else:
                continue
            # The limits of all parent groups apply too. In a container, the path may exist only on its host.
            for part in ("", *path.strip("/").split("/")):
                group = group / part
                limits += _limit(group, files)
    return min(limits, default=None)


def _limit(group: Path, files: tuple[str, ...]) -> list[float]:
    try:
        quota, period = (number for name in files for number in (group / name).read_text().split())
        # "max" and -1: no limit.
        return [int(quota) / int(period)] if int(quota) > 0 else []
    except (OSError, ValueError):
        return []


def taken_by_others(cpus: list[int]) -> float:
    """How many of these processors other programs use. Imports psutil; takes 0.2 s.

    This is the smaller of the current use and the load of the last minute. Neither the load of a host that has just
    rendered the plate, nor a short peak, should reduce the threads of a training that takes hours.
    """
    import psutil

    shares = psutil.cpu_percent(SAMPLE_SECONDS, percpu=True)
    now = sum(share for cpu, share in enumerate(shares) if cpu in cpus) / 100
    if not hasattr(os, "getloadavg"):
        return now
    return min(now, os.getloadavg()[0])


def apply_threads(number: int) -> None:
    """Set the number of threads of PyTorch, OpenCV and OpenImageIO. Imports all three."""
    import cv2
    import OpenImageIO as oiio
    import torch

    torch.set_num_threads(number)
    # One, because OpenCV's optical flow depends on the number; what takes long there runs several frames at once.
    cv2.setNumThreads(1)
    oiio.attribute("threads", number)
    oiio.attribute("exr_threads", number)

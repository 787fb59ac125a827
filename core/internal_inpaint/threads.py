"""How much of the machine a run takes: how its threads wait, how many there are, and at which priority they run.

PyTorch computes on the CPU with OpenMP. By default OpenMP's threads spin while they wait for each other. On a machine
that other programs use, they wait for a thread that has no core, and the spinning takes that core away from it: a
training becomes many times slower (docs/benchmarks.md, "On a busy machine"). With ``OMP_WAIT_POLICY=PASSIVE`` they
sleep instead. An OpenMP runtime reads the variable when it is loaded, so ``import internal_inpaint`` sets it.

Importing this module loads the standard library only; the functions that import more say so.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

# Set by what starts a worker in the background: by how much its nice value is above that of the program it serves.
NICE = "INTERNAL_INPAINT_NICE"
AUTOGROUP = Path("/proc/self/autogroup")
SAMPLE_SECONDS = 0.2


def wait_passively() -> None:
    """Make OpenMP's threads sleep while they wait, in this process and in those that it starts.

    Has an effect only before OpenMP is loaded, which ``import torch`` does. One variable of the OpenMP specification
    is enough for every runtime that PyTorch's wheels contain: GNU's (Linux) then spins 0 times, LLVM's (macOS) and
    Intel's (Windows) block after 0 ms. A value that the user has set stays, and so do ``GOMP_SPINCOUNT`` and
    ``KMP_BLOCKTIME``, which take precedence over it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def lower_priority() -> None:
    """Raise this process's nice value by ``$INTERNAL_INPAINT_NICE``, if that is set.

    Called before the process has other threads, which inherit the value. Takes the variable out of the environment:
    processes that this one starts have the nice value already. Does nothing on Windows, where whoever starts the
    worker sets the priority class.
    """
    try:
        by = int(os.environ.pop(NICE, ""))
    except ValueError:
        return
    if by <= 0 or not hasattr(os, "nice"):
        return
    nice = os.nice(by)
    # Linux with autogroups shares the processor between sessions first: in a session of its own, a process's nice
    # value says nothing to other sessions. The session's value does; only a session that is ours alone is lowered.
    if os.getsid(0) == os.getpid():
        _set_autogroup(nice)


def _set_autogroup(nice: int) -> None:
    for _ in range(5):
        try:
            AUTOGROUP.write_text(str(nice))
            return
        except BlockingIOError:
            time.sleep(0.1)  # the kernel takes one such change in a tenth of a second, from anybody
        except OSError:
            return  # no autogroups here


def choose_threads(asked: int | None, kept: int | None = None) -> int:
    """The number of threads to compute with. Imports psutil where the machine decides.

    Sums are taken in another order with another number of threads: results on the CPU are the same bit for bit only
    with the same number. So what has been trained with ``kept`` threads goes on with as many.

    Otherwise the machine decides, see ``threads_for``: by the processors that this process may use (its affinity and
    its control group's quota), and what other programs take of them.

    Args:
        asked: what the user asks for; comes before everything else. ``OMP_NUM_THREADS`` comes next.
        kept: the number that this training has had so far.
    """
    if asked is not None:
        return asked
    with contextlib.suppress(ValueError):  # OpenMP takes a list, too: one number a level of nesting
        return max(1, int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0]))
    if kept:
        return kept
    cpus = usable_cpus()
    nice = os.getpriority(os.PRIO_PROCESS, 0) if hasattr(os, "getpriority") else 0
    return threads_for(len(cpus), physical_cores(cpus), taken_by_others(cpus), cpu_quota(), nice)


def threads_for(cpus: int, cores: int, taken: float, quota: float | None = None, nice: int = 0) -> int:
    """The number of threads that does most on a machine that other programs use; at least one.

    The threads wait for each other in every layer, so all are as slow as the one that shares its processor. Where
    other programs take few processors, it is best to leave those alone; where they take nearly all, a share of every
    processor is more than the few that are left.

    Args:
        cpus: logical processors that this process may use.
        cores: physical cores among them. Two threads on one core are no faster than one: they share its arithmetic
            units.
        taken: how many of ``cpus`` other programs use.
        quota: how many processors' time this process may use, if there is a limit.
        nice: this process's nice value, the others' being 0.
    """
    most = min(cores, cpus if quota is None else int(quota))
    # Less than half a processor is an interactive program, not a render.
    left = min(most, cpus - int(taken + 0.5))
    # Linux gives a process a quarter more of a contended processor for each nice value less.
    share = 1 / (1 + 1.25**nice)
    return max(1, left if left >= share * most else most)


def usable_cpus() -> list[int]:
    """The logical processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def physical_cores(cpus: list[int]) -> int:
    """How many physical cores these logical processors are. Imports psutil where there is no Linux to ask."""
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    try:
        return len({Path(topology.format(cpu)).read_text() for cpu in cpus})
    except OSError:
        import psutil

        return min(psutil.cpu_count(logical=False) or len(cpus), len(cpus))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """How many processors' time this process's control groups let it use (Linux); None: no limit.

    Args:
        root: where ``proc`` and ``sys`` are.
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
            # The limits of all the groups above hold too. In a container the path may be one that only its host has.
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
    """How many of these processors other programs use. Imports psutil; takes a fifth of a second.

    The smaller of what is in use now and the load of the last minute. A host that has just rendered what this run
    reads has left a load behind, and a moment's work is no load: neither takes threads from a training of hours.
    """
    import psutil

    shares = psutil.cpu_percent(SAMPLE_SECONDS, percpu=True)
    now = sum(share for cpu, share in enumerate(shares) if cpu in cpus) / 100
    if not hasattr(os, "getloadavg"):
        return now
    return min(now, os.getloadavg()[0])


def apply_threads(number: int) -> None:
    """Let PyTorch, OpenCV and OpenImageIO compute with so many threads. Imports all three."""
    import cv2
    import OpenImageIO as oiio
    import torch

    torch.set_num_threads(number)
    cv2.setNumThreads(number)
    oiio.attribute("threads", number)
    oiio.attribute("exr_threads", number)

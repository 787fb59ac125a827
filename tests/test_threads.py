"""How a run's threads wait, how many there are, and that a worker runs at a lower priority than its host."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from running import ROOT, shot_options

from internal_inpaint import spinning, threads
from internal_inpaint.cli import main
from internal_inpaint_plugin import worker as workers

LOADS_TORCH = ["run", "--plate", "nowhere.####.exr", "--output", "clean.####.exr"]
SCRIPT = Path(sys.executable).with_name("internal-inpaint")


def printed(command, folder, **environment):
    """What a process prints that inherits no setting of threads."""
    settings = (*spinning.GNU_SETTINGS, *spinning.LLVM_SETTINGS, threads.NICE)
    inherited = {name: value for name, value in os.environ.items() if name not in settings}
    # An absolute path, as the process runs in a folder of its own.
    inherited["PYTHONPATH"] = str(ROOT / "core")
    environment = {**inherited, **environment}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    return done.stdout + done.stderr


# Prints the CPU time of 40 waits of 20 ms, in which OpenMP's second thread spins for as long as it may.
SPINS = """
import os, sys, time, types
import psutil, torch
from internal_inpaint import spinning

torch.set_num_threads(2)
spinning.SAMPLE_SECONDS = 0.1
busy, psutil_times = float(sys.argv[1]), psutil.cpu_times
# What the system says of each processor: that other programs use this much of it.
seconds = lambda: types.SimpleNamespace(_asdict=lambda: {"user": busy * time.monotonic(), "idle": 0.0})
psutil.cpu_times = lambda percpu: [seconds() for _ in psutil_times(percpu=True)]


def cpu_seconds():
    used = 0.0
    for _ in range(40):
        torch.ones(1 << 17).add_(1)
        before = time.process_time()
        time.sleep(0.02)
        used += time.process_time() - before
    return used


def threads():
    return len(os.listdir("/proc/self/task"))


torch.ones(1 << 17).add_(1)
without = threads()
with spinning.limited_while_busy(2):
    # One thread watches, and two are the team that limits the spinning: on a busy machine they take a while.
    limits = busy and not any(name in os.environ for name in spinning.GNU_SETTINGS)
    until = time.monotonic() + (60 if limits else 0.5)
    while threads() < without + 3 and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(0.2)
    print(cpu_seconds())
    within = threads()
print(cpu_seconds())
print(within - threads())
"""


@pytest.mark.parametrize(
    ("setting", "expected"), [({}, "1"), ({"KMP_BLOCKTIME": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")]
)
def test_llvms_and_intels_openmp_are_told_how_long_to_spin(setting, expected, tmp_path):
    code = "import os, internal_inpaint; print(os.environ.get('KMP_BLOCKTIME'))"
    assert printed([sys.executable, "-c", code], tmp_path, **setting).strip() == expected


@pytest.mark.skipif(sys.platform != "linux", reason="it is GNU's OpenMP that is limited")
class TestSpinning:
    def cpu_seconds(self, folder, others, **environment):
        """CPU time of waiting in a run and after it, and the number of threads that end with the run."""
        within, after, ended = printed([sys.executable, "-c", SPINS, str(others)], folder, **environment).split()
        return float(within), float(after), int(ended)

    def test_on_a_busy_machine_openmp_spins_for_a_shorter_time(self, tmp_path):
        within, after, ended = self.cpu_seconds(tmp_path, others=1.0)
        assert within < after / 3
        assert ended > 1, "what limited it is still there"

    def test_on_a_quiet_machine_it_spins_as_it_does_by_itself(self, tmp_path):
        # The other tests may hold the processors at the moment of one measurement, not of three.
        for _ in range(3):
            within, after, ended = self.cpu_seconds(tmp_path, others=0.0)
            if within > after / 2:
                break
        assert within > after / 2
        assert ended == 1, "the one that watches"

    @pytest.mark.parametrize("setting", [{"GOMP_SPINCOUNT": "300000"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
    def test_what_the_user_has_set_stays(self, setting, tmp_path):
        _, _, ended = self.cpu_seconds(tmp_path, others=1.0, **setting)
        assert ended == 0

    def test_a_run_is_watched(self, sample, tmp_path, monkeypatch):
        watched = []
        monkeypatch.setattr(spinning, "_watch", lambda threads, runtimes, ended: watched.append(threads))
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        before = torch.get_num_threads()
        try:
            options = shot_options(sample, tmp_path / "out" / "clean.####.exr", tmp_path / "job")
            assert main(["run", *map(str, options), "--frames", "1001", "--steps", "1", "--quality", "draft"]) == 0
        finally:
            torch.set_num_threads(before)
        assert watched == [2]

    @pytest.mark.parametrize(
        ("others", "threads", "cpus", "expected"),
        [(0.4, 2, 2, False), (0.6, 2, 2, True), (6.0, 8, 16, False), (9.0, 8, 16, True), (2.0, 2, 2, True)],
    )
    def test_threads_wait_for_others_where_these_leave_too_few_processors(self, others, threads, cpus, expected):
        assert spinning.contended(others, threads, cpus) == expected


SAYS_NICE = """#!{python}
import os, sys
sys.path.insert(0, {core!r})
from internal_inpaint.cli import main
code = main()
print("nice", os.getpriority(os.PRIO_PROCESS, 0), "set" if {name!r} in os.environ else "not set", flush=True)
try:
    print(open("/proc/self/autogroup").read())
except OSError:
    print("autogroup nice unknown")
sys.exit(code)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has priority classes")
class TestPriority:
    @pytest.fixture
    def engine(self, tmp_path):
        path = tmp_path / "internal-inpaint"
        path.write_text(SAYS_NICE.format(python=sys.executable, core=str(ROOT / "core"), name=threads.NICE))
        path.chmod(0o755)
        return path

    def started_by_a_host(self, engine, folder):
        folder.mkdir()
        pid = workers.start([str(engine)], folder)
        until = time.monotonic() + 60
        while workers.alive(pid):
            assert time.monotonic() < until, "it does not end"
            time.sleep(0.02)
        return (folder / "worker.log").read_text()

    def test_a_worker_gives_way_to_its_host(self, engine, tmp_path, monkeypatch):
        monkeypatch.delenv(threads.NICE, raising=False)
        expected = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        told = self.started_by_a_host(engine, tmp_path / "job")
        # Not set any more: what the worker starts would be lowered twice.
        assert f"nice {expected} not set" in told
        group = re.search(r"autogroup\S* nice (\S+)", told)[1]
        assert group in (str(expected), "unknown"), "its session must give way to the host's"

    def test_the_user_may_choose_another_priority(self, engine, tmp_path, monkeypatch):
        monkeypatch.setenv(threads.NICE, "0")
        told = self.started_by_a_host(engine, tmp_path / "job")
        assert f"nice {os.getpriority(os.PRIO_PROCESS, 0)} " in told

    def test_the_command_line_keeps_its_priority(self, engine, tmp_path):
        told = printed([str(engine), "run", "nowhere.json"], tmp_path)
        assert f"nice {os.getpriority(os.PRIO_PROCESS, 0)} " in told


V1 = {"cpu,cpuacct/cpu.cfs_quota_us": "150000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}


class TestNumber:
    @pytest.fixture(autouse=True)
    def nothing_set(self, monkeypatch):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def test_what_is_asked_for_comes_before_the_environment_and_that_before_the_machine(self, monkeypatch):
        assert threads.choose_threads(None, earlier=1) == 1
        monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
        assert threads.choose_threads(None, earlier=1) == 3
        assert threads.choose_threads(5, earlier=1) == 5

    @pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
    def test_a_process_of_one_processor_gets_one_thread(self, tmp_path):
        code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        code += "from internal_inpaint.threads import choose_threads as choose; print(choose(None), choose(None, 64))"
        # What was trained with 64 threads goes on with 64: another number sums in another order.
        assert printed([sys.executable, "-c", code], tmp_path).split() == ["1", "64"]

    @pytest.mark.parametrize(
        ("machine", "expected"),
        [
            ({"cpus": 16, "cores": 8, "taken": 0.3}, 8),  # two threads on one core are no faster
            ({"cpus": 16, "cores": 8, "taken": 7.8}, 8),
            ({"cpus": 16, "cores": 8, "taken": 12.2}, 4),
            ({"cpus": 16, "cores": 8, "taken": 16.0}, 8),  # half of every core, not one core of eight
            ({"cpus": 16, "cores": 8, "taken": 14.0}, 8),
            ({"cpus": 16, "cores": 8, "taken": 14.0, "nice": 10}, 2),  # more than a tenth of every core
            ({"cpus": 2, "cores": 2, "taken": 0.9}, 1),
            ({"cpus": 2, "cores": 2, "taken": 2.0}, 2),
            ({"cpus": 1, "cores": 1, "taken": 1.0}, 1),
            ({"cpus": 16, "cores": 8, "taken": 0.0, "quota": 2.5}, 2),
            ({"cpus": 16, "cores": 8, "taken": 0.0, "quota": 0.5}, 1),
        ],
    )
    def test_what_does_most_on_this_machine(self, machine, expected):
        assert threads.threads_for(**machine) == expected

    @pytest.mark.parametrize(
        ("groups", "files", "quota"),
        [
            ("0::/farm/slot\n", {"farm/slot/cpu.max": "max 100000\n", "farm/cpu.max": "250000 100000\n"}, 2.5),
            ("0::/\n", {"cpu.max": "400000 100000\n"}, 4.0),
            ("0::/a\n", {"a/cpu.max": "max 100000\n"}, None),
            (
                "4:cpu,cpuacct:/docker/1\n0::/\n",
                {"cpu,cpuacct/cpu.cfs_quota_us": "150000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
                1.5,
            ),
            ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
            (None, {}, None),
        ],
    )
    def test_a_control_groups_limit_is_found(self, groups, files, quota, tmp_path):
        if groups is not None:
            (tmp_path / "proc/self").mkdir(parents=True)
            (tmp_path / "proc/self/cgroup").write_text(groups)
        for name, text in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert threads.cpu_quota(tmp_path) == quota

    def test_a_run_computes_with_the_number_that_was_chosen(self, tmp_path):
        """OpenImageIO's threads, too, which know no OMP_NUM_THREADS. OpenCV's is always one: its optical flow depends
        on their number."""
        code = (
            "import sys; from internal_inpaint.cli import main; code = main(sys.argv[1:])\n"
            "import cv2, OpenImageIO as oiio, torch\n"
            "numbers = oiio.get_int_attribute('threads'), oiio.get_int_attribute('exr_threads')\n"
            "print('threads', torch.get_num_threads(), cv2.getNumThreads(), *numbers)\n"
        )
        for number in ("1", "3"):
            told = printed([sys.executable, "-c", code, *LOADS_TORCH], tmp_path, OMP_NUM_THREADS=number)
            assert f"threads {number} 1 {number} {number}" in told, told

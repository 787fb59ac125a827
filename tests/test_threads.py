"""How a run's threads wait, how many there are, and that a worker runs at a lower priority than its host."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running import ROOT

from internal_inpaint import threads
from internal_inpaint_plugin import worker as workers

# For how long a thread spins before it sleeps: in GNU's OpenMP, in LLVM's and Intel's. The policy itself says little:
# GNU's prints PASSIVE where it is not set, too.
SPINS = re.compile(r"(?:GOMP_SPINCOUNT|KMP_BLOCKTIME) ?= ?'?(\d+|INFINIT\w+)")
LOADS_TORCH = ["run", "--plate", "nowhere.####.exr", "--output", "clean.####.exr"]
SCRIPT = Path(sys.executable).with_name("internal-inpaint")


def printed(command, folder, **environment):
    """What a process prints. With OMP_DISPLAY_ENV, an OpenMP runtime prints what it has read when it is loaded."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", threads.NICE)}
    # An absolute path, as the process runs in a folder of its own.
    inherited["PYTHONPATH"] = str(ROOT / "core")
    environment = {**inherited, "OMP_DISPLAY_ENV": "VERBOSE", **environment}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    return done.stdout + done.stderr


WAYS = {
    "python -m": [sys.executable, "-m", "internal_inpaint", *LOADS_TORCH],
    "command": [str(SCRIPT), *LOADS_TORCH],
    "a user's script": [sys.executable, "-c", "import internal_inpaint, torch"],
    "tests": [sys.executable, "-m", "pytest", "-s", "--collect-only", f"{ROOT}/tests/test_networks.py"],
}


class TestWaiting:
    @pytest.mark.parametrize("way", WAYS)
    def test_openmp_is_told_to_wait_passively_before_it_is_loaded(self, way, tmp_path):
        if not Path(WAYS[way][0]).exists():
            pytest.skip("the package is not installed in this environment")
        told = printed(WAYS[way], tmp_path)
        assert SPINS.findall(told) == ["0"], told

    def test_what_the_user_has_set_stays(self, tmp_path):
        told = printed(WAYS["a user's script"], tmp_path, OMP_WAIT_POLICY="ACTIVE")
        assert SPINS.findall(told) not in ([], ["0"]), told

    @pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
    def test_a_benchmark_measures_what_users_run(self, path, tmp_path):
        """Ends each benchmark where it first imports PyTorch, and looks at how OpenMP would wait."""
        hooked = (
            "import os, runpy, sys\n"
            "def hook(event, arguments):\n"
            "    if event == 'import' and arguments[0] == 'torch':\n"
            "        print('policy', os.environ.get('OMP_WAIT_POLICY'), flush=True)\n"
            "        os._exit(0)\n"
            "sys.addaudithook(hook)\n"
            f"sys.path.insert(0, {str(path.parent)!r})\n"
            f"runpy.run_path({str(path)!r}, run_name='read')\n"
        )
        told = printed([sys.executable, "-c", hooked], tmp_path)
        assert "policy PASSIVE" in told or "policy" not in told, told
        assert "Traceback" not in told, told


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
        """OpenCV's and OpenImageIO's threads, too, which know no OMP_NUM_THREADS."""
        code = (
            "import sys; from internal_inpaint.cli import main; code = main(sys.argv[1:])\n"
            "import cv2, OpenImageIO as oiio, torch\n"
            "numbers = oiio.get_int_attribute('threads'), oiio.get_int_attribute('exr_threads')\n"
            "print('threads', torch.get_num_threads(), cv2.getNumThreads(), *numbers)\n"
        )
        for number in ("1", "3"):
            told = printed([sys.executable, "-c", code, *LOADS_TORCH], tmp_path, OMP_NUM_THREADS=number)
            assert f"threads {number} {number} {number} {number}" in told, told

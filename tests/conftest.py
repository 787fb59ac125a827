"""Shared by the tests: small shots made by code, the engine as hosts start it, full disks, refusals."""

import os
import subprocess
import sys

import pytest
from running import ROOT

# Results are the same bit for bit only with the same number of threads; left alone, each run asks the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest.register_assert_rewrite("shot_files", "nuke_driving", "fusion_driving")


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip(f"PyTorch {torch.__version__} finds no CUDA device")


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """The demo's sample shot, short and small; made once."""
    from internal_inpaint.demo import make_sample_shot

    return make_sample_shot(tmp_path_factory.mktemp("sample"), frames=6, width=160, height=96)


@pytest.fixture(scope="session")
def worker(tmp_path_factory):
    """The real engine as one executable file, as hosts start it: without this process's environment."""
    path = tmp_path_factory.mktemp("worker") / "internal-inpaint"
    core = str(ROOT / "core")
    path.write_text(
        f"#!{sys.executable}\nimport os, sys\nsys.path.insert(0, {core!r})\n"
        # At the tests' own priority: beside other tests, a lower one waits for them.
        "os.environ['INTERNAL_INPAINT_NICE'] = '0'\n"
        "from internal_inpaint.cli import main\nsys.exit(main())\n"
    )
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def small_disk(tmp_path):
    """Mount file systems of a few megabytes, on which a disk really is full; skips where that is not allowed."""
    mounted = []

    def mount(megabytes):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a small disk cannot be mounted here (only root on Linux can)")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.fixture
def refused(capfd):
    """Check that the command line refuses with one sentence; returns the sentence.

    In this process: one of its own takes seconds to load PyTorch. ``test_run`` has one that is.
    """
    from internal_inpaint.cli import main

    def run(*arguments, code=2):
        capfd.readouterr()
        exit_code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert exit_code == code, f"exit {exit_code}: {out}\n{err}"
        assert "Traceback" not in err
        lines = err.strip().splitlines()
        assert len(lines) == 1, f"one sentence, not:\n{err}"
        return lines[0]

    return run

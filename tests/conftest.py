"""Shared by the tests: the command line as a user calls it, and small shots made by code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def internal_inpaint(*arguments, **options):
    """Run the command line in a process of its own and wait for it."""
    return subprocess.run(
        [sys.executable, "-m", "internal_inpaint", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=dict(os.environ, **options.pop("env", {})),
        **options,
    )


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
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {core!r})\n"
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
def refused():
    """Run the command line and check that it refuses with one sentence; returns the sentence."""

    def run(*arguments, code=2):
        done = internal_inpaint(*arguments)
        assert done.returncode == code, f"exit {done.returncode}: {done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, f"one sentence, not:\n{done.stderr}"
        return lines[0]

    return run

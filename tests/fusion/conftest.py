"""A Fusion with a node whose worker is done at once; no worker outlives its test."""

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest
from fusion_driving import settle
from fusion_standin import Host
from fusion_standin.shots import make_shot, quick_worker


@pytest.fixture(autouse=True)
def no_worker_is_left(tmp_path):
    """Workers outlive their host, and would outlive a test that fails."""
    yield
    for record in tmp_path.rglob("worker.json"):
        pid = json.loads(record.read_text())["pid"]
        with contextlib.suppress(OSError):
            if str(tmp_path) in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def quick(tmp_path):
    """A host, a node and a worker that is done at once."""
    make_shot(tmp_path)
    host = Host(tmp_path)
    return host, settle(host.node(), tmp_path, quick_worker(tmp_path))

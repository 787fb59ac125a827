"""A Nuke, a shot on disk and a worker that never answers."""

import os
import signal
import sys
from pathlib import Path

import pytest
from nuke_shots import make_shot
from nuke_standin import Host


@pytest.fixture(scope="module")
def shot(tmp_path_factory):
    return make_shot(tmp_path_factory.mktemp("shot"))


@pytest.fixture
def host(tmp_path):
    with Host(tmp_path / "comp v1.nk") as host:
        yield host
        assert host.violations == []


@pytest.fixture(scope="module")
def dumb(tmp_path_factory):
    """A worker that starts and never says a word; all are ended afterwards."""
    path = tmp_path_factory.mktemp("dumb") / "internal-inpaint"
    noted = f"open({str(path) + '.pids'!r}, 'a').write(str(os.getpid()) + ' ')"
    path.write_text(f"#!{sys.executable}\nimport os, time\n{noted}\ntime.sleep(120)\n")
    path.chmod(0o755)
    yield str(path)
    noted = Path(str(path) + ".pids")
    for pid in noted.read_text().split() if noted.exists() else ():
        os.kill(int(pid), signal.SIGKILL)

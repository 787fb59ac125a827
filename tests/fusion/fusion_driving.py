"""What the tests do to a node of the Fuse."""

import time
from pathlib import Path

HOSTILE = 'it\'s "a" $HOME %PATH% ü;&|`x` *[1] \\n'


def wait(node, *words, seconds=120):
    """Press Refresh, as an artist would, until the status line says one of these."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        line = node.press("RefreshStatus")
        if any(word in line for word in words):
            return line
        time.sleep(0.1)
    raise AssertionError(f"{words} never came: {line}")


def settle(node, path, worker, **more):
    return node.set(
        **{
            "PlateFile": f"{path}/plate.1001.exr",
            "MatteFile": f"{path}/matte.1001.exr",
            "Worker": str(worker),
            "FrameOffset": 1001,
            "Quality": 0,
            **more,
        }
    )


def run_folder(path, version="v001", node="InternalInpaint1"):
    return Path(path) / "InternalInpaint" / node / version


def starts(run):
    return len((run / "starts.txt").read_text())

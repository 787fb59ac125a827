"""What the tests ask of a node that was started."""

import json
import sys
from pathlib import Path


def begun(host, node):
    """Wait until the worker was started; returns the job folder."""
    folder = run_folder(host, node)

    def is_begun():  # a version that is used again has its worker.json from before
        beginning = sys.modules["internal_inpaint_plugin.nuke_watch"].beginning(node)
        return beginning is None and (folder / "worker.json").exists()

    assert host.pump(is_begun, 10), host.says(node)
    return folder


def run_folder(host, node):
    base = Path(host.root["name"].value()).parent / "internal_inpaint"
    return base / node["id"].value() / node["run"].value()


def job(folder):
    return json.loads((folder / "job.json").read_text())


def started(host, node):
    host.press(node, "start")
    return begun(host, node)


def finish(folder):
    """As if the worker had done it."""
    status = {"version": 1, "state": "done", "updated": "2999-01-01T00:00:00+00:00"}
    (folder / "status.json").write_text(json.dumps(status))


def versions(host, node, *steps):
    """The version that a start after each step takes."""
    found = []
    for step in steps:
        step()
        host.press(node, "start")
        folder = begun(host, node)
        finish(folder)
        found.append(folder.name)
    return found

"""What Internal Inpaint nodes do in a render: nothing, but to say so where they have no frame at all.

Frame by frame the node decides for itself, in Tcl (the switch in the gizmo): a farm machine without this
package renders finished frames as well. These callbacks add the sentence, and tell the switch that a render
runs in Nuke's own window. They edit no node and start no thread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Iterator

import nuke

from internal_inpaint_plugin.errors import PluginError
from internal_inpaint_plugin.nuke_settings import is_ours, run_folder
from internal_inpaint_plugin.nuke_watch import RENDERING


def install() -> None:
    """Have Nuke call this module round every Write's render."""
    nuke.addBeforeRender(before_render)
    nuke.addAfterRender(after_render)


def before_render() -> None:
    """Refuse a render that would ask a node without a single finished frame.

    Raises:
        RuntimeError: one sentence; Nuke ends the render with it.
    """
    sentence = ""
    try:
        nuke.tcl(f"set {RENDERING} 1")
        for node in _feeding(nuke.thisNode()):
            sentence = sentence or _lacking(node)
    except Exception:  # whatever is odd about a script, its render is not ours to stop
        return
    if sentence:
        after_render()
        raise RuntimeError(sentence)


def after_render() -> None:
    """The Viewer shows the plate again where no frame is finished."""
    try:
        nuke.tcl(f"unset -nocomplain {RENDERING}")
    except Exception:
        return


def _lacking(node: Any) -> str:
    if node["without_frames"].value() != "fail":
        return ""
    name, remedy = node.fullName(), "set render without frames to pass through"
    if node["output"].value() == "preview":
        return f"{name} shows its preview: set its output to result, or {remedy}"
    try:
        folder = run_folder(node)
    except PluginError:
        return f"{name} was never trained: press its Start Training in Nuke, or {remedy}"
    if not _has_frames(folder / "result"):
        return f"{name} has no finished frames in {folder / 'result'}: let its training finish, or {remedy}"
    return ""


def _has_frames(folder: Path) -> bool:
    try:
        with os.scandir(str(folder)) as entries:
            return any(entry.name.endswith(".exr") and not entry.name.startswith(".") for entry in entries)
    except OSError:
        return False


def _feeding(write: Any) -> Iterator[Any]:
    """Our nodes above a Write whose picture is asked for, as far as switches and disabled nodes tell."""
    waiting, seen = [write], set()
    while waiting:
        node = waiting.pop()
        if node is None or node.fullName() in seen:
            continue
        seen.add(node.fullName())
        disable = node.knob("disable")
        if disable is not None and disable.value():
            waiting.append(node.input(0))
        elif is_ours(node):
            yield node
            waiting.append(node.input(0))
        elif node.Class() == "Switch":
            waiting.append(node.input(int(node["which"].value())))
        elif node.Class() == "Group":
            waiting += [inner for inner in node.nodes() if inner.Class() == "Output"]
        elif node.Class() == "Input":
            waiting.append(node.parent().input(int(node["number"].value())))
        else:
            waiting += [node.input(index) for index in range(node.inputs())]

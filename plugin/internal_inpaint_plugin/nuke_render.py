"""Render callbacks: fail early, with one sentence, if an Internal Inpaint node has no finished frame at all.

For each frame, the gizmo's Switch decides in Tcl what to output, so a farm machine without this package renders
finished frames too. These callbacks add the message, and tell the Switch that a render is running in Nuke's own
window. They change no node and start no thread.
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
    """Register the callbacks that Nuke calls before and after every Write's render."""
    nuke.addBeforeRender(before_render)
    nuke.addAfterRender(after_render)


def before_render() -> None:
    """Refuse a render that needs a node without a single finished frame.

    Raises:
        RuntimeError: one sentence, with which Nuke ends the render.
    """
    sentence = ""
    try:
        nuke.tcl(f"set {RENDERING} 1")
        for node in _our_nodes_above(nuke.thisNode()):
            sentence = sentence or _why_no_frames(node)
    except Exception:  # an error in this check must never stop a render
        return
    if sentence:
        after_render()
        raise RuntimeError(sentence)


def after_render() -> None:
    """Tell the Switch that the render is over: the Viewer shows the plate again on unfinished frames."""
    try:
        nuke.tcl(f"unset -nocomplain {RENDERING}")
    except Exception:
        return


def _why_no_frames(node: Any) -> str:
    if node["without_frames"].value() != "fail":
        return ""
    name, remedy = node.fullName(), "set render without frames to pass through"
    if node["output"].value() == "preview":
        return f"{name} outputs its preview: set output to result, or {remedy}"
    try:
        folder = run_folder(node)
    except PluginError:
        return f"{name} has not been trained: press Start Training in Nuke, or {remedy}"
    if not _has_frames(folder / "result"):
        return f"{name} has no finished frames in {folder / 'result'}: wait until its training is done, or {remedy}"
    return ""


def _has_frames(folder: Path) -> bool:
    try:
        with os.scandir(str(folder)) as entries:
            return any(entry.name.endswith(".exr") and not entry.name.startswith(".") for entry in entries)
    except OSError:
        return False


def _our_nodes_above(write: Any) -> Iterator[Any]:
    """The Internal Inpaint nodes that feed a Write, following switches and skipping disabled nodes."""
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

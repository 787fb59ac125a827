"""Watching a run from Nuke: a child thread looks, the main thread shows.

The thread reads the job folder and nothing of Nuke; whatever it has found goes through
``nuke.executeInMainThread``. It ends with the run, with the node or with Nuke; the worker goes on.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from pathlib import Path
from typing import Any, Callable, List, Optional

import nuke

from internal_inpaint_plugin.errors import PluginError
from internal_inpaint_plugin.nuke_settings import in_render, run_folder
from internal_inpaint_plugin.run import Run, View

SECONDS = 1.0
RENDERING = "::internal_inpaint_render"  # a variable of Nuke's own Tcl: set while a render runs (nuke_render.py)

# The engine names options of its command line; the artist sees knobs.
KNOBS = {
    "work folder": "work folder",
    "work": "work folder",
    "frames": "frame range",
    "matte-channel": "matte channel",
    "matte-frame": "matte from one frame",
    "time": "time limit",
    "matte": "the matte input",
    "plate": "the plate input",
    **{name: name for name in ("quality", "grow", "feather", "device")},
}
OPTION = re.compile(r"--(" + "|".join(KNOBS) + r")\b(?!-)")

_watchers: List[Watcher] = []  # main thread only


class Watcher(threading.Thread):
    """Looks at one run for one node.

    Args:
        node: the group.
        run: what it shows.
        first: done in the thread before the first look: starting the worker takes a moment.
    """

    def __init__(self, node: Any, run: Run, first: Optional[Callable[[], Any]] = None) -> None:
        super().__init__(name="Internal Inpaint", daemon=True)
        self.node, self.watched, self._first = node, run, first
        self.ended = threading.Event()
        self._shown = threading.Event()  # the main thread has shown what was sent last
        self._shown.set()
        self._frames: Any = None
        self._sheet: Any = None

    def run(self) -> None:
        if self._first is not None:
            try:
                self._first()
            except PluginError as error:
                self._send(_show_failure, str(error))
                return
            except Exception as error:  # a bug must not end as silence
                self._send(_show_failure, f"The worker could not be started ({error!r})")
                return
        while not self.ended.is_set():
            view, sheet = self.watched.look(), _time_of(self.watched.folder / "preview" / "contact_sheet.png")
            # Nuke may be rendering: what it has not shown yet is not heaped up.
            if self._shown.is_set() or not view.busy:
                stopping = view.busy and (self.watched.folder / "stop").exists()
                self._send(_show, view, sheet, "Stopping: the worker saves its state" if stopping else view.message)
            if not view.busy:
                return
            self.ended.wait(SECONDS)

    def _send(self, show: Callable[..., None], *what: Any) -> None:
        self._shown.clear()
        try:
            nuke.executeInMainThread(self._in_main_thread, args=(show, *what))
        except Exception:  # Nuke is going down
            self.ended.set()

    def _in_main_thread(self, show: Callable[..., None], *what: Any) -> None:
        self._shown.set()
        if self.ended.is_set():
            return
        try:
            if run_folder(self.node) != self.watched.folder:
                self.ended.set()  # the node shows another version now
            else:
                show(self, *what)
        except Exception:  # the node was deleted, the script closed
            self.ended.set()


def watch(node: Any, run: Run, first: Optional[Callable[[], Any]] = None) -> None:
    """Watch a run for a node, instead of whatever was watched for it before."""
    leave(node)
    watcher = Watcher(node, run, first)
    _watchers[:] = [other for other in _watchers if other.is_alive()]
    _watchers.append(watcher)
    watcher.start()


def leave(node: Any) -> None:
    """Watch nothing any more for this node: it goes away, or turns to another run."""
    for watcher in _watchers:
        if _name(watcher.node) in (None, _name(node)):
            watcher.ended.set()


def others_watch(node: Any, folder: Path) -> bool:
    """Whether another node, a copy of this one, shows the same run."""
    return any(
        watcher.watched.folder == folder and _name(watcher.node) not in (None, _name(node))
        for watcher in _watchers
        if watcher.is_alive() and not watcher.ended.is_set()
    )


def say(node: Any, message: str) -> None:
    """Put one line into the node's message."""
    _set(node, "message", message)


def clear(node: Any) -> None:
    """Nothing to tell: no run yet."""
    for name in ("progress", "psnr", "time_left", "message"):
        _set(node, name, "")


def _name(node: Any) -> Optional[str]:
    try:
        return node.fullName()
    except ValueError:  # deleted
        return None


def _time_of(path: Path) -> Optional[int]:
    with contextlib.suppress(OSError):
        return os.stat(str(path)).st_mtime_ns
    return None


def _show_failure(watcher: Watcher, message: str) -> None:
    say(watcher.node, message)


def _show(watcher: Watcher, view: View, sheet: Optional[int], message: str) -> None:
    """The run's latest state on its node, and its latest pictures in the Viewer."""
    node = watcher.node
    if not in_render():
        # Had a render been broken off without a word, the Viewer would go on failing as renders do.
        nuke.tcl(f"unset -nocomplain {RENDERING}")
    done = view.state == "done"
    percent = 100.0 if done else view.percent
    _set(node, "progress", f"{percent:.0f} %" if percent is not None and view.state != "empty" else "")
    _set(node, "psnr", f"{view.psnr:.1f} dB" if view.psnr is not None else "")
    _set(node, "time_left", _duration(view.eta_s) if view.eta_s is not None else "")
    _set(node, "message", message)
    if sheet != watcher._sheet:
        watcher._sheet = sheet
        node.node("Preview")["reload"].execute()
    stage = view.status.stage if view.status else None
    frames = (view.state, view.frames_done if stage == "render" else None)
    if frames != watcher._frames and (stage == "render" or not view.busy):
        watcher._frames = frames
        node.node("Result")["reload"].execute()


def _set(node: Any, name: str, text: str) -> None:
    """Set a text knob, only where it changes, without an entry in the undo list."""
    text = plain(in_knobs(text)) or " "
    if node[name].value() != text:
        nuke.Undo.disable()
        try:
            node[name].setValue(text)
        finally:
            nuke.Undo.enable()


def in_knobs(text: str) -> str:
    """``check --matte-channel`` is ``check matte channel`` on the node."""
    return OPTION.sub(lambda match: KNOBS[match.group(1)], text)


def plain(text: str) -> str:
    """One line that Nuke shows as it is: brackets would be run as Tcl, angles taken for HTML."""
    return " ".join(text.translate(str.maketrans("[]<>", "()()")).split())


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"

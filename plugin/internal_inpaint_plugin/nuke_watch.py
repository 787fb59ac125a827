"""Watching a run from Nuke: a background thread reads the job folder, the main thread updates the node.

The thread calls nothing of Nuke except ``nuke.executeInMainThread``, which hands its findings over. It ends with the
run, with the node or with Nuke; the worker keeps running.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional

import nuke

from internal_inpaint_plugin.errors import PluginError
from internal_inpaint_plugin.nuke_settings import in_render, run_folder
from internal_inpaint_plugin.run import Run, View, duration

SECONDS = 1.0
LONGEST = 300  # characters in a line; Nuke would widen the panel for more
RENDERING = "::internal_inpaint_render"  # a Tcl variable in Nuke, set while a render runs (nuke_render.py)

# The engine's messages name command-line options; the artist sees knobs.
KNOBS = {
    "work folder": "work folder",
    "work": "work folder",
    "frames": "frame range",
    "matte-channel": "matte channel",
    "matte-frame": "matte from one frame",
    "guide": "guide frames",
    "time": "time limit",
    "matte": "the matte input",
    "plate": "the plate input",
    **{name: name for name in ("quality", "grow", "feather", "grain", "device")},
}
OPTION = re.compile(r"--(" + "|".join(KNOBS) + r")\b(?!-)")

_watchers: List[Watcher] = []  # main thread only


class Watcher(threading.Thread):
    """Watches one run for one node.

    Args:
        node: the group.
        run: the run that the node shows.
        first: called in the thread before the first look; starting the worker takes a moment.
    """

    def __init__(self, node: Any, run: Run, first: Optional[Callable[[], Any]] = None) -> None:
        super().__init__(name="Internal Inpaint", daemon=True)
        self.node, self.watched, self._first = node, run, first
        self.ended = threading.Event()
        self._shown = threading.Event()  # the main thread has shown the last update
        self._shown.set()
        self._postponed = False  # Nuke was rendering, so the update was not shown
        self.begun = threading.Event()  # `first` has returned
        if first is None:
            self.begun.set()
        self.stop_asked = False
        self._frames: Any = None
        self._sheet: Any = None

    def run(self) -> None:
        try:
            try:
                if self._first is not None:
                    self._first()
            finally:
                self.begun.set()
            self._watch()
        except PluginError as error:
            self._send_at_last(_show_failure, str(error))
        except Exception as error:  # a bug must not go unnoticed
            self._send_at_last(_show_failure, f"Unexpected error ({error!r}): please report this bug")

    def _watch(self) -> None:
        while not self.ended.is_set():
            view, sheet = self.watched.look(), _time_of(self.watched.folder / "preview" / "contact_sheet.png")
            if not view.busy:
                self._send_at_last(_show, view, sheet, view.message)
                return
            stopping = (self.watched.folder / "stop").exists()
            if self.stop_asked and not stopping:
                # A worker deletes a stop file from before its own start: that one was meant for an earlier run.
                self.watched.stop()
            # Nuke may be busy: do not queue an update until it has shown the last one.
            if self._shown.is_set():
                self._send(
                    _show, view, sheet, "Stopping: the worker is saving its state" if stopping else view.message
                )
            self.ended.wait(SECONDS)

    def _send(self, show: Callable[..., None], *what: Any) -> None:
        self._shown.clear()
        try:
            nuke.executeInMainThread(self._in_main_thread, args=(show, *what))
        except Exception:  # Nuke is closing
            self.ended.set()

    def _send_at_last(self, show: Callable[..., None], *what: Any) -> None:
        """Send the final update, and repeat it if Nuke was rendering: it must not get lost."""
        while not self.ended.is_set():
            self._send(show, *what)
            while not self._shown.wait(SECONDS):
                if self.ended.is_set():
                    return
            if not self._postponed:
                return
            self.ended.wait(SECONDS)

    def _in_main_thread(self, show: Callable[..., None], *what: Any) -> None:
        try:
            self._postponed = not self.ended.is_set() and in_render()
            if not self.ended.is_set() and not self._postponed:
                self._in_its_place(show, *what)
        except Exception:  # the node was deleted, the script closed
            self.ended.set()
        finally:
            self._shown.set()

    def _in_its_place(self, show: Callable[..., None], *what: Any) -> None:
        here, there = run_folder(self.node), self.watched.folder
        if here == there:
            show(self, *what)
            return
        self.ended.set()  # the node now shows another version
        if (here.name, here.parent.name) == (there.name, there.parent.name):  # the script was saved elsewhere
            place = there.parent.parent
            say(
                self.node,
                f"The work folder has changed: {there.name} is in {place}; set work folder to that path to see it",
            )


def watch(node: Any, run: Run, first: Optional[Callable[[], Any]] = None, stop: bool = False) -> None:
    """Watch a run for a node, and stop watching the node's earlier run.

    Args:
        node, run, first: see ``Watcher``.
        stop: the run was asked to stop; repeat the request until the worker has seen it.
    """
    leave(node)
    watcher = Watcher(node, run, first)
    watcher.stop_asked = stop
    _watchers[:] = [other for other in _watchers if other.is_alive()]
    _watchers.append(watcher)
    watcher.start()


def leave(node: Any) -> None:
    """Stop watching for this node: it was deleted, or shows another run."""
    for watcher in _watchers:
        if _name(watcher.node) in (None, _name(node)):
            watcher.ended.set()


def beginning(node: Any) -> Optional[Watcher]:
    """The node's watcher that is still starting its worker; ``None`` if there is none."""
    for watcher in _watchers:
        if not watcher.begun.is_set() and not watcher.ended.is_set() and _name(watcher.node) == _name(node):
            return watcher
    return None


def others_watch(node: Any, folder: Path) -> bool:
    """Whether another node (a copy of this one) shows the same run."""
    return any(
        watcher.watched.folder == folder and _name(watcher.node) not in (None, _name(node))
        for watcher in _watchers
        if watcher.is_alive() and not watcher.ended.is_set()
    )


def no_render() -> None:
    """Clear the render flag: after an aborted render, the Viewer would otherwise keep failing as renders do."""
    nuke.tcl(f"unset -nocomplain {RENDERING}")


def say(node: Any, message: str) -> None:
    """Show one line in the node's message."""
    _set(node, "message", message)


def clear(node: Any) -> None:
    """Empty the node's status knobs: there is no run yet."""
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
    """Show the run's latest state on its node, and reload new pictures."""
    node = watcher.node
    no_render()
    done = view.state == "done"
    percent = 100.0 if done else view.percent
    _set(node, "progress", f"{percent:.0f} %" if percent is not None and view.state != "empty" else "")
    _set(node, "psnr", f"{view.psnr:.1f} dB" if view.psnr is not None else "")
    _set(node, "time_left", duration(view.eta_s) if view.eta_s is not None else "")
    _set(node, "message", message)
    if sheet != watcher._sheet:
        watcher._sheet = sheet
        with unnoticed():
            node.node("Preview")["reload"].execute()
    stage = view.status.stage if view.status else None
    frames = (view.state, view.frames_done if stage == "render" else None)
    if frames != watcher._frames and (stage == "render" or not view.busy):
        watcher._frames = frames
        with unnoticed():
            node.node("Result")["reload"].execute()


def _set(node: Any, name: str, text: str) -> None:
    """Set a text knob if its text changes."""
    text = plain(in_knobs(text)) or " "
    if node[name].value() != text:
        with unnoticed():
            node[name].setValue(text)


@contextlib.contextmanager
def no_undo() -> Iterator[None]:
    """Keep the plugin's own changes out of the undo history: undoing a part of them would enable an inner Write."""
    nuke.Undo.disable()
    try:
        yield
    finally:
        nuke.Undo.enable()


@contextlib.contextmanager
def unnoticed() -> Iterator[None]:
    """Change knobs without undo steps and without marking the script as modified."""
    root = nuke.root()
    modified = root.modified()
    try:
        with no_undo():
            yield
    finally:
        if not modified:
            root.setModified(False)


def in_knobs(text: str) -> str:
    """Replace command-line options with knob names: ``check --matte-channel`` becomes ``check matte channel``."""
    return OPTION.sub(lambda match: KNOBS[match.group(1)], text)


def plain(text: str) -> str:
    """One line that Nuke shows verbatim: it would run square brackets as Tcl and read angle brackets as HTML."""
    line = " ".join(text.translate(str.maketrans("[]<>", "()()")).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "\u2026"

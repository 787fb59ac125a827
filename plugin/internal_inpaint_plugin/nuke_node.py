"""The Internal Inpaint node's buttons and callbacks in Nuke: everything that the gizmo calls.

Every function runs on Nuke's main thread and returns at once, except while it renders the inputs; that shows Nuke's
own progress bar and can be cancelled. Errors appear in the node's message line.
"""

from __future__ import annotations

import contextlib
import functools
import re
from typing import Any, Callable, Dict, Tuple

import nuke

from internal_inpaint_plugin import nuke_inputs, nuke_settings, nuke_watch
from internal_inpaint_plugin.errors import PluginError
from internal_inpaint_plugin.job_folder import read_job
from internal_inpaint_plugin.run import Run, run_for
from internal_inpaint_plugin.worker import find_worker

_setting = False  # the plugin is setting a knob: the artist has not changed it
CLAIMS = 9  # attempts to claim a new version while others start at the same moment
NEVER_IN_A_RENDER = "training starts only in Nuke's own window; a render reads finished frames"


def _shows_errors(in_a_render: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: an error in a node's function becomes one sentence in that node's message line.

    Args:
        in_a_render: while Nuke renders, print this and do nothing; a render must not change nodes.
    """

    def wrap(call: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(call)
        def wrapped(node: Any, *more: Any) -> None:
            if nuke_settings.in_render():
                if in_a_render:
                    nuke.tprint(f"Internal Inpaint: {in_a_render}")
                return
            try:
                call(node, *more)
            except PluginError as error:
                nuke_watch.say(node, str(error))
            except Exception as error:  # a bug: show no traceback to the artist, but do not hide it
                nuke_watch.say(node, f"Unexpected error ({error!r}): please report this bug")

        return wrapped

    return wrap


@_shows_errors(NEVER_IN_A_RENDER)
def start(node: Any) -> None:
    """Start Training: render the inputs that need it, then start the worker."""
    _wait_for_the_worker(node)
    worker = node["worker"].evaluate() or ""
    find_worker(worker)  # fails before anything is rendered
    first, last = nuke_settings.frame_range(node)
    with nuke_watch.no_undo():
        try:
            with nuke_inputs.full_size():
                run, job, inputs = _prepared(node, first, last)
        finally:
            nuke_watch.no_render()  # Nuke does not report the end of a cancelled render
        _set_by_us(node["run"], run.folder.name)
        _show_frames(node, first, last)
    nuke_watch.say(node, "Starting the worker")

    def begin() -> None:
        try:
            run.begin(job, worker, inputs)
        finally:
            nuke_inputs.forget_empty(run.folder)

    nuke_watch.watch(node, run, begin)


def _prepared(node: Any, first: int, last: int) -> Tuple[Run, Dict[str, Any], Dict[str, str]]:
    """The version to train, with its inputs rendered; its job; the identity of each input."""
    plate = nuke_inputs.plate_source(node, first, last)
    matte = nuke_inputs.matte_source(node, nuke_settings.matte_frames(node, first, last))
    if matte is None and node["one_frame"].value():
        raise PluginError("Matte from one frame needs the matte input: connect the drawn matte to it")
    channel = nuke_inputs.matte_channel(node)
    guides, painted = nuke_inputs.guide_files(node)
    job = nuke_settings.job_for(node, first, last, plate.pattern, matte.pattern if matte else "", channel)
    inputs = {source.word: source.identity for source in (plate, matte) if source is not None}
    if guides:
        job["guide"], inputs["guide"] = guides, painted

    nuke_settings.give_id(node)
    for _ in range(CLAIMS):
        run = _run_of(node, job, inputs)
        if nuke_inputs.claim(run.folder):
            break
    else:
        raise PluginError(f"{run.folder} has just been created by another user: press Start Training again")
    nuke_inputs.render(node, run.folder, [source for source in (plate, matte) if source is not None])
    return run, job, inputs


@_shows_errors(NEVER_IN_A_RENDER)
def stop(node: Any) -> None:
    """Ask the worker to save its state and stop."""
    run = Run(nuke_settings.run_folder(node))
    starting = nuke_watch.beginning(node)
    if starting is not None:
        starting.stop_asked = True
    else:
        nuke_watch.watch(node, run, run.stop, stop=True)


@_shows_errors(NEVER_IN_A_RENDER)
def resume(node: Any) -> None:
    """Continue the version that is shown, from its own inputs, with the current time limit and device."""
    _wait_for_the_worker(node)
    run = Run(nuke_settings.run_folder(node))
    worker, changes = node["worker"].evaluate() or "", nuke_settings.changeable(node)
    nuke_watch.say(node, "Starting the worker")
    nuke_watch.watch(node, run, lambda: run.resume(worker, **changes))


@_shows_errors(NEVER_IN_A_RENDER)
def this_frame(node: Any) -> None:
    """Add the current frame to "matte from one frame"."""
    frame, knob = str(int(nuke.frame())), node["matte_frames"]
    known = knob.value().replace(",", " ").split()
    knob.setValue(", ".join([*known, *([] if frame in known else [frame])]))
    node["one_frame"].setValue(True)


@_shows_errors("")
def created(node: Any) -> None:
    """A node was created, pasted or loaded with its script: find its run again, if it has one."""
    _enable(node)
    if node["id"].value() and node["run"].value():
        nuke_watch.watch(node, Run(nuke_settings.run_folder(node)))


def destroyed(node: Any) -> None:
    """A node was deleted or its script closed: stop watching; the worker keeps running."""
    with contextlib.suppress(Exception):
        nuke_watch.leave(node)


@_shows_errors("")
def changed(node: Any, knob: Any) -> None:
    """The artist changed a knob."""
    if _setting:
        return
    name = knob.name()
    if name in ("showPanel", "output", "without_frames"):
        nuke_watch.no_render()
    if name in ("one_frame", "range", "auto_edges", "showPanel"):
        _enable(node)
    if name in ("run", "work_folder"):
        _turn_to_version(node)


def _wait_for_the_worker(node: Any) -> None:
    if nuke_watch.beginning(node) is not None:
        raise PluginError("The worker is starting: wait a moment")


def _enable(node: Any) -> None:
    for name in ("first", "last"):
        node[name].setEnabled(node["range"].value() == "custom")
    node["matte_frames"].setEnabled(bool(node["one_frame"].value()))
    for name in ("grow", "feather"):
        node[name].setEnabled(not node["auto_edges"].value())


def _turn_to_version(node: Any) -> None:
    """Show the version that the artist typed."""
    nuke_watch.leave(node)
    nuke_watch.clear(node)
    if not (node["id"].value() and node["run"].value()):
        return
    folder = nuke_settings.run_folder(node)
    job = read_job(folder)
    if job is None:
        raise PluginError(f"There is no version {folder.name} in {folder.parent}: type an existing version")
    if match := re.fullmatch(r"(-?\d+)-(-?\d+)", str(job.get("frames", ""))):
        with nuke_watch.no_undo():
            _show_frames(node, int(match.group(1)), int(match.group(2)))
    nuke_watch.watch(node, Run(folder))


def _set_by_us(knob: Any, value: Any) -> None:
    global _setting
    _setting = True
    try:
        knob.setValue(value)
    finally:
        _setting = False


def _run_of(node: Any, job: Dict[str, Any], inputs: Dict[str, str]) -> Run:
    """The version for this job: an existing one, or the next new one."""
    run = run_for(nuke_settings.base_folder(node), job, inputs)
    try:
        shown = Run(nuke_settings.run_folder(node))
    except PluginError:
        return run
    # One node trains one version at a time; a copy of a node is another node. A silent worker does not block: its
    # process id may belong to another process by now.
    live = shown.folder != run.folder and shown.look().state in ("starting", "running")
    if live and not nuke_watch.others_watch(node, shown.folder):
        raise PluginError(
            f"{shown.folder.name} is still training: press Stop or let it finish, then press Start Training again"
        )
    return run


def _show_frames(node: Any, first: int, last: int) -> None:
    """Set the inner Read's frame range, which decides the files that Nuke asks for."""
    read = node.node("Result")
    for name, value in (("first", first), ("last", last), ("origfirst", first), ("origlast", last)):
        read[name].setValue(value)

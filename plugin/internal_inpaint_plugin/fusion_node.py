"""The node on DaVinci Resolve's current clip, and its finished frames on the timeline: what the menu script does.

The Fuse (resolve_fuse/InternalInpaint.fuse) does its own work in Lua. What is here drives Resolve's scripting API;
``DaVinciResolveScript`` is imported in ``resolve_application`` only.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple

from internal_inpaint_plugin.errors import PluginError
from internal_inpaint_plugin.fusion_files import WORK_FOLDER, comp_of, finished_frames, numbered
from internal_inpaint_plugin.job_folder import read_job
from internal_inpaint_plugin.run import Run, last_run

BIN = "Internal Inpaint"


@dataclass(frozen=True)
class Clip:
    """The current clip: where its files lie, and which of them it shows.

    Attributes:
        name: for its folder in the work folder.
        plate: its files, ``plate.####.exr``.
        first: the number of the file that the clip shows first; ``media_first`` that of the whole media.
        length: frames that it shows.
    """

    name: str
    plate: str
    first: int
    media_first: int
    length: int


def resolve_application() -> Any:
    """Resolve itself. Raises ``PluginError`` where there is none to talk to."""
    try:
        import DaVinciResolveScript
    except ImportError as error:
        raise PluginError(
            f"DaVinciResolveScript cannot be imported ({error}): run this from Resolve's Workspace > Scripts menu"
        ) from None
    resolve = DaVinciResolveScript.scriptapp("Resolve")
    if resolve is None:
        raise PluginError("Resolve does not answer: start it, or allow external scripting in its preferences")
    return resolve


def current_clip(resolve: Any) -> Tuple[Any, Any, Any, Clip]:
    """Project, timeline, item and what is known of the clip under the playhead.

    Raises:
        PluginError: nothing is open, or the clip is no image sequence.
    """
    project = resolve.GetProjectManager().GetCurrentProject()
    timeline = project.GetCurrentTimeline() if project else None
    item = timeline.GetCurrentVideoItem() if timeline else None
    media = item.GetMediaPoolItem() if item else None
    if media is None:
        raise PluginError("no clip under the playhead: open a timeline and place the playhead on a clip")
    path = str(media.GetClipProperty("File Path") or "").replace("\\", "/")
    found = re.search(r"\[(\d+)-(\d+)\](\.\w+)$", path)
    if not found:
        raise PluginError(f"{path or item.GetName()} is no image sequence: render the clip as EXR files first")
    digits = found.group(1)
    plate = path[: found.start()] + "#" * len(digits) + found.group(3)  # a single # takes any padding
    name = re.sub(r"\W", "_", os.path.basename(path[: found.start()]).strip("._- ")) or "clip"
    media_first = int(digits)
    first = media_first + _whole(item.GetLeftOffset)
    return project, timeline, item, Clip(name, plate, first, media_first, _whole(item.GetDuration))


def _whole(frames: Callable[..., Any]) -> int:
    """Whole frames of a clip: newer versions of Resolve ask whether fractions are wanted, older ones take nothing.

    Raises:
        PluginError: Resolve does not say.
    """
    for arguments in ((False,), ()):
        try:
            found = frames(*arguments)
        except TypeError:
            continue
        if found is not None:
            return int(found)
    raise PluginError("Resolve does not say where the clip lies: place the playhead on a clip of the edit page")


def run_of(clip: Clip) -> Optional[Run]:
    """The newest run of a clip's node."""
    return last_run(work_folder(clip) / clip.name)


def work_folder(clip: Clip) -> Path:
    """Where the Fuse puts this clip's runs."""
    return Path(os.path.normpath(Path(clip.plate).parent / WORK_FOLDER))


def add_node(item: Any, clip: Clip) -> str:
    """Give the clip a Fusion comp with the node in it; returns one sentence.

    The comp comes as a file: tools that a script adds to a comp are not rendered by every version of Resolve.
    """
    text = comp_of(clip.name, clip.length, clip.first)
    handle, path = tempfile.mkstemp(suffix=".comp", prefix="InternalInpaint_")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if not item.ImportFusionComp(path):
            raise PluginError("Resolve has not taken the comp: is the Fuse installed?")
    finally:
        os.unlink(path)
    return f"{clip.name} has the node now: open the Fusion page, choose a matte and press Start Training"


def bring_in(project: Any, timeline: Any, item: Any, clip: Clip, run: Run) -> str:
    """Put a run's finished frames on a new track above the clip; nothing that is there is touched.

    Raises:
        PluginError: not finished, or Resolve refuses.
    """
    view = run.look()
    if view.state != "done":
        raise PluginError(f"{clip.name} is not finished: {view.message or view.state}")
    pattern, frames = finished_frames(run)
    pool = project.GetMediaPool()
    folder = next((f for f in pool.GetRootFolder().GetSubFolderList() if f.GetName() == BIN), None)
    folder = folder or pool.AddSubFolder(pool.GetRootFolder(), BIN)
    if not folder or not pool.SetCurrentFolder(folder):
        raise PluginError(f"Resolve makes no bin {BIN}: is the project read-only?")
    media = _import(pool, pattern, frames)
    if not timeline.AddTrack("video"):  # above all others
        raise PluginError("Resolve adds no track: is the timeline locked?")
    begin = max(clip.first, frames[0])
    end = min(clip.first + clip.length - 1, frames[-1])
    if end < begin:
        raise PluginError(f"the finished frames {frames[0]}-{frames[-1]} are not those that the clip shows")
    placed = pool.AppendToTimeline(
        [
            {
                "mediaPoolItem": media,
                "startFrame": begin - frames[0],
                "endFrame": end - frames[0] + 1,  # the first that is not placed
                "trackIndex": timeline.GetTrackCount("video"),
                "recordFrame": _whole(item.GetStart) + begin - clip.first,
            }
        ]
    )
    if not placed:
        raise PluginError(f"Resolve has the finished frames in the bin {BIN}, but does not place them: drag them in")
    return f"{end - begin + 1} finished frames of {clip.name} lie on a new track above the clip"


def _import(pool: Any, pattern: str, frames: List[int]) -> Any:
    first, last = frames[0], frames[-1]
    if last - first + 1 != len(frames):
        missing = sorted(set(range(first, last + 1)) - set(frames))
        raise PluginError(f"finished frame {missing[0]} is missing: press Start Training again")
    digits = re.search(r"#+", os.path.basename(pattern))
    folder, name = os.path.split(pattern)
    files = os.path.join(folder, name.replace(digits.group(), f"%0{len(digits.group())}d")) if digits else pattern
    found = pool.ImportMedia([{"FilePath": files, "StartIndex": first, "EndIndex": last}])
    if not found:  # a single file, or a version that takes paths only
        found = pool.ImportMedia([numbered(pattern, frame) for frame in frames])
    if not found:
        raise PluginError(f"Resolve cannot import {files}: does it read EXR?")
    return found[0]


def to_current_clip(resolve: Any) -> str:
    """What the menu script does: the node for a clip that has none, else its finished frames. One sentence."""
    project, timeline, item, clip = current_clip(resolve)
    run = run_of(clip)
    if run is not None and read_job(run.folder) is not None:
        return bring_in(project, timeline, item, clip, run)
    if item.GetFusionCompCount():
        return f"{clip.name} has a Fusion comp already: add the node Internal Inpaint there"
    return add_node(item, clip)


def main(resolve: Any = None) -> int:
    """Do it and print how it went. Returns 0, or 2 where it could not be done."""
    try:
        print(to_current_clip(resolve_application() if resolve is None else resolve))
        return 0
    except PluginError as error:
        print(f"Internal Inpaint: {error}", file=sys.stderr)
    except (AttributeError, TypeError) as error:  # None where an object was expected: no project manager, no page
        print(f"Internal Inpaint: Resolve answers otherwise than its API says ({error})", file=sys.stderr)
    return 2

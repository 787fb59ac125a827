"""DaVinci Resolve's menu script: add the node to the current clip, or put its finished frames on the timeline.

The Fuse (resolve_fuse/InternalInpaint.fuse) is written in Lua and does not need this module. This module drives
Resolve's scripting API; only ``resolve_application`` imports ``DaVinciResolveScript``.
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
    """The current clip: its files, and the part of them that it shows.

    Attributes:
        name: name of the clip's folder in the work folder.
        plate: pattern of its files, ``plate.####.exr``.
        first: number of the first file that the clip shows.
        media_first: number of the first file of the whole media item.
        length: number of frames that the clip shows.
    """

    name: str
    plate: str
    first: int
    media_first: int
    length: int


def resolve_application() -> Any:
    """The running Resolve. Raises ``PluginError`` if it cannot be reached."""
    try:
        import DaVinciResolveScript
    except ImportError as error:
        raise PluginError(
            f"DaVinciResolveScript cannot be imported ({error}): run this from Resolve's Workspace > Scripts menu"
        ) from None
    resolve = DaVinciResolveScript.scriptapp("Resolve")
    if resolve is None:
        raise PluginError("Resolve does not respond: start it, or allow external scripting in its preferences")
    return resolve


def current_clip(resolve: Any) -> Tuple[Any, Any, Any, Clip]:
    """The project, the timeline, the timeline item and the ``Clip`` under the playhead.

    Raises:
        PluginError: no timeline is open, or the clip is not an image sequence.
    """
    project = resolve.GetProjectManager().GetCurrentProject()
    timeline = project.GetCurrentTimeline() if project else None
    item = timeline.GetCurrentVideoItem() if timeline else None
    media = item.GetMediaPoolItem() if item else None
    if media is None:
        raise PluginError("there is no clip under the playhead: open a timeline and move the playhead to a clip")
    path = str(media.GetClipProperty("File Path") or "").replace("\\", "/")
    found = re.search(r"\[(\d+)-(\d+)\](\.\w+)$", path)
    if not found:
        raise PluginError(f"{path or item.GetName()} is not an image sequence: render the clip as EXR files first")
    digits = found.group(1)
    plate = path[: found.start()] + "#" * len(digits) + found.group(3)  # a single # matches any padding
    name = re.sub(r"\W", "_", os.path.basename(path[: found.start()]).strip("._- ")) or "clip"
    media_first = int(digits)
    first = media_first + _whole(item.GetLeftOffset)
    return project, timeline, item, Clip(name, plate, first, media_first, _whole(item.GetDuration))


def _whole(frames: Callable[..., Any]) -> int:
    """Call a Resolve function that returns frames, and round down to whole ones.

    Newer versions of Resolve take an argument that asks for subframes; older ones take none.

    Raises:
        PluginError: Resolve returns nothing.
    """
    for arguments in ((False,), ()):
        try:
            found = frames(*arguments)
        except TypeError:
            continue
        if found is not None:
            return int(found)
    raise PluginError("Resolve does not report the clip's position: move the playhead to a clip on the Edit page")


def run_of(clip: Clip) -> Optional[Run]:
    """The newest run of the clip's node; ``None`` if there is none."""
    return last_run(work_folder(clip) / clip.name)


def work_folder(clip: Clip) -> Path:
    """The folder in which the Fuse keeps this clip's runs."""
    return Path(os.path.normpath(Path(clip.plate).parent / WORK_FOLDER))


def add_node(item: Any, clip: Clip) -> str:
    """Add a Fusion comp that contains the node to the clip; returns one sentence for the artist.

    The comp is imported from a file, because some versions of Resolve do not render tools that a script adds.
    """
    text = comp_of(clip.name, clip.length, clip.first)
    handle, path = tempfile.mkstemp(suffix=".comp", prefix="InternalInpaint_")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if not item.ImportFusionComp(path):
            raise PluginError("Resolve did not accept the comp: check that the Internal Inpaint Fuse is installed")
    finally:
        os.unlink(path)
    return f"The node was added to {clip.name}: open the Fusion page, choose a matte and press Start Training"


def bring_in(project: Any, timeline: Any, item: Any, clip: Clip, run: Run) -> str:
    """Put a run's finished frames on a new video track above the clip; existing tracks stay as they are.

    Raises:
        PluginError: the run is not finished, or Resolve refuses an operation.
    """
    view = run.look()
    if view.state != "done":
        raise PluginError(f"{clip.name} is not finished: {view.message or view.state}")
    pattern, frames = finished_frames(run)
    pool = project.GetMediaPool()
    folder = next((f for f in pool.GetRootFolder().GetSubFolderList() if f.GetName() == BIN), None)
    folder = folder or pool.AddSubFolder(pool.GetRootFolder(), BIN)
    if not folder or not pool.SetCurrentFolder(folder):
        raise PluginError(f"Resolve cannot create the bin {BIN}: check whether the project is read-only")
    media = _import(pool, pattern, frames)
    if not timeline.AddTrack("video"):  # above all existing tracks
        raise PluginError("Resolve cannot add a track: check whether the timeline is locked")
    begin = max(clip.first, frames[0])
    end = min(clip.first + clip.length - 1, frames[-1])
    if end < begin:
        raise PluginError(
            f"the finished frames {frames[0]}-{frames[-1]} are not those that the clip shows: train the clip again"
        )
    placed = pool.AppendToTimeline(
        [
            {
                "mediaPoolItem": media,
                "startFrame": begin - frames[0],
                "endFrame": end - frames[0] + 1,  # exclusive
                "trackIndex": timeline.GetTrackCount("video"),
                "recordFrame": _whole(item.GetStart) + begin - clip.first,
            }
        ]
    )
    if not placed:
        raise PluginError(
            f"Resolve imported the frames into the bin {BIN} but did not place them: drag them onto the timeline"
        )
    return f"{end - begin + 1} finished frames of {clip.name} are on a new track above the clip"


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
        raise PluginError(f"Resolve cannot import {files}: check that this version of Resolve reads EXR")
    return found[0]


def to_current_clip(resolve: Any) -> str:
    """Add the node to a clip without one, else bring in its finished frames; returns one sentence."""
    project, timeline, item, clip = current_clip(resolve)
    run = run_of(clip)
    if run is not None and read_job(run.folder) is not None:
        return bring_in(project, timeline, item, clip, run)
    if item.GetFusionCompCount():
        return f"{clip.name} already has a Fusion comp: add the Internal Inpaint node to it on the Fusion page"
    return add_node(item, clip)


def main(resolve: Any = None) -> int:
    """Run the script and print one sentence. Returns 0 if it succeeded, else 2."""
    try:
        print(to_current_clip(resolve_application() if resolve is None else resolve))
        return 0
    except PluginError as error:
        print(f"Internal Inpaint: {error}", file=sys.stderr)
    except (AttributeError, TypeError) as error:  # None where an object was expected: no project manager, no page
        print(f"Internal Inpaint: Resolve's scripting API gave an unexpected answer ({error})", file=sys.stderr)
    return 2

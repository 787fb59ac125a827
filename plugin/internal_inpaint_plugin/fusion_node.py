"""Fusion and DaVinci Resolve from Python: the macro and the comp as text, and the node on Resolve's current clip.

The Fuse (resolve_fuse/InternalInpaint.fuse) does its own work in Lua. What is here writes the two kinds of
file that the hosts read, ``.setting`` and ``.comp``, and drives Resolve's scripting API;
``DaVinciResolveScript`` is imported in ``resolve_application`` only.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from internal_inpaint_plugin.errors import PluginError
from internal_inpaint_plugin.job_folder import PathLike, read_job
from internal_inpaint_plugin.run import Run, last_run

FUSE = "Fuse.InternalInpaint"
RESULT = "result/result.####.exr"
BIN = "Internal Inpaint"
# Where the node's runs go in Resolve, whose comps are no files: from the plate's folder.
WORK_FOLDER = "../InternalInpaint"
HOLD = 1  # the Loader's Missing Frames: fail, hold, black, wait
# What the macro loads, by its files in a run; each has its own: some versions of the hosts read the first layer of a
# file whatever a Loader says.
LOADERS = {
    "Result": RESULT,
    "Fill": "elements/fill.####.exr",
    "Matte": "elements/matte.####.exr",
    "Confidence": "elements/confidence.####.exr",
}


class Lua(str):
    """Text that is Lua already."""


def lua(value: Any, kind: str = "", indent: int = 0) -> Lua:
    """A value as a Lua table constructor, as Fusion saves it. ``kind`` stands before the table: ``Loader {``."""
    if isinstance(value, Lua):
        return value
    if isinstance(value, bool):
        return Lua("true" if value else "false")
    if isinstance(value, (int, float)):
        return Lua(repr(value))
    if isinstance(value, str):
        for letter, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\0", "\\0")):
            value = value.replace(letter, escape)
        return Lua(f'"{value}"')
    tab, lines = "\t" * (indent + 1), []
    items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for key, item in items:
        if isinstance(item, tuple):
            text = lua(item[1], item[0], indent + 1)
        else:
            text = lua(item, "", indent + 1)
        name = "" if key is None else f"{key} = " if re.fullmatch(r"[A-Za-z_]\w*", key) else f'["{key}"] = '
        lines.append(f"{tab}{name}{text},\n")
    return Lua(f"{kind} {{\n".lstrip() + "".join(lines) + "\t" * indent + "}")


def _input(value: Any) -> Tuple[str, Dict[str, Any]]:
    return "Input", {"Value": value}


def _link(tool: str, output: str = "Output") -> Tuple[str, Dict[str, Any]]:
    return "Input", {"SourceOp": tool, "Source": output}


def _exposed(tool: str, source: str, name: str = "", **more: Any) -> Tuple[str, Dict[str, Any]]:
    return "InstanceInput", {"SourceOp": tool, "Source": source, **({"Name": name} if name else {}), **more}


def _place(x: int, y: int, kind: str = "OperatorInfo") -> Tuple[str, Dict[str, Any]]:
    return kind, {"Pos": [x, y]}


def _loader(frames: str, first: int, last: int, comp_first: int, y: int) -> Tuple[str, Dict[str, Any]]:
    clip = {
        "ID": "Clip1",
        "Filename": frames,
        "FormatID": "OpenEXRFormat",
        "StartFrame": first,
        "Length": last - first + 1,
        "LengthSetManually": True,
        "TrimIn": 0,
        "TrimOut": last - first,
        "ExtendFirst": 0,
        "ExtendLast": 0,
        "Loop": 0,
        "AspectMode": 0,
        "Depth": 0,
        "TimeCode": 0,
        "GlobalStart": comp_first,
        "GlobalEnd": comp_first + last - first,
    }
    inputs = {"MissingFrames": _input(HOLD)}
    return "Loader", {"Clips": [("Clip", clip)], "CtrlWZoom": False, "Inputs": inputs, "ViewInfo": _place(0, y)}


def macro(run: str, first: int, last: int, comp_first: Optional[int] = None) -> str:
    """The macro: a Loader for the finished frames and for each element, and the plate beside the result.

    Args:
        run: the run's folder; a path map such as ``Comp:`` is allowed.
        first, last: the files' own numbers.
        comp_first: the comp's frame that shows the first; the file's own number where ``None``.
    """
    comp_first = first if comp_first is None else comp_first
    inputs: Dict[str, Any] = {"MainInput1": _exposed("Shown", "Background", "Plate")}
    tools: Dict[str, Any] = {}
    for i, (name, files) in enumerate(LOADERS.items()):
        tools[name] = _loader(_numbered(f"{run}/{files}", first), first, last, comp_first, 33 * i)
        label = "Finished Frames" if name == "Result" else f"Finished Frames ({name})"
        inputs[f"{name}Clip"] = _exposed(name, "Clip", label)
        inputs[f"{name}GlobalIn"] = _exposed(name, "GlobalIn", ControlGroup=i + 1)
        inputs[f"{name}GlobalOut"] = _exposed(name, "GlobalOut", ControlGroup=i + 1)
        inputs[f"{name}MissingFrames"] = _exposed(name, "MissingFrames", "Missing Frames")
    inputs["Mix"] = _exposed("Shown", "Mix", "Plate (0) to Result (1)", Default=1)
    tools["Shown"] = (
        "Dissolve",
        {
            "Transitions": {"[0]": "DFTDissolve"},
            "CtrlWZoom": False,
            "Inputs": {"Foreground": _link("Result"), "Mix": _input(1)},
            "ViewInfo": _place(110, 0),
        },
    )
    outputs = {"MainOutput1": ("InstanceOutput", {"SourceOp": "Shown", "Source": "Output", "Name": "Result"})}
    for i, name in enumerate(list(LOADERS)[1:]):
        outputs[f"Output{i + 2}"] = ("InstanceOutput", {"SourceOp": name, "Source": "Output", "Name": name})
    group = {
        "CtrlWZoom": False,
        "NameSet": True,
        "Inputs": ("ordered()", inputs),
        "Outputs": outputs,
        "ViewInfo": _place(0, 0, "GroupInfo"),
        "Tools": ("ordered()", tools),
    }
    text = lua(
        {"Tools": ("ordered()", {"InternalInpaint": ("MacroOperator", group)}), "ActiveTool": "InternalInpaint"}
    )
    return text.replace('["[0]"]', "[0]") + "\n"


def shipped_macro() -> str:
    """resolve_fuse/InternalInpaint.setting: the first version of the first node of a saved comp, from frame 1001."""
    return macro("Comp:/InternalInpaint/InternalInpaint1/v001", 1001, 1100)


def macro_of(run: Run, comp_first: Optional[int] = None) -> str:
    """The macro for the finished frames of a run. Raises ``PluginError`` if it has none."""
    _, frames = finished_frames(run)
    return macro(run.folder.as_posix(), frames[0], frames[-1], comp_first)


def comp_of(node: str, length: int, offset: int, **controls: Any) -> str:
    """A comp for one clip: MediaIn, the node, MediaOut.

    Args:
        node: the name of its folder in the work folder.
        length: of the clip, frames; a comp of Resolve starts at 0.
        offset: the file number of the comp's frame 0.
        controls: of the Fuse, by their names: ``Quality=2``.
    """
    # The plate's path is MediaIn's: none is stored in the node.
    values = {"FrameOffset": offset, "WorkFolder": WORK_FOLDER, "NodeFolder": node, **controls}
    tools = {
        "MediaIn1": ("MediaIn", {"Inputs": {"Layer": _input("0")}, "ViewInfo": _place(0, 0)}),
        "InternalInpaint1": (
            FUSE,
            {
                "CtrlWZoom": False,
                "Inputs": {"Input": _link("MediaIn1"), **{key: _input(value) for key, value in values.items()}},
                "ViewInfo": _place(110, 0),
            },
        ),
        "MediaOut1": ("MediaOut", {"Inputs": {"Input": _link("InternalInpaint1")}, "ViewInfo": _place(220, 0)}),
    }
    ends = [0, max(0, length - 1)]
    content = {"CurrentTime": 0, "RenderRange": ends, "GlobalRange": ends, "Tools": ("ordered()", tools)}
    return lua(content, "Composition") + "\n"


def finished_frames(run: Run) -> Tuple[str, List[int]]:
    """Pattern and numbers of a run's frames. Raises ``PluginError`` where none is finished."""
    pattern = run.frames_path()
    match = re.search(r"#+", os.path.basename(pattern))
    folder = Path(pattern).parent if pattern else Path()
    if match and folder.is_dir():
        before, after = os.path.basename(pattern)[: match.start()], os.path.basename(pattern)[match.end() :]
        like = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
        frames = sorted(int(found.group(1)) for found in (like.fullmatch(p.name) for p in folder.iterdir()) if found)
        if frames:
            return pattern, frames
    raise PluginError(f"no finished frame in {run.folder}: train it first")


def _numbered(pattern: str, frame: int) -> str:
    folder, name = os.path.split(pattern)
    return os.path.join(folder, re.sub(r"#+", lambda found: str(frame).zfill(len(found.group())), name))


# ---------------------------------------------------------------------------------------------------- Resolve


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
    numbered = os.path.join(folder, name.replace(digits.group(), f"%0{len(digits.group())}d")) if digits else pattern
    found = pool.ImportMedia([{"FilePath": numbered, "StartIndex": first, "EndIndex": last}])
    if not found:  # a single file, or a version that takes paths only
        found = pool.ImportMedia([_numbered(pattern, frame) for frame in frames])
    if not found:
        raise PluginError(f"Resolve cannot import {numbered}: does it read EXR?")
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


def write_shipped_macro(path: PathLike) -> None:
    """Write resolve_fuse/InternalInpaint.setting anew."""
    Path(path).write_text(shipped_macro(), encoding="utf-8")

"""Text files for Fusion and Resolve: the macro (``.setting``) and a comp that contains the node (``.comp``)."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Optional, Tuple

from internal_inpaint_plugin.errors import PluginError
from internal_inpaint_plugin.run import Run
from internal_inpaint_plugin.sequence import files_of

FUSE = "Fuse.InternalInpaint"
RESULT = "result/result.####.exr"
# The node's work folder in Resolve, relative to the plate's folder: comps in Resolve are not files.
WORK_FOLDER = "../InternalInpaint"
HOLD = 1  # the Loader's Missing Frames: fail, hold, black, wait
# The macro's Loaders and the files of a run that they read. Each picture has files of its own, because some versions
# of the hosts read only the first layer of a file, whatever the Loader is set to.
LOADERS = {
    "Result": RESULT,
    "Fill": "elements/fill.####.exr",
    "Matte": "elements/matte.####.exr",
    "Confidence": "elements/confidence.####.exr",
}


class Lua(str):
    """Text that is already Lua source."""


def lua(value: Any, kind: str = "", indent: int = 0) -> Lua:
    """Format a value as a Lua table constructor, as Fusion saves it; ``kind`` precedes the table: ``Loader {``."""
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
    """The macro: a Loader for the finished frames, one for each element, and a Dissolve from plate to result.

    Args:
        run: the run's folder; may start with a path map such as ``Comp:``.
        first, last: first and last frame number of the files.
        comp_first: the comp frame that shows the first file; ``None``: the file's own number.
    """
    comp_first = first if comp_first is None else comp_first
    inputs: Dict[str, Any] = {"MainInput1": _exposed("Shown", "Background", "Plate")}
    tools: Dict[str, Any] = {}
    for i, (name, files) in enumerate(LOADERS.items()):
        tools[name] = _loader(numbered(f"{run}/{files}", first), first, last, comp_first, 33 * i)
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
    """The text of resolve_fuse/InternalInpaint.setting: version 1 of a saved comp's first node, from frame 1001."""
    return macro("Comp:/InternalInpaint/InternalInpaint1/v001", 1001, 1100)


def macro_of(run: Run, comp_first: Optional[int] = None) -> str:
    """The macro for a run's finished frames. Raises ``PluginError`` if there are none."""
    _, frames = finished_frames(run)
    return macro(run.folder.as_posix(), frames[0], frames[-1], comp_first)


def comp_of(node: str, length: int, offset: int, **controls: Any) -> str:
    """A comp for one clip: MediaIn, the node, MediaOut.

    Args:
        node: name of the node's folder in the work folder.
        length: length of the clip in frames; comps in Resolve start at frame 0.
        offset: file number at the comp's frame 0.
        controls: values of the Fuse's controls by name: ``Quality=2``.
    """
    # The node stores no plate path: it asks MediaIn.
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
    """Pattern and numbers of a run's finished frames. Raises ``PluginError`` if there are none."""
    pattern = run.frames_path()
    frames = sorted(files_of(pattern)) if pattern else []
    if frames:
        return pattern, frames
    raise PluginError(f"there are no finished frames in {run.folder}: train the shot first")


def numbered(pattern: str, frame: int) -> str:
    """The file name of one frame of a pattern."""
    folder, name = os.path.split(pattern)
    return os.path.join(folder, re.sub(r"#+", lambda found: str(frame).zfill(len(found.group())), name))

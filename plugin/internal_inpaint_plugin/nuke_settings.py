"""The settings of an Internal Inpaint node in Nuke: its folders, frames and job. Main thread only."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Dict, List, Tuple

import nuke

from internal_inpaint_plugin.errors import PluginError

DEVICES = {"automatic": "auto", "GPU": "cuda", "CPU": "cpu"}
CHANNELS = {"alpha": "A", "red": "R", "green": "G", "blue": "B"}
PLATE, MATTE = 0, 1  # the node's inputs
FRAME_OR_VIEW = re.compile(r"#|%0?\d*d|%[vV]")
MARK = ("work_folder", "preparing", "without_frames")  # knobs that identify the group


def is_ours(node: Any) -> bool:
    """Whether a node is an Internal Inpaint group, whatever its name is."""
    return all(node.knob(name) is not None for name in MARK)


def in_render() -> bool:
    """Whether Nuke is rendering: then the node only reads finished frames."""
    return not nuke.GUI or bool(nuke.executing())


def work_folder(node: Any) -> Path:
    """The artist's work folder as an absolute path.

    Raises:
        PluginError: it is empty, it depends on the name of an unsaved script, or Nuke would replace a part of it
            with a frame number or a view.
    """
    written, script = node["work_folder"].value(), nuke.root()["name"].value() or ""
    beside = "root.name" in written
    if beside and not script:
        raise PluginError("Save the script first, or set the work folder: by default it is beside the script")
    if found := FRAME_OR_VIEW.search(f"{written}{script if beside else ''}"):
        raise PluginError(
            f"The work folder has {found.group()} in its name, which Nuke replaces with a frame number or a view: "
            "choose another folder"
        )
    folder = node["work_folder"].evaluate() or ""
    if not folder.strip():
        raise PluginError("The work folder is not set: choose a folder for the training and the frames")
    # Nuke resolves relative file names in the same way.
    project = nuke.root()["project_directory"].evaluate() or ""
    return Path(os.path.abspath(os.path.join(project, folder.strip())))


def base_folder(node: Any) -> Path:
    """The folder that holds all versions of this node; the node must have its ``id``."""
    return work_folder(node) / node["id"].value()


def run_folder(node: Any) -> Path:
    """The folder of the version that is shown.

    Raises:
        PluginError: nothing has been started yet, or the version's name is not valid.
    """
    name, version = node["id"].value(), node["run"].value()
    if not name or not version:
        raise PluginError("Nothing has been trained here yet: press Start Training")
    if not re.fullmatch(r"v\d{3,}", version) or not re.fullmatch(r"\w+", name):
        raise PluginError(f"{version} is not a version: type one such as v001")
    return work_folder(node) / name / version


def give_id(node: Any) -> None:
    """Store the node's name at its first start as its id, so that it finds its frames when renamed or copied."""
    if not node["id"].value():
        node["id"].setValue(re.sub(r"\W", "_", node.fullName()))


def frame_range(node: Any) -> Tuple[int, int]:
    """First and last frame to process.

    Raises:
        PluginError: no plate is connected, or the range ends before it starts.
    """
    plate = node.input(PLATE)
    if plate is None:
        raise PluginError("The plate is not connected: connect the shot to the plate input")
    kind = node["range"].value()
    if kind == "global":
        first, last = nuke.root()["first_frame"].value(), nuke.root()["last_frame"].value()
    elif kind == "custom":
        first, last = node["first"].value(), node["last"].value()
    else:
        first, last = plate.firstFrame(), plate.lastFrame()
    if last < first:
        raise PluginError(f"The frame range {int(first)}-{int(last)} ends before it starts: correct it")
    return int(first), int(last)


def matte_frames(node: Any, first: int, last: int) -> List[int]:
    """The frames with a drawn matte: the whole range, unless "matte from one frame" is on.

    Raises:
        PluginError: no frame is given, a word is not a frame number, or a frame is outside the range.
    """
    if not node["one_frame"].value():
        return list(range(first, last + 1))
    frames: List[int] = []
    for word in node["matte_frames"].value().replace(",", " ").split():
        match = re.fullmatch(r"(-?\d+)(?:-(-?\d+))?", word)
        if not match:
            raise PluginError(
                f"Matte from one frame: {word} is not a frame number; type frames such as 1012 or 1012, 1040"
            )
        begin, end = int(match.group(1)), int(match.group(2) or match.group(1))
        if begin < first or end > last or end < begin:
            raise PluginError(
                f"Matte from one frame: {word} is outside the frame range {first}-{last}; type frames inside it"
            )
        frames += range(begin, end + 1)
    if not frames:
        raise PluginError("Matte from one frame: type the frame, or go to the frame and press this frame")
    return sorted(set(frames))


def job_for(node: Any, first: int, last: int, plate: str, matte: str, matte_channel: str) -> Dict[str, Any]:
    """The content of job.json (docs/job-folder.md); ``plate`` and ``matte`` are file patterns, "" means no matte."""
    job: Dict[str, Any] = {
        "plate": plate,
        "output": "result/result.####.exr",
        "frames": f"{first}-{last}",
        "quality": node["quality"].value(),
        "fill_layer": True,
        "confidence_layer": True,
        **changeable(node),
    }
    if matte:
        job["matte"] = matte
        if node["one_frame"].value():
            job["matte_frame"] = ",".join(map(str, matte_frames(node, first, last)))
    if matte_channel:
        job["matte_channel"] = matte_channel
    if not node["auto_edges"].value():
        job["grow"], job["feather"] = float(node["grow"].value()), float(node["feather"].value())
    return job


def changeable(node: Any) -> Dict[str, Any]:
    """The settings that Resume may change, ``None`` where they are the job's default.

    The time limit in seconds, the device, and the grain.
    """
    minutes = float(node["time_limit"].value())
    if minutes < 0:
        raise PluginError("The time limit is negative: enter minutes, or 0 for the quality's own time")
    grain = float(node["grain"].value())
    return {
        "time": minutes * 60 if minutes else None,
        "device": DEVICES[node["device"].value()],
        "grain": None if grain == 1 else grain,
    }

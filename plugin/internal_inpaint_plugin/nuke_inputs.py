"""Where plate and matte come from: unmodified EXR files are used directly, the rest is rendered. Main thread only."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, List, Optional, Set, Tuple

import nuke

from internal_inpaint_plugin.errors import PluginError
from internal_inpaint_plugin.job_folder import read_json, write_json
from internal_inpaint_plugin.nuke_settings import CHANNELS, MATTE, PLATE
from internal_inpaint_plugin.sequence import FRAME_NUMBER, files_of

COMPLETE = "complete.json"  # written to RUN/inputs once everything is rendered
FULL = 1 << 20  # a disk with fewer free bytes than this counts as full
OPENED = re.compile(r"_panelDropped(_\d+)?$")  # Nuke's own knob: whether a colour knob's fields are open
# What a colour space knob may write before the actual name: default, and roles of OCIO.
STANDS_FOR = re.compile(r"(default|scene_linear|compositing_linear|rendering|reference)\s*\((.+)\)")
# One name in a list: a comma separates two of them only after a file extension, as for the engine.
GUIDES = re.compile(r"\s*(\S.*?\.[A-Za-z]\w*|\S.*?)\s*(?:,|$)")
# Knobs that do not change the picture: moving, renaming or colouring a node does not make a new input.
COSMETIC = frozenset(
    (
        *("name", "label", "help", "icon", "indicators", "xpos", "ypos", "selected", "hide_input", "cached"),
        *("tile_color", "gl_color", "note_font", "note_font_size", "note_font_color", "postage_stamp"),
        *("postage_stamp_frame", "dope_sheet", "bookmark", "panel", "mapsize", "window", "onCreate", "onDestroy"),
        *("knobChanged", "updateUI", "autolabel", "rootNodeUpdated", "version", "reload", "localizationPolicy"),
        *("cacheLocal", "progress", "psnr", "time_left", "message", "preparing"),
    )
)


@dataclass(frozen=True)
class Source:
    """One input of the job.

    Attributes:
        word: ``plate`` or ``matte``.
        pattern: file pattern for the job; relative to the job folder if the frames are rendered.
        identity: digest of the files, or of the nodes that make the pictures; it differs for other pictures.
        frames: frames to render; empty: the files are used directly.
        channels: channels of the Write that renders them.
    """

    word: str
    pattern: str
    identity: str
    frames: Tuple[int, ...]
    channels: str


@contextlib.contextmanager
def full_size() -> Iterator[None]:
    """Switch proxy mode off meanwhile: a Read would name its proxy files, and a Write would render at proxy size."""
    proxy = nuke.root()["proxy"]
    if not proxy.value():
        yield
        return
    proxy.setValue(False)
    try:
        yield
    finally:
        proxy.setValue(True)


def plate_source(node: Any, first: int, last: int) -> Source:
    """The plate; its alpha is included only if no matte is connected."""
    frames = range(first, last + 1)
    channels = "rgb" if node.input(MATTE) is not None else "rgba"
    return _source(node, PLATE, "plate", list(frames), channels)


def matte_source(node: Any, frames: List[int]) -> Optional[Source]:
    """The matte on these frames; ``None`` if none is connected."""
    if node.input(MATTE) is None:
        return None
    channel = node["matte_channel"].value()
    return _source(node, MATTE, "matte", frames, "alpha" if channel == "alpha" else f"rgba.{channel}")


def matte_channel(node: Any) -> str:
    """The channel's name in the files, for the job; empty without a matte input, which means the plate's alpha."""
    return CHANNELS[node["matte_channel"].value()] if node.input(MATTE) is not None else ""


def guide_files(node: Any) -> Tuple[str, str]:
    """The painted frames: absolute files or patterns for the job, and the identity of their files; empty if none.

    Raises:
        PluginError: a name is an expression, or no file has it.
    """
    knob = node.knob("guide")  # nodes of older scripts lack it
    written = (knob.value() or "").strip() if knob is not None else ""  # evaluate() would number a pattern
    if "[" in written:
        raise PluginError("Guide frames: type the files' names, without [expressions]")
    project, files, found = nuke.root()["project_directory"].evaluate() or "", [], []
    for name in GUIDES.findall(written):
        files.append(os.path.abspath(os.path.join(project, os.path.expanduser(name.strip()))))
        there = files_of(files[-1])
        if not there:
            raise PluginError(f"Guide frames: there is no file {files[-1]}; choose a frame that was painted clean")
        found.append(repr((files[-1], sorted(there.items()))))
    return ",".join(files), _digest(found) if found else ""


def _source(node: Any, number: int, word: str, frames: List[int], channels: str) -> Source:
    top = _through_dots(node.input(number))
    if (used := untouched(top, frames)) is not None:
        return Source(word, used[0], used[1], (), channels)
    whole = f"{upstream(top)} {frames[0]}-{frames[-1]}x{len(frames)} {channels} {' '.join(nuke.views())}"
    return Source(word, f"inputs/{word}.####.exr", _digest([whole]), tuple(frames), channels)


def _through_dots(node: Any) -> Any:
    while node is not None and node.Class() == "Dot" and node.input(0) is not None:
        node = node.input(0)
    return node


def untouched(node: Any, frames: List[int]) -> Optional[Tuple[str, str]]:
    """Pattern and identity of a Read's EXR files if the Read shows them unmodified, else ``None``.

    Unmodified means: no colour conversion, no retime, no added alpha, no held frames, no missing frames.
    """
    if node.Class() != "Read" or _value(node, "disable", False):
        return None
    path = _file_pattern(node)
    if path is None or not path.lower().endswith(".exr"):
        return None
    if not (_value(node, "raw", False) or _spaces(_value(node, "colorspace", "")) & _working_spaces()):
        return None
    if any(_value(node, name, False) for name in ("premultiplied", "auto_alpha")) or _value(node, "frame", ""):
        return None
    if frames[0] < _value(node, "first", frames[0]) or frames[-1] > _value(node, "last", frames[-1]):
        return None
    there = files_of(path)
    if not all(frame in there for frame in frames):
        return None
    return path, _digest(repr((frame, there[frame])) for frame in frames)


def _value(node: Any, name: str, otherwise: Any) -> Any:
    knob = node.knob(name)
    return otherwise if knob is None else knob.value()


def _spaces(text: str) -> Set[str]:
    """The names that a colour space knob gives: ``default (linear)`` and ``linear`` are the same space.

    Only ``default`` and OCIO roles are aliases. In the ACES configurations, ``Linear Rec.709 (sRGB)`` and
    ``sRGB Encoded Rec.709 (sRGB)`` are complete names, including the brackets.
    """
    names, text = set(), text.strip()
    while match := STANDS_FOR.fullmatch(text):
        names.add(match.group(1))
        text = match.group(2).strip()
    return (names | {text}) - {"", "default"}


def _working_spaces() -> Set[str]:
    return _spaces(_value(nuke.root(), "workingSpaceLUT", "")) or {"linear"}


def _file_pattern(read: Any) -> Optional[str]:
    """A Read's absolute file name; ``None`` unless it has exactly one frame number and no view."""
    name = nuke.filename(read) or ""
    if not name or re.search(r"%[vV]", name) or len(FRAME_NUMBER.findall(name)) != 1:
        return None
    path = os.path.abspath(os.path.join(nuke.root()["project_directory"].evaluate() or "", name))
    return path if FRAME_NUMBER.search(os.path.basename(path)) else None


def upstream(top: Any) -> str:
    """A digest of everything that makes a node's picture: every knob upstream, with the keys on all frames.

    Nuke's own hash of a node covers one frame: it misses a roto key on another frame and changes with the
    playhead. Files count by name, size and modification time.
    """
    return _digest(line for node in _above(top) for line in _content(node))


def _above(top: Any) -> Iterator[Any]:
    """The node and everything it depends on: inputs, expressions, the inside of groups and what feeds them."""
    waiting, seen = [top], set()
    while waiting:
        node = waiting.pop()
        if node is None or node.fullName() in seen or node.Class() in ("Root", "Viewer"):
            continue
        seen.add(node.fullName())
        yield node
        waiting += node.dependencies(nuke.INPUTS | nuke.HIDDEN_INPUTS | nuke.EXPRESSIONS)
        if isinstance(node, nuke.Group):  # also gizmos
            waiting += node.nodes()
        if node.Class() == "Input" and node.parent() is not None and node.parent().Class() != "Root":
            waiting.append(node.parent().input(int(_value(node, "number", 0))))


def _content(node: Any) -> Iterator[str]:
    yield f"{node.fullName()} {node.Class()}"
    for index in range(node.inputs()):
        above = node.input(index)
        yield f"{index} {above.fullName() if above is not None else ''}"
    for name, knob in sorted(node.knobs().items()):
        if name not in COSMETIC and not OPENED.search(name):
            try:
                yield f"{name} {knob.toScript()}"
            except (AttributeError, RuntimeError, TypeError, ValueError):
                continue  # a knob without a value
    if node.Class() == "Read" and (pattern := _file_pattern(node)) is not None:
        yield from (repr(file) for file in sorted(files_of(pattern).items()))


def _digest(lines: Any) -> str:
    whole = hashlib.sha256()
    for line in lines:
        whole.update(line.encode("utf-8", "surrogatepass") + b"\0")
    return whole.hexdigest()


def render(node: Any, folder: Path, sources: List[Source]) -> None:
    """Render the sources that need it into ``folder``/inputs, with Nuke's own progress bar and cancel button.

    Call it inside ``full_size``. Complete earlier renders are kept. A failed render is removed.

    Raises:
        PluginError: the artist cancelled, or the frames cannot be rendered or written.
    """
    sources = [source for source in sources if source.frames]
    inputs, identity = folder / "inputs", {source.word: source.identity for source in sources}
    if not sources or read_json(inputs / COMPLETE) == identity:
        return
    try:
        _make(inputs)
        node["preparing"].setValue(folder.name)
        for source in sources:
            _execute(node, source, inputs)
        write_json(inputs / COMPLETE, identity)
    except BaseException:
        shutil.rmtree(str(inputs), ignore_errors=True)
        forget_empty(folder)
        raise
    finally:
        node["preparing"].setValue("")


def claim(folder: Path) -> bool:
    """Create a new version's folder; False if another user or machine has just created it.

    A version that already has a job.json can be used again.
    """
    if (folder / "job.json").is_file():
        return True
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except FileExistsError:
        if folder.is_dir():
            return False
        raise PluginError(f"{folder} cannot be created (a file has this name): choose another work folder") from None
    except OSError as error:
        raise PluginError(f"{folder} cannot be created ({error.strerror}): choose another work folder") from None
    return True


def forget_empty(folder: Path) -> None:
    """Remove a version's folder, the node's folder and the work folder, as far as they are empty."""
    for place in (folder, folder.parent, folder.parent.parent):
        try:
            os.rmdir(str(place))
        except OSError:
            return


def _make(inputs: Path) -> None:
    try:
        shutil.rmtree(str(inputs), ignore_errors=True)
        inputs.mkdir(parents=True)
    except OSError as error:
        forget_empty(inputs.parent)
        raise PluginError(f"{inputs} cannot be created ({error.strerror}): choose another work folder") from None


def _execute(node: Any, source: Source, inputs: Path) -> None:
    write = node.node("PlateToFiles" if source.word == "plate" else "MatteToFiles")
    write["channels"].setValue(source.channels)
    write["disable"].setValue(False)
    try:
        for first, last in _contiguous(source.frames):
            nuke.execute(write, first, last, 1, list(nuke.views()))
    except (RuntimeError, OSError) as error:
        raise PluginError(_sentence(source.word, str(error), inputs)) from None
    finally:
        write["disable"].setValue(True)  # `nuke -x` and Render All execute every enabled Write
    there = files_of(str(inputs / f"{source.word}.####.exr"))  # once: listing a network drive takes long
    if not all(frame in there for frame in source.frames):
        raise PluginError(_sentence(source.word, "frames are missing", inputs))


def _contiguous(frames: Tuple[int, ...]) -> List[Tuple[int, int]]:
    runs: List[Tuple[int, int]] = []
    for frame in frames:
        if runs and runs[-1][1] == frame - 1:
            runs[-1] = (runs[-1][0], frame)
        else:
            runs.append((frame, frame))
    return runs


def _sentence(word: str, error: str, inputs: Path) -> str:
    if "cancel" in error.lower():
        return f"Rendering the {word} was cancelled: training was not started"
    try:
        if shutil.disk_usage(str(inputs)).free < FULL:
            return (
                f"The disk is full, so the {word} could not be rendered to {inputs}: free some space, then press "
                "Start Training again"
            )
    except OSError:
        pass
    reason = error.strip().splitlines()[0] if error.strip() else "no reason given"
    return f"The {word} could not be rendered ({reason}): training was not started"

"""What nodes show, computed from real files with OpenImageIO, and written by Writes."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np
import OpenImageIO as oiio

from nuke_standin import knowledge
from nuke_standin.script_text import ScriptError

RGBA = knowledge.LAYERS["rgba"]
EXR_NAMES = {"rgba.red": "R", "rgba.green": "G", "rgba.blue": "B", "rgba.alpha": "A"}
NUKE_NAMES = {"R": "red", "G": "green", "B": "blue", "A": "alpha"}
COMPRESSIONS = {"none": "none", "Zip (1 scanline)": "zips", "Zip (16 scanlines)": "zip", "RLE": "rle"}


@dataclass(frozen=True)
class Picture:
    """Planes [H, W] by Nuke's channel names over a data window x, y, w, h inside a display window."""

    planes: dict[str, np.ndarray]
    data: tuple[int, int, int, int]
    display: tuple[int, int, int, int]
    files: tuple[str, ...] = ()

    def plane(self, name: str) -> np.ndarray:
        height, width = self.data[3], self.data[2]
        return self.planes.get(name, np.zeros((height, width), np.float32))

    def rgb(self) -> np.ndarray:
        return np.stack([self.plane(name) for name in RGBA[:3]], axis=-1)

    def over(self, data) -> Picture:
        """The same over another data window, black outside its own."""
        x, y, w, h = data
        moved = {}
        for name, plane in self.planes.items():
            whole = np.zeros((h, w), np.float32)
            left, top = max(x, self.data[0]), max(y, self.data[1])
            right = min(x + w, self.data[0] + self.data[2])
            bottom = min(y + h, self.data[1] + self.data[3])
            if right > left and bottom > top:
                whole[top - y : bottom - y, left - x : right - x] = plane[
                    top - self.data[1] : bottom - self.data[1], left - self.data[0] : right - self.data[0]
                ]
            moved[name] = whole
        return replace(self, planes=moved, data=data)


def _union(a, b):
    left, top = min(a[0], b[0]), min(a[1], b[1])
    return left, top, max(a[0] + a[2], b[0] + b[2]) - left, max(a[1] + a[3], b[1] + b[3]) - top


def picture(node, frame: float, view: str) -> Picture:
    """What a node shows."""
    if node is None:
        return Picture({}, (0, 0, 64, 48), (0, 0, 64, 48))
    cls, number = node._cls, lambda name: node._knobs[name]._number(frame)
    above = lambda index=0, at=frame: picture(  # noqa: E731
        node._inputs[index] if index < len(node._inputs) else None, at, view
    )
    if cls == "Read":
        return _read(node, frame, view)
    if node._knobs["disable"]._held or cls in ("Dot", "NoOp", "Write", "Output"):
        return above()
    if cls == "Input":
        index, group = int(number("number")), node._parent
        return picture(group._inputs[index] if index < len(group._inputs) else None, frame, view)
    if cls == "Group":
        return picture(next(inner for inner in node._inner if inner._cls == "Output"), frame, view)
    if cls == "Switch":
        return above(int(number("which")))
    if cls == "TimeOffset":
        return above(0, frame - number("time_offset"))
    if cls == "Grade":
        shown = above()
        changed = {c: shown.plane(c) * np.float32(number("multiply")) + np.float32(number("add")) for c in RGBA[:3]}
        return replace(shown, planes={**shown.planes, **changed})
    if cls == "Copy":
        b, a = above(0), above(1)
        window = _union(a.data, b.data)
        a, b = a.over(window), b.over(window)
        planes = dict(b.planes)
        for i in range(4):
            source, target = node._knobs[f"from{i}"]._held, node._knobs[f"to{i}"]._held
            if "none" not in (source, target):
                planes[target] = a.plane(source)
        return replace(b, planes=planes, files=a.files + b.files)
    if cls == "Shuffle":
        return _shuffle(node, above())
    raise ScriptError(f"the stand-in cannot show a {cls}")


def _shuffle(node, shown: Picture) -> Picture:
    layer = node._knobs["in"]._held
    channels = knowledge.LAYERS.get(layer) or node.host.layers.get(layer)
    if channels is None:
        raise ScriptError(f"{layer} is no layer")
    planes = {}
    for target, name in zip(RGBA, ("red", "green", "blue", "alpha"), strict=True):
        chosen = node._knobs[name]._held
        index = ("red", "green", "blue", "alpha").index(chosen)
        planes[target] = shown.plane(channels[index]) if index < len(channels) else shown.plane("nothing")
    return replace(shown, planes=planes)


def _read(node, frame: float, view: str) -> Picture:
    held = {name: knob._held for name, knob in node._knobs.items()}
    pattern = node._knobs["file"]._text(frame)
    if held["frame"]:
        frame = float(held["frame"])
    first, last = held["first"], held["last"]
    if frame < first and held["before"] == "hold":
        frame = first
    if frame > last and held["after"] == "hold":
        frame = last
    path = node._file(frame, pattern)
    if not os.path.isabs(path):
        path = os.path.join(node.host.root._knobs["project_directory"]._text(frame), path)
    if not os.path.isfile(path):
        if held["on_error"] == "error":
            raise RuntimeError(f"{node.fullName()}: {path}: Read error: No such file or directory")
        return Picture({}, (0, 0, 64, 48), (0, 0, 64, 48))
    shown = load(path, view, node.host.layers)
    is_linear = "linear" in held["colorspace"] or (path.endswith(".exr") and held["colorspace"] == "default")
    if held["raw"] or is_linear:
        return shown
    return replace(shown, planes={name: _from_srgb(plane) for name, plane in shown.planes.items()})


def _from_srgb(plane):
    return np.where(plane <= 0.04045, plane / 12.92, ((np.maximum(plane, 0) + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def load(path: str, view: str, layers: dict) -> Picture:
    """One view of a file, channels named as Nuke's EXR reader names them."""
    source = oiio.ImageInput.open(path)
    if source is None:
        raise RuntimeError(f"{path}: {oiio.geterror()}")
    planes, part = {}, 0
    try:
        first = source.spec(0)
        display = (first.full_x, first.full_y, first.full_width, first.full_height)
        window = (first.x, first.y, first.width, first.height)
        while source.seek_subimage(part, 0):
            spec = source.spec()
            views = spec.getattribute("multiView") or ()
            views = tuple(views) if not isinstance(views, str) else (views,)
            own = spec.getattribute("view") or ""
            pixels = source.read_image(part, 0, 0, spec.nchannels, "float")
            for index, name in enumerate(spec.channelnames):
                *way, channel = name.split(".")
                said = next((step for step in way if step in views), own or (views[0] if views else ""))
                wanted = view if view in (views or (own,)) else (views[0] if views else own)
                if said != wanted:
                    continue
                layer = "_".join(step for step in way if step not in views and step not in ("rgb", "rgba"))
                full = f"{layer or 'rgba'}.{NUKE_NAMES.get(channel, channel)}"
                if full not in planes:
                    planes[full] = pixels[..., index]
                    if layer and layer not in layers:
                        layers[layer] = (full,)
            part += 1
    finally:
        source.close()
    return Picture(planes, window, display, (path,))


def write(node, frame: float, views: list[str]) -> str:
    """Execute a Write for one frame; returns the file's name."""
    held = {name: knob._held for name, knob in node._knobs.items()}
    path = node._file(frame)
    if held["file_type"] != "exr":
        raise RuntimeError(f"{node.fullName()}: the stand-in writes EXR only")
    shown = {view: picture(node._inputs[0] if node._inputs else None, frame, view) for view in views}
    chosen = knowledge.LAYERS.get(held["channels"], tuple(held["channels"].split()))
    window = shown[views[0]].data
    for one in shown.values():
        window = _union(window, one.data)
    names, planes = [], []
    for number, view in enumerate(views):
        moved = shown[view].over(window)
        for channel in chosen if chosen is not None else sorted(moved.planes):
            layer, base = channel.split(".")
            name = EXR_NAMES.get(channel, f"{layer}.{base}")
            names.append(name if number == 0 else f"{view}.{name}")
            planes.append(moved.plane(channel))
    spec = oiio.ImageSpec(window[2], window[3], len(names), "half" if held["datatype"][:2] == "16" else "float")
    spec.x, spec.y = window[:2]
    spec.full_x, spec.full_y, spec.full_width, spec.full_height = shown[views[0]].display
    spec.channelnames = tuple(names)
    spec.attribute("compression", COMPRESSIONS[held["compression"]])
    if len(views) > 1:
        spec.attribute("multiView", oiio.TypeDesc(f"string[{len(views)}]"), tuple(views))
    if not os.path.isdir(os.path.dirname(path)):
        if not held["create_directories"]:
            raise RuntimeError(f"{node.fullName()}: {path}: no such directory")
        os.makedirs(os.path.dirname(path))
    # As Nuke does: under another name, then renamed.
    out = oiio.ImageOutput.create(path)
    if out is None or not out.open(path + ".tmp", spec):
        raise RuntimeError(f"{node.fullName()}: {path}: {out.geterror() if out else oiio.geterror()}")
    good = out.write_image(np.ascontiguousarray(np.stack(planes, -1))) and out.close()
    if not good:
        raise RuntimeError(f"{node.fullName()}: error writing file {path}: {out.geterror()}")
    os.replace(path + ".tmp", path)
    return path

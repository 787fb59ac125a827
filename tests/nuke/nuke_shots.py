"""Small shots for the node's tests, and Reads of them in the stand-in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenImageIO as oiio

WIDTH, HEIGHT = 64, 48
FRAMES = (1001, 1002, 1003, 1004)


def write_exr(path, planes, kind="half", window=None, display=None, views=()):
    """One EXR from planes [H, W] by channel name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = next(iter(planes.values())).shape
    spec = oiio.ImageSpec(width, height, len(planes), kind)
    spec.channelnames = tuple(planes)
    spec.attribute("compression", "zip")
    if window:
        spec.x, spec.y = window
        spec.full_x, spec.full_y, spec.full_width, spec.full_height = display
    if views:
        spec.attribute("multiView", oiio.TypeDesc(f"string[{len(views)}]"), tuple(views))
    out = oiio.ImageOutput.create(str(path))
    assert out.open(str(path), spec), out.geterror()
    assert out.write_image(np.ascontiguousarray(np.stack(list(planes.values()), -1), np.float32)), out.geterror()
    out.close()


def plate_planes(frame, shift=0.0):
    """A ground of waves that slides past, with a highlight far above 1 and something below 0."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    at = x + 3 * (frame - FRAMES[0]) + shift
    red = 0.4 + 0.3 * np.sin(at / 5) * np.cos(y / 7)
    planes = {"R": red, "G": 0.3 + 0.2 * np.cos(at / 9), "B": 0.2 + 0.1 * np.sin((at + y) / 6)}
    planes["R"][4:6, 50:54] = 37.5
    planes["G"][40:42, 4:8] = -0.05
    return planes


def matte_plane(frame, top=16, size=14):
    matte = np.zeros((HEIGHT, WIDTH), np.float32)
    left = 10 + 6 * (frame - FRAMES[0])
    matte[top : top + size, left : left + size] = 1
    return matte


def make_shot(folder: Path, frames=FRAMES, views=(), moving=False, hole=14):
    """plate.####.exr and matte.####.exr in a folder; ``moving``: their data window moves, partly out of sight."""
    for index, frame in enumerate(frames):
        window = {"window": (4 + 2 * index, -3 + index), "display": (0, 0, 80, 60)} if moving else {}
        planes = plate_planes(frame)
        matte = {"A": matte_plane(frame, size=hole)}
        for view in views[1:]:
            planes |= {f"{view}.{name}": plane for name, plane in plate_planes(frame, 2.0).items()}
            matte[f"{view}.A"] = matte_plane(frame, size=hole)
        write_exr(folder / f"plate.{frame}.exr", planes, views=views, **window)
        write_exr(folder / f"matte.{frame}.exr", matte, views=views, **window)
    return folder


def read_node(host, path, frames=FRAMES, name="Read1", **knobs):
    """A Read of an EXR sequence as an artist drops it."""
    read = host.create("Read", f"file_type exr\n first {frames[0]}\n last {frames[-1]}\n name {name}")
    read["file"].setValue(str(path))
    read["colorspace"].setValue("default (linear)")
    host.change(read, **knobs)
    return read


def node_on(host, folder, program, frames=FRAMES, matte=True, **knobs):
    """The node with plate and matte connected, for a training of seconds."""
    plate = read_node(host, folder / "plate.####.exr", frames, "Plate")
    inputs = [plate, read_node(host, folder / "matte.####.exr", frames, "Roto") if matte else None]
    node = host.create("InternalInpaint", inputs=inputs)
    settings = {"quality": "draft", "time_limit": 0.02, "device": "CPU", "worker": program, **knobs}
    host.change(node, **settings)
    return node


def pixels(path):
    """A file's pixels [H, W, C] as floats, and its channel names."""
    image = oiio.ImageBuf(str(path))
    assert not image.has_error, image.geterror()
    return image.get_pixels("float"), image.spec().channelnames

"""Elements: the fill, the matte, the confidence and the source as separate EXR sequences beside the result.

They are for hosts that read only the first layer of a file, and for artists who composite the fill themselves. The
files are half float (``source``: float) with ZIP compression, and have the plate's display window and the frame's
data window. A shot with several views gets multi-view files: ``R`` belongs to the first view, ``right.R`` to a view
named right.

    fill.####.exr         R, G, B, A: premultiplied, in the result's colour space; A is the grown and feathered matte
    matte.####.exr        R, G, B, A: the grown and feathered matte in every channel
    confidence.####.exr   R, G, B: how well the fill agrees with what other frames show; 1 outside the matte
    source.####.exr       source.frame, source.copied: the frame that most of a pixel was copied from, and the share
                          that is copied; 0 outside the matte; only where the method copies
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import OpenImageIO as oiio

from internal_inpaint.errors import BadInput
from internal_inpaint.files import appearing
from internal_inpaint.shot.image import Window
from internal_inpaint.shot.layout import SOURCE_CHANNELS, SOURCE_LAYER
from internal_inpaint.shot.output import output_paths
from internal_inpaint.shot.shot import Picture, Shot
from internal_inpaint.shot.writer import FrameWriter, Patch, check_written

ELEMENTS = {"fill": "RGBA", "matte": "RGBA", "confidence": "RGB"}
SOURCE = {SOURCE_LAYER: tuple(f"{SOURCE_LAYER}.{channel}" for channel in SOURCE_CHANNELS)}


class ElementWriter:
    """Writes the elements of one shot.

    Args:
        shot: the files get its frame numbers, windows and views.
        folder: the folder for the files; it is created if needed.
        with_source: whether there is something to say about where the fill comes from.

    Raises:
        BadInput: an element would overwrite an input, or the folder cannot be written. Checked before any work is
        done.
    """

    def __init__(self, shot: Shot, folder: str, with_source: bool = False) -> None:
        self._shot = shot
        if Path(folder).exists() and not Path(folder).is_dir():
            raise BadInput(f"--elements {folder} is a file: name a folder")
        self._elements = ELEMENTS | (SOURCE if with_source else {})
        self._paths = {
            name: output_paths(shot, str(Path(folder) / f"{name}.####.exr"), "--elements") for name in self._elements
        }

    def has(self, frame: int) -> bool:
        """Whether all element files of a frame exist."""
        return all(paths[frame].exists() for paths in self._paths.values())

    def refuse_result(self, results: FrameWriter) -> None:
        """Raise ``BadInput`` if the result would have the same file name as an element."""
        for frame in self._shot.frames:
            for name, paths in self._paths.items():
                if paths[frame].resolve() == results.path(frame).resolve():
                    raise BadInput(
                        f"--output {results.path(frame)} is also the {name} file of --elements; choose another folder"
                    )

    def write(self, frame: int, patches: dict[str, Patch]) -> None:
        """Write the elements of one frame, each to a temporary file that is then renamed.

        Args:
            frame: the shot's frame number.
            patches: the patch of every view of the shot, with a confidence and, if it is written, a source.

        Raises:
            OutOfResources: the disk is full.
            BadInput: a file may not be written.
        """
        pictures = [picture for picture in self._shot.pictures if picture.frame == frame]
        window = joint_window(self._shot, pictures)
        inside = window.slices_in(self._shot.canvas)
        for name, channels in self._elements.items():
            planes = [self._planes(name, patches[picture.view], inside) for picture in pictures]
            spec = plain_spec(self._shot, window, channels, "float" if name == SOURCE_LAYER else "half")
            with appearing(self._paths[name][frame], f"{name} {frame} ({self._paths[name][frame]})") as temporary:
                write_plain(temporary, np.concatenate(planes, axis=2), spec)

    def _planes(self, name: str, patch: Patch, inside: tuple[slice, slice]) -> np.ndarray:
        """``[h, w, channels]`` of one view."""
        alpha = patch.alpha[inside]
        touched = alpha > 0
        if name == "matte":
            return np.repeat(alpha[..., None], 4, axis=2)
        if name == "confidence":
            if patch.confidence is None:
                raise ValueError("the elements need a confidence in every patch")
            sure = np.where(touched, np.clip(np.nan_to_num(patch.confidence[inside]), 0, 1), 1)
            return np.repeat(sure[..., None], 3, axis=2)
        if name == SOURCE_LAYER:
            if patch.source is None:
                raise ValueError("the elements need a source in every patch")
            return np.where(touched[..., None], patch.source[inside], 0)
        planes = np.zeros((*alpha.shape, 4), np.float32)
        rgb = patch.fill[inside][touched]
        if self._shot.is_float:  # a float plate's result keeps its colour space, so its elements do too
            rgb = self._shot.colour.from_scene_linear(rgb)
        planes[touched, :3] = rgb * alpha[touched][:, None]
        planes[..., 3] = alpha
        return planes


def joint_window(shot: Shot, pictures: Sequence[Picture]) -> Window:
    """The smallest window that holds the data windows of all these pictures."""
    window = shot.data_window(pictures[0])
    for picture in pictures[1:]:
        window = window.union(shot.data_window(picture))
    return window


def plain_spec(shot: Shot, window: Window, channels: Sequence[str], kind: str = "half") -> oiio.ImageSpec:
    """A ZIP EXR with the shot's display window and views, ``channels`` (such as ``RGBA``) for each."""
    display = shot.display
    spec = oiio.ImageSpec(window.width, window.height, len(channels) * len(shot.views), kind)
    spec.x, spec.y = window.x, window.y
    spec.full_x, spec.full_y = display.x, display.y
    spec.full_width, spec.full_height = display.width, display.height
    spec.channelnames = tuple(
        channel if number == 0 else _in_view(channel, view)
        for number, view in enumerate(shot.views)
        for channel in channels
    )
    spec.attribute("compression", "zip")
    spec.attribute("PixelAspectRatio", float(shot.pixel_aspect))
    if len(shot.views) > 1:
        kind = oiio.TypeDesc(f"string[{len(shot.views)}]")
        spec.attribute("multiView", kind, tuple(shot.views))
    return spec


def _in_view(channel: str, view: str) -> str:
    """The channel's name in a view that is not the first: the view stands before the last part."""
    layer, dot, base = channel.rpartition(".")
    return f"{layer}{dot}{view}.{base}"


def write_plain(path: Path, planes: np.ndarray, spec: oiio.ImageSpec) -> None:
    """Write ``[h, w, channels]`` as one EXR. Raises ``OSError`` with OpenImageIO's error message."""
    limit = np.float32(np.finfo(np.float16).max)
    if spec.format == oiio.HALF:
        planes = np.clip(planes, -limit, limit).astype(np.float16)
    planes = np.ascontiguousarray(planes)
    target = oiio.ImageOutput.create(str(path))
    check_written(target, target is not None and target.open(str(path), spec))
    try:
        check_written(target, target.write_image(planes))
    finally:
        closed = target.close()
    check_written(target, closed)

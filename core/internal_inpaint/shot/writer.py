"""Writes clean frames: the plate with the fill inside the matte, and nothing else changed.

From EXR to EXR, every part, view, channel and attribute stays bit-identical, except the filled channels where
alpha > 0. There are three differences: a lossy compression is replaced by ZIP, a file that mixes tiled and untiled
parts is written with untiled parts (a warning reports either), and the `inpaint`, `confidence` and `source`
layers are added on request. A stored preview image is kept, so it still shows the plate.

Integer plates (PNG, TIFF, DPX, JPEG) keep their code values in an integer output format. As EXR they become half
float and scene-linear. OpenImageIO keeps the metadata of those formats that it can translate, and rewrites internal
fields (a TIFF's strips, a DPX's padding).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenImageIO as oiio

from internal_inpaint.files import appearing
from internal_inpaint.shot.exr_header import restore_attributes
from internal_inpaint.shot.image import ImageHeader, NativePixels, read_native
from internal_inpaint.shot.layout import (
    CONFIDENCE_LAYER,
    FILL_LAYER,
    SOURCE_CHANNELS,
    SOURCE_LAYER,
    PartLayout,
    join_planes,
    part_layout,
    to_type,
    unit_planes,
)
from internal_inpaint.shot.output import output_format, output_paths, output_warnings
from internal_inpaint.shot.shot import Picture, Shot

__all__ = ["CONFIDENCE_LAYER", "FILL_LAYER", "SOURCE_LAYER", "FrameWriter", "Patch"]


@dataclass(frozen=True)
class Patch:
    """The new pixels of one view of a frame, on the shot's canvas, H x W.

    rgb: float32 [H, W, 3], scene-linear, the finished composite plate x (1 - a) + fill x a.
    alpha: float32 [H, W], a; pixels where it is 0 are not changed.
    fill: float32 [H, W, 3], scene-linear, the fill alone, not premultiplied.
    confidence: float32 [H, W] in 0..1, how well the fill agrees with what other frames show. It is read where
        alpha > 0, and needed only by a writer that adds the `confidence` layer.
    source: float32 [H, W, 2], the frame number that most was copied from (0: none), and the share that is copied. It
        is read where alpha > 0, and needed only by a writer that adds the `source` layer.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    fill: np.ndarray
    confidence: np.ndarray | None = None
    source: np.ndarray | None = None


class FrameWriter:
    """Writes the frames of one shot. `warnings` lists where the output must differ from the plate."""

    def __init__(
        self,
        shot: Shot,
        output: str,
        fill_layer: bool = False,
        confidence_layer: bool = False,
        source_layer: bool = False,
    ):
        """Checks `output` before any work is done.

        Raises BadInput if the pattern has no frame number, the file type is unknown or unsuitable, an output file is
        an input, the folder cannot be created or written, or the plate already has a layer that `fill_layer`
        (`inpaint`), `confidence_layer` (`confidence`) or `source_layer` (`source`) would add.
        """
        self._shot = shot
        asked = {(FILL_LAYER, "fill"): fill_layer, (CONFIDENCE_LAYER, "confidence"): confidence_layer}
        asked[SOURCE_LAYER, "source"] = source_layer
        self._added = dict(layer for layer, wanted in asked.items() if wanted)
        self._format = output_format(shot, output, self._added)
        self._paths = output_paths(shot, output)
        # Integers can only stay as they are in a file that holds integers.
        self._keeps_values = shot.is_float or self._format != "openexr"
        self.warnings = output_warnings(shot, self._format)

    def path(self, frame: int) -> Path:
        """The output file of `frame`."""
        return self._paths[frame]

    def write(self, frame: int, patches: dict[str, Patch]) -> Path:
        """Writes one frame to a temporary file beside the output, flushes it, and renames it to its final name.

        `patches` maps views to their new pixels; a view without a patch stays as it is in the plate. Raises
        OutOfResources if the disk is full, BadInput if the file cannot be written or the plate file is damaged.
        """
        target = self._paths[frame]
        header = self._shot.plate_header(frame)
        with appearing(target, f"frame {frame} ({target})") as temporary:
            self._write_parts(temporary, header, frame, patches)
            if header.kind == self._format == "openexr":
                restore_attributes(temporary, header.path)
        return target

    def _write_parts(self, path: Path, header: ImageHeader, frame: int, patches: dict[str, Patch]) -> None:
        pictures = [picture for picture in self._shot.pictures if picture.frame == frame]
        by_part: dict[int, list[Picture]] = {}
        for picture in pictures:
            by_part.setdefault(self._shot.picture_channels(picture).part, []).append(picture)
        parts = header.parts if header.kind == self._format else header.parts[:1]
        layouts = []
        for part in parts:
            views = tuple(picture.view for picture in by_part.get(part.index, []))
            added = (views if layer in self._added else () for layer in (FILL_LAYER, CONFIDENCE_LAYER, SOURCE_LAYER))
            layouts.append(part_layout(header, part, self._format, self._keeps_values, *added))
        target = oiio.ImageOutput.create(str(path))
        specs = [layout.spec for layout in layouts]
        check_written(target, target is not None and target.open(str(path), specs if len(specs) > 1 else specs[0]))
        try:
            for layout in layouts:
                index = layout.part.index
                check_written(target, index == 0 or target.open(str(path), layout.spec, "AppendSubimage"))
                pairs = [(p, patches[p.view]) for p in by_part.get(index, []) if p.view in patches]
                check_written(target, target.write_image(self._patched(header, layout, pairs)))
        finally:
            closed = target.close()
        check_written(target, closed)

    def _patched(self, header: ImageHeader, layout: PartLayout, pairs: list[tuple[Picture, Patch]]) -> np.ndarray:
        """The whole part as it is passed to OpenImageIO: [H, W, channels]."""
        native = read_native(header, layout.part.index)
        if layout.keeps_values:
            planes = [native.channel(index) for index in range(len(layout.part.channels))]
        else:
            planes = self._linear_planes(native)
        for picture, patch in pairs:
            channels = [planes[index] for index in self._shot.picture_channels(picture).indices]
            self._composite(picture, patch, channels)
        if layout.is_native:
            return native.runs[0]
        whole = join_planes(layout, planes)
        after_fill = len(planes) + 4 * len(layout.fill_views)
        after_confidence = after_fill + len(layout.confidence_views)
        whole[..., after_fill:after_confidence] = 1  # the plate's own pixels have full confidence
        for picture, patch in pairs:
            if picture.view in layout.fill_views:
                first = len(planes) + 4 * layout.fill_views.index(picture.view)
                self._put_fill(picture, patch, whole[..., first : first + 4])
            if picture.view in layout.confidence_views:
                place = after_fill + layout.confidence_views.index(picture.view)
                self._put_confidence(picture, patch, whole[..., place])
            if picture.view in layout.source_views:
                count = len(SOURCE_CHANNELS)
                first = after_confidence + count * layout.source_views.index(picture.view)
                self._put_source(picture, patch, whole[..., first : first + count])
        return whole

    def _composite(self, picture: Picture, patch: Patch, channels: list[np.ndarray]) -> None:
        """Writes the patch's colour to the channels' arrays where alpha > 0, in their own type."""
        inside = self._shot.data_window(picture).slices_in(self._shot.canvas)
        touched = patch.alpha[inside] > 0.0
        rgb = self._encoded(patch.rgb[inside][touched])
        if len(channels) == 1:
            channels[0][touched] = to_type(rgb.mean(axis=1), channels[0].dtype)
            return
        for index, channel in enumerate(channels):
            channel[touched] = to_type(rgb[:, index], channel.dtype)

    def _put_fill(self, picture: Picture, patch: Patch, layer: np.ndarray) -> None:
        """Writes the `inpaint` layer: premultiplied colour and alpha, in the file's colour space."""
        inside = self._shot.data_window(picture).slices_in(self._shot.canvas)
        alpha = patch.alpha[inside]
        touched = alpha > 0.0
        premultiplied = self._encoded(patch.fill[inside][touched]) * alpha[touched][:, None]
        layer[touched, :3] = to_type(premultiplied, np.dtype(np.float16))
        layer[..., 3] = alpha

    def _put_confidence(self, picture: Picture, patch: Patch, plane: np.ndarray) -> None:
        """Writes the `confidence` layer where alpha > 0. It is data, not colour."""
        if patch.confidence is None:
            raise ValueError("the confidence layer needs a confidence in every patch")
        inside = self._shot.data_window(picture).slices_in(self._shot.canvas)
        touched = patch.alpha[inside] > 0.0
        plane[touched] = np.clip(np.nan_to_num(patch.confidence[inside][touched]), 0.0, 1.0)

    def _put_source(self, picture: Picture, patch: Patch, layer: np.ndarray) -> None:
        """Writes the `source` layer where alpha > 0. It is data, not colour."""
        if patch.source is None:
            raise ValueError("the source layer needs a source in every patch")
        inside = self._shot.data_window(picture).slices_in(self._shot.canvas)
        touched = patch.alpha[inside] > 0.0
        layer[touched] = patch.source[inside][touched]

    def _encoded(self, rgb: np.ndarray) -> np.ndarray:
        """Converts scene-linear to the colour space of the output file."""
        return self._shot.colour.from_scene_linear(rgb) if self._keeps_values else rgb

    def _linear_planes(self, native: NativePixels) -> list[np.ndarray]:
        """The planes of an integer part as half, with scene-linear colour."""
        planes = unit_planes(native)
        indices = self._shot.picture_channels(self._shot.pictures[0]).indices
        rgb = np.stack([planes[index] for index in (indices if len(indices) == 3 else indices * 3)], axis=2)
        linear = self._shot.colour.to_scene_linear(rgb)
        for position, index in enumerate(indices):
            planes[index] = linear[..., position]
        return [to_type(plane, np.dtype(np.float16)) for plane in planes]


def check_written(target: oiio.ImageOutput | None, success: bool) -> None:
    """Raises OSError with OpenImageIO's error message unless `success`."""
    if success:
        return
    try:
        message = oiio.geterror() if target is None else target.geterror()
    except UnicodeDecodeError:
        message = ""
    raise OSError((message.strip().splitlines() or ["the disk may be full"])[0].rstrip("."))

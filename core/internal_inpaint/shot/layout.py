"""The storage of one plate part in the output file: channel types, compression, conversion of values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import OpenImageIO as oiio

from internal_inpaint.shot.channels import view_prefix
from internal_inpaint.shot.image import ImageHeader, NativePixels, Part, opened

FILL_LAYER = "inpaint"
CONFIDENCE_LAYER = "confidence"
SOURCE_LAYER = "source"
# Its channels and their types: half rounds the numbers of frames above 2048.
SOURCE_CHANNELS = {"frame": "float", "copied": "half"}
LOSSLESS = "zip"

_HALF_MAX = 65504.0
_LOSSY = ("dwaa", "dwab", "b44", "b44a")
# These compress a 32-bit integer and a float with the same bits to the same bytes; see `_declared_type`.
_TYPE_BLIND = ("none", "rle", "zip", "zips", "piz")
# Attributes that describe the old file's encoding and would be wrong in a scene-linear EXR.
_FOREIGN = (
    "oiio:",
    "tiff:",
    "png:",
    "jpeg:",
    "dpx:",
    "icc",
    "exif:colorspace",
    "software",
    "resolutionunit",
    "compression",
)


@dataclass(frozen=True)
class PartLayout:
    """The storage of one part: its OpenImageIO spec, and the types in which pixels are passed to OpenImageIO.

    keeps_values: channels keep the plate's values; otherwise integers become scene-linear half.
    is_native: all channels have the same type and are passed in it; otherwise as `dtype`.
    fill_views: the views whose `inpaint` layer is added to this part, four channels each.
    confidence_views: the views whose `confidence` layer is added after those, one channel each.
    source_views: the views whose `source` layer is added after those, two channels each.
    """

    part: Part
    spec: oiio.ImageSpec
    keeps_values: bool
    is_native: bool
    dtype: np.dtype
    fill_views: tuple[str, ...]
    confidence_views: tuple[str, ...] = ()
    source_views: tuple[str, ...] = ()


def part_layout(
    header: ImageHeader,
    part: Part,
    file_format: str,
    keeps_values: bool,
    fill_views: tuple[str, ...],
    confidence_views: tuple[str, ...] = (),
    source_views: tuple[str, ...] = (),
) -> PartLayout:
    """Chooses how `part` of the plate is stored in a file of `file_format`."""
    with opened(header.path, "plate") as source:
        source.seek_subimage(part.index, 0)
        spec = oiio.ImageSpec(source.spec())
    types = [_declared_type(channel.type, part) if keeps_values else "half" for channel in part.channels]
    names = [channel.name for channel in part.channels]
    for view in fill_views:
        names += [f"{FILL_LAYER}.{view_prefix(part, view)}{base}" for base in "RGBA"]
        types += ["half"] * 4
    for view in confidence_views:
        names.append(f"{CONFIDENCE_LAYER}.{view_prefix(part, view)}Y")
        types.append("half")
    for view in source_views:
        names += [f"{SOURCE_LAYER}.{view_prefix(part, view)}{base}" for base in SOURCE_CHANNELS]
        types += SOURCE_CHANNELS.values()
    one_type = len(set(types)) == 1
    spec.nchannels = len(names)
    spec.set_format(oiio.TypeDesc(types[0] if one_type else "float"))
    spec.channelnames = tuple(names)
    spec.channelformats = () if one_type else tuple(oiio.TypeDesc(name) for name in types)
    _set_storage(spec, header, part, file_format)
    adds_layers = bool(fill_views or confidence_views or source_views)
    native = keeps_values and not adds_layers and len(part.type_runs) == 1
    dtype = np.dtype(np.float16 if set(types) == {"half"} else np.float32)
    return PartLayout(part, spec, keeps_values, native, dtype, fill_views, confidence_views, source_views)


def kept_compression(part: Part) -> str:
    """An EXR part's compression, or a lossless one if it would change pixels outside the matte."""
    name = part.compression.split(":")[0] or "none"
    types = {channel.type for channel in part.channels}
    lossy = name in _LOSSY or (name == "pxr24" and "float" in types)
    reinterpreted = "uint" in types and len(types) > 1 and name not in _TYPE_BLIND
    return LOSSLESS if lossy or reinterpreted else part.compression


def mixes_tiles(header: ImageHeader) -> bool:
    """Whether only some of the parts are tiled, which OpenImageIO cannot write to one file."""
    return len({part.tiled for part in header.parts}) > 1


def to_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Converts float values to a sample type. Integers are rounded and clipped to 0..1; floats stay finite."""
    if dtype.kind == "u":
        peak = np.iinfo(dtype).max
        return np.rint(np.clip(np.nan_to_num(values), 0.0, 1.0).astype(np.float64) * peak).astype(dtype)
    limit = _HALF_MAX if dtype == np.float16 else float(np.finfo(np.float32).max)
    return np.clip(np.nan_to_num(values, posinf=limit, neginf=-limit), -limit, limit).astype(dtype)


def join_planes(layout: PartLayout, planes: list[np.ndarray]) -> np.ndarray:
    """Joins planes of several types to the one array that OpenImageIO takes, with room for new layers: [H, W, C]."""
    whole = np.zeros((*planes[0].shape, layout.spec.nchannels), layout.dtype)
    for index, plane in enumerate(planes):
        whole[..., index] = plane.view(np.float32) if plane.dtype == np.uint32 else plane
    return whole


def unit_planes(native: NativePixels) -> list[np.ndarray]:
    """An integer part's channels as float32 in 0..1."""
    planes = [native.channel(index) for index in range(len(native.part.channels))]
    return [plane.astype(np.float32) / np.float32(np.iinfo(plane.dtype).max) for plane in planes]


def _declared_type(type_name: str, part: Part) -> str:
    """The type with which a channel is declared to OpenImageIO.

    OpenImageIO takes the pixels of a part with mixed types in one type only, and its conversion to 32-bit integers
    loses bits. So an integer channel in such a part is passed as floats with the same bits. It gets its own type back
    when the plate's attributes are restored.
    """
    return "float" if type_name == "uint" and len(part.type_runs) > 1 else type_name


def _set_storage(spec: oiio.ImageSpec, header: ImageHeader, part: Part, file_format: str) -> None:
    if file_format == "openexr" == header.kind:
        spec.attribute("compression", kept_compression(part))
        if mixes_tiles(header):
            spec.tile_width = spec.tile_height = 0
    elif file_format == "openexr":
        for name in [attribute.name for attribute in spec.extra_attribs]:
            if name.lower().startswith(_FOREIGN):
                spec.erase_attribute(name)
        spec.tile_width = spec.tile_height = 0
        spec.attribute("compression", LOSSLESS)
        if not spec.get_string_attribute("DateTime"):
            spec.attribute("DateTime", "")  # An empty value keeps OpenImageIO from adding today's date.
    else:
        if header.kind != file_format or part.compression.startswith("jpeg"):
            spec.erase_attribute("compression")
        if header.kind != file_format:
            # Alpha is written as it was read, without unpremultiplying.
            spec.attribute("oiio:UnassociatedAlpha", 1)

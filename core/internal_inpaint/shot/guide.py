"""Guides: frames that the artist has painted clean. Their pixels under the matte are known.

A guide is one file for one frame of the plate, named with the frame's number. Outside the matte it must show the
plate: a guide of another version or grade of the plate would teach the network colours that the shot does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from internal_inpaint.errors import BadInput
from internal_inpaint.shot.channels import PictureChannels, picture_channels, views_of
from internal_inpaint.shot.colour import Colour
from internal_inpaint.shot.image import FLOAT_TYPES, HINTED_KINDS, ImageHeader, Window, read_channels, read_header
from internal_inpaint.shot.sequence import compact_frames, find_sequence

# By how much a guide may differ from the plate outside the matte, in scene-linear: half floats are rounded to 0.1 %,
# and both terms together are more than one step of an 8-bit sRGB file.
_SHARE, _STEP = 0.01, 0.002
# A few pixels may differ by more: a stray touch of the brush is no reason to stop.
_STRAY_PIXELS = 8


@dataclass(frozen=True)
class GuideFiles:
    """The header of each frame's guide, and what to warn about."""

    headers: dict[int, ImageHeader] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


NO_GUIDES = GuideFiles()


def find_guides(given: Sequence[str], frames: Sequence[int]) -> GuideFiles:
    """The guides that these files, patterns or folders name, for the shot's `frames`.

    Raises BadInput if a file cannot be read or has no frame number, if a frame is not in the shot, or if two files
    are of the same frame. A pattern may also match other frames, as the matte's does: they are not used.
    """
    found: dict[int, Path] = {}
    warnings: list[str] = []
    for pattern in given:
        sequence = find_sequence(pattern, "guide")
        if not sequence.numbered:
            raise BadInput(
                f"guide file {pattern} has no frame number in its name, so nothing says which frame it is; "
                f"name it like guide.1012.exr"
            )
        others = [frame for frame in sequence.frames if frame not in frames]
        if len(others) == len(sequence.frames):
            raise BadInput(
                f"guide {pattern} is of frame {compact_frames(others)}, but the shot has the frames "
                f"{compact_frames(frames)}; correct the number in its name, or --frames"
            )
        if others:
            warnings.append(f"guide {pattern} is not used in frames {compact_frames(others)}: the shot lacks them")
        for frame in sorted(set(sequence.frames) - set(others)):
            path = sequence.path(frame)
            if frame in found and not found[frame].samefile(path):
                raise BadInput(f"frame {frame} has two guides, {found[frame]} and {path}; leave one of them out")
            found[frame] = path
    headers = {frame: read_header(path, "guide") for frame, path in sorted(found.items())}
    return GuideFiles(headers, tuple(warnings))


@dataclass(frozen=True)
class Guide:
    """An opened guide: its header has been checked against the plate's; `paint` reads the pixels.

    `channels` are the colour channels by the shot's views; `plate` is the frame's plate file, for messages;
    `knew_matte` is False if the frame's matte was propagated: the artist could not know where it ends.
    """

    header: ImageHeader
    channels: dict[str, PictureChannels]
    colour: Colour
    plate: Path
    knew_matte: bool = True

    def paint(self, view: str, plate: np.ndarray, alpha: np.ndarray, known: np.ndarray, canvas: Window) -> np.ndarray:
        """The plate with the guide's pixels wherever alpha > 0, scene-linear [H, W, 3] on the canvas.

        `known` says where the plate has pixels, bool [H, W]. Raises BadInput if the guide has no usable pixels under
        the matte, or differs from the plate outside it. Paint outside a propagated matte is not used, and does no
        harm; but where more pixels differ than the matte has, the guide is of another frame or another grade.
        """
        rgb, covered = self._read(view, canvas)
        under = alpha > 0.0
        if missing := int((under & ~covered).sum()):
            raise BadInput(
                f"guide file {self.header.path} does not cover the matte: {missing} pixels of it are outside the "
                f"guide's data window; render the guide with the plate's data window"
            )
        if broken := int((under & ~np.isfinite(rgb).all(axis=2)).sum()):
            raise BadInput(
                f"guide file {self.header.path} has NaN or Inf in {broken} pixels under the matte; paint them over"
            )
        compared = known & covered & ~under
        limit = _SHARE * np.abs(plate) + np.float32(_STEP)
        allowed = _STRAY_PIXELS if self.knew_matte else max(_STRAY_PIXELS, int(under.sum()))
        self._refuse_other(compared & (np.abs(rgb - plate) > limit).any(axis=2), allowed, canvas)
        return np.where(under[..., None], rgb, plate)

    def _read(self, view: str, canvas: Window) -> tuple[np.ndarray, np.ndarray]:
        """Scene-linear pixels on the canvas [H, W, 3], and where there are any, bool [H, W]."""
        channels = self.channels[view]
        data = self.header.parts[channels.part].data
        stored = read_channels(self.header, channels.part, channels.indices, "guide")
        linear = self.colour.to_scene_linear(np.repeat(stored, 3, axis=2) if channels.grey else stored)
        # A colour conversion may turn a NaN into a number.
        linear = np.where(np.isfinite(stored).all(axis=2, keepdims=True), linear, np.float32(np.nan))
        rgb = np.zeros((canvas.height, canvas.width, 3), np.float32)
        covered = np.zeros((canvas.height, canvas.width), bool)
        common = data.intersection(canvas)
        if common.width and common.height:
            rgb[common.slices_in(canvas)] = linear[common.slices_in(data)]
            covered[common.slices_in(canvas)] = True
        return rgb, covered

    def _refuse_other(self, differs: np.ndarray, allowed: int, canvas: Window) -> None:
        count = int(differs.sum())
        if count <= allowed:
            return
        rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
        left, top = canvas.x + int(columns[0]), canvas.y + int(rows[0])
        box = Window(left, top, int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1)
        raise BadInput(
            f"guide file {self.header.path} differs from plate file {self.plate} in {count} pixels outside the grown "
            f"and feathered matte (within {box}); keep the plate's pixels there, or widen the matte with --grow"
        )


def open_guide(
    header: ImageHeader,
    plate: ImageHeader,
    display: Window,
    is_float: bool,
    views: tuple[str, ...],
    layer: str | None,
    colorspace: str | None,
) -> Guide:
    """Checks a guide's header against the plate file of its frame. Raises BadInput if they do not fit together.

    `display` and `is_float` are the plate's; `views`, `layer` and `colorspace` are the shot's settings. The colour
    space is the guide's too if both files hold floats or both hold integers; else the guide's type implies it.
    """
    if header.path.samefile(plate.path):
        raise BadInput(f"guide file {header.path} is the plate itself; give a copy of the frame, painted clean")
    channels = {
        view: picture_channels(header, source, layer) for view, source in _sources(header, views, plate).items()
    }
    for found in channels.values():
        part = header.parts[found.part]
        if part.display != display:
            raise BadInput(
                f"guide file {header.path} is {part.display}, but plate file {plate.path} is {display} (display "
                f"window); render the guide in the plate's format"
            )
        kinds = {part.channels[index].type for index in found.indices}
        if header.kind == "openexr" and not kinds <= set(FLOAT_TYPES):
            raise BadInput(f"guide file {header.path} has integer colour channels; convert them to half or float")
    first = channels[views[0]]
    part = header.parts[first.part]
    floats = part.channels[first.indices[0]].type in FLOAT_TYPES
    hint = part.colour_hint if header.kind in HINTED_KINDS else ""
    named = colorspace if floats == is_float else None
    return Guide(header, channels, Colour(named, "float" if floats else "integer", hint), plate.path)


def _sources(header: ImageHeader, views: tuple[str, ...], plate: ImageHeader) -> dict[str, str]:
    """The view of the guide's file for each view of the shot."""
    have = views_of(header)
    if have == ("",) and len(views) == 1:
        return {views[0]: ""}  # a guide without views shows the only view that is filled
    if views == ("",):
        raise BadInput(
            f"guide file {header.path} has the views {', '.join(have)}, but plate file {plate.path} has none; "
            f"render the guide with one view"
        )
    for view in views:
        if view not in have:
            raise BadInput(
                f"guide file {header.path} has no view {view}, but plate file {plate.path} has; render the guide "
                f"with all of the plate's views, or choose one with --view"
            )
    return {view: view for view in views}

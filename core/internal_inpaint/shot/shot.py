"""A shot: a plate sequence and its matte. Opens it, checks it, and reads it one picture at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from internal_inpaint.errors import BadInput
from internal_inpaint.pixel_state import is_finite
from internal_inpaint.shot.channels import (
    NamedChannel,
    PictureChannels,
    chosen_views,
    matte_channel,
    picture_channels,
    views_of,
)
from internal_inpaint.shot.colour import Colour
from internal_inpaint.shot.guide import NO_GUIDES, GuideFiles, find_guides, open_guide
from internal_inpaint.shot.image import FLOAT_TYPES, HINTED_KINDS, ImageHeader, Window, read_channels, read_header
from internal_inpaint.shot.matte import clean_matte, hole_and_alpha, matte_is_proxy, place_matte, resample_matte
from internal_inpaint.shot.sequence import (
    FrameSequence,
    compact_frames,
    find_sequence,
    named_frames,
    select_frames,
)

# Defaults as shares of the plate's height: enough for a matte drawn tightly around the object.
_DEFAULT_GROW = 0.01
_DEFAULT_FEATHER = 0.005


@dataclass(frozen=True)
class ShotSettings:
    """The user's settings for a shot.

    `matte`: None uses the plate's own alpha (or its `matte_channel`). `frames`: None uses every frame of the plate.
    `grow` and `feather`: pixels at plate size; None is 1 % and 0.5 % of the plate's height. `view`: None uses all
    views. `layer`: None uses the main RGB. `colorspace`: None uses the file's own. `matte_frame`: the frames that
    have a matte; None uses the frames that the matte sequence has. `guide`: files or patterns of painted frames.
    """

    plate: str
    matte: str | None = None
    frames: str | None = None
    matte_channel: str | None = None
    grow: float | None = None
    feather: float | None = None
    colorspace: str | None = None
    view: str | None = None
    layer: str | None = None
    matte_frame: str | None = None
    guide: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """One view of one frame. `index` counts from 0 over the whole shot; `frame` is the shot's own number."""

    index: int
    frame: int
    view: str


@dataclass(frozen=True)
class PictureData:
    """The pixels of one picture on the shot's canvas, H x W.

    rgb: float32 [H, W, 3] scene-linear; 0 outside the data window and where a channel is NaN or Inf. With a guide, it
        has the guide's pixels wherever alpha > 0.
    alpha: float32 [H, W], the grown and feathered matte that composites the fill. It is 1 on NaN and Inf pixels that
        it touches at all, because they cannot be blended.
    hole: bool [H, W], pixels that the network must not treat as known: the grown matte, and NaN or Inf pixels.
    outside: bool [H, W], pixels outside the frame's own data window.
    broken: bool [H, W], NaN or Inf pixels in the plate.
    plate: None without a guide, else what `rgb` is without it. Such a picture needs no fill: nothing under the matte
        is a hole, and its result is plate x (1 - alpha) + rgb x alpha.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    hole: np.ndarray
    outside: np.ndarray
    broken: np.ndarray
    plate: np.ndarray | None = None


class Shot:
    """An opened shot. Every header has been read and checked; pixels are read by `load`.

    Attributes: `settings`; `frames`, the shot's own frame numbers; `views` (('',) if the file has no views);
    `pictures`, all views of all frames; `canvas`, the union of all data windows, in which the hole is filled;
    `display`; `pixel_aspect`; `colour`; `grow` and `feather` in whole pixels; `warnings`; `plate_sequence` and
    `matte_sequence`; `reference_frames`, the frames that have a matte; `guides`, the opened guides by frame.
    """

    def __init__(
        self,
        settings: ShotSettings,
        plate_sequence: FrameSequence,
        matte_sequence: FrameSequence,
        plates: dict[int, ImageHeader],
        mattes: dict[int, ImageHeader],
        guides: GuideFiles = NO_GUIDES,
    ):
        """Checks that the headers fit together; raises BadInput if they do not. Use `open_shot` instead.

        `mattes` may lack frames: their mattes are propagated later (`has_all_mattes`).
        """
        self.settings = settings
        self.plate_sequence = plate_sequence
        self.matte_sequence = matte_sequence
        self.frames = tuple(plates)
        self.warnings: list[str] = list(guides.warnings)
        self._plates = plates
        self._mattes = mattes
        self.reference_frames = tuple(mattes)
        self._matte_is_plate = settings.matte is None
        first = plates[self.frames[0]]
        self.views = chosen_views(first, settings.view)
        self.pictures = tuple(
            Picture(index, frame, view)
            for index, (frame, view) in enumerate((f, v) for f in self.frames for v in self.views)
        )
        self._channels: dict[tuple[int, str], PictureChannels] = {}
        self._matte_channels: dict[tuple[int, str], NamedChannel] = {}
        part = first.parts[picture_channels(first, self.views[0], settings.layer).part]
        self.display, self.pixel_aspect = part.display, part.pixel_aspect
        self.grow = _pixels(settings.grow, _DEFAULT_GROW, self.display.height, "--grow")
        self.feather = _pixels(settings.feather, _DEFAULT_FEATHER, self.display.height, "--feather")
        self.canvas = part.data
        for picture in self.pictures:
            self._check_plate(picture)
            if picture.frame in mattes:
                self._check_matte(picture)
        channel_type = part.channels[self.picture_channels(self.pictures[0]).indices[0]].type
        self.is_float = channel_type in FLOAT_TYPES
        hint = part.colour_hint if first.kind in HINTED_KINDS else ""
        self.colour = Colour(settings.colorspace, "float" if self.is_float else "integer", hint)
        chosen = self.views, settings.layer, settings.colorspace
        self.guides = {
            frame: open_guide(header, plates[frame], self.display, self.is_float, *chosen)
            for frame, header in guides.headers.items()
        }

    @property
    def has_all_mattes(self) -> bool:
        """Whether every frame has a matte of its own."""
        return len(self.reference_frames) == len(self.frames)

    def has_own_matte(self, picture: Picture) -> bool:
        """Whether this picture has a drawn matte. A matte without views belongs to the first view."""
        if picture.frame not in self._mattes:
            return False
        return picture.view in views_of(self._mattes[picture.frame]) or picture.view == self.views[0]

    def only(self, frames: Iterable[int]) -> Shot:
        """Some frames of the shot, in its order, on the same canvas."""
        chosen, part = set(frames), copy.copy(self)
        part.frames = tuple(frame for frame in self.frames if frame in chosen)
        kept = (picture for picture in self.pictures if picture.frame in chosen)
        part.pictures = tuple(replace(picture, index=index) for index, picture in enumerate(kept))
        part.reference_frames = tuple(frame for frame in self.reference_frames if frame in chosen)
        part.guides = {frame: guide for frame, guide in self.guides.items() if frame in chosen}
        return part

    def without_guides(self) -> Shot:
        """The same shot as if nothing had been painted."""
        part = copy.copy(self)
        part.guides = {}
        return part

    def plate_header(self, frame: int) -> ImageHeader:
        """The header of one plate frame."""
        return self._plates[frame]

    def matte_header(self, frame: int) -> ImageHeader:
        """The header of the file that holds the matte of one frame."""
        return self._mattes[frame]

    def picture_channels(self, picture: Picture) -> PictureChannels:
        """The colour channels of a picture in its file."""
        return self._channels[picture.frame, picture.view]

    def data_window(self, picture: Picture) -> Window:
        """The data window of a picture's part."""
        header = self._plates[picture.frame]
        return header.parts[self.picture_channels(picture).part].data

    def load(self, index: int, with_matte: bool = True) -> PictureData:
        """Reads one picture, and its matte and guide, if the frame has them. Raises BadInput if a file is damaged.

        Without a matte, only NaN and Inf pixels are a hole, and a guide is not used: the matte says what is painted.
        """
        picture = self.pictures[index]
        channels = self.picture_channels(picture)
        stored = read_channels(self._plates[picture.frame], channels.part, channels.indices)
        rgb_here = self.colour.to_scene_linear(stored if not channels.grey else np.repeat(stored, 3, axis=2))
        finite = is_finite(stored) & is_finite(rgb_here)
        inside = self.data_window(picture).slices_in(self.canvas)
        shape = (self.canvas.height, self.canvas.width)
        rgb = np.zeros((*shape, 3), np.float32)
        rgb[inside] = np.where(finite[..., None], rgb_here, np.float32(0.0))
        outside = np.ones(shape, bool)
        outside[inside] = False
        broken = np.zeros(shape, bool)
        broken[inside] = ~finite
        matte = np.zeros(shape, np.float32)
        if with_matte and picture.frame in self._mattes:
            matte = self.load_matte(index)
        hole, alpha = hole_and_alpha(matte, self.grow, self.feather)
        alpha[outside] = 0.0
        alpha[broken & (alpha > 0.0)] = 1.0
        data = PictureData(rgb, alpha, (hole | broken) & ~outside, outside, broken)
        guide = self.guides.get(picture.frame)
        if guide is None or not with_matte or not (self.has_all_mattes or self.has_own_matte(picture)):
            return data
        painted = guide.paint(picture.view, rgb, alpha, ~(outside | broken), self.canvas)
        return replace(data, rgb=painted, hole=data.hole & (alpha == 0.0), plate=rgb)

    def load_matte(self, index: int) -> np.ndarray:
        """The matte of one picture as drawn, before grow and feather: float32 [H, W] in 0..1 on the canvas."""
        picture = self.pictures[index]
        header = self._mattes[picture.frame]
        channel = self._matte_channels[picture.frame, picture.view]
        part = header.parts[channel.part]
        what = "plate" if self._matte_is_plate else "matte"
        matte = clean_matte(read_channels(header, channel.part, (channel.index,), what)[..., 0])
        if part.display == self.display:
            return place_matte(matte, part.data, self.canvas)
        return clean_matte(resample_matte(matte, part.data, part.display, self.display, self.canvas))

    def _check_plate(self, picture: Picture) -> None:
        header = self._plates[picture.frame]
        if self.views != ("",) and picture.view not in views_of(header):
            raise BadInput(
                f"plate file {header.path} has no view {picture.view}, but the first frame has; render it again"
            )
        channels = picture_channels(header, picture.view, self.settings.layer)
        part = header.parts[channels.part]
        if part.display != self.display:
            first = self._plates[self.frames[0]].path
            raise BadInput(
                f"plate file {header.path} is {part.display}, but {first} is {self.display} (display window); "
                f"render all frames of a shot in the same format"
            )
        kinds = {part.channels[index].type for index in channels.indices}
        if header.kind == "openexr" and not kinds <= set(FLOAT_TYPES):
            raise BadInput(f"plate file {header.path} has integer colour channels; convert them to half or float")
        self._channels[picture.frame, picture.view] = channels
        self.canvas = self.canvas.union(part.data)

    def _check_matte(self, picture: Picture) -> None:
        header = self._mattes[picture.frame]
        channel = matte_channel(header, picture.view, self.settings.matte_channel, self._matte_is_plate)
        display = header.parts[channel.part].display
        if matte_is_proxy(display, self.display, str(header.path), str(self._plates[picture.frame].path)):
            self._warn(f"the matte is {display} and the plate is {self.display}: the matte is resampled to the plate")
        if self.has_all_mattes and len(self.views) > 1 and picture.view not in views_of(header):
            self._warn(f"the matte has no view {picture.view}: its first view is used instead")
        self._matte_channels[picture.frame, picture.view] = channel

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)


def by_frame(pictures: Iterable[Picture]) -> dict[int, list[Picture]]:
    """Pictures by frame number, in their order: all views of a frame go into one file."""
    frames: dict[int, list[Picture]] = {}
    for picture in pictures:
        frames.setdefault(picture.frame, []).append(picture)
    return frames


def with_mattes(shot: Shot, pattern: str) -> Shot:
    """The same shot with a matte of its own on every frame. Raises BadInput as `open_shot`; reads no plate header."""
    settings = replace(shot.settings, matte=pattern, matte_channel=None, matte_frame=None)
    matte = find_sequence(pattern, "matte")
    plates = {frame: shot.plate_header(frame) for frame in shot.frames}
    mattes = {frame: read_header(matte.path(frame), "matte") for frame in shot.frames}
    made = Shot(settings, shot.plate_sequence, matte, plates, mattes)
    found = {picture.frame for picture in shot.pictures if not shot.has_own_matte(picture)}
    made.guides = {frame: replace(guide, knew_matte=frame not in found) for frame, guide in shot.guides.items()}
    return made


def open_shot(settings: ShotSettings) -> Shot:
    """Finds the sequences, reads every header and checks that they fit together. Raises BadInput if they do not."""
    plate = find_sequence(settings.plate, "plate")
    frames = select_frames(plate, settings.frames)
    plates = {frame: read_header(plate.path(frame), "plate") for frame in frames}
    guides = find_guides(settings.guide, frames)
    if settings.matte is None:
        return Shot(settings, plate, plate, plates, plates, guides)
    matte = find_sequence(settings.matte, "matte")
    if settings.matte_frame is not None:
        chosen = named_frames(settings.matte_frame, frames, plate, matte)
    elif not matte.numbered or (not plate.numbered and len(matte.frames) == 1):
        # With two single files, the matte belongs to the plate, whatever number either name contains.
        header = read_header(matte.path(matte.frames[0]), "matte")
        shot = Shot(settings, plate, matte, plates, dict.fromkeys(frames, header), guides)
        if len(frames) > 1:
            shot.warnings.append(
                f"matte {matte.pattern} has no frame number, so it is used for every frame "
                f"(if it belongs to one frame only, name that frame with --matte-frame)"
            )
        return shot
    else:
        chosen = tuple(frame for frame in frames if frame in set(matte.frames))
        if not chosen:
            raise BadInput(
                f"matte {matte.pattern} has none of the frames {compact_frames(frames)}; "
                f"add one, or use --frames to choose frames that have a matte"
            )
    mattes = {frame: read_header(matte.path(frame), "matte") for frame in chosen}
    shot = Shot(settings, plate, matte, plates, mattes, guides)
    if settings.matte_frame is None and (missing := set(frames) - set(chosen)):
        shot.warnings.append(
            f"matte {matte.pattern} has no frames {compact_frames(missing)}: "
            "their mattes are propagated from the others"
        )
    return shot


def require_fillable(any_hole: bool, any_known: bool, shot: Shot, any_painted: bool = False) -> None:
    """Raises BadInput if the whole shot has nothing to fill, or nothing to learn from.

    `any_painted`: whether a guide has pixels under the matte, which are then no hole.
    """
    matte = shot.matte_sequence.pattern
    if not any_hole and any_painted:
        raise BadInput(
            f"every frame in which the matte {matte} is not empty has a guide, so there is nothing left to fill; "
            f"use the painted frames as they are, or leave one of them out of --guide"
        )
    if not any_hole:
        raise BadInput(f"matte {matte} is empty on all frames; check the file and --matte-channel")
    if not any_known:
        raise BadInput(
            f"no frame has a known pixel: the matte {matte} (grown by {shot.grow} px) or NaN in the plate covers "
            f"everything; check --matte-channel and --grow, and whether the matte is inverted"
        )


def _pixels(value: float | None, share: float, height: int, option: str) -> int:
    if value is None:
        return max(1, round(share * height))
    if not 0 <= value <= height:
        raise BadInput(f"{option} {value} is not between 0 and the plate's height, {height}; choose another value")
    return round(value)

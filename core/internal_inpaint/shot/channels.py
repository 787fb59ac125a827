"""Which channels of a file are the picture and which is the matte: views, layers and channel names.

A channel's full name is `layer.channel`; in a part that holds several views it is
`layer.view.channel`, and the first view of `multiView` needs no name. Files of several parts say the
view in each part's `view` attribute, and many writers put the layer into the part's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from internal_inpaint.errors import BadInput
from internal_inpaint.shot.image import ImageHeader, Part

_RED_GREEN_BLUE = ({"r": 0, "g": 1, "b": 2}, {"red": 0, "green": 1, "blue": 2})
_ALPHA = ("a", "alpha")
_MAIN_PART_NAMES = ("rgba", "rgb", "beauty", "main", "color", "colour")


@dataclass(frozen=True)
class NamedChannel:
    """One channel taken apart. `view` is None when the channel belongs to no view in particular."""

    part: int
    index: int
    full_name: str
    view: str | None
    layer: str
    base: str

    @property
    def short_name(self) -> str:
        """The name without its view: what an artist calls the channel in every view."""
        return f"{self.layer}.{self.base}" if self.layer else self.base


@dataclass(frozen=True)
class PictureChannels:
    """Where the colour of one view is: three channels, or one that stands for all three when `grey`."""

    part: int
    indices: tuple[int, ...]

    @property
    def grey(self) -> bool:
        """Whether the picture is luminance only."""
        return len(self.indices) == 1


def views_of(header: ImageHeader) -> tuple[str, ...]:
    """The views in a file, the first one first; ('',) when it has no notion of views."""
    views = [view for part in header.parts for view in (part.views or ((part.view,) if part.view else ()))]
    return tuple(dict.fromkeys(views)) or ("",)


def named_channels(header: ImageHeader) -> list[NamedChannel]:
    """Every channel of every part, taken apart."""
    return [_named(part, index, channel.name) for part in header.parts for index, channel in enumerate(part.channels)]


def picture_channels(header: ImageHeader, view: str, layer: str | None) -> PictureChannels:
    """The channels to fill in `view`: those of `layer`, else the main RGB, else the only RGB-like
    layer, else luminance. Raises BadInput when there is no such layer or no clear choice."""
    groups: dict[tuple[int, str], list[NamedChannel]] = {}
    for channel in named_channels(header):
        if channel.view in (view, None):
            groups.setdefault((channel.part, channel.layer), []).append(channel)
    coloured = {key: found for key, group in groups.items() if (found := _colour_of(key[0], group))}
    labels = {key: _label(header.parts[key[0]], key[1]) for key in coloured}
    if layer is not None:
        for key, found in coloured.items():
            if layer in (key[1], labels[key]):
                return found
        have = ", ".join(sorted({label or "the main RGB" for label in labels.values()})) or "none"
        raise BadInput(f"layer {layer} of {_where(header, view)} is not there or has no colour; it has {have}")
    return _main_picture(header, view, coloured, labels)


def _main_picture(header, view: str, coloured: dict, labels: dict) -> PictureChannels:
    three = {key: found for key, found in coloured.items() if not found.grey}
    plain = [key for key in three if not key[1]]
    plain.sort(key=lambda key: labels[key].lower() not in ("", *_MAIN_PART_NAMES))
    if plain:
        return three[plain[0]]
    if len(three) == 1:
        return next(iter(three.values()))
    if three:
        names = ", ".join(sorted(labels[key] for key in three))
        raise BadInput(f"{_where(header, view)} has several layers with colour ({names}); choose one with --layer")
    if coloured:
        return next(iter(coloured.values()))
    names = ", ".join(channel.name for part in header.parts for channel in part.channels)
    raise BadInput(f"{_where(header, view)} has no colour channels (it has {names}); give a plate with RGB or Y")


def matte_channel(header: ImageHeader, view: str, name: str | None, is_plate: bool) -> NamedChannel:
    """The channel that is the matte of `view`: `name` (with or without layer and view), else alpha,
    else the only channel, else the first; the plate itself must have an alpha. BadInput if not there."""
    views = views_of(header)
    if view not in views:
        view = views[0]
    channels = [channel for channel in named_channels(header) if channel.view in (view, None)]
    if name is None:
        for channel in channels:
            if channel.base.lower() in _ALPHA and not channel.layer:
                return channel
        if not is_plate and channels:
            return channels[0]
        raise BadInput(f"{_where(header, view)} has no alpha to use as the matte; give --matte or --matte-channel")
    rules = (
        lambda channel: channel.full_name == name,
        lambda channel: channel.short_name == name,
        lambda channel: _label(header.parts[channel.part], channel.layer) + "." + channel.base == name,
        lambda channel: channel.short_name.lower() == name.lower(),
        lambda channel: name in (channel.layer, channel.base),
    )
    for rule in rules:
        # A full name may be another view's on purpose, but the same name in this view comes first.
        found = [channel for channel in channels if rule(channel)]
        if len(found) == 1:
            return found[0]
    everywhere = [channel for channel in named_channels(header) if channel.full_name == name]
    if everywhere:
        return everywhere[0]
    have = ", ".join(channel.full_name for channel in channels)
    raise BadInput(f"{_where(header, view)} has no channel {name} for the matte; --matte-channel can be {have}")


def view_prefix(part: Part, view: str) -> str:
    """What goes between a new layer's name and the channel in this part: 'left.' for a view that is
    not the first of a part that holds several, else nothing."""
    return f"{view}." if view in part.views[1:] else ""


def _named(part: Part, index: int, full_name: str) -> NamedChannel:
    *layers, base = full_name.split(".")
    view = part.view or None
    if layers and layers[-1] in part.views:
        view = layers.pop()
    elif part.views and not layers:
        view = part.views[0]
    return NamedChannel(part.index, index, full_name, view, ".".join(layers), base)


def _colour_of(part: int, group: list[NamedChannel]) -> PictureChannels | None:
    """The colour channels of one layer: red, green and blue, or luminance."""
    by_name = {channel.base.lower(): channel.index for channel in group}
    for names in _RED_GREEN_BLUE:
        if names.keys() <= by_name.keys():
            return PictureChannels(part, tuple(by_name[name] for name in names))
    if "y" in by_name and "x" not in by_name:
        return PictureChannels(part, (by_name["y"],))
    return None


def _label(part: Part, layer: str) -> str:
    """What the layer is called: its channels' prefix, else the part's name without its view."""
    if layer or not part.name:
        return layer
    return re.sub(rf"[._-]?{re.escape(part.view)}$", "", part.name) if part.view else part.name


def _where(header: ImageHeader, view: str) -> str:
    return f"view {view} of {header.path}" if view else str(header.path)

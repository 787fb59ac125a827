"""Finds the picture's channels and the matte's channel in a file, by view, layer and channel name.

A channel's full name is `layer.channel`. In a part that holds several views it is `layer.view.channel`, where the
first view of `multiView` may be omitted. Multi-part files name the view in each part's `view` attribute, and many
writers put the layer into the part's name.
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
    """A parsed channel name. `view` is None if the channel belongs to no particular view."""

    part: int
    index: int
    full_name: str
    view: str | None
    layer: str
    base: str

    @property
    def short_name(self) -> str:
        """The name without its view, which is the same in every view."""
        return f"{self.layer}.{self.base}" if self.layer else self.base


@dataclass(frozen=True)
class PictureChannels:
    """The colour channels of one view: three, or one luminance channel if `grey`."""

    part: int
    indices: tuple[int, ...]

    @property
    def grey(self) -> bool:
        """Whether the picture is luminance only."""
        return len(self.indices) == 1


def views_of(header: ImageHeader) -> tuple[str, ...]:
    """The views in a file, in file order; ('',) if the file has no views."""
    views = [view for part in header.parts for view in (part.views or ((part.view,) if part.view else ()))]
    return tuple(dict.fromkeys(views)) or ("",)


def chosen_views(header: ImageHeader, view: str | None) -> tuple[str, ...]:
    """The views to fill: `view`, or all. Raises BadInput if there is no such view."""
    views = views_of(header)
    if view is None:
        return views
    if view not in views:
        have = ", ".join(name for name in views if name)
        advice = f"it has {have}" if have else "it has no views, so leave out --view"
        raise BadInput(f"view {view} is not in plate file {header.path}; {advice}")
    return (view,)


def named_channels(header: ImageHeader) -> list[NamedChannel]:
    """The parsed names of all channels of all parts."""
    return [_named(part, index, channel.name) for part in header.parts for index, channel in enumerate(part.channels)]


def picture_channels(header: ImageHeader, view: str, layer: str | None) -> PictureChannels:
    """The channels to fill in `view`.

    These are the channels of `layer` if given, else the main RGB, else the only RGB-like layer, else luminance.
    Raises BadInput if there is no such layer, or if the choice is ambiguous.
    """
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
        raise BadInput(
            f"{_where(header, view)} has no layer {layer} with colour channels; its layers with colour are: {have}"
        )
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
    raise BadInput(f"{_where(header, view)} has no colour channels (it has {names}); give a picture with RGB or Y")


def matte_channel(header: ImageHeader, view: str, name: str | None, is_plate: bool) -> NamedChannel:
    """The channel that holds the matte of `view`.

    This is the channel `name` (with or without layer and view) if given, else alpha, else the only channel, else the
    first. If the file is the plate itself, only alpha is used by default. Raises BadInput if there is no such
    channel.
    """
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
        # A full name may refer to another view on purpose, but a match in this view takes precedence.
        found = [channel for channel in channels if rule(channel)]
        if len(found) == 1:
            return found[0]
    everywhere = [channel for channel in named_channels(header) if channel.full_name == name]
    if everywhere:
        return everywhere[0]
    have = ", ".join(channel.full_name for channel in channels)
    raise BadInput(f"{_where(header, view)} has no channel {name} for the matte; --matte-channel can be {have}")


def view_prefix(part: Part, view: str) -> str:
    """The view's prefix in a new channel name: 'left.' if the part holds several views and this is not the first."""
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
    """The layer's name for messages: its channels' prefix, else the part's name without the view."""
    if layer or not part.name:
        return layer
    return re.sub(rf"[._-]?{re.escape(part.view)}$", "", part.name) if part.view else part.name


def _where(header: ImageHeader, view: str) -> str:
    return f"view {view} of {header.path}" if view else str(header.path)

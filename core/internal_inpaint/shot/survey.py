"""Surveys a shot for `check`: reads every pixel and reports what the shot contains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from internal_inpaint.shot.image import Part
from internal_inpaint.shot.shot import PictureData, Shot, require_fillable


@dataclass(frozen=True)
class ShotSurvey:
    """The content of a shot. Windows are (x, y, width, height); ranges are scene-linear and finite.

    `matte_coverage_mean` and `matte_coverage_max` are the share of the plate's pixels that the grown and feathered
    matte touches, over `matte_frames`, the frames that have a matte. `broken_pixels` counts NaN and Inf pixels.
    """

    plate: str
    matte: str
    frames: tuple[int, ...]
    matte_frames: tuple[int, ...]
    views: tuple[str, ...]
    canvas: tuple[int, int, int, int]
    display: tuple[int, int, int, int]
    data_windows: tuple[tuple[int, int, int, int], ...]
    pixel_aspect: float
    file_format: str
    channels: tuple[str, ...]
    compressions: tuple[str, ...]
    colour_space: str
    range_low: tuple[float, float, float]
    range_high: tuple[float, float, float]
    broken_pixels: int
    broken_frames: tuple[int, ...]
    grow: int
    feather: int
    matte_coverage_mean: float
    matte_coverage_max: float
    matte_coverage_max_frame: int
    empty_matte_frames: tuple[int, ...]
    guide_frames: tuple[int, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict:
        """The survey as plain JSON types."""
        return asdict(self)


def survey(
    shot: Shot,
    progress: Callable[[int, int], None] | None = None,
    look: Callable[[int, PictureData], None] = lambda index, data: None,
) -> ShotSurvey:
    """Reads every picture once. Calls `progress` with (done, total), and `look` with the index and pixels of each.

    Raises BadInput if a file is damaged, if the matte is empty on all frames, or if it leaves no known pixel.
    """
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    broken: dict[int, int] = {}
    coverage: dict[int, float] = {}
    any_hole = any_known = any_painted = False
    for picture in shot.pictures:
        data = shot.load(picture.index)
        look(picture.index, data)
        usable = ~(data.outside | data.broken)
        if usable.any():
            values = data.rgb[usable]
            low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
        if count := int(data.broken.sum()):
            broken[picture.frame] = broken.get(picture.frame, 0) + count
        if picture.frame in shot.reference_frames:
            coverage[picture.frame] = max(coverage.get(picture.frame, 0.0), _coverage(data))
        any_hole |= data.plate is None and bool((data.alpha > 0).any())
        any_painted |= data.plate is not None and bool((data.alpha > 0).any())
        any_known |= bool((~(data.hole | data.outside)).any())
        if progress:
            progress(picture.index + 1, len(shot.pictures))
    # Where mattes are still to be found, frames without one have holes too.
    any_hole |= any_painted and not shot.has_all_mattes
    require_fillable(any_hole, any_known, shot, any_painted)
    worst = max(coverage, key=coverage.__getitem__)
    first = shot.plate_header(shot.frames[0])
    headers = [shot.plate_header(frame) for frame in shot.frames]
    return ShotSurvey(
        plate=shot.plate_sequence.pattern,
        matte=shot.matte_sequence.pattern,
        frames=shot.frames,
        matte_frames=shot.reference_frames,
        views=shot.views,
        canvas=_box(shot.canvas),
        display=_box(shot.display),
        data_windows=tuple(dict.fromkeys(_box(shot.data_window(picture)) for picture in shot.pictures)),
        pixel_aspect=shot.pixel_aspect,
        file_format=first.kind,
        channels=tuple(text for part in first.parts for text in _channel_texts(part, len(first.parts) > 1)),
        compressions=tuple(dict.fromkeys(part.compression or "none" for header in headers for part in header.parts)),
        colour_space=shot.colour.name,
        range_low=tuple(float(value) for value in low),
        range_high=tuple(float(value) for value in high),
        broken_pixels=sum(broken.values()),
        broken_frames=tuple(broken),
        grow=shot.grow,
        feather=shot.feather,
        matte_coverage_mean=float(np.mean(list(coverage.values()))),
        matte_coverage_max=coverage[worst],
        matte_coverage_max_frame=worst,
        empty_matte_frames=tuple(frame for frame, share in coverage.items() if share == 0.0),
        guide_frames=tuple(shot.guides),
        warnings=tuple(shot.warnings),
    )


def check_guides(shot: Shot) -> None:
    """Reads the guides of all frames that have a matte: what is wrong with them is said before any work is done.

    Raises BadInput as `Shot.load`. A guide whose frame gets its matte later is checked then.
    """
    for picture in shot.pictures:
        if picture.frame in shot.guides:
            shot.load(picture.index)


def _coverage(data: PictureData) -> float:
    return float((data.alpha > 0).sum() / max(1, (~data.outside).sum()))


def _box(window) -> tuple[int, int, int, int]:
    return (window.x, window.y, window.width, window.height)


def _channel_texts(part: Part, several: bool) -> list[str]:
    prefix = f"{part.name}: " if several and part.name else ""
    return [f"{prefix}{channel.name} ({channel.type})" for channel in part.channels]

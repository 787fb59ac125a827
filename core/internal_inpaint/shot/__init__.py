"""Reading and writing pixels: sequences, image files, colour, mattes, the frame store and the writer."""

from internal_inpaint.shot.colour import Colour, WorkingSpace
from internal_inpaint.shot.elements import ElementWriter
from internal_inpaint.shot.image import Window
from internal_inpaint.shot.sequence import (
    FrameSequence,
    compact_frames,
    find_sequence,
    output_path,
    parse_frame_range,
)
from internal_inpaint.shot.shot import Picture, PictureData, Shot, ShotSettings, by_frame, open_shot, with_mattes
from internal_inpaint.shot.store import (
    FrameStore,
    build_store,
    build_stores,
    frame_sources,
    open_store,
    store_bytes,
)
from internal_inpaint.shot.survey import ShotSurvey, check_guides, survey
from internal_inpaint.shot.writer import FILL_LAYER, FrameWriter, Patch

__all__ = [
    "FILL_LAYER",
    "Colour",
    "ElementWriter",
    "FrameSequence",
    "FrameStore",
    "FrameWriter",
    "Patch",
    "Picture",
    "PictureData",
    "Shot",
    "ShotSettings",
    "ShotSurvey",
    "Window",
    "WorkingSpace",
    "build_store",
    "build_stores",
    "by_frame",
    "check_guides",
    "compact_frames",
    "find_sequence",
    "frame_sources",
    "open_shot",
    "open_store",
    "output_path",
    "parse_frame_range",
    "store_bytes",
    "survey",
    "with_mattes",
]

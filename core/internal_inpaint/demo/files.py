"""Writes the sample shot as EXR sequences, as a compositor would receive them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenImageIO as oiio

from internal_inpaint.demo.scene import SampleScene
from internal_inpaint.errors import BadInput

OVERSCAN = 8
FRAMES_PER_SECOND = 24


@dataclass(frozen=True)
class SampleShot:
    """The sample shot's files (patterns with ``####`` for the frame number) and its frame numbers."""

    plate: str
    matte: str
    clean: str
    frames: tuple[int, ...]


def frame_path(pattern: str, frame: int) -> Path:
    """The file of ``frame`` for a ``####`` pattern."""
    return Path(re.sub("#+", lambda hashes: str(frame).zfill(len(hashes.group())), pattern))


def make_sample_shot(
    folder: Path,
    frames: int = 40,
    width: int = 432,
    height: int = 240,
    first_frame: int = 1001,
    seed: int = 0,
) -> SampleShot:
    """Render the sample shot into ``folder``; the same arguments give the same pixels.

    Writes three scene-linear sequences with a display window of ``width`` x ``height`` and 8 pixels of overscan on
    every side: ``plate`` (half R, G, B with grain and with values above 1 and below 0, and a float layer
    ``depth.Z``), ``clean`` (the same without the ball: bit-identical where the matte is 0) and ``matte`` (half A, 1 =
    hole, soft where the ball is motion-blurred).
    """
    shot = SampleShot(
        *(str(Path(folder) / name / f"{name}.####.exr") for name in ("plate", "matte", "clean")),
        frames=tuple(range(first_frame, first_frame + frames)),
    )
    scene = SampleScene(frames, width, height, OVERSCAN, seed)
    for pattern in (shot.plate, shot.matte, shot.clean):
        Path(pattern).parent.mkdir(parents=True, exist_ok=True)
    for index, number in enumerate(shot.frames):
        frame = scene.render(index)
        plate = np.dstack([frame.plate, frame.plate_depth])
        clean = np.dstack([frame.clean, frame.clean_depth])
        matte = frame.matte[..., None]
        for pattern, pixels in ((shot.plate, plate), (shot.clean, clean), (shot.matte, matte)):
            _write(frame_path(pattern, number), pixels, number)
    return shot


def _write(path: Path, pixels: np.ndarray, number: int) -> None:
    """One EXR with data window, timecode, frame rate and camera; colour half, depth float."""
    height, width, channels = pixels.shape
    spec = oiio.ImageSpec(width, height, channels, "half")
    if channels == 1:
        spec.channelnames = ("A",)
        spec.alpha_channel = 0
    else:
        spec.channelnames = ("R", "G", "B", "depth.Z")
        spec.channelformats = tuple(oiio.TypeDesc(kind) for kind in ("half", "half", "half", "float"))
    spec.x = spec.y = -OVERSCAN
    spec.full_x = spec.full_y = 0
    spec.full_width, spec.full_height = width - 2 * OVERSCAN, height - 2 * OVERSCAN
    spec.attribute("compression", "zip:3")
    spec.attribute("FramesPerSecond", oiio.TypeDesc("rational"), (FRAMES_PER_SECOND, 1))
    spec.attribute("smpte:TimeCode", oiio.TypeDesc("timecode"), (_timecode(number), 0))
    spec.attribute("camera", "Internal Inpaint sample camera, 180 degree shutter")
    spec.attribute("reelName", "DEMO")

    output = oiio.ImageOutput.create(str(path))
    written = output and output.open(str(path), spec)
    written = written and output.write_image(np.ascontiguousarray(pixels, np.float32)) and output.close()
    if not written:
        reason = output.geterror() if output else oiio.geterror()
        raise BadInput(f"{path} cannot be written ({reason.strip()}); choose another folder for the sample shot.")


def _timecode(number: int) -> int:
    """The SMPTE timecode word of a frame number counted from 00:00:00:00: two decimal digits per byte."""
    seconds, frame = divmod(number, FRAMES_PER_SECOND)
    fields = (frame, seconds % 60, seconds // 60 % 60, seconds // 3600 % 24)
    return sum((value // 10 << 4 | value % 10) << 8 * place for place, value in enumerate(fields))

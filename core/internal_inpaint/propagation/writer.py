"""Writing mattes: one EXR a frame that an artist can look at, correct, and give back as ``--matte``.

Channel ``A``, half float, ZIP, with the plate's display window and the data window of its picture. A
shot of several views gets one file of several views: ``A`` is the first view's matte, ``right.A`` that
of a view named right, as ``multiView`` files name them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenImageIO as oiio

from internal_inpaint.errors import BadInput
from internal_inpaint.files import appearing
from internal_inpaint.shot import Shot
from internal_inpaint.shot.output import output_paths
from internal_inpaint.shot.writer import check_written


class MatteWriter:
    """Writes the mattes of one shot.

    Args:
        shot: whose frame numbers, windows and views the files get.
        output: pattern such as ``roto.####.exr``.

    Raises:
        BadInput: before any work is done: not an EXR, a pattern without frame numbers, an output that is
            an input, a folder that cannot be written.
    """

    def __init__(self, shot: Shot, output: str) -> None:
        if Path(output).suffix.lower() != ".exr":
            raise BadInput(f"--output {output} is not an .exr pattern: mattes are written as EXR, give roto.####.exr")
        self._shot = shot
        self._paths = output_paths(shot, output)

    def path(self, frame: int) -> Path:
        """The file that ``frame`` is written to."""
        return self._paths[frame]

    def write(self, frame: int, mattes: dict[str, np.ndarray]) -> Path:
        """Write one frame: a temporary file beside it, flushed, then renamed over the final name.

        Args:
            mattes: ``[H, W]`` 0..1 on the shot's canvas, by view; all views of the shot.

        Raises:
            OutOfResources: the disk is full.
            BadInput: the file may not be written.
        """
        target = self._paths[frame]
        pictures = [picture for picture in self._shot.pictures if picture.frame == frame]
        window = self._shot.data_window(pictures[0])
        for picture in pictures[1:]:
            window = window.union(self._shot.data_window(picture))
        inside = window.slices_in(self._shot.canvas)
        planes = np.stack([mattes[picture.view][inside] for picture in pictures], axis=2)
        with appearing(target, f"matte {frame} ({target})") as temporary:
            _write(temporary, planes.astype(np.float16), self._spec(window))
        return target

    def _spec(self, window) -> oiio.ImageSpec:
        shot, display = self._shot, self._shot.display
        spec = oiio.ImageSpec(window.width, window.height, len(shot.views), "half")
        spec.x, spec.y = window.x, window.y
        spec.full_x, spec.full_y, spec.full_width, spec.full_height = (
            display.x,
            display.y,
            display.width,
            display.height,
        )
        spec.channelnames = tuple("A" if n == 0 else f"{view}.A" for n, view in enumerate(shot.views))
        spec.attribute("compression", "zip")
        spec.attribute("PixelAspectRatio", float(shot.pixel_aspect))
        if len(shot.views) > 1:
            kind = oiio.TypeDesc(f"string[{len(shot.views)}]")
            spec.attribute("multiView", kind, tuple(shot.views))
        return spec


def _write(path: Path, planes: np.ndarray, spec: oiio.ImageSpec) -> None:
    target = oiio.ImageOutput.create(str(path))
    check_written(target, target is not None and target.open(str(path), spec))
    try:
        check_written(target, target.write_image(np.ascontiguousarray(planes)))
    finally:
        closed = target.close()
    check_written(target, closed)

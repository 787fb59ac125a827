"""Writes mattes: one EXR per frame that an artist can check, edit, and use as ``--matte``.

Channel ``A``, half float, ZIP, with the plate's display window and the data window of its picture. A
shot of several views gets one multi-view file per frame: ``A`` is the matte of the first view, ``right.A`` the matte
of a view named ``right``, following the naming rules of ``multiView`` files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from internal_inpaint.errors import BadInput
from internal_inpaint.files import appearing
from internal_inpaint.shot import Shot
from internal_inpaint.shot.elements import joint_window, plain_spec, write_plain
from internal_inpaint.shot.output import output_paths


class MatteWriter:
    """Writes the mattes of one shot.

    Args:
        shot: supplies the frame numbers, windows and views of the files.
        output: pattern such as ``roto.####.exr``.

    Raises:
        BadInput: the output is not an EXR, is a pattern without frame numbers, would overwrite an input, or is in a
            folder that is not writable.
    """

    def __init__(self, shot: Shot, output: str) -> None:
        if Path(output).suffix.lower() != ".exr":
            raise BadInput(f"--output {output} is not an .exr pattern: mattes are written as EXR, give roto.####.exr")
        self._shot = shot
        self._paths = output_paths(shot, output)

    def path(self, frame: int) -> Path:
        """The output file of ``frame``."""
        return self._paths[frame]

    def write(self, frame: int, mattes: dict[str, np.ndarray]) -> Path:
        """Write one frame, atomically: to a temporary file, which is flushed and renamed.

        Args:
            mattes: ``[H, W]`` 0..1 on the shot's canvas, by view, for all views of the shot.

        Raises:
            OutOfResources: the disk is full.
            BadInput: no permission to write the file.
        """
        target = self._paths[frame]
        pictures = [picture for picture in self._shot.pictures if picture.frame == frame]
        window = joint_window(self._shot, pictures)
        inside = window.slices_in(self._shot.canvas)
        planes = np.stack([mattes[picture.view][inside] for picture in pictures], axis=2)
        with appearing(target, f"matte {frame} ({target})") as temporary:
            write_plain(temporary, planes, plain_spec(self._shot, window, "A"))
        return target

"""The key frames of a shot's texture, kept in its job folder.

Which pieces a texture consists of can depend on the last bits of a sum, which differ between processors. So it is
made once, and every machine that renders a part of the shot takes the same one.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from internal_inpaint.files import appearing
from internal_inpaint.rendering.texture import KeyFrame

FORMAT = 1


def write_keys(file: Path, about: Path, key: str, frames: Sequence[KeyFrame]) -> None:
    """Write the key frames.

    Args:
        file, about: the ``.npy`` file and the JSON file that says what is in it.
        key: identifies what they were made of.

    Raises:
        OutOfResources, BadInput: they cannot be written.
    """
    about.unlink(missing_ok=True)
    indices, digest = [frame.index for frame in frames], 0
    if frames:
        pictures = np.stack([frame.picture for frame in frames])
        digest = zlib.crc32(pictures.tobytes())
        with appearing(file, str(file)) as path:
            np.save(path, pictures)
    else:
        file.unlink(missing_ok=True)
    with appearing(about, str(about)) as path:
        path.write_text(json.dumps({"format": FORMAT, "key": key, "frames": indices, "digest": digest}))


def read_keys(file: Path, about: Path, key: str, size: tuple[int, int]) -> list[KeyFrame] | None:
    """What ``write_keys`` has written for ``key``; ``None`` if it is not there, not whole or of something else.

    Args:
        size: (height, width) of the pictures.
    """
    with suppress(OSError, ValueError, EOFError, KeyError, TypeError, AttributeError):
        found = json.loads(about.read_text(encoding="utf-8"))
        if (found["format"], found["key"]) != (FORMAT, key):
            return None
        indices = [int(index) for index in found["frames"]]
        if not indices:
            return []
        pictures = np.load(file, mmap_mode="r")
        if (pictures.shape, pictures.dtype) != ((len(indices), *size, 3), np.float16):
            return None
        if zlib.crc32(np.ascontiguousarray(pictures)) == found["digest"]:
            return [KeyFrame(index, plane) for index, plane in zip(indices, pictures, strict=True)]
    return None

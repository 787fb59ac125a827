"""Arrays of a whole shot, in files that appear only when they are complete."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from internal_inpaint.confidence.progress import ProgressReporter
from internal_inpaint.files import as_user_error, new_memory_map, replace


def write_array(path: Path, shape: tuple[int, ...], items: Iterable[tuple[int, np.ndarray]]) -> np.ndarray:
    """Write (index, item) pairs as one float16 ``.npy`` file of ``shape`` and map it.

    Raises:
        OutOfResources, BadInput: the file cannot be written. After any error, no file remains.
    """
    unfinished = path.with_name(f".{path.name}.part")
    try:
        array = new_memory_map(unfinished, np.float16, shape)
        for index, item in items:
            array[index] = item
        array.flush()
        del array
        replace(unfinished, path)
    except OSError as error:
        raise as_user_error(error, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


def write_fills(
    fill: Callable[[int], np.ndarray],
    shape: tuple[int, int, int],
    path: Path,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> np.ndarray:
    """Fill every frame of a shot once and keep the fills in a file.

    Args:
        fill: returns the fill ``[h, w, 3]`` float32 of a frame by index, working space.
        shape: (N, h, w) of the shot.
        path: of the ``.npy`` file.
        progress: called with (frames done, all frames).
        should_stop: called before every frame.

    Returns:
        ``[N, h, w, 3]`` float16 memory map.

    Raises:
        Stopped: on request; no file is left.
        OutOfResources, BadInput: the file cannot be written.
    """
    reporter = ProgressReporter(shape[0], progress, should_stop, "filling the holes")

    def fills() -> Iterable[tuple[int, np.ndarray]]:
        for index in range(shape[0]):
            reporter()
            yield index, fill(index)

    return write_array(path, (*shape, 3), fills())

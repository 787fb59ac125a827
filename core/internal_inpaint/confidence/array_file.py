"""A plane or picture for each picture of a shot, in one file that appears only when complete."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from internal_inpaint.errors import Stopped
from internal_inpaint.files import as_user_error, new_memory_map, replace
from internal_inpaint.rendering.inference import fill_frame


class Told:
    """Progress, and the wish to stop, at each picture.

    Args:
        pictures: how many there are.
        progress: told (done, of all).
        should_stop: asked every time.
        doing: what is broken off by a stop, for the message.
        passes: how often each picture comes by.
    """

    def __init__(
        self,
        pictures: int,
        progress: Callable[[int, int], None] | None,
        should_stop: Callable[[], bool] | None,
        doing: str,
        passes: int = 1,
    ) -> None:
        self._pictures, self._passes, self._doing = pictures, passes, doing
        self._progress, self._should_stop, self._done = progress, should_stop, 0

    def __call__(self) -> None:
        """Raises ``Stopped`` on request."""
        if self._should_stop and self._should_stop():
            raise Stopped(f"stopped while {self._doing}; run the same command again to go on")
        if self._progress:
            self._progress(self._done // self._passes, self._pictures)
        self._done += 1


def write_planes(path: Path, shape: tuple[int, ...], planes: Iterable[tuple[int, np.ndarray]]) -> np.ndarray:
    """Write (index, plane) pairs as one float16 ``.npy`` of ``shape`` and map it.

    Raises:
        OutOfResources, BadInput: the file cannot be written. Whatever ``planes`` raises leaves nothing behind.
    """
    unfinished = path.with_name(f".{path.name}.part")
    try:
        result = new_memory_map(unfinished, np.float16, shape)
        for index, plane in planes:
            result[index] = plane
        result.flush()
        del result
        replace(unfinished, path)
    except OSError as error:
        raise as_user_error(error, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


def write_fills(
    network: nn.Module,
    frames: np.ndarray,
    state: np.ndarray,
    path: Path,
    bf16: bool = False,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> np.ndarray:
    """The network's fill of every hole of a shot at working size, as the confidence is measured on.

    Args:
        network: trained, on its device, in ``eval`` mode.
        frames: ``[N, h, w, 3]`` working space. state: ``[N, h, w]`` uint8, 0 known, 1 hole, 2 void.
        path: of the result, a ``.npy`` file; it appears under its name only when complete.
        bf16: run the network in bfloat16 under autocast, as the rendering does.

    Returns:
        ``[N, h, w, 3]`` float16 memory map, working space, 0 away from the holes.

    Raises:
        Stopped, OutOfResources, BadInput: as ``measure_confidence``.
    """
    device = next(network.parameters()).device
    told = Told(len(state), progress, should_stop, "filling the holes")

    def filled() -> Iterable[tuple[int, np.ndarray]]:
        for index in range(len(state)):
            told()
            here = torch.from_numpy(np.array(state[index]))
            small = torch.from_numpy(np.asarray(frames[index], np.float32))
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
                yield index, fill_frame(network, small, here != 0, here == 1).numpy()

    return write_planes(path, frames.shape, filled())

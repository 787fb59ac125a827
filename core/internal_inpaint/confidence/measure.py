"""Measure the confidence of a fill once, and reuse the result as long as the fill is the same."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from internal_inpaint.confidence.array_file import write_fills
from internal_inpaint.confidence.metric import FrameConfidence, frame_confidence, write_confidence
from internal_inpaint.files import write_atomically
from internal_inpaint.resample import enlarge_bilinear

FILLING_SHARE = 0.5  # of the progress: filling the frames once; the rest is comparing them


@dataclass(frozen=True)
class Confidence:
    """The confidence of a shot's fill.

    Attributes:
        planes: ``[N, h, w]`` float16 memory map, 0 to 1 in the hole, 1 elsewhere.
        frames: figures for each index.
    """

    planes: np.ndarray
    frames: tuple[FrameConfidence, ...]

    def plane(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """The confidence ``[H, W]`` float32 of one frame, enlarged to ``size``."""
        return enlarge_bilinear(self.planes[index], size)

    @property
    def mean(self) -> float | None:
        """Mean over the hole pixels of all frames; ``None`` without any."""
        weighted = [(f.confidence, f.coverage) for f in self.frames if f.confidence is not None]
        total = sum(weight for _, weight in weighted)
        return sum(value * weight for value, weight in weighted) / total if total else None


def measure_confidence(
    fill: Callable[[int], np.ndarray],
    frames: np.ndarray,
    state: np.ndarray,
    pictures: Sequence[tuple[int, str]],
    planes_path: Path,
    summary_path: Path,
    key: str,
    progress: Callable[[float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Confidence:
    """Measure how well a fill agrees with what other frames show, or read what was measured before under this key.

    Args:
        fill: returns the fill ``[h, w, 3]`` float32 of a frame by index, working space; used in the hole only.
        frames: ``[N, h, w, 3]`` working space, 0 where not known.
        state: ``[N, h, w]`` uint8 ``PixelState``.
        pictures: ``[N]`` the shot's own frame number and the view of each index; the views of a frame are together.
        planes_path: of the ``.npy`` file of the confidence by pixel. ``fills.npy`` is a temporary file beside it.
        summary_path: of the ``.json`` file that holds the figures of each frame and the key.
        key: identifies everything that the fill depends on.
        progress: called with the share that is done, 0 to 1.
        should_stop: called at every frame.

    Raises:
        Stopped: on request; the next call starts over.
        OutOfResources, BadInput: a file cannot be written.
    """
    if (earlier := _read(planes_path, summary_path, key, state.shape)) is not None:
        return earlier
    report = progress or (lambda share: None)
    fills_path = planes_path.with_name("fills.npy")
    summary_path.unlink(missing_ok=True)  # after a kill it would describe other planes
    try:
        fills = write_fills(
            fill,
            state.shape,
            fills_path,
            progress=lambda done, total: report(FILLING_SHARE * done / max(1, total)),
            should_stop=should_stop,
        )
        planes = write_confidence(
            frames,
            state,
            fills,
            planes_path,
            len({view for _, view in pictures}),
            progress=lambda done, total: report(FILLING_SHARE + (1 - FILLING_SHARE) * done / max(1, total)),
            should_stop=should_stop,
        )
        del fills
    finally:
        with contextlib.suppress(OSError):
            fills_path.unlink(missing_ok=True)
    figures = tuple(frame_confidence(planes[i], state[i], frame, view) for i, (frame, view) in enumerate(pictures))
    summary = {"key": key, "frames": [asdict(frame) for frame in figures]}
    write_atomically(summary_path, json.dumps(summary, indent=1))
    return Confidence(planes, figures)


def _read(planes_path: Path, summary_path: Path, key: str, shape: tuple[int, ...]) -> Confidence | None:
    with contextlib.suppress(OSError, EOFError, ValueError, KeyError, TypeError):
        summary = json.loads(summary_path.read_text())
        if summary["key"] == key:  # open the array only then: Windows cannot replace an open file
            figures = tuple(FrameConfidence(**frame) for frame in summary["frames"])
            planes = np.load(planes_path, mmap_mode="r")
            if planes.shape == shape:
                return Confidence(planes, figures)
            del planes
    return None

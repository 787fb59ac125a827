"""Measure the confidence of a fill once, and reuse the result as long as the fill is the same."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from internal_inpaint.ahead import made_ahead
from internal_inpaint.confidence.array_file import write_array, write_fills
from internal_inpaint.confidence.copies import CopiedFill, copied_confidence
from internal_inpaint.confidence.metric import NOT_OBSERVED_LIMIT, FrameConfidence, frame_confidence, write_confidence
from internal_inpaint.confidence.progress import ProgressReporter
from internal_inpaint.files import write_atomically
from internal_inpaint.pixel_state import PixelState
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
        return self._mean([(f.confidence, f.coverage) for f in self.frames])

    @property
    def copied(self) -> float | None:
        """Share of all hole pixels that is copied; ``None`` for a method that invents everything."""
        return self._mean([(f.copied, f.coverage) for f in self.frames])

    @staticmethod
    def _mean(figures: Sequence[tuple[float | None, float]]) -> float | None:
        weighted = [(value, weight) for value, weight in figures if value is not None]
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
    return _kept(planes, state, pictures, [None] * len(pictures), summary_path, key)


def measure_copied_confidence(
    copied: Callable[[int], CopiedFill | None],
    state: np.ndarray,
    pictures: Sequence[tuple[int, str]],
    contrast: float,
    planes_path: Path,
    summary_path: Path,
    key: str,
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Confidence:
    """Measure the confidence of a fill that copies, or read what was measured before under this key.

    Each frame is filled once, and nothing is followed again: what could be copied is what it is compared with.

    Args:
        copied: returns the fill of a frame by index, and what it was copied from; ``None`` without a hole.
        contrast: standard deviation of the shot's known pixels.
        threads: frames that are filled at once.
        state, pictures, planes_path, summary_path, key, progress, should_stop: as for ``measure_confidence``.

    Raises:
        Stopped, OutOfResources, BadInput: as ``measure_confidence``.
    """
    if (earlier := _read(planes_path, summary_path, key, state.shape)) is not None:
        return earlier
    shares = [None] * len(pictures)
    report = None if progress is None else lambda done, total: progress(done / max(1, total))
    reporter = ProgressReporter(len(state), report, should_stop, "measuring the confidence")
    summary_path.unlink(missing_ok=True)  # after a kill it would describe other planes

    def planes() -> Iterable[tuple[int, np.ndarray]]:
        with contextlib.closing(made_ahead(copied, range(len(state)), threads, "confidence")) as fills:
            for index, fill in fills:
                reporter()
                hole = np.asarray(state[index]) == PixelState.HOLE
                plane = np.where(hole, np.float32(NOT_OBSERVED_LIMIT), np.float32(1))
                if hole.any():
                    shares[index] = 0.0
                if fill is not None:
                    box = fill.candidates.found.box
                    plane[box] = np.where(hole[box], copied_confidence(fill, contrast), 1)
                    shares[index] = float(fill.copied[hole[box]].mean())
                yield index, plane

    return _kept(write_array(planes_path, state.shape, planes()), state, pictures, shares, summary_path, key)


def _kept(
    planes: np.ndarray,
    state: np.ndarray,
    pictures: Sequence[tuple[int, str]],
    copied: Sequence[float | None],
    summary_path: Path,
    key: str,
) -> Confidence:
    """The confidence of a shot, once its figures and its key are on the disk."""
    figures = tuple(
        frame_confidence(planes[i], state[i], frame, view, copied[i]) for i, (frame, view) in enumerate(pictures)
    )
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

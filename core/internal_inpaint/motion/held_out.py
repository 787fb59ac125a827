"""Tracks that are held out of the training, to measure the fill where the network has never seen the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from internal_inpaint.motion.tracks import Example, Track, TrackSource
from internal_inpaint.pixel_state import PixelState

TRACKS = 3
EXAMPLES = 9  # of all tracks together
WINDOW = 1 / 12  # of the shot's frames that a track is held out in
_TRIES = 16
_MOST_OF_A_FRAME = 0.25
_LEAST_KNOWN = 0.5


@dataclass(frozen=True)
class HeldOut:
    """What is held out.

    Attributes:
        masks: ``[h, w]`` bool by index of the picture: pixels that the training must not see.
        examples: the holes that are scored, with the truth under them.
    """

    masks: dict[int, np.ndarray]
    examples: list[Example]


def hold_out(source: TrackSource, length: int, seed: int) -> HeldOut:
    """Choose tracks near the real hole, each in a few successive frames, spread over the shot.

    Like the real hole, a track hides its pixels in all of these frames. Of several, the one that overlaps the real
    hole least is used; a shot whose holes are very large may get none.

    Args:
        source: of the whole shot, with nothing held out.
        length: frames of the shot.
        seed: of the choice.
    """
    rng = np.random.default_rng([seed, 7])
    count = min(TRACKS, max(1, length // 5))
    window = max(1, round(length * WINDOW))
    masks: dict[int, np.ndarray] = {}
    examples: list[Example] = []
    for number in range(count):
        middle = round((number + 0.5) * length / count)
        first = min(max(0, middle - window // 2), length - window)
        frames = range(first, first + window)
        track = _best(source, frames, rng)
        if track is None:
            continue
        examples += source.of_track(track, rng, frames, max(1, EXAMPLES // count))
        for index, known in _hidden(source, track, frames):
            masks[index] = masks.get(index, False) | known
    return HeldOut(masks, examples)


def _best(source: TrackSource, frames: range, rng: np.random.Generator) -> Track | None:
    best, most = None, _LEAST_KNOWN
    for _ in range(_TRIES):
        track = source.draw(rng, frames)
        if track is None:
            continue
        covered = [(source.hole(track, index).sum(), known) for index, known in _hidden(source, track, frames)]
        if max(known.mean() for _, known in covered) > _MOST_OF_A_FRAME:
            continue
        share = sum(known.sum() for _, known in covered) / max(1, sum(hole for hole, _ in covered))
        if share > most:
            best, most = track, share
    return best


def _hidden(source: TrackSource, track: Track, frames: range) -> list[tuple[int, np.ndarray]]:
    """(index, ``[h, w]`` bool): the known pixels under a track."""
    indices = [source.index(frame, track.view) for frame in frames]
    return [(index, source.hole(track, index) & (source.state(index) == PixelState.KNOWN)) for index in indices]

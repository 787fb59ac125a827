"""Examples for learning what to copy: tracks of synthetic holes, and what could be copied into them.

A track hides a moving hole in every frame of the shot: the shot's own mattes at another time and place. If only one
frame had the hole, its neighbours would show the answer, and a network would learn to trust copies that the real hole
never offers. For the same reason the motion inside a track's hole is completed from outside it, and its candidates
are searched again with the real and the synthetic hole hidden in every frame.

Tracks lie near the real hole: what can be copied there, and what moves by itself, is what the network has to learn.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from internal_inpaint.motion.candidates import COUNT, Box, astray, find_candidates, overlap
from internal_inpaint.motion.compare import compare_candidates
from internal_inpaint.motion.completion import DIS_MARGIN
from internal_inpaint.motion.field import STEP, MotionField, sample
from internal_inpaint.motion.flow import warp
from internal_inpaint.motion.follow import shows
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.resample import as_float32, push_pull

NEAR = 0.2  # standard deviation of a track's distance from the real hole, as a share of the frame's sides
DRIFT = 0.75  # maximum drift of a track in pixels per frame, in addition to the motion of its own mattes
EXAMPLES = 8  # of one track
_TRIES = 12  # tracks that are drawn for one that hides enough known pixels
_ENOUGH = 0.3  # of a synthetic hole's pixels that are known
_FEWEST = 30  # known pixels in a synthetic hole
_CACHED = 48  # pictures for which a track's masks and flows are kept


@dataclass(frozen=True)
class Example:
    """A crop of a picture with a synthetic hole, and the candidates for all of its hidden pixels.

    Attributes:
        pixels: ``[h, w, 3]`` float16 working space; meaningless where not known.
        hidden: ``[h, w]`` bool, what the network does not see.
        known: ``[h, w]`` bool, where losses count.
        synthetic: ``[h, w]`` bool, the synthetic hole.
        copies: ``[K, h, w, 3]`` float16, the candidates' colours; 0 where there is none.
        weights: ``[K, h, w]`` float16, their weights before anything is learned (``Candidates.weights``).
        smooth: ``[h, w, 3]`` float16, the known pixels continued smoothly into the hole.
    """

    pixels: np.ndarray
    hidden: np.ndarray
    known: np.ndarray
    synthetic: np.ndarray
    copies: np.ndarray
    weights: np.ndarray
    smooth: np.ndarray


@dataclass(frozen=True)
class Track:
    """A moving synthetic hole: at each frame, the matte of ``offset`` frames later, moved.

    Attributes:
        view: index of the view.
        offset: in frames; time is reflected at the ends of the shot.
        anchor: the frame at which the hole is moved by ``shift``.
        shift: (rows, columns).
        drift: (rows, columns) in pixels per frame.
    """

    view: int
    offset: int
    anchor: int
    shift: tuple[float, float]
    drift: tuple[float, float]


class TrackSource:
    """Draws tracks over a shot and makes their examples. Thread-safe: it changes nothing of itself.

    Args:
        frames: ``[N, h, w, 3]`` working space, with the known pixels continued smoothly into the holes.
        state: ``[N, h, w]`` uint8 ``PixelState``.
        motion: of the shot at this size.
        crop: (height, width) of an example.
        contrast: standard deviation of the shot's known pixels.
        seed: determines all tracks and examples.
        held_out: ``[h, w]`` bool by index: pixels that are as unknown as those under the real hole.
    """

    def __init__(
        self,
        frames: np.ndarray,
        state: np.ndarray,
        motion: MotionField,
        crop: tuple[int, int],
        contrast: float,
        seed: int,
        held_out: dict[int, np.ndarray] | None = None,
    ) -> None:
        self._frames, self._state, self._motion = frames, state, motion
        self._crop, self._contrast, self._seed = crop, contrast, seed
        self._held_out = held_out or {}
        self._views = motion.views
        self._boxes = hole_boxes(state)
        self._length = len(state) // motion.views

    @property
    def track_bytes(self) -> int:
        """Memory of the examples of one track."""
        values = 2 * (3 + 3 + 4 * COUNT) + 3
        return EXAMPLES * self._crop[0] * self._crop[1] * values

    def examples(self, number: int) -> list[Example]:
        """The examples of one track, the same ones at every call.

        A shot in which no track hides enough gives examples with its own hole only.
        """
        rng = np.random.default_rng([self._seed, 11, number])
        for _ in range(_TRIES):
            track = self.draw(rng)
            if track is not None and (found := self.of_track(track, rng)):
                return found
        index = int(rng.choice(np.flatnonzero(self._boxes[:, 2] > 0)))
        with closing(_HiddenShot(self, None)) as shot:
            return [self._example(shot, index, self._boxes[index], rng)]

    def draw(self, rng: np.random.Generator, frames: range | None = None) -> Track | None:
        """A track near the real hole; ``None`` where the matte that was drawn is empty.

        Args:
            frames: where it is near; default: anywhere in the shot.
        """
        view, frames = int(rng.integers(self._views)), range(self._length) if frames is None else frames
        offset, anchor = int(rng.integers(-self._length, self._length + 1)), int(frames[rng.integers(len(frames))])
        source = self._boxes[self._source(anchor, offset, view)]
        here = self._boxes[self.index(anchor, view)]
        if source[2] == 0:
            return None
        shift = []
        for axis, side in enumerate(self._state.shape[1:]):
            # A frame without a hole is as good an example anywhere.
            centre = (here[axis] + here[axis + 2]) / 2 if here[2] else rng.uniform(0, side)
            wanted = float(np.clip(centre + rng.normal() * NEAR * side, 0.1 * side, 0.9 * side))
            shift.append(wanted - (source[axis] + source[axis + 2]) / 2)
        drift = rng.uniform(-DRIFT, DRIFT, 2)
        return Track(view, offset, anchor, tuple(shift), tuple(map(float, drift)))

    def of_track(
        self, track: Track, rng: np.random.Generator, frames: range | None = None, most: int = EXAMPLES
    ) -> list[Example]:
        """Up to ``most`` examples of a track, from random frames (or from some of ``frames``)."""
        found: list[Example] = []
        with closing(_HiddenShot(self, track)) as shot:
            for frame in rng.permutation(self._length if frames is None else np.array(frames)):
                index = self.index(int(frame), track.view)
                hole = self.hole(track, index)
                scored = hole & (self.state(index) == PixelState.KNOWN)
                if scored.sum() < max(_FEWEST, _ENOUGH * hole.sum()):
                    continue
                found.append(self._example(shot, index, _box_of(hole), rng))
                if len(found) == most:
                    break
        return found

    def hole(self, track: Track, index: int) -> np.ndarray:
        """``[h, w]`` bool: a track's hole in one picture."""
        frame = index // self._views
        source = self._state[self._source(frame, track.offset, track.view)] == PixelState.HOLE
        moved = (round(s + d * (frame - track.anchor)) for s, d in zip(track.shift, track.drift, strict=True))
        return _moved(np.asarray(source), *moved)

    def state(self, index: int) -> np.ndarray:
        """``[h, w]`` uint8 ``PixelState`` of a picture; held-out pixels are a hole."""
        state = np.asarray(self._state[index])
        if index not in self._held_out:
            return state
        return np.where(self._held_out[index] & (state == PixelState.KNOWN), PixelState.HOLE, state).astype(np.uint8)

    def index(self, frame: int, view: int) -> int:
        """The picture of a view of a frame."""
        return frame * self._views + view

    def _source(self, frame: int, offset: int, view: int) -> int:
        last = self._length - 1
        frame = last - abs(last - (frame + offset) % (2 * last)) if last else 0
        return self.index(frame, view)

    def _example(self, shot: _HiddenShot, index: int, hole: np.ndarray, rng: np.random.Generator) -> Example:
        box = self._window(hole, rng)
        own, state = self.state(index), shot.state(index)
        hidden = state[box] != PixelState.KNOWN
        copies = np.zeros((COUNT, *self._crop, 3), np.float16)
        weights = np.zeros((COUNT, *self._crop), np.float16)
        found = find_candidates(shot.motion, shot.shown, state, index, box)
        if found is not None:
            made = compare_candidates(
                found, astray(found, shot.motion), self._frames.__getitem__, self._contrast, self._views
            )
            inside, of_found = overlap(box, found.box)
            copies[:, *inside], weights[:, *inside] = made.colours[:, *of_found], made.weights[:, *of_found]
        pixels = np.asarray(self._frames[index][box], np.float32)
        return Example(
            pixels.astype(np.float16),
            hidden,
            own[box] == PixelState.KNOWN,
            (state[box] == PixelState.HOLE) & (own[box] == PixelState.KNOWN),
            copies,
            weights,
            push_pull(pixels, ~hidden).astype(np.float16),
        )

    def _window(self, hole: np.ndarray, rng: np.random.Generator) -> Box:
        """A crop around a hole, which is near its centre but not always at the centre."""
        slices = []
        for axis, (side, crop) in enumerate(zip(self._state.shape[1:], self._crop, strict=True)):
            start, end = int(hole[axis]), int(hole[axis + 2])
            slack = max(0, crop - (end - start)) // 4
            first = (start + end - crop) // 2 + int(rng.integers(-slack, slack + 1))
            if end - start > crop:
                first = int(rng.integers(start, end - crop + 1))
            first = min(max(0, first), side - crop)
            slices.append(slice(first, first + crop))
        return tuple(slices)


class _HiddenShot:
    """The shot with a track hidden in every frame: its masks, and its motion completed under the track."""

    def __init__(self, source: TrackSource, track: Track | None) -> None:
        self._source, self._track = source, track
        self.motion = source._motion if track is None else _HiddenMotion(source._motion, self._margin)
        self._states: Callable[[int], np.ndarray] = lru_cache(_CACHED)(self._state)
        self.shown: Callable[[int], np.ndarray] = lru_cache(_CACHED)(lambda index: shows(self.state(index)))

    def close(self) -> None:
        """Give the memory back now: the caches refer to this object, which would keep it until a collection."""
        self._states.cache_clear()
        self.shown.cache_clear()
        if self._track is not None:
            self.motion.close()

    def state(self, index: int) -> np.ndarray:
        return self._states(index)

    def _state(self, index: int) -> np.ndarray:
        state = self._source.state(index)
        if self._track is None:
            return state
        hole = self._source.hole(self._track, index) & (state == PixelState.KNOWN)
        return np.where(hole, PixelState.HOLE, state).astype(np.uint8)

    def _margin(self, index: int) -> np.ndarray:
        """``[h, w]`` uint8: the track's hole, and where its motion would be measured wrongly round it."""
        hole = self._source.hole(self._track, index).astype(np.uint8)
        return cv2.dilate(hole, np.ones((DIS_MARGIN, DIS_MARGIN), np.uint8))


class _HiddenMotion:
    """A motion with what it is under a synthetic hole unknown, and completed."""

    def __init__(self, motion: MotionField, margin: Callable[[int], np.ndarray]) -> None:
        self._motion, self._margin, self.size = motion, lru_cache(_CACHED)(margin), motion.size
        self._flow = lru_cache(_CACHED)(self._completed)

    def close(self) -> None:
        self._margin.cache_clear()
        self._flow.cache_clear()

    def neighbour(self, index: int, direction: int) -> int | None:
        return self._motion.neighbour(index, direction)

    def camera(self, index: int, direction: int) -> np.ndarray:
        return self._motion.camera(index, direction)

    def sharpness(self, index: int) -> float:
        return self._motion.sharpness(index)

    def carried(self, index: int, direction: int, points: np.ndarray) -> np.ndarray:
        return points + sample(self._flow(index, direction), points)

    def _completed(self, index: int, direction: int) -> np.ndarray:
        flow = as_float32(self._motion.flow[index, direction])
        here, there = self._margin(index), self._margin(index + STEP[direction] * self._motion.views)
        hidden = (here > 0) | (warp(there.astype(np.float32), flow) > 0.01)
        return push_pull(flow, (self._motion.trusted[index, direction] > 0) & ~hidden)


def hole_boxes(state: np.ndarray) -> np.ndarray:
    """``[N, 4]``: top, left, bottom, right (exclusive) of each picture's hole, zeros without one."""
    return np.array([_box_of(np.asarray(plane) == PixelState.HOLE) for plane in state], np.int64).reshape(-1, 4)


def _box_of(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.zeros(4, np.int64)
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def _moved(mask: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """A mask ``[h, w]`` moved by (dy, dx), cut off at the edges."""
    height, width = mask.shape
    dy, dx = max(-height, min(height, dy)), max(-width, min(width, dx))
    moved = np.zeros_like(mask)
    moved[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)] = mask[
        max(0, -dy) : height + min(0, -dy), max(0, -dx) : width + min(0, -dx)
    ]
    return moved

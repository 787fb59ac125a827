"""Fills by copying: the network decides at the level that it was trained at, the pixels come from the plate.

The candidates of a picture are searched twice: at the level's size, where the network looks at them, and at the
plate's own size, where they are copied with one interpolation and compared with the ring. How the network changes
their weights is smooth and is enlarged; of the picture itself, only what is invented is enlarged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from internal_inpaint.methods.copying.network import chosen, mixed
from internal_inpaint.motion.candidates import COUNT, Box, Found, find_candidates, points_of
from internal_inpaint.motion.compare import Candidates, compare_candidates
from internal_inpaint.motion.follow import NOWHERE
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.rendering.copy_source import CopySource
from internal_inpaint.rendering.texture import KeyFrame, Seen, Texture, low_frequencies, make_keys
from internal_inpaint.resample import as_float32, enlarge_bicubic, enlarged_part, reduce_area

# Shares of copies from which on there is no texture, and up to which there is nothing else.
_COPIED, _UNSEEN = 0.7, 0.2
_ALIKE, _OTHER = 0.5, 1.2  # of the contrast: low frequencies of the same thing, and of something else
_SURE = 0.9  # share of copies from which on a texture may be made of them
_FADE = 0.5  # share of copies below which their detail fades, and a pixel counts as unseen
_DECIDED = 3  # power of the weights that detail is chosen by: nearly always one candidate


@dataclass(frozen=True)
class ShotCopies:
    """What the fills of a shot copy.

    Attributes:
        level: the source at the size that the network was trained at.
        plate: the source at the size of the fills: the plate's own, or the level's for small previews.
        contrast: standard deviation of the shot's known pixels.
        views: pictures per frame.
        texture: for what no frame shows, at the plate's size; ``None``: what is invented stays soft.
    """

    level: CopySource
    plate: CopySource
    contrast: float
    views: int = 1
    texture: Texture | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the fills."""
        return self.plate.size

    def at_level(self) -> ShotCopies:
        """The same, with fills of the level's size."""
        texture = None if self.texture is None else self.texture.resized(self.level.size)
        return replace(self, plate=self.level, texture=texture)

    def key_frames(self) -> list[KeyFrame]:
        """Synthesise what no frame shows."""
        return make_keys(self.level.motion, len(self.level.state), self.views, self._unseen, self._seen)

    def textured(self, keys: Sequence[KeyFrame]) -> ShotCopies:
        """The same with the texture of the key frames."""
        return replace(self, texture=Texture(keys, self.plate.motion)) if keys else self

    def _unseen(self, index: int) -> np.ndarray:
        """``[P, 2]`` (x, y) at the level: what no frame shows of a picture, before anything is learned."""
        candidates = self.candidates(index)
        if candidates is None:
            return np.zeros((0, 2), np.float32)
        box = candidates.found.box
        return points_of(candidates.found.hidden & (candidates.weights.sum(axis=0) < _FADE), box)

    def _seen(self, index: int) -> Seen:
        """A picture with the best copies, before anything is learned."""
        filled = self.fill(None, index)
        picture, known = np.array(self.plate.frames[index], np.float32), self.plate.state[index] == PixelState.KNOWN
        unseen, sure = np.zeros(self.size, bool), np.array(known)
        if filled.candidates is None:
            return Seen(picture, unseen, sure)
        copied = filled.candidates.weights.sum(axis=0)
        picture[filled.box] = np.where(filled.hidden[..., None], filled.picture, picture[filled.box])
        unseen[filled.box] = filled.hidden & (copied < _COPIED)
        sure[filled.box] |= filled.hidden & (copied > _SURE)
        return Seen(picture, unseen, sure)

    def candidates(self, index: int) -> Candidates | None:
        """The candidates of a picture's hole at the level; ``None`` without a hole."""
        searched = self.level.searched(index)
        return None if searched is None else self._compared(self.level, *searched)

    def fill(self, decide: Callable[[int, dict[str, Tensor]], np.ndarray] | None, index: int) -> Filled:
        """Fill a picture's hole.

        Args:
            decide: gives ``[h, w, K + 5]`` (``CopyMethod.decide``) for a picture and its planes; ``None``: nothing
                is learned yet.
            index: the picture.
        """
        searched = self.level.searched(index)
        if searched is None:
            return self._nothing_to_fill()
        small, stray = searched
        smooth, at_level = as_float32(self.level.frames[index]), self.plate is self.level
        compared = self._compared(self.level, small, stray) if at_level or decide is not None else None
        decision = _undecided(smooth) if decide is None else decide(index, planes_of(compared, smooth))
        if at_level:
            box = small.box
            return self._textured(_mixed(compared, decision[box], smooth[box], smooth[box]))
        found = find_candidates(
            self.plate.motion,
            self.plate.shown,
            np.asarray(self.plate.state[index]),
            index,
            longest=small.longest(self.views),
            earliest=self._nearest(small, small.earliest(self.views)),
        )
        if found is None:
            return self._nothing_to_fill()
        box = found.box
        there = self._compared(self.plate, found, self._enlarged(small, stray)(box))
        decision = np.concatenate(
            [
                enlarged_part(decision[..., channels], self.size, box, bicubic=channels.start == COUNT + 2)
                for channels in (slice(0, COUNT), slice(COUNT, COUNT + 2), slice(COUNT + 2, COUNT + 5))
            ],
            axis=2,
        )
        here = as_float32(self.plate.frames[index][box])
        filled = _mixed(there, decision, enlarged_part(smooth, self.size, box), here)
        return self._textured(_with_detail(filled, self.level.size[0] / self.size[0], self.contrast))

    def _textured(self, filled: Filled) -> Filled:
        """The same with the texture's detail, where neither the motion nor the network finds a copy."""
        if self.texture is None:
            return filled
        copied = np.maximum(filled.candidates.weights.sum(axis=0), filled.share)
        share = np.clip((_COPIED - copied) / (_COPIED - _UNSEEN), 0, 1) * filled.hidden
        rows, columns = np.nonzero(share)
        detail, low, there = self.texture.detail(filled.candidates.found.index, points_of(share > 0, filled.box))
        picture = filled.picture.copy()
        soft = low_frequencies(picture, self.size[0])[rows, columns]
        differs = np.abs(soft - low).mean(axis=1) / self.contrast
        share[rows, columns] *= there * np.clip((_OTHER - differs) / (_OTHER - _ALIKE), 0, 1)
        of_detail = share[rows, columns, None]
        picture[rows, columns] += of_detail * (soft + detail - picture[rows, columns])
        picture[rows, columns] = picture[rows, columns].clip(-1, 1)
        return replace(filled, picture=picture, copied=filled.copied * (1 - share), texture=share)

    def _compared(self, source: CopySource, found: Found, stray: np.ndarray) -> Candidates:
        return compare_candidates(found, stray, source.picture, self.contrast, self.views)

    def _enlarged(self, small: Found, planes: np.ndarray) -> Callable[[Box], np.ndarray]:
        """Planes ``[K, h, w]`` of the level's candidates, in a box of the plate."""
        whole = np.zeros((*self.level.size, COUNT), np.float32)
        whole[small.box] = np.moveaxis(planes, 0, 2)

        def part(box: Box) -> np.ndarray:
            return np.moveaxis(enlarged_part(whole, self.size, box), 2, 0)

        return part

    def _nearest(self, small: Found, planes: np.ndarray) -> Callable[[Box], np.ndarray]:
        """As ``_enlarged``, of numbers that have no mean; ``NOWHERE`` outside the level's candidates."""
        whole = np.full((COUNT, *self.level.size), NOWHERE, planes.dtype)
        whole[:, *small.box] = planes

        def part(box: Box) -> np.ndarray:
            rows, columns = (
                (2 * np.arange(of_box.start, of_box.stop) + 1) * coarse // (2 * fine)
                for of_box, coarse, fine in zip(box, self.level.size, self.size, strict=True)
            )
            return whole[:, rows[:, None], columns]

        return part

    @staticmethod
    def _nothing_to_fill() -> Filled:
        """Where a hole lies outside the data window, and only its soft edge inside."""
        nowhere = slice(0, 0), slice(0, 0)
        weights = np.zeros((0, 0, COUNT + 2), np.float32)
        return Filled(nowhere, np.zeros((0, 0, 3), np.float32), weights, np.zeros((0, 0), bool))


def _undecided(smooth: np.ndarray) -> np.ndarray:
    """What is decided before anything is learned: no weight changes, and what is invented is smooth."""
    return np.concatenate([np.zeros((*smooth.shape[:2], COUNT + 2), np.float32), smooth], axis=2)


@dataclass(frozen=True)
class Filled:
    """A filled hole. The rest of the picture is the plate's own.

    Attributes:
        box: rows and columns of the picture.
        picture: ``[h, w, 3]`` float32 working space; the plate's own where not hidden.
        weights: ``[h, w, K + 2]``: the shares of each candidate, the smooth continuation and the invented picture.
        hidden: ``[h, w]`` bool: the hole.
        copied: ``[K, h, w]``: the shares of each candidate in the detail; together at most 1.
        candidates: what was copied; ``None`` if nothing was.
        texture: ``[h, w]``: the share of the detail that is synthesised; ``None`` where nothing is.
    """

    box: tuple[slice, slice]
    picture: np.ndarray
    weights: np.ndarray
    hidden: np.ndarray
    copied: np.ndarray | None = None
    candidates: Candidates | None = None
    texture: np.ndarray | None = None

    @property
    def share(self) -> np.ndarray:
        """``[h, w]`` float32: the share of the picture that is copied."""
        if self.candidates is None:
            return np.zeros(self.weights.shape[:2], np.float32)
        # The weight of a candidate that is not there is only nearly 0.
        return np.where(self.candidates.found.valid, np.moveaxis(self.weights[..., :COUNT], 2, 0), 0).sum(axis=0)

    def source(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Where the picture comes from, for a whole picture of this (height, width): the fill's own size.

        Returns:
            ``[H, W]`` int32, the picture that most of a pixel was copied from, or ``NOWHERE``; and the
            share, ``[H, W]`` float32, that is copied.
        """
        frame, share = np.full(size, NOWHERE, np.int32), np.zeros(size, np.float32)
        if self.candidates is not None:
            best = np.argmax(self.copied, axis=0)[None]
            frame[self.box] = np.take_along_axis(self.candidates.found.frame, best, axis=0)[0]
            share[self.box] = np.clip(self.share, 0, 1)
        return frame, share

    @property
    def points(self) -> np.ndarray | None:
        """``[K, h, w, 2]``: the positions that the candidates were copied from; ``None`` if nothing was."""
        return None if self.candidates is None else self.candidates.found.points


def planes_of(found: Candidates, smooth: np.ndarray) -> dict[str, Tensor]:
    """The planes of a ``CopyMethod`` clip for a whole picture, ``[C, h, w]`` each.

    Args:
        smooth: ``[h, w, 3]``.
    """
    size, box = smooth.shape[:2], found.found.box
    copies, weights = np.zeros((COUNT, 3, *size), np.float32), np.zeros((COUNT, *size), np.float32)
    copies[:, :, *box], weights[:, *box] = np.moveaxis(found.colours, 3, 1), found.weights
    return {
        "copies": torch.from_numpy(copies.reshape(-1, *size)),
        "weights": torch.from_numpy(weights),
        "smooth": torch.from_numpy(np.ascontiguousarray(np.moveaxis(smooth, 2, 0))),
    }


def _mixed(there: Candidates, decision: np.ndarray, smooth: np.ndarray, frame: np.ndarray) -> Filled:
    """The picture in the candidates' box, from what was decided for it ``[h, w, K + 5]``.

    Args:
        smooth, frame: ``[h, w, 3]``, the smooth continuation, and the plate itself.
    """

    def batch(planes: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(planes))[None]

    def pictures(values: np.ndarray) -> Tensor:
        return batch(np.moveaxis(values, -1, -3))

    hidden = there.found.hidden
    weights = chosen(batch(there.weights), pictures(decision[..., : COUNT + 2]))
    picture = mixed(weights, pictures(there.colours), pictures(smooth), pictures(decision[..., COUNT + 2 :]))
    picture = np.where(hidden[..., None], picture[0].clamp(-1, 1).permute(1, 2, 0).numpy(), frame)
    copied = (weights[0, :COUNT].numpy() * there.found.valid) ** _DECIDED
    copied /= np.maximum(copied.sum(axis=0), 1e-30)
    # The detail of a copy that was hardly chosen is that of another place.
    copied *= np.minimum(1, weights[0, :COUNT].numpy().sum(axis=0) / _FADE)
    return Filled(there.found.box, picture, weights[0].permute(1, 2, 0).numpy(), hidden, copied, there)


def _with_detail(filled: Filled, scale: float, contrast: float) -> Filled:
    """The same with the copies' own detail, which mixing has averaged away and the network cannot invent.

    Low frequencies are mixed, high ones are chosen (P. Burt, E. Adelson, "A multiresolution spline with application
    to image mosaics", 1983; here two bands): where copies are averaged, no detail and no grain is lost. What is
    invented has the texture of what other frames show there, as far as that is the same in low frequencies: water and
    leaves are never twice the same, but look alike.

    Args:
        scale: size of the level relative to the plate's: above its frequencies there is only copied detail.
        contrast: standard deviation of the shot's known pixels.
    """
    hidden, mixture = filled.hidden[..., None], filled.picture
    share = filled.copied.sum(axis=0)
    there = hidden & (share > 0)[..., None]
    chosen = filled.copied / np.maximum(share, 1e-30)
    difference = np.where(there, (chosen[..., None] * filled.candidates.colours).sum(axis=0) - mixture, 0)
    size = tuple(max(1, round(side * scale)) for side in mixture.shape[:2])

    def low(values: np.ndarray) -> np.ndarray:
        return enlarge_bicubic(reduce_area(values, size), mixture.shape[:2])

    differs = np.abs(low(difference)).mean(axis=2) / contrast
    alike = np.clip((_OTHER - differs) / (_OTHER - _ALIKE), 0, 1)
    share = np.maximum(share, alike * there[..., 0])
    difference *= share[..., None]
    picture = (mixture + difference - low(difference)).clip(-1, 1)
    return replace(filled, picture=np.where(hidden, picture, mixture), copied=chosen * share)

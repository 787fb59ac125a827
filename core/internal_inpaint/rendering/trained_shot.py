"""The result of a training: the one object that rendering, confidence, report and export take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internal_inpaint.methods.base import Method
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.rendering.copying import Filled, ShotCopies
from internal_inpaint.rendering.inference import enlarge, fill_frame
from internal_inpaint.resample import as_float32, reduce_max
from internal_inpaint.shot import WorkingSpace

PREVIEW_PIXELS = 2048 * 1152  # plates with more are previewed at the size that they are learned at
MARGIN = 4  # pixels of a coarser level around the wanted ones that enlarging and the finer network's prior read


@dataclass(frozen=True)
class TrainedLevel:
    """One trained level of a shot.

    Attributes:
        method, network: fill frames; the network is in ``eval`` mode on its device, with the best weights.
        frames: ``[N, h, w, 3]`` working space; state: ``[N, h, w]`` uint8 of ``PixelState``.
        views: pictures per frame; pictures of one view are ``views`` apart.
        digest: digest of the weights.
        learned: whether the weights were trained; else the fill is the best copy.
        steps, seconds: of the training, over all attempts.
        psnr: validation PSNR of these weights in dB; ``None`` without validation holes.
        history: ``[step, seconds, loss, psnr]`` of each validation.
    """

    method: Method
    network: nn.Module
    frames: np.ndarray
    state: np.ndarray
    views: int = 1
    digest: str = ""
    learned: bool = True
    steps: int = 0
    seconds: float = 0.0
    psnr: float | None = None
    history: list = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return tuple(self.state.shape[1:])

    @property
    def name(self) -> str:
        """For example ``854x480``."""
        return f"{self.size[1]}x{self.size[0]}"

    def clip(self, index: int) -> tuple[Tensor, Tensor]:
        """The method's input for a picture: frames ``[T, h, w, 3]`` float32, unknown pixels ``[T, h, w]`` bool."""
        indices = self.method.geometry.pictures(index, len(self.state), self.views)
        frames = torch.from_numpy(np.stack([np.asarray(self.frames[i], np.float32) for i in indices]))
        return frames, torch.from_numpy(np.stack([np.asarray(self.state[i]) != PixelState.KNOWN for i in indices]))

    def known(self, index: int) -> tuple[Tensor, Tensor]:
        """One picture ``[h, w, 3]`` float32 and its known pixels ``[h, w]`` bool."""
        pixels = torch.from_numpy(np.asarray(self.frames[index], np.float32))
        return pixels, torch.from_numpy(np.asarray(self.state[index]) == PixelState.KNOWN)


@dataclass(frozen=True)
class TrainedShot:
    """A trained shot, which fills its frames from the coarsest level to the finest (section 4.1).

    Attributes:
        levels: the coarsest first.
        space: the working space of its frames.
        canvas: (height, width) of the plate.
        precision: of the training, ``float32`` or ``bfloat16``.
        copies: what its fills copy; ``None`` for a method that invents everything.
    """

    levels: Sequence[TrainedLevel]
    space: WorkingSpace
    canvas: tuple[int, int]
    precision: str = "float32"
    copies: ShotCopies | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the result of ``fill``."""
        return self.levels[-1].size if self.copies is None else self.copies.size

    @property
    def digest(self) -> str:
        """Digest of everything that the fill depends on, except the shot's own pixels."""
        return " ".join([self.precision, *(level.digest for level in self.levels)])

    @property
    def steps(self) -> int:
        return sum(level.steps for level in self.levels)

    @property
    def seconds(self) -> float:
        return sum(level.seconds for level in self.levels)

    @property
    def psnr(self) -> float | None:
        """Validation PSNR of the finest level in dB."""
        return self.levels[-1].psnr

    def up_to(self, width: int) -> TrainedShot:
        """The levels up to the first that is at least ``width`` pixels wide, for small previews.

        A shot that copies is shown at the plate's size, unless that is large.
        """
        if self.copies is not None:
            # A copy shows the plate's detail, which is what there is to see; only beyond 2K it takes too long.
            large = self.size[0] * self.size[1] > PREVIEW_PIXELS
            return replace(self, copies=self.copies.at_level()) if large else self
        last = next((n for n, level in enumerate(self.levels) if level.size[1] >= width), len(self.levels) - 1)
        return replace(self, levels=self.levels[: last + 1])

    def coarsest(self) -> TrainedShot:
        """The first level alone, with fills of its size."""
        copies = None if self.copies is None else self.copies.at_level()
        return replace(self, levels=self.levels[:1], copies=copies)

    def fill(self, index: int, wanted: Tensor) -> Tensor:
        """The picture of one frame as the finest level fills it.

        Args:
            index: index of the picture in the store.
            wanted: ``[h, w]`` bool at the finest level, where the fill is needed.

        Returns:
            ``[h, w, 3]`` float32 working space in [-1, 1]; meaningful where ``wanted``.
        """
        return self.filled(index, wanted)[0]

    def filled(self, index: int, wanted: Tensor) -> tuple[Tensor, Filled | None]:
        """As ``fill``; also what was copied, ``None`` for a method that invents everything."""
        if self.copies is None:
            return self._fill(len(self.levels) - 1, index, wanted), None
        # The matte's soft edge may reach farther than the hole of the store: there the plate shows.
        picture = np.array(as_float32(self.copies.plate.frames[index]))
        # All of it: mixing, too, differs in its last bits with the number of threads.
        with one_thread():
            filled = self.copies.fill(self._decide if self.levels[0].learned else None, index)
        np.copyto(picture[filled.box], filled.picture, where=filled.hidden[..., None])
        return torch.from_numpy(picture), filled

    def _decide(self, index: int, planes: dict[str, Tensor]) -> np.ndarray:
        """What the network decides about the whole hole of a picture: ``[h, w, K + 5]`` (``CopyMethod.decide``)."""
        level = self.levels[0]
        frames, unknown = level.clip(index)
        method = level.method
        hole = torch.from_numpy(np.asarray(level.state[index]) == PixelState.HOLE)[None, None].float()
        wanted = F.max_pool2d(hole, 2 * MARGIN + 1, stride=1, padding=MARGIN)[0, 0] > 0
        made = fill_frame(method, level.network, frames, unknown, wanted, planes=planes, compute=method.decide)
        return made.numpy()

    def _fill(self, number: int, index: int, wanted: Tensor) -> Tensor:
        level = self.levels[number]
        frames, unknown = level.clip(index)
        prior = None
        if number:
            coarser = self.levels[number - 1]
            # The finer network reads the prior in its whole receptive field. The coarser one fills the unknown
            # pixels there, and no others.
            pixels, known = coarser.known(index)
            needed = reduced_to(_receptive_field(wanted, level.method.geometry.reach), coarser.size) & ~known
            fill = self._fill(number - 1, index, needed)
            prior = enlarge(torch.where(known[..., None], pixels, fill), level.size)
        return fill_frame(level.method, level.network, frames, unknown, wanted, prior=prior)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute with one thread here: several frames are made at once, and a frame's bits do not depend on
    how many threads there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _receptive_field(wanted: Tensor, reach: int) -> Tensor:
    """``[h, w]`` bool: the rectangle that a network reads to fill the wanted pixels."""
    field, rows, columns = torch.zeros_like(wanted), wanted.any(dim=1).nonzero(), wanted.any(dim=0).nonzero()
    if len(rows):
        top, left = max(0, int(rows[0]) - reach), max(0, int(columns[0]) - reach)
        field[top : int(rows[-1]) + reach + 1, left : int(columns[-1]) + reach + 1] = True
    return field


def reduced_to(wanted: Tensor, size: tuple[int, int]) -> Tensor:
    """``[h, w]`` bool at a coarser size: pixels that contain a wanted one, and ``MARGIN`` pixels around them."""
    small = torch.from_numpy(reduce_max(wanted.numpy(), size))[None, None].float()
    return F.max_pool2d(small, 2 * MARGIN + 1, stride=1, padding=MARGIN)[0, 0] > 0

"""Measures the cost of a run on this device with a few frames of the shot: real steps, fills, flows and files.

A step that would take too long is measured at two smaller sizes and extrapolated linearly: a step takes a fixed time
(the optimiser) and a time per pixel of its batch.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from internal_inpaint import checkpoints
from internal_inpaint.confidence.metric import write_confidence
from internal_inpaint.methods.base import Clip
from internal_inpaint.motion.candidates import COUNT
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.rendering.composite import composite
from internal_inpaint.rendering.copying import ShotCopies
from internal_inpaint.rendering.inference import enlarge
from internal_inpaint.report.contact_sheet import Row, write_contact_sheet
from internal_inpaint.shot import FrameStore, FrameWriter, Patch, Shot, by_frame
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.state import Hooks
from internal_inpaint.training.trainer import VALIDATIONS, Trainer

Clock = Callable[[], float]

SMALL_CROP = 96  # side in pixels of the crop of the first measurement of a step
FILL_SIDE = 256  # side in pixels of the picture of the measurement of a fill; four times that on CUDA
NOMINAL_STEPS = 10_000  # budget of the training that is measured; it is stopped after a few steps


@dataclass(frozen=True)
class LevelCost:
    """Cost of training one level and of filling with it.

    Attributes:
        step_s, regularised_s: seconds of a step, without and with the regularisers.
        validation_s: seconds per validation hole.
        fill_s: seconds per filled pixel.
        save_s: seconds per checkpoint.
        batch_bytes: memory that a step saves for its backward pass; on CUDA, all memory that it allocates.
        pixel_bytes: the same per pixel of the batch.
        weight_bytes: size of the network's parameters.
        reach: ``Geometry.reach`` of the method.
    """

    step_s: float
    regularised_s: float
    validation_s: float
    fill_s: float
    save_s: float
    batch_bytes: float
    pixel_bytes: float
    weight_bytes: int
    reach: int


@dataclass(frozen=True)
class FileCost:
    """Seconds per frame of the steps after a fill.

    Attributes:
        composite_s: enlarging and compositing a fill.
        write_s: writing the frame.
        sheet_s: one row of a contact sheet.
        confidence_s: measuring the confidence of a fill.
    """

    composite_s: float
    write_s: float
    sheet_s: float
    confidence_s: float


def sample_frames(shot: Shot, boxes: np.ndarray, known: np.ndarray) -> list[int]:
    """The frames to measure with: the tallest and the widest hole, a neighbour in time, and the most known pixels.

    Args:
        boxes: ``[N, 4]`` top, left, bottom, right of each picture's hole, zeros without one.
        known: ``[N]`` number of known pixels of each picture.
    """
    tallest, widest = (int(np.argmax(boxes[:, axis + 2] - boxes[:, axis])) for axis in (0, 1))
    views = len(shot.views)
    neighbour = tallest + views if tallest + views < len(boxes) else max(0, tallest - views)
    return sorted({shot.pictures[index].frame for index in (tallest, widest, neighbour, int(np.argmax(known)))})


def level_cost(trainer: Trainer, allowed_s: float, clock: Clock, folder: Path) -> LevelCost:
    """Measure one level.

    Args:
        trainer: an untrained trainer of the sampled frames; not usable afterwards.
        allowed_s: approximate limit in seconds for the steps on a CPU.
        clock: returns seconds.
        folder: for a checkpoint.
    """
    method, holes = trainer.method, trainer.task.scored_holes
    settings = method.config
    kinds = [0.0, 1 - settings.regularise_share / 2] if settings.regularised else [0.0]
    found = [_step_cost(trainer, share, allowed_s / len(kinds), clock) for share in kinds]
    batch, (height, width) = trainer.task.first_sizes()
    batch_bytes = max(saved for _, saved in found)
    validation = _timed(lambda: trainer.task.score(trainer.fill), trainer.device, clock) / holes if holes else 0.0
    folder.mkdir(parents=True, exist_ok=True)
    save = _timed(lambda: checkpoints.save(trainer, folder, "", trainer.task.size), trainer.device, clock)
    return LevelCost(
        step_s=found[0][0],
        regularised_s=found[-1][0],
        validation_s=validation,
        fill_s=_fill_cost(trainer, clock),
        save_s=save,
        batch_bytes=batch_bytes,
        pixel_bytes=batch_bytes / (batch * height * width),
        weight_bytes=sum(parameter.nbytes for parameter in trainer.network.parameters()),
        reach=method.geometry.reach,
    )


def file_cost(shot: Shot, store: FrameStore, finest: FrameStore, folder: Path, clock: Clock) -> FileCost:
    """Measure the steps from a fill to the written frame.

    Args:
        shot: the sampled frames.
        store: their coarsest level.
        finest: their finest level.
        folder: for a frame, a sheet and confidence planes.
    """
    frame, pictures = max(by_frame(shot.pictures).items(), key=lambda item: _hole(store, item[1][0].index))
    index = pictures[0].index
    loaded, patches = shot.load(index), {}

    def finish() -> None:
        fill = torch.zeros(*finest.size, 3)
        large = finest.working_space.to_linear(enlarge(fill, loaded.alpha.shape).numpy())
        patches[pictures[0].view] = Patch(composite(loaded.rgb, large, loaded.alpha), loaded.alpha, large)

    cpu = torch.device("cpu")
    composite_s = _timed(finish, cpu, clock)
    writer = FrameWriter(shot, str(folder / "clean.####.exr"))
    write_s = _timed(lambda: writer.write(frame, patches), cpu, clock)
    patch = patches[pictures[0].view]
    row = Row(frame, loaded.rgb, loaded.alpha, patch.fill, patch.rgb)
    sheet_s = _timed(lambda: write_contact_sheet([row], folder / "sheet.png"), cpu, clock)
    one_view = slice(None, None, len(shot.views))
    planes = store.frames[one_view], store.state[one_view]
    flows = len(planes[0]) - 1
    confidence_s = 0.0
    if flows:
        measured = _timed(lambda: write_confidence(*planes, planes[0], folder / "confidence.npy"), cpu, clock)
        confidence_s = measured / flows
    return FileCost(composite_s, write_s, sheet_s, confidence_s)


@dataclass(frozen=True)
class CopyCost:
    """Cost of copying.

    Attributes:
        motion_s: seconds per pair of pictures whose motion is measured.
        level_s: seconds per picture to search the candidates at the level, once a run, and to mix them.
        picture_s: seconds per picture to search and mix them at the plate's size.
    """

    motion_s: float = 0.0
    level_s: float = 0.0
    picture_s: float = 0.0


def copy_cost(make: Callable[[], ShotCopies], clock: Clock) -> tuple[ShotCopies, CopyCost]:
    """Measure the motion and the search.

    Args:
        make: measures the motion of the sampled frames.
    """
    start = clock()
    copies = make()
    pictures = len(copies.level.state)
    motion_s = (clock() - start) / max(1, pictures - copies.views)
    index = int(np.argmax([(state == PixelState.HOLE).sum() for state in copies.level.state]))
    width = copies.level.size

    def decide(index: int, planes: dict[str, Tensor]) -> np.ndarray:
        return np.zeros((*width, COUNT + 5), np.float32)

    copies.level.searched(index)  # the masks of the pictures that are looked at are kept
    start = clock()
    copies.level.search(index)
    taken = [clock() - start]
    for source in (copies.at_level(), copies):
        source.fill(decide, index)
        start = clock()
        source.fill(decide, index)
        taken.append(clock() - start)
    search_s, level_s, picture_s = taken
    return copies, CopyCost(motion_s, search_s + level_s, picture_s)


def synchronised(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _step_cost(trainer: Trainer, share: float, allowed_s: float, clock: Clock) -> tuple[float, float]:
    """Seconds of a step, and the bytes that it saves for its backward pass."""
    batch, crop = trainer.task.first_sizes()
    pixels = batch * crop[0] * crop[1]
    if trainer.device.type == "cuda":
        _steps(trainer, share, batch, crop, 3, clock)  # warm-up: cuDNN selects algorithms
        torch.cuda.reset_peak_memory_stats(trainer.device)
        return _steps(trainer, share, batch, crop, 8, clock), float(torch.cuda.max_memory_allocated(trainer.device))
    small = tuple(min(side, SMALL_CROP) for side in crop)
    saved = _SavedBytes(trainer)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack):
        _steps(trainer, share, 1, small, 1, clock)
    saved_bytes = saved.count * pixels / (small[0] * small[1])
    first = _steps(trainer, share, 1, small, 2, clock)
    first_pixels = small[0] * small[1]
    if 3 * first * pixels / first_pixels <= allowed_s:
        return _steps(trainer, share, batch, crop, 3, clock), saved_bytes
    # Two steps with this many pixels take half of the allowed time.
    most_pixels = max(2 * first_pixels, first_pixels * allowed_s / (4 * first))
    scale = min(1.0, (most_pixels / (crop[0] * crop[1])) ** 0.5)
    larger = tuple(min(side, max(8, round(side * scale / 8) * 8)) for side in crop)
    fewer = int(min(batch, max(1, most_pixels // (larger[0] * larger[1]))))
    second, second_pixels = _steps(trainer, share, fewer, larger, 2, clock), fewer * larger[0] * larger[1]
    if second_pixels <= first_pixels:
        return second * pixels / second_pixels, saved_bytes
    slope = max(0.0, second - first) / (second_pixels - first_pixels)
    return second + slope * (pixels - second_pixels), saved_bytes


def _steps(trainer: Trainer, share: float, batch: int, crop: tuple[int, int], count: int, clock: Clock) -> float:
    """Median seconds of ``count`` steps at this share of a training; if several, the first is a warm-up."""
    counters, marks = trainer.counters, []
    counters.step, counters.validations = int(share * NOMINAL_STEPS), int(share * VALIDATIONS)
    counters.batch, counters.crop, counters.history = batch, crop, [[0, 0.0, None, None]]

    def enough() -> bool:
        synchronised(trainer.device)
        marks.append(clock())
        return len(marks) > count

    trainer.run(Budget(steps=NOMINAL_STEPS), Hooks(should_stop=enough, clock=clock))
    taken = np.diff(marks)
    return float(np.median(taken[1:] if len(taken) > 1 else taken))


@torch.no_grad()
def _fill_cost(trainer: Trainer, clock: Clock) -> float:
    """Seconds per filled pixel."""
    most = FILL_SIDE * (4 if trainer.device.type == "cuda" else 1)
    height, width = (min(side, most) for side in trainer.task.size)

    def planes(count: int) -> Tensor:
        return torch.zeros(1, 1, count, height, width, device=trainer.device)

    extra = trainer.method.config.network.extra_planes
    further = {name: planes(channels) for name, channels in trainer.method.planes.items()}
    clip = Clip(planes(3), planes(1), prior=planes(extra) if extra else None, planes=further)
    network = trainer.best_network()
    return _timed(lambda: trainer.method.fill(network, clip), trainer.device, clock) / (height * width)


def _timed(call: Callable[[], object], device: torch.device, clock: Clock, repeat: int = 1) -> float:
    """Median seconds of a call, after a warm-up call."""
    taken = []
    for _ in range(repeat + 1):
        synchronised(device)
        start = clock()
        call()
        synchronised(device)
        taken.append(clock() - start)
    return statistics.median(taken[1:])


def _hole(store: FrameStore, index: int) -> int:
    return int((store.state[index] == 1).sum())


class _SavedBytes:
    """Counts the bytes that autograd saves for the backward pass, without the weights."""

    def __init__(self, trainer: Trainer) -> None:
        self._counted = {parameter.untyped_storage().data_ptr() for parameter in trainer.network.parameters()}
        self.count = 0

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._counted:
            self._counted.add(storage.data_ptr())
            self.count += storage.nbytes()
        return tensor

    @staticmethod
    def unpack(tensor: Tensor) -> Tensor:
        return tensor

"""What a run costs on this device, measured on a few frames of the shot: real steps, fills, flows and files.

A step that would take too long to measure is measured at two smaller sizes, and the line through both is followed to
its own: a step takes a fixed time (the optimiser) and a time for each pixel of its batch.
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
from internal_inpaint.rendering.composite import composite
from internal_inpaint.rendering.inference import enlarge
from internal_inpaint.report.contact_sheet import Row, write_contact_sheet
from internal_inpaint.shot import FrameStore, FrameWriter, Patch, Shot, by_frame
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.state import Hooks
from internal_inpaint.training.trainer import VALIDATIONS, Trainer

Clock = Callable[[], float]

PILOT = 96  # side in pixels of the one crop that tells how long a step takes
FILLED = 256  # side in pixels of what is filled to tell how long a fill takes; four times that on CUDA
LONG = 10_000  # steps of the training that is begun, and never finished


@dataclass(frozen=True)
class LevelCost:
    """What learning and filling one level costs.

    Attributes:
        step_s, regularised_s: seconds of a step, without and with the regularisers.
        validation_s: of one held-out hole.
        fill_s: of a filled pixel. save_s: of a checkpoint.
        batch_bytes: what a step holds for its backward pass; on CUDA all that it allocates.
        pixel_bytes: the same for a pixel of the batch.
        weight_bytes: of the network's parameters.
        reach: pixels beside those that are wanted that the network looks at.
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
    """Seconds of a frame's way through the rest of a run.

    Attributes:
        composite_s: enlarging and compositing a fill. write_s: writing the frame. sheet_s: a contact sheet's picture.
        confidence_s: measuring the confidence of a fill.
    """

    composite_s: float
    write_s: float
    sheet_s: float
    confidence_s: float


def sample_frames(shot: Shot, boxes: np.ndarray, known: np.ndarray) -> list[int]:
    """The frames to measure on: the tallest and the widest hole, a neighbour in time, and what is known best.

    Args:
        boxes: ``[N, 4]`` top, left, bottom, right of each picture's hole, zeros without one.
        known: ``[N]`` known pixels.
    """
    tallest, widest = (int(np.argmax(boxes[:, axis + 2] - boxes[:, axis])) for axis in (0, 1))
    views = len(shot.views)
    beside = tallest + views if tallest + views < len(boxes) else max(0, tallest - views)
    return sorted({shot.pictures[index].frame for index in (tallest, widest, beside, int(np.argmax(known)))})


def level_cost(trainer: Trainer, allowed_s: float, clock: Clock, folder: Path) -> LevelCost:
    """Measure one level.

    Args:
        trainer: of the sampled frames, not begun; it is of no use afterwards.
        allowed_s: seconds that the steps may take, about, on a CPU.
        clock: seconds.
        folder: for a checkpoint.
    """
    method, holes = trainer.method, len(trainer.task.held_out.placements)
    settings = method.config
    kinds = [0.0, 1 - settings.regularise_share / 2] if settings.ambiguity or settings.stabilise else [0.0]
    found = [_step_cost(trainer, share, allowed_s / len(kinds), clock) for share in kinds]
    batch, (height, width) = trainer.task.first_sizes()
    held = max(held for _, held in found)
    validation = _timed(lambda: trainer.task.score(trainer.fill), trainer.device, clock) / holes if holes else 0.0
    folder.mkdir(parents=True, exist_ok=True)
    save = _timed(lambda: checkpoints.save(trainer, folder, "", trainer.task.size), trainer.device, clock)
    return LevelCost(
        step_s=found[0][0],
        regularised_s=found[-1][0],
        validation_s=validation,
        fill_s=_fill_cost(trainer, clock),
        save_s=save,
        batch_bytes=held,
        pixel_bytes=held / (batch * height * width),
        weight_bytes=sum(parameter.nbytes for parameter in trainer.network.parameters()),
        reach=method.geometry.reach,
    )


def file_cost(shot: Shot, store: FrameStore, finest: FrameStore, folder: Path, clock: Clock) -> FileCost:
    """Measure a frame's way from a fill to its file.

    Args:
        shot: of the sampled frames. store: its coarsest level. finest: its finest level.
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


def synchronised(device: torch.device) -> None:
    """Wait for what the device has been given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _step_cost(trainer: Trainer, share: float, allowed_s: float, clock: Clock) -> tuple[float, float]:
    """Seconds of a step and the bytes that it holds."""
    batch, crop = trainer.task.first_sizes()
    pixels = batch * crop[0] * crop[1]
    if trainer.device.type == "cuda":
        _steps(trainer, share, batch, crop, 3, clock)  # chooses its algorithms
        torch.cuda.reset_peak_memory_stats(trainer.device)
        return _steps(trainer, share, batch, crop, 8, clock), float(torch.cuda.max_memory_allocated(trainer.device))
    small = tuple(min(side, PILOT) for side in crop)
    held = _Held(trainer)
    with torch.autograd.graph.saved_tensors_hooks(held.pack, held.unpack):
        _steps(trainer, share, 1, small, 1, clock)
    bytes_held = held.count * pixels / (small[0] * small[1])
    first = _steps(trainer, share, 1, small, 2, clock)
    first_pixels = small[0] * small[1]
    if 3 * first * pixels / first_pixels <= allowed_s:
        return _steps(trainer, share, batch, crop, 3, clock), bytes_held
    # Two steps of this many pixels take half of what is allowed.
    room = max(2 * first_pixels, first_pixels * allowed_s / (4 * first))
    scale = min(1.0, (room / (crop[0] * crop[1])) ** 0.5)
    larger = tuple(min(side, max(8, round(side * scale / 8) * 8)) for side in crop)
    fewer = int(min(batch, max(1, room // (larger[0] * larger[1]))))
    second, second_pixels = _steps(trainer, share, fewer, larger, 2, clock), fewer * larger[0] * larger[1]
    if second_pixels <= first_pixels:
        return second * pixels / second_pixels, bytes_held
    slope = max(0.0, second - first) / (second_pixels - first_pixels)
    return second + slope * (pixels - second_pixels), bytes_held


def _steps(trainer: Trainer, share: float, batch: int, crop: tuple[int, int], count: int, clock: Clock) -> float:
    """Median seconds of some steps at this share of a training; the first of several warms up."""
    counters, marks = trainer.counters, []
    counters.step, counters.validations = int(share * LONG), int(share * VALIDATIONS)
    counters.batch, counters.crop, counters.history = batch, crop, [[0, 0.0, None, None]]

    def enough() -> bool:
        synchronised(trainer.device)
        marks.append(clock())
        return len(marks) > count

    trainer.run(Budget(steps=LONG), Hooks(should_stop=enough, clock=clock))
    taken = np.diff(marks)
    return float(np.median(taken[1:] if len(taken) > 1 else taken))


@torch.no_grad()
def _fill_cost(trainer: Trainer, clock: Clock) -> float:
    """Seconds of a filled pixel."""
    most = FILLED * (4 if trainer.device.type == "cuda" else 1)
    height, width = (min(side, most) for side in trainer.task.size)

    def planes(count: int) -> Tensor:
        return torch.zeros(1, 1, count, height, width, device=trainer.device)

    refined = trainer.method.config.network.extra_planes
    clip = Clip(planes(3), planes(1), prior=planes(refined) if refined else None)
    network = trainer.best_network()
    return _timed(lambda: trainer.method.fill(network, clip), trainer.device, clock) / (height * width)


def _timed(call: Callable[[], object], device: torch.device, clock: Clock, repeat: int = 1) -> float:
    """Median seconds of a call, after one that warms up."""
    taken = []
    for _ in range(repeat + 1):
        synchronised(device)
        began = clock()
        call()
        synchronised(device)
        taken.append(clock() - began)
    return statistics.median(taken[1:])


def _hole(store: FrameStore, index: int) -> int:
    return int((store.state[index] == 1).sum())


class _Held:
    """Counts the bytes that a backward pass needs, beside the weights."""

    def __init__(self, trainer: Trainer) -> None:
        self._seen = {parameter.untyped_storage().data_ptr() for parameter in trainer.network.parameters()}
        self.count = 0

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.count += storage.nbytes()
        return tensor

    @staticmethod
    def unpack(tensor: Tensor) -> Tensor:
        return tensor

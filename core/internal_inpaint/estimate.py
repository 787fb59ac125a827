"""``internal-inpaint check``: describes a shot, and estimates time and memory of a job on it. Writes no files."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from internal_inpaint.ahead import at_once
from internal_inpaint.copy_training import copy_trainer
from internal_inpaint.cost import (
    Clock,
    CopyCost,
    FileCost,
    LevelCost,
    copy_cost,
    file_cost,
    level_cost,
    sample_frames,
)
from internal_inpaint.ingest import copies_of, motion_bytes, stored_sizes
from internal_inpaint.job import Job
from internal_inpaint.plan import levels_of, whole_budget
from internal_inpaint.preview import FRAMES as PREVIEW_FRAMES
from internal_inpaint.preview import SHARE as PREVIEW_SHARE
from internal_inpaint.rendering.copy_source import kept_bytes
from internal_inpaint.rendering.copying import ShotCopies
from internal_inpaint.rendering.inference import WHOLE_FRAME_PIXELS
from internal_inpaint.roto.step import budget_of
from internal_inpaint.run import device_of, shot_settings
from internal_inpaint.shot import FrameStore, PictureData, Shot, build_stores, open_shot, store_bytes, survey
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.device import trains_in_bf16
from internal_inpaint.training.fill_task import HELD_OUT_HOLES, fill_trainer
from internal_inpaint.training.levels import Level
from internal_inpaint.training.state import CHECKPOINT_SECONDS
from internal_inpaint.training.trainer import VALIDATIONS, Trainer
from internal_inpaint.vgg19 import load_vgg19

MEASURING_S = 8.0  # approximate time for measuring training steps on a CPU, for a job of any size
REPORT_FRAMES = 4  # pictures of the report, rendered once more

# Memory that cannot be measured in advance; the values come from benchmarks/check.py.
LIBRARIES_BYTES = 450e6  # memory of the libraries, if the system does not report it
WEIGHT_COPIES = 9  # gradients, the optimiser's state, the best weights, the last good weights
RUN_BYTES = 110e6  # what a run loads beside what `check` has loaded, and what its allocator keeps
PEAK_FACTOR = 1.15  # peak memory of a training step relative to the tensors that are saved for its backward pass
PLATE_BYTES_PER_PIXEL = 150  # per canvas pixel, while a frame is composited and written
FILL_SHARE = 0.6  # memory per pixel for a fill, relative to a training step


def check(job: Job, clock: Clock = time.perf_counter) -> dict:
    """Read every frame of the job's shot, describe the shot, and measure the cost of the job on a few frames.

    Args:
        clock: returns seconds; with ``time.process_time`` on one thread, the estimate is processor time.

    Returns:
        plain JSON types: the entries of the survey, and ``estimate`` with seconds and bytes.

    Raises:
        BadInput: the same errors as in a run.
    """
    start_s, libraries = time.process_time(), _resident_bytes() or LIBRARIES_BYTES
    device = device_of(job)
    shot, holes = open_shot(shot_settings(job)), _Holes()
    start = clock()
    found = survey(shot, look=holes.add).to_dict()
    loading_s = (clock() - start) / len(shot.pictures)
    levels = levels_of(job, (shot.canvas.height, shot.canvas.width), device)
    with tempfile.TemporaryDirectory(prefix="internal-inpaint-", ignore_cleanup_errors=True) as folder:
        measured = _measured(job, shot.without_guides(), holes, levels, device, Path(folder), clock)
    budget, matte = whole_budget(job, levels, device), budget_of(job, device)
    costs, files, pictures = measured.levels, measured.files, len(shot.pictures)

    boxes = holes.to_fill(shot)
    canvas = (shot.canvas.height, shot.canvas.width)
    computed = [_computed_pixels(boxes, canvas, levels[: n + 1], costs) for n in range(len(levels))]
    untrained = budget.is_empty and levels[0].config.copies  # no network is asked
    picture_s = [  # to fill one picture with the levels up to each one
        0.0 if untrained else sum(pixels * cost.fill_s for pixels, cost in zip(by_level, costs, strict=False))
        for by_level in computed
    ]
    copying = measured.copying
    rendered_s = loading_s + files.composite_s + picture_s[-1] + copying.picture_s
    # What copies has several pictures in work at once: here they were measured one by one.
    threads = torch.get_num_threads() if levels[0].config.copies else 1
    together = at_once(threads, canvas[0] * canvas[1] * len(shot.views))
    reading_s = measured.store_s + pictures * (measured.store_picture_s / together + copying.motion_s / threads)
    previews = [PREVIEW_FRAMES * (seconds + copying.picture_s + files.sheet_s) for seconds in picture_s]
    training_s = _training_s(budget, levels, costs, pictures, previews)
    # A fill that copies is compared with its candidates: no motion is measured again.
    flows_s = 0.0 if levels[0].config.copies else pictures * files.confidence_s
    confidence_s = flows_s + len(boxes) * (picture_s[0] + copying.level_s) / threads
    rendering_s = (len(boxes) * rendered_s + len(shot.frames) * files.write_s) / together
    # The final contact sheet and the report.
    ending_s = PREVIEW_FRAMES * (rendered_s + files.sheet_s) + REPORT_FRAMES * (rendered_s + 2 * files.sheet_s)
    matte_s = 0.0 if shot.has_all_mattes else matte.seconds or 0.0
    mapped = store_bytes(pictures, stored_sizes(levels, canvas))
    kept = 0
    if levels[0].config.copies:
        mapped += motion_bytes(pictures, canvas, levels[0].size)
        scale = levels[0].size[0] * levels[0].size[1] / (canvas[0] * canvas[1])
        in_holes = scale * sum((bottom - top) * (right - left) for top, left, bottom, right in boxes)
        kept = kept_bytes(pictures, stored_sizes(levels, canvas), in_holes)
    largest = [_computed_pixels(box[None], canvas, levels, costs) for box in boxes]
    computed_at_once = min(WHOLE_FRAME_PIXELS, max(map(max, largest)))
    working = _working_bytes(costs, shot, computed_at_once, device)
    found["estimate"] = {
        "device": str(device),
        "quality": job.quality,
        "working_sizes": [[level.size[1], level.size[0]] for level in levels],
        "training_steps": budget.steps,
        "training_s": round(training_s, 1),
        "matte_s": matte.seconds,
        "matte_steps": matte.steps,
        "reading_s": round(reading_s, 1),
        "confidence_s": round(confidence_s, 1),
        "rendering_s": round(rendering_s, 1),
        "total_s": round(start_s + matte_s + reading_s + training_s + confidence_s + rendering_s + ending_s, 1),
        "memory_bytes": int(libraries + working + kept + mapped),
        "mapped_bytes": mapped,
        "gpu_memory_bytes": int(mapped + max(cost.batch_bytes for cost in costs)) if device.type == "cuda" else None,
        "disk_bytes": mapped,
    }
    return found


@dataclass
class _Holes:
    """The hole's box (top, left, bottom, right) and the number of known pixels of each picture."""

    boxes: list[tuple[int, int, int, int]] = field(default_factory=list)
    known: list[int] = field(default_factory=list)

    def add(self, index: int, data: PictureData) -> None:
        hole = data.hole & ~(data.broken & (data.alpha == 0))  # NaN away from the matte is not filled
        if data.plate is not None:  # a guide: measured as if it had to be filled, it may be the only matte there is
            hole = data.alpha > 0
        rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
        self.boxes.append((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) if len(rows) else (0, 0, 0, 0))
        self.known.append(int((~(data.hole | data.outside)).sum()))

    def to_fill(self, shot: Shot) -> np.ndarray:
        """``[M, 4]`` boxes of all pictures to fill; frames without a matte are given the others' boxes."""
        boxes = np.array(self.boxes)
        existing = boxes[boxes[:, 2] > 0]
        missing = len(shot.pictures) - len(shot.reference_frames) * len(shot.views)
        return np.concatenate([existing, existing[np.arange(missing) % len(existing)]])


@dataclass(frozen=True)
class _Measured:
    """The costs of each level, of a frame's files and of copying; seconds of a store, fixed and per picture."""

    levels: list[LevelCost]
    files: FileCost
    copying: CopyCost
    store_s: float
    store_picture_s: float


def _measured(
    job: Job, shot: Shot, holes: _Holes, levels: tuple[Level, ...], device: torch.device, folder: Path, clock: Clock
) -> _Measured:
    frames = sample_frames(shot, np.array(holes.boxes), np.array(holes.known))
    sizes, taken = stored_sizes(levels, (shot.canvas.height, shot.canvas.width)), []
    # Store one frame, then several: the difference is the cost that grows with the shot.
    for count in sorted({1, len(frames)}):
        part = shot.only(frames[-count:] if count > 1 else [shot.pictures[_largest(holes)].frame])
        start = clock()
        stores = build_stores(part, folder / f"store{count}", sizes)
        taken.append((len(part.pictures), clock() - start))
    (few, first), (many, second) = taken[0], taken[-1]
    store_picture_s = second / many if few == many else max(0.0, second - first) / (many - few)
    copies, copying = None, CopyCost()
    if levels[0].config.copies:
        views = len(shot.views)
        copies, copying = copy_cost(lambda: copies_of(stores[0], stores[-1], views, folder / "motion"), clock)
    costs = _level_costs(job, levels, stores[: len(levels)], copies, len(shot.views), device, folder, clock)
    files = file_cost(part, stores[0], stores[-1], folder, clock)
    return _Measured(costs, files, copying, max(0.0, second - many * store_picture_s), store_picture_s)


def _largest(holes: _Holes) -> int:
    return int(np.argmax([(bottom - top) * (right - left) for top, left, bottom, right in holes.boxes]))


def _level_costs(
    job: Job,
    levels: tuple[Level, ...],
    stores: tuple[FrameStore, ...],
    copies: ShotCopies | None,
    views: int,
    device: torch.device,
    folder: Path,
    clock: Clock,
) -> list[LevelCost]:
    costs: list[LevelCost] = []
    coarser: Trainer | None = None
    for level, store in zip(levels, stores, strict=True):
        bf16 = trains_in_bf16(device)
        if copies is not None:
            trainer = copy_trainer(level.config, copies, device, job.seed, bf16)
        else:
            planes = (torch.from_numpy(np.array(plane)).to(device) for plane in (store.frames, store.state))
            named = job.vgg19 is not None and level.config.takes_encoder
            encoder = load_vgg19(Path(job.vgg19), device) if named else None
            trainer = fill_trainer(level.config, *planes, device, job.seed, bf16, coarser, encoder, views)
        costs.append(level_cost(trainer, MEASURING_S / len(levels), clock, folder / level.name))
        trainer.task.close()
        coarser = trainer
    return costs


def _training_s(
    budget: Budget, levels: tuple[Level, ...], costs: list[LevelCost], pictures: int, previews: list[float]
) -> float:
    """Seconds of the training: steps, validations, checkpoints and previews. A budget in seconds covers them all.

    A training that stops improving ends sooner.
    """
    if budget.steps is None:
        return budget.seconds
    holes = min(HELD_OUT_HOLES, max(1, pictures // 5))
    total = 0.0
    for level, cost, preview in zip(levels, costs, previews, strict=True):
        steps, method = level.budget(budget).steps, level.config.method
        regularised = int(steps * method.regularise_share) if method.regularised else 0
        validations = min(steps, VALIDATIONS) + level.config.score_first
        seconds = (steps - regularised) * cost.step_s + regularised * cost.regularised_s
        seconds += validations * holes * cost.validation_s
        seconds += (1 + seconds / CHECKPOINT_SECONDS) * cost.save_s
        total += seconds + min(validations * preview, max(preview, seconds / PREVIEW_SHARE))
    return total if budget.seconds is None else min(total, budget.seconds)


def _computed_pixels(
    boxes: np.ndarray, canvas: tuple[int, int], levels: tuple[Level, ...], costs: list[LevelCost]
) -> list[float]:
    """Number of pixels that each level computes to fill one picture at the last level, mean over the boxes.

    A level computes the hole's box, grown by its network's reach. The next coarser level grows that region further.
    """
    grown, counts = 0.0, []  # in pixels of the canvas
    for level, cost in reversed(list(zip(levels, costs, strict=False))):
        scale = level.size[0] / canvas[0]
        grown += cost.reach / scale
        low, high = np.maximum(boxes[:, :2] - grown, 0), np.minimum(boxes[:, 2:] + grown, canvas)
        counts.append(float((high - low).prod(axis=1).mean()) * scale**2)
    return counts[::-1]


def _working_bytes(costs: list[LevelCost], shot: Shot, filled: float, device: torch.device) -> float:
    """Host memory of the run itself.

    Previews are filled while the network trains, and the allocator keeps most of what a step used: both count.

    Args:
        filled: pixels that are computed at once for the largest hole.
    """
    weights = sum(cost.weight_bytes for cost in costs) * WEIGHT_COPIES
    plate = shot.canvas.height * shot.canvas.width * PLATE_BYTES_PER_PIXEL
    if device.type == "cuda":
        return RUN_BYTES + weights + plate
    batch = max(cost.batch_bytes for cost in costs) * PEAK_FACTOR
    fill = max(cost.pixel_bytes for cost in costs) * FILL_SHARE * filled
    return RUN_BYTES + weights + batch + plate + fill


def _resident_bytes() -> float:
    """Resident memory of this process; 0 if the system does not report it."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return next((1024.0 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0.0)


def readable(found: dict) -> str:
    """The result of ``check`` as text."""
    estimate = found["estimate"]
    frames = found["frames"]
    windows = found["data_windows"]
    lines = [
        f"plate          {found['plate']}",
        f"matte          {found['matte']}",
        f"frames         {frames[0]}-{frames[-1]} ({len(frames)})",
        f"format         {found['file_format']}, {', '.join(found['compressions'])} compression",
        f"display window {_window(found['display'])}",
        f"data window    {_window(windows[0]) if len(windows) == 1 else f'{len(windows)} different ones'}",
        f"canvas         {_window(found['canvas'])}",
        f"pixel aspect   {found['pixel_aspect']:g}",
        f"views          {', '.join(v for v in found['views'] if v) or 'one'}",
        f"channels       {', '.join(found['channels'])}",
        f"colour space   {found['colour_space']}",
        "range          "
        + ", ".join(
            f"{c} {low:.4g} to {high:.4g}"
            for c, low, high in zip("RGB", found["range_low"], found["range_high"], strict=True)
        ),
        f"NaN or Inf     {found['broken_pixels']} pixels" + _frames(found["broken_frames"]),
        f"matte          grown {found['grow']} px, feathered {found['feather']} px; covers "
        f"{found['matte_coverage_mean']:.2%} of a frame, at most {found['matte_coverage_max']:.2%} "
        f"(frame {found['matte_coverage_max_frame']})",
        *_propagation(found),
        *_guides(found),
        f"empty mattes   {len(found['empty_matte_frames'])}" + _frames(found["empty_matte_frames"]),
        f"trained at     {', '.join(f'{w}x{h}' for w, h in estimate['working_sizes'])} on {estimate['device']}",
        f"estimate       {estimate['total_s']:.0f} s in total: {_training(estimate)} training, "
        f"{estimate['reading_s']:.0f} s reading, {estimate['confidence_s']:.0f} s measuring the confidence, "
        f"{estimate['rendering_s']:.0f} s rendering; {_memory(estimate)}, "
        f"{estimate['disk_bytes'] / 2**30:.2f} GiB of disk for --quality {estimate['quality']}",
    ]
    return "\n".join(lines + [f"warning: {warning}" for warning in found["warnings"]])


def _propagation(found: dict) -> list[str]:
    """A line on one-frame roto, if some frames have no matte."""
    references, frames = found["matte_frames"], found["frames"]
    if len(references) == len(frames):
        return []
    seconds = found["estimate"]["matte_s"]
    budget = f"{seconds:.0f} s" if seconds else f"{found['estimate']['matte_steps']} steps"
    return [
        f"one-frame roto {len(references)} of {len(frames)} frames have a matte{_frames(references)}; "
        f"finding the others takes {budget}"
    ]


def _guides(found: dict) -> list[str]:
    """A line on the painted frames, if there are any."""
    guides = found["guide_frames"]
    return [f"guides         {len(guides)}{_frames(guides)}"] if guides else []


def _window(window: tuple) -> str:
    x, y, width, height = window
    return f"{width}x{height} at {x},{y}"


def _frames(frames: tuple) -> str:
    if not frames:
        return ""
    listed = ", ".join(map(str, frames[:8]))
    return f" (frames {listed}{', ...' if len(frames) > 8 else ''})"


def _memory(estimate: dict) -> str:
    """Memory, and how much of it is a file cache that the system can reclaim."""
    text = f"{estimate['memory_bytes'] / 2**30:.1f} GiB of memory"
    if estimate["mapped_bytes"] > 0.1 * estimate["memory_bytes"]:
        text += f" ({estimate['mapped_bytes'] / 2**30:.1f} GiB of it caches files on disk and can be reclaimed)"
    if estimate["gpu_memory_bytes"]:
        text += f", {estimate['gpu_memory_bytes'] / 2**30:.1f} GiB of GPU memory"
    return text


def _training(estimate: dict) -> str:
    parts = []
    if estimate["training_steps"] is not None:
        parts.append(f"{estimate['training_steps']} steps of")
    if estimate["training_s"] is not None:
        parts.append(f"{estimate['training_s']:.0f} s")
    return " or ".join(parts)

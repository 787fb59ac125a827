"""``internal-inpaint check``: what is in a shot, and what learning it will take. Writes nothing."""

from __future__ import annotations

import time

import torch

from internal_inpaint.job import Job
from internal_inpaint.methods.implicit.networks import InpaintNetwork, NetworkConfig
from internal_inpaint.plan import levels_of, whole_budget
from internal_inpaint.roto.step import budget_of
from internal_inpaint.run import device_of, shot_settings
from internal_inpaint.shot import open_shot, store_bytes, survey
from internal_inpaint.training.config import batch_size

# Rough resident memory, chosen to lie above what benchmarks/memory.py shows: the libraries and network,
# what training keeps for each pixel of a batch at the paper's full width, and what holds a frame of the
# plate while it is composited.
BASE_BYTES = 700e6
BATCH_BYTES_A_PIXEL = 1900
PLATE_BYTES_A_PIXEL = 150


def check(job: Job) -> dict:
    """Read every frame of the job's shot and describe it.

    Returns:
        plain JSON types: the survey's entries, and ``estimate`` with seconds and bytes.

    Raises:
        BadInput: whatever would also stop a run.
    """
    device = device_of(job)
    shot = open_shot(shot_settings(job))
    began = time.perf_counter()
    found = survey(shot).to_dict()
    reading = time.perf_counter() - began
    canvas = shot.canvas.height * shot.canvas.width
    levels = levels_of(job, (shot.canvas.height, shot.canvas.width), device)
    budget = whole_budget(job, levels, device)
    config, matte = levels[0].config, budget_of(job, device)
    crop = min(levels[0].size[0] * levels[0].size[1], config.crop_pixels)
    batch = batch_size(config, (1, crop), device.type == "cuda")  # of the largest crops there could be
    holes = len(shot.pictures) - len(found["empty_matte_frames"]) * len(shot.views)
    forward = _seconds_a_pixel(config.method.network, device)
    filled = sum(level.size[0] * level.size[1] for level in levels)
    # A step is a forward pass and a backward pass of twice its work.
    training = budget.seconds or 3 * forward * batch * crop * (budget.steps or 0)
    found["estimate"] = {
        "device": str(device),
        "quality": job.quality,
        "working_sizes": [[level.size[1], level.size[0]] for level in levels],
        "training_steps": budget.steps,
        "training_s": round(training),
        "matte_s": matte.seconds,
        "matte_steps": matte.steps,
        "reading_s": round(reading, 1),
        "rendering_s": round(2 * reading + holes * forward * filled, 1),
        "memory_bytes": int(
            BASE_BYTES
            + batch * crop * config.method.network.width * BATCH_BYTES_A_PIXEL
            + canvas * PLATE_BYTES_A_PIXEL
        ),
        "disk_bytes": store_bytes(len(shot.pictures), [level.size for level in levels]),
    }
    return found


@torch.no_grad()
def _seconds_a_pixel(network_config: NetworkConfig, device: torch.device) -> float:
    """Time of a forward pass for one pixel, measured."""
    network = InpaintNetwork(network_config).to(device, memory_format=torch.channels_last)
    masked, mask = (torch.zeros(1, planes, 160, 160, device=device) for planes in (3, 1))
    network(masked, mask)
    began = time.perf_counter()
    float(network(masked, mask)[-1].sum())
    return (time.perf_counter() - began) / 160**2


def readable(found: dict) -> str:
    """The findings as lines for a person."""
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
        f"empty mattes   {len(found['empty_matte_frames'])}" + _frames(found["empty_matte_frames"]),
        f"learned at     {', '.join(f'{w}x{h}' for w, h in estimate['working_sizes'])} on {estimate['device']}",
        f"estimate       {_training(estimate)} training, {estimate['reading_s']:.0f} s reading, "
        f"{estimate['rendering_s']:.0f} s rendering; {estimate['memory_bytes'] / 2**30:.1f} GiB of memory, "
        f"{estimate['disk_bytes'] / 2**30:.2f} GiB of disk for --quality {estimate['quality']}",
    ]
    return "\n".join(lines + [f"warning: {warning}" for warning in found["warnings"]])


def _propagation(found: dict) -> list[str]:
    """A line on one-frame roto, where it is one."""
    having, frames = found["matte_frames"], found["frames"]
    if len(having) == len(frames):
        return []
    seconds = found["estimate"]["matte_s"]
    budget = f"{seconds:.0f} s" if seconds else f"{found['estimate']['matte_steps']} steps"
    return [
        f"one-frame roto on {len(having)} of {len(frames)} frames{_frames(having)}: the others' follow in {budget}"
    ]


def _window(window: tuple) -> str:
    x, y, width, height = window
    return f"{width}x{height} at {x},{y}"


def _frames(frames: tuple) -> str:
    if not frames:
        return ""
    shown = ", ".join(map(str, frames[:8]))
    return f" (frames {shown}{', ...' if len(frames) > 8 else ''})"


def _training(estimate: dict) -> str:
    parts = []
    if estimate["training_steps"] is not None:
        parts.append(f"{estimate['training_steps']} steps of")
    if estimate["training_s"] is not None:
        parts.append(f"{estimate['training_s']:.0f} s")
    return " or ".join(parts)

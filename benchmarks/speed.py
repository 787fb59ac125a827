"""Training speed: steps a second, share of the device's matrix-multiply peak, share outside the network.

    python benchmarks/speed.py [--presets standard,paper] [--size 240x136] [--device auto] [--threads N]

Needs PyTorch, NumPy and cattrs only, so that it also runs where nothing else is installed. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core"))

from internal_inpaint.pixel_state import PixelState
from internal_inpaint.training.config import PRESETS
from internal_inpaint.training.device import choose_device, trains_in_bf16
from internal_inpaint.training.fill_task import fill_trainer

FRAMES = 40
WARM_UP, TIMED = 2, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", default="standard,paper")
    parser.add_argument("--size", default="240x136", help="of the working frames")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bf16", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--json", metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    bf16 = trains_in_bf16(device) if options.bf16 == "auto" else options.bf16 == "on"
    width, height = map(int, options.size.split("x"))

    peak = matmul_peak(device, bf16)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {options.threads} thread(s)"
    kind = "bfloat16" if bf16 else "float32"
    print(f"{name}, {kind}, matrix multiply {peak / 1e12:.3f} TFLOP/s, torch {torch.__version__}\n")
    print("| preset | network | batch | steps/s | megapixels/s | share of peak | outside the network |")
    print("|---|---|---|---|---|---|---|")
    figures = []
    for preset in options.presets.split(","):
        row = measure(preset, (height, width), device, bf16, peak)
        figures.append(row)
        print(
            f"| {preset} | {row['network']} | {row['batch']} of {row['crop']} | {row['steps_s']:.2f} | "
            f"{row['megapixels_s']:.2f} | {row['peak_share']:.0%} | {row['outside']:.1%} |",
            flush=True,
        )
    if options.json:
        Path(options.json).write_text(json.dumps({"device": name, "bf16": bf16, "rows": figures}, indent=1))


def measure(preset: str, size: tuple[int, int], device: torch.device, bf16: bool, peak: float) -> dict:
    """Time whole training steps, and the network's forward and backward pass alone on the same batch."""
    config = PRESETS[preset]
    trainer = fill_trainer(config, *moving_pattern(size, device), device, seed=0, bf16=bf16)
    counters, network_config = trainer.counters, config.method.network
    clip = trainer.task.draw(trainer.rng, counters.batch, counters.crop, with_others=False)

    def network_only() -> None:
        losses = trainer.method.step(trainer.network, clip, 0.0, trainer.rng)
        sum(losses["network"].values()).backward()

    with FlopCounterMode(display=False) as counter:
        network_only()
    # Taken in turn, so that whatever else the machine does falls on both.
    whole, inside = [], []
    for i in range(WARM_UP + TIMED):
        times = seconds(lambda: trainer._step(rate=1.0, share=0.0), device), seconds(network_only, device)
        if i >= WARM_UP:
            whole.append(times[0])
            inside.append(times[1])
    step, network = statistics.median(whole), statistics.median(inside)
    crop = counters.crop
    return {
        "preset": preset,
        "network": f"{network_config.kind} x{network_config.width:g}",
        "batch": counters.batch,
        "crop": f"{crop[1]}x{crop[0]}",
        "steps_s": 1 / step,
        "megapixels_s": counters.batch * crop[0] * crop[1] / step / 1e6,
        "peak_share": counter.get_total_flops() / network / peak,
        "outside": max(0.0, 1 - network / step),
    }


def moving_pattern(size: tuple[int, int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames ``[N, H, W, 3]`` and state ``[N, H, W]`` with a hole of a quarter of the frame's sides."""
    height, width = size
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    frames = torch.stack([torch.sin((rows + 2 * columns + 3 * i) / 7) for i in range(FRAMES)])
    state = torch.zeros(FRAMES, height, width, dtype=torch.uint8)
    state[:, height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8] = PixelState.HOLE
    return frames[..., None].expand(-1, -1, -1, 3).half().to(device), state.to(device)


def matmul_peak(device: torch.device, bf16: bool) -> float:
    """Best measured rate of a large matrix product in the training's precision, in FLOP/s."""
    side = 8192 if device.type == "cuda" else 2048
    kind = torch.bfloat16 if bf16 else torch.float32
    a = torch.randn(side, side, device=device, dtype=kind)
    return 2 * side**3 / min(seconds(lambda: a @ a, device) for _ in range(6))


def seconds(call, device: torch.device) -> float:
    """Wall time of one call, the device's queue emptied before and after."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

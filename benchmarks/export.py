"""Exported models: onnxruntime against PyTorch for rendering, and the exported file in an old PyTorch.

    python benchmarks/export.py [--networks base,coarse-to-fine] [--sizes 432x240,960x540] [--threads 1] [--rounds 7]
    python benchmarks/export.py --old PYTHON [--old PYTHON ...]

The first times the network as `render` and `render --runtime onnx` call it, in turn in one process, on full-width
networks with random weights, and prints a Markdown table of medians. The second exports a two-level model with
random weights and runs it in interpreters that hold another PyTorch (1.6, 1.12), and says how far they are off.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core"))

import numpy as np
import torch

from internal_inpaint.export.model import ExportedShot, ShotModel
from internal_inpaint.export.onnx_runtime import OnnxNetwork, require
from internal_inpaint.export.torchscript import as_torchscript
from internal_inpaint.methods.implicit.networks import InpaintNetwork, NetworkConfig, initialise
from internal_inpaint.shot.colour import WorkingSpace, curve

OLD = """
import numpy, sys, torch
model = torch.jit.load("model.pt", map_location="cpu").eval()
with torch.no_grad():
    numpy.save("fill.npy", model(torch.from_numpy(numpy.load("frame.npy"))).numpy())
print(torch.__version__)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="base,coarse-to-fine")
    parser.add_argument("--sizes", default="432x240,960x540")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--old", metavar="PYTHON", action="append", help="an interpreter with another PyTorch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.old:
        for python in options.old:
            print(in_old(python))
        return
    (runtime,) = require("onnxruntime")
    print(f"CPU, {options.threads} thread(s), PyTorch {torch.__version__}, onnxruntime {runtime.__version__}\n")
    print("| network | size | PyTorch s/frame | onnxruntime s/frame | onnxruntime takes | largest difference |")
    print("|---|---|---|---|---|---|")
    for kind in options.networks.split(","):
        for size in options.sizes.split(","):
            width, height = map(int, size.split("x"))
            torch_s, onnx_s, ratio, apart = compare(trained(NetworkConfig(kind)), (height, width), options.rounds)
            print(f"| {kind} | {size} | {torch_s:.2f} | {onnx_s:.2f} | {ratio:.2f} x | {apart:.1e} |", flush=True)


def trained(config: NetworkConfig) -> InpaintNetwork:
    """A network as rendering holds it, with random weights."""
    torch.manual_seed(0)
    network = InpaintNetwork(config)
    initialise(network, "preserving")
    return network.to(memory_format=torch.channels_last).eval()


@torch.no_grad()
def compare(network: InpaintNetwork, size: tuple[int, int], rounds: int) -> tuple[float, float, float, float]:
    """Median seconds of both, the median ratio of each round, and the largest difference of their fills."""
    other = OnnxNetwork(network, "cpu")
    masked, mask = torch.rand(1, 3, *size) * 2 - 1, torch.zeros(1, 1, *size)
    mask[..., size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
    masked = masked * (1 - mask)
    apart = float((network(masked, mask)[-1] - other(masked, mask)[-1]).abs().max())
    times = [(seconds(network, masked, mask), seconds(other, masked, mask)) for _ in range(rounds)]
    first, second = (statistics.median(column) for column in zip(*times, strict=True))
    return first, second, statistics.median(b / a for a, b in times), apart


def seconds(network: torch.nn.Module, *inputs: torch.Tensor) -> float:
    began = time.perf_counter()
    network(*inputs)
    return time.perf_counter() - began


def in_old(python: str) -> str:
    """Run an exported model in another interpreter; a line that says how it went."""
    space = WorkingSpace(-0.1, 0.8)
    networks = trained(NetworkConfig("base", 0.5)), trained(NetworkConfig("base", 0.5, extra_planes=3, refines=True))
    shot = ExportedShot(networks, ((135, 240), (270, 481)), (270, 481), space)
    random = np.random.default_rng(0)
    worst = 0.0
    for height, width in ((270, 481), (131, 97)):
        frame = np.exp2(random.uniform(-6, 4, (1, 4, height, width))).astype(np.float32)
        frame[:, 3] = random.random((height, width)) < 0.2
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "model.pt").write_bytes(as_torchscript(ShotModel(shot), {}))
            np.save(Path(folder) / "frame.npy", frame)
            done = subprocess.run([python, "-c", OLD], cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                return f"{python}: cannot run it: {done.stderr.strip().splitlines()[-1]}"
            fill = np.load(Path(folder) / "fill.npy")
        with torch.no_grad():
            truth = ShotModel(shot)(torch.from_numpy(frame)).numpy()
        worst = max(worst, float(np.abs(curve(fill) - curve(truth)).max() * space.scale))
    return f"PyTorch {done.stdout.strip()}: largest difference {worst:.1e} of the working range [-1, 1]"


if __name__ == "__main__":
    main()

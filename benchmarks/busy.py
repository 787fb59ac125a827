"""What a training loses on a machine that other programs use, and what they lose to it.

    python benchmarks/busy.py [--repeat 3] [--others 0,2] [--steps 12] [--seconds 12]

Trains a 96x56 shot with the preset ``standard``, on one and two threads, with OpenMP's own way of waiting and with
the engine's passive one; then as a host starts it, at a lower priority. ``--others`` says how many processes are busy
beside it. All rows take turns, so that whatever else the machine does falls on all of them. Prints medians:

- wall time and processor time of a training step (after a first one that is not counted), and the wall time over that
  of the engine's way on the same number of threads with nothing beside it;
- processors the training had, and those that each busy process had, of the machine's.

The processor time of a step says how much is spent on spinning, on a machine that is not quiet too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

CORE = Path(__file__).resolve().parents[1] / "core"
SIZE = (56, 96)
BUSY = "while True: pass"


@dataclass(frozen=True)
class Row:
    """One way to train: beside how many busy processes, on how many threads, waiting how, at which priority."""

    others: int
    threads: int
    policy: str
    nice: int

    def __str__(self) -> str:
        return f"{self.others} | {self.threads} | {self.policy} | {'lower' if self.nice else 'the same'}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure a training on a busy machine.")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--others", default="0,2", help="busy processes beside the training")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--steps", type=int, default=12, help="steps of a measurement")
    parser.add_argument("--seconds", type=float, default=12, help="ends a measurement sooner")
    options = parser.parse_args()
    ways = (("active", 0), ("passive", 0), ("passive", 10))
    rows = [
        Row(others, threads, policy, nice)
        for others in map(int, options.others.split(","))
        for threads in map(int, options.threads.split(","))
        for policy, nice in ways
        if others or not nice
    ]
    measured: dict[Row, list[dict[str, float]]] = {row: [] for row in rows}
    loads = []
    for _ in range(options.repeat):
        for row, figures in measured.items():
            figures.append(measure(row, options.steps, options.seconds))
            print(row, figures[-1], file=sys.stderr, flush=True)
            loads.append(os.getloadavg()[0])
    print(f"{os.cpu_count()} processors, load {min(loads):.1f} to {max(loads):.1f}, {options.repeat} turns\n")
    heads = ["busy beside it", "threads", "waiting", "priority", "step: s", "of quiet", "step: CPU s", "CPUs"]
    heads.append("CPUs of each busy one")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    median = {row: medians(turns) for row, turns in measured.items()}
    for row, found in median.items():
        quiet = median.get(Row(0, row.threads, "passive", 0))
        ratio = f"{found['wall'] / quiet['wall']:.2f}" if quiet else ""
        cells = f"{found['wall']:.3f} | {ratio} | {found['cpu']:.3f} | {found['had']:.2f} | {found['others_had']:.2f}"
        print(f"| {row} | {cells} |")
    return 0


def medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}


def measure(row: Row, steps: int, seconds: float) -> dict[str, float]:
    environment = dict(os.environ, PYTHONPATH=str(CORE), INTERNAL_INPAINT_NICE=str(row.nice))
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        environment.pop(name, None)
    if row.policy == "active":
        environment["GOMP_SPINCOUNT"] = "300000"  # what GNU's OpenMP does if nothing is set
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(row.others)]
    began = time.monotonic()
    try:
        command = [sys.executable, __file__, "--child", str(row.threads), str(steps), str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    finally:
        for process in busy:
            process.kill()
        had = [os.wait4(process.pid, 0)[2].ru_utime for process in busy]
    lasted = time.monotonic() - began
    return {**json.loads(done.stdout), "others_had": sum(had) / max(1, len(had)) / lasted}


def child(threads: int, steps: int, seconds: float) -> None:
    from internal_inpaint.threads import lower_priority

    lower_priority()
    import torch
    from internal_inpaint.training.loop import Trainer

    from internal_inpaint.training.config import PRESETS
    from speed import moving_pattern

    torch.set_num_threads(threads)
    device = torch.device("cpu")
    trainer = Trainer(PRESETS["standard"], *moving_pattern(SIZE, device), device)
    sampler = trainer._drawing_sampler()
    trainer._step(sampler)
    done, began, used = 0, time.perf_counter(), time.process_time()
    while done < steps and time.perf_counter() - began < seconds:
        trainer._step(sampler)
        done += 1
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    print(json.dumps({"wall": wall / done, "cpu": cpu / done, "had": cpu / wall}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    else:
        sys.exit(main())

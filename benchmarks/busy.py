"""What a training loses on a machine that other programs use, and what they lose to it.

    python benchmarks/busy.py [--repeat 3] [--others 0,2] [--spins 300000,0] [--size 96x56] [--steps 12]

Trains a small shot with the preset ``standard``, on one and two threads. While OpenMP's threads wait for each other,
they spin as the engine lets them (``spinning``) or so many times (``--spins``; GNU's runtime takes 300,000 if nothing
is set); the last rows are at a lower priority, as a host starts a worker. ``--others`` says how many processes are
busy beside it. All rows take turns, so that whatever else the machine does falls on all of them. Prints medians:

- wall time and processor time of a training step, after three seconds that are not counted, and the wall time over
  that of spinning on the same number of threads with nothing beside it;
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
ENGINE = "engine's"
BUSY = "while True: pass"


@dataclass(frozen=True)
class Row:
    """One way to train: beside how many busy processes, on how many threads, waiting how, at which priority."""

    others: int
    threads: int
    spins: str
    nice: int

    def __str__(self) -> str:
        return f"{self.others} | {self.threads} | {self.spins} | {'lower' if self.nice else 'the same'}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure a training on a busy machine.")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--others", default="0,2", help="busy processes beside the training")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--spins", default="300000,0", help="fixed limits to compare with")
    parser.add_argument("--size", default="96x56", help="of the working frames")
    parser.add_argument("--steps", type=int, default=12, help="steps of a measurement")
    parser.add_argument("--seconds", type=float, default=12, help="ends a measurement sooner")
    options = parser.parse_args()
    ways = (*((spins, 0) for spins in options.spins.split(",")), (ENGINE, 0), (ENGINE, 10))
    rows = [
        Row(others, threads, spins, nice)
        for others in map(int, options.others.split(","))
        for threads in map(int, options.threads.split(","))
        for spins, nice in ways
        if (others or not nice) and (threads > 1 or spins == ENGINE)
    ]
    measured: dict[Row, list[dict[str, float]]] = {row: [] for row in rows}
    loads = []
    for _ in range(options.repeat):
        for row, figures in measured.items():
            figures.append(measure(row, options.size, options.steps, options.seconds))
            print(row, figures[-1], file=sys.stderr, flush=True)
            loads.append(os.getloadavg()[0])
    print(f"{os.cpu_count()} processors, load {min(loads):.1f} to {max(loads):.1f}, {options.repeat} turns\n")
    heads = ["busy beside it", "threads", "spins", "priority", "step: s", "of quiet", "step: CPU s", "CPUs"]
    heads.append("CPUs of each busy one")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    median = {row: medians(turns) for row, turns in measured.items()}
    for row, found in median.items():
        quiet = median.get(Row(0, row.threads, "300000" if row.threads > 1 else ENGINE, 0))
        ratio = f"{found['wall'] / quiet['wall']:.2f}" if quiet else ""
        cells = f"{found['wall']:.3f} | {ratio} | {found['cpu']:.3f} | {found['had']:.2f} | {found['others_had']:.2f}"
        print(f"| {row} | {cells} |")
    return 0


def medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}


def measure(row: Row, size: str, steps: int, seconds: float) -> dict[str, float]:
    environment = dict(os.environ, PYTHONPATH=str(CORE), INTERNAL_INPAINT_NICE=str(row.nice))
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        environment.pop(name, None)
    if row.spins != ENGINE:
        environment["GOMP_SPINCOUNT"] = row.spins
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(row.others)]
    began = time.monotonic()
    try:
        command = [sys.executable, __file__, "--child", str(row.threads), size, str(steps), str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    finally:
        for process in busy:
            process.kill()
        had = [os.wait4(process.pid, 0)[2].ru_utime for process in busy]
    lasted = time.monotonic() - began
    return {**json.loads(done.stdout), "others_had": sum(had) / max(1, len(had)) / lasted}


def child(threads: int, size: str, steps: int, seconds: float) -> None:
    from internal_inpaint.spinning import SAMPLE_SECONDS, limited_while_busy
    from internal_inpaint.threads import lower_priority

    lower_priority()
    import torch

    from internal_inpaint.training.config import PRESETS
    from internal_inpaint.training.fill_task import fill_trainer
    from speed import moving_pattern

    torch.set_num_threads(threads)
    width, height = map(int, size.split("x"))
    device = torch.device("cpu")
    trainer = fill_trainer(PRESETS["standard"], *moving_pattern((height, width), device), device, seed=0, bf16=False)
    with limited_while_busy(threads):
        began = time.perf_counter()
        while time.perf_counter() - began < 1.5 * SAMPLE_SECONDS:
            trainer._step(rate=1.0, share=0.0)
        done, began, used = 0, time.perf_counter(), time.process_time()
        while done < steps and time.perf_counter() - began < seconds:
            trainer._step(rate=1.0, share=0.0)
            done += 1
        wall, cpu = time.perf_counter() - began, time.process_time() - used
    print(json.dumps({"wall": wall / done, "cpu": cpu / done, "had": cpu / wall}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
    else:
        sys.exit(main())

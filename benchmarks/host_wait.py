"""How long a host waits for the worker: every call of the host side, while a real run goes on beside it.

    python benchmarks/host_wait.py

A short run on the sample shot is begun, looked at, stopped, gone on with and finished; a host makes ``look`` in a
thread of its own, about once a second, and ``begin`` and ``resume`` too. Also ``run_for`` with a hundred versions.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugin"))

from internal_inpaint.demo import make_sample_shot  # noqa: E402
from internal_inpaint_plugin import run_for, write_job  # noqa: E402


def main() -> int:
    times: dict[str, list[float]] = {}

    def timed(name: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            times.setdefault(name, []).append(time.perf_counter() - began)

    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        worker = base / "internal-inpaint"
        worker.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT / 'core')!r})\n"
            "from internal_inpaint.cli import main\nsys.exit(main())\n"
        )
        worker.chmod(0o755)
        shot = make_sample_shot(base / "shot")
        job = {"plate": shot.plate, "matte": shot.matte, "output": "result/result.####.exr", "quality": "draft"}
        for number in range(1, 101):
            write_job(base / "jobs" / f"v{number:03d}", {**job, "grow": number})
        run = timed("run_for, 100 versions", run_for, base / "jobs", {**job, "time": 20}, ["inputs"])
        timed("begin", run.begin, {**job, "time": 20}, str(worker), ["inputs"])

        def watch(until: Callable[[Any], bool]) -> None:
            while not until(view := timed("look", run.look)):
                if not view.busy:
                    raise SystemExit(view.message)
                time.sleep(0.02)

        watch(lambda view: bool(view.status and view.status.step))
        timed("stop", run.stop)
        watch(lambda view: view.state == "stopped")
        timed("resume", run.resume, str(worker), time=10)
        watch(lambda view: view.state == "done")
    print("| call | calls | median (ms) | longest (ms) |\n|---|---|---|---|")
    for name, found in times.items():
        ordered = sorted(found)
        middle, longest = 1000 * ordered[len(ordered) // 2], 1000 * ordered[-1]
        print(f"| `{name}` | {len(found)} | {middle:.1f} | {longest:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

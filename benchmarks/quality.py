"""How good the fill is, against a known truth: our presets and what one could use without training.

    python benchmarks/quality.py --clips all --protocol fixed,object --size 240x136 --time 150s \\
        --methods draft,standard,paper,telea,navier-stokes,median,flow --jobs 2 --save docs/quality.json

Presets run as a user would run them, through the command line, with ``--threads`` threads each;
baselines run in this process. Every figure is saved as soon as it is known, and a measurement that
is already in the file is not repeated: an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

import cv2
import numpy as np

import metrics
from baselines import BASELINES
from clips import CACHE, Shot, frame_path, parse_clips, parse_size, prepare, read_display
from contact_sheet import contact_sheet, with_hole

PRESETS = ("draft", "standard", "final", "paper")
SCORES = {
    "psnr_hole": "PSNR hole (dB)",
    "psnr_frame": "PSNR frame (dB)",
    "ssim": "SSIM frame",
    "temporal_error": "temporal error",
    "seconds": "seconds",
}


@dataclass(frozen=True)
class Measurement:
    """One method on one clip; two equal ones need to be made only once.

    ``time`` and ``threads`` are empty for baselines, which take the time they take.
    """

    protocol: str
    clip: str
    method: str
    size: str
    frames: int
    time: str | None
    threads: int | None

    @property
    def label(self) -> str:
        """A name that can be a folder."""
        return "-".join(str(part) for part in asdict(self).values() if part is not None)


class Results:
    """Measurements with their figures, kept in a JSON file that is replaced atomically."""

    def __init__(self, path: Path):
        self._path, self._lock = path, Lock()
        self.records: list[dict] = json.loads(path.read_text()) if path.is_file() else []

    def find(self, wanted: Measurement) -> dict | None:
        """The record of ``wanted``, or None."""
        fields = asdict(wanted)
        return next((r for r in self.records if all(r.get(k) == v for k, v in fields.items())), None)

    def add(self, made: Measurement, scores: dict[str, float]) -> None:
        """Save the figures of ``made`` in place of any older ones."""
        with self._lock:
            older = self.find(made)
            if older is not None:
                self.records.remove(older)
            self.records.append({**asdict(made), **scores})
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_name(self._path.name + ".part")
            partial.write_text(json.dumps(self.records, indent=1) + "\n")
            partial.replace(self._path)


def measure(wanted: Measurement, shot: Shot, sheets: Path | None) -> dict[str, float]:
    """Fill the holes of ``shot`` with one method and score it against the truth."""
    truth, holes = shot.truth(), shot.holes()
    started = time.monotonic()
    if wanted.method in BASELINES:
        result = BASELINES[wanted.method](truth, holes)
        seconds = time.monotonic() - started
    else:
        pattern = _run_engine(wanted, shot)
        seconds = time.monotonic() - started
        result = np.stack([read_display(frame_path(pattern, frame)) for frame in shot.frames])
    if sheets:
        columns = {"plate and hole": with_hole(truth, holes), wanted.method: result, "truth": truth}
        contact_sheet(columns, sheets / f"{wanted.label}.png")
    return {
        "psnr_hole": round(metrics.psnr_in_hole(result, truth, holes), 3),
        "psnr_frame": round(metrics.psnr(result, truth), 3),
        "ssim": round(metrics.ssim(result, truth), 5),
        "temporal_error": round(metrics.temporal_error(result, truth, holes), 3),
        "seconds": round(seconds, 1),
    }


def _run_engine(wanted: Measurement, shot: Shot) -> str:
    """Run a preset from an empty job folder; returns the pattern of its output."""
    folder = CACHE / "runs" / wanted.label
    # A job folder left by an interrupted benchmark would be resumed, with more time than it is due.
    shutil.rmtree(folder, ignore_errors=True)
    output = folder / "result" / "result.####.exr"
    options = {
        "plate": shot.plate,
        "matte": shot.matte,
        "output": output,
        "frames": f"{shot.frames[0]}-{shot.frames[-1]}",
        "quality": wanted.method,
        "time": wanted.time,
        "grow": 0,
        "feather": 0,
        "colorspace": "scene_linear",
        "device": "cpu",
        "work": folder / "job",
        "seed": 0,
        "progress": "plain",
    }
    command = [sys.executable, "-m", "internal_inpaint", "run"]
    command += [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    folder.mkdir(parents=True)
    log = folder / "log.txt"
    with log.open("w") as stream:
        stream.write(shlex.join(command) + "\n")
        stream.flush()
        environment = {**os.environ, "OMP_NUM_THREADS": str(wanted.threads)}
        code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=environment).returncode
    if code != 0:
        last = log.read_text().strip().splitlines()[-1]
        raise RuntimeError(f"exit code {code}: {last} (all of it in {log})")
    return str(output)


def table(rows: dict[str, dict[str, float]], columns: Iterable[str], corner: str, digits: dict[str, int]) -> str:
    """A Markdown table; figures that are not there are dashes."""
    columns = list(columns)
    lines = [f"| {corner} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, values in rows.items():
        cells = [f"{values[c]:.{digits.get(c, 2)}f}" if c in values else "–" for c in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(results: Results, wanted: list[Measurement]) -> str:
    """Markdown tables of ``wanted``: a protocol's hole PSNR by clip, then the means of every figure."""
    parts = []
    for protocol in dict.fromkeys(m.protocol for m in wanted):
        by_clip: dict[str, dict[str, float]] = {}
        means: dict[str, dict[str, float]] = {}
        chosen = [m for m in wanted if m.protocol == protocol]
        clips = list(dict.fromkeys(m.clip for m in chosen))
        for method in dict.fromkeys(m.method for m in chosen):
            found = {m.clip: results.find(m) for m in chosen if m.method == method}
            found = {clip: record for clip, record in found.items() if record}
            by_clip[method] = {clip: record["psnr_hole"] for clip, record in found.items()}
            # A mean over some of the clips could not be compared with the others.
            if len(found) == len(clips):
                means[method] = {
                    title: float(np.mean([record[key] for record in found.values()])) for key, title in SCORES.items()
                }
                by_clip[method]["mean"] = means[method][SCORES["psnr_hole"]]
        digits = {SCORES["ssim"]: 4, SCORES["seconds"]: 1}
        parts += [
            f"### {protocol}: PSNR in the hole, dB\n",
            table(by_clip, [*clips, "mean"], "method", {}) + "\n",
            f"### {protocol}: means over {len(clips)} clips\n",
            table(means, SCORES.values(), "method", digits) + "\n",
        ]
    return "\n".join(parts)


def _parse_methods(text: str) -> list[str]:
    methods = text.split(",")
    for method in methods:
        if method not in (*PRESETS, *BASELINES):
            known = ", ".join((*PRESETS, *BASELINES))
            raise argparse.ArgumentTypeError(f"{method} is no method; there are {known}")
    return methods


def _parse_protocols(text: str) -> list[str]:
    protocols = text.split(",")
    if not set(protocols) <= {"fixed", "object"}:
        raise argparse.ArgumentTypeError(f"{text}: only fixed and object have a truth to measure against")
    return protocols


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the quality of the fill against a known truth.")
    parser.add_argument("--clips", type=parse_clips, default="all", help="all, or names separated by commas")
    parser.add_argument("--protocol", type=_parse_protocols, default="fixed,object")
    parser.add_argument("--size", type=parse_size, default="240x136", metavar="WIDTHxHEIGHT")
    parser.add_argument("--time", default="150s", help="time budget of each preset run")
    parser.add_argument("--methods", type=_parse_methods, default=",".join((*PRESETS, *BASELINES)))
    parser.add_argument("--frames", type=int, help="use only this many frames of each clip")
    parser.add_argument("--jobs", type=int, default=1, help="how many measurements at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each measurement")
    parser.add_argument("--save", type=Path, default=CACHE / "quality.json", metavar="JSON")
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="also save a picture of every result")
    parser.add_argument("--redo", type=_parse_methods, default=[], help="methods to measure again")
    return parser.parse_args(arguments)


def collect(running: dict[Future, Hashable], results: Results, name: Callable[[Hashable], str]) -> int:
    """Add what measurements give as they end, and print it. Returns how many of them failed."""
    failed = 0
    for done, future in enumerate(as_completed(running), 1):
        line = f"[{done}/{len(running)}] {name(running[future])}: "
        try:
            found = future.result()
        except Exception as error:  # one that fails must not cost the figures of the others
            failed += 1
            print(f"{line}failed, {error}", file=sys.stderr, flush=True)
            continue
        results.add(running[future], found)
        print(line + ", ".join(f"{key} {value:g}" for key, value in found.items()), file=sys.stderr, flush=True)
    return failed


def main(arguments: list[str] | None = None) -> int:
    """Measure what is missing, print the tables; 0, or 1 if any measurement failed."""
    options = _parse_arguments(arguments)
    cv2.setNumThreads(options.threads)
    results, wanted, shots = Results(options.save), [], {}
    for protocol in options.protocol:
        for clip in options.clips:
            shot = prepare(clip, protocol, options.size, options.frames)
            size = "x".join(str(side) for side in options.size)
            for method in options.methods:
                settings = (None, None) if method in BASELINES else (options.time, options.threads)
                wanted.append(Measurement(protocol, clip, method, size, len(shot.frames), *settings))
                shots[wanted[-1]] = shot

    missing = [m for m in wanted if m.method in options.redo or results.find(m) is None]
    with ThreadPoolExecutor(options.jobs) as pool:
        running = {pool.submit(measure, m, shots[m], options.sheets): m for m in missing}
        failed = collect(running, results, lambda m: f"{m.protocol} {m.clip} {m.method}")
    print(report(results, wanted))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

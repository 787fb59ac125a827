"""What a run tells the world: status.json, events.jsonl, and the line a person reads.

The files are the contract with the hosts (docs/job-folder.md): status.json is the latest state, replaced
atomically; events.jsonl has every state, one JSON object a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from internal_inpaint.durations import duration
from internal_inpaint.files import write_atomically
from internal_inpaint.job_folder import JobFolder

FORMAT = 1  # of status.json and events.jsonl
# The status is renewed at least this often, in seconds, so that whoever watches from another machine
# can tell a slow run from a dead one.
HEARTBEAT = 10.0
FIELDS = (
    "state",
    "stage",
    "resolution",
    "step",
    "steps",
    "loss",
    "psnr",
    "eta_s",
    "frames_done",
    "frames",
    "message",
    "error",
)
# What each stage is called, and about how much of a run it takes.
STAGES = {
    "open": ("opening the shot", 2),
    "matte": ("finding the matte", 25),
    "read": ("reading the shot", 6),
    "train": ("training", 75),
    "confidence": ("measuring the confidence", 4),
    "render": ("rendering", 12),
    "report": ("reporting", 1),
}


class Events:
    """The run's voice. Every ``tell`` updates the status, appends an event and informs the display.

    Args:
        folder: the job folder.
        display: called with each event's dict, for a person or a farm to read.
    """

    def __init__(self, folder: JobFolder, display: Callable[[dict], None] | None = None) -> None:
        self._status, self._log = folder.status, folder.events
        self._display = display or (lambda event: None)
        self.warnings: list[str] = []
        self.plan(*STAGES)
        self._state: dict[str, Any] = dict.fromkeys(FIELDS)
        self._state.update(version=FORMAT, state="running", pid=os.getpid(), host=socket.gethostname())
        self._lock, self._told = threading.Lock(), time.monotonic()

    def plan(self, *stages: str) -> None:
        """Which of ``STAGES`` this run will go through: what ``percent`` is reckoned by."""
        self._shares, done = {}, 0
        whole = sum(STAGES[stage][1] for stage in stages)
        for stage in stages:
            self._shares[stage] = done / whole, STAGES[stage][1] / whole
            done += STAGES[stage][1]

    @contextlib.contextmanager
    def heartbeat(self, seconds: float = HEARTBEAT) -> Iterator[None]:
        """While this lasts, status.json gets a fresh ``updated`` even when nothing is told for long."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(seconds / 2):
                with self._lock, contextlib.suppress(OSError):  # the disk may be full: the run itself will say so
                    if time.monotonic() - self._told >= seconds / 2:
                        self._write_status()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def tell(self, **changes: Any) -> None:
        """Change some of ``FIELDS``. ``progress`` (0 to 1 within the stage) becomes ``percent`` of the run.

        A ``message`` belongs to its event alone; ``warning`` goes into the log and to the display only.
        """
        progress, warning = changes.pop("progress", None), changes.pop("warning", None)
        with self._lock:
            self._state.update(message=None, **{k: v for k, v in changes.items() if k != "message"})
            self._state["message"] = changes.get("message", warning)
            if warning:
                self.warnings.append(warning)
            if self._state["state"] == "done":
                self._state["percent"] = 100.0
            elif progress is not None and self._state["stage"] in self._shares:
                start, share = self._shares[self._state["stage"]]
                self._state["percent"] = round(100 * (start + share * progress), 1)
            event = self._write_status({"warning": warning} if warning else {})
        try:
            self._display(event)
        except OSError:
            # Whoever watched has gone; the run goes on, and its files say how.
            self._display = lambda event: None

    def _write_status(self, extra: dict[str, Any] | None = None) -> dict:
        """Renew the status; with ``extra``, what happened is an event too. Returns the event."""
        self._state["updated"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        status = {key: _plain(value) for key, value in self._state.items()}
        event = {**status, **(extra or {})}
        if extra is not None:
            self._append(event)
        # Of the events, each warning is in its own; whoever comes later finds them all in the status.
        write_atomically(self._status, json.dumps({**status, "warnings": self.warnings}, indent=1))
        self._told = time.monotonic()
        return event

    def _append(self, event: dict) -> None:
        line = json.dumps({k: v for k, v in event.items() if v is not None}) + "\n"
        with open(self._log, "ab+") as log:
            # A line cut off by a kill must not swallow the next one.
            if log.tell() and (log.seek(-1, os.SEEK_END), log.read(1))[1] != b"\n":
                line = "\n" + line
            log.write(line.encode())


def _plain(value: Any) -> Any:
    # NaN is not JSON.
    if isinstance(value, float):
        return round(value, 6) if value == value and abs(value) != float("inf") else None
    return value


def sentence(event: dict) -> str:
    """One line for a person: stage, step, loss, PSNR, frames, time left, message."""
    if event.get("warning"):
        return f"warning: {event['warning']}"
    stage = STAGES.get(event.get("stage") or "", (event.get("stage") or "",))[0]
    parts = [stage]
    if event.get("stage") in ("matte", "train") and event.get("step") is not None:
        of = f" of {event['steps']}" if event.get("steps") else ""
        parts.append(f"step {event['step']}{of}")
        if event.get("loss") is not None:
            parts.append(f"loss {event['loss']:.4f}")
        if event.get("psnr") is not None:
            parts.append(f"PSNR {event['psnr']:.2f} dB")
    if event.get("frames_done") is not None:
        parts.append(f"{event['frames_done']} of {event['frames']} frames")
    if event.get("eta_s") is not None and event["state"] == "running":
        parts.append(f"{duration(round(event['eta_s']))} left")
    if event.get("message"):
        parts.append(event["message"])
    return " | ".join(part for part in parts if part)


def display(kind: str) -> Callable[[dict], None]:
    """How a run's events reach stdout.

    Args:
        kind: ``auto`` (live line at a terminal, else plain), ``plain`` (a line every few seconds and at
            every change of stage), ``json`` (JSON lines) or ``openjd`` (Open Job Description messages).
    """
    if kind == "json":
        return lambda event: print(json.dumps({k: v for k, v in event.items() if v is not None}), flush=True)
    if kind == "openjd":
        return _OpenJobDescription()
    if kind == "auto" and sys.stdout.isatty():
        return _LiveLine()
    return _PlainLines()


class _PlainLines:
    SECONDS = 10.0

    def __init__(self) -> None:
        self._last, self._stage = 0.0, None

    def __call__(self, event: dict) -> None:
        fresh = event.get("stage") != self._stage or event.get("message") or event["state"] != "running"
        if fresh or time.monotonic() - self._last >= self.SECONDS:
            self._last, self._stage = time.monotonic(), event.get("stage")
            print(sentence(event), flush=True)


class _LiveLine:
    def __init__(self) -> None:
        self._width = 0

    def __call__(self, event: dict) -> None:
        text = sentence(event)
        if event.get("message") or event["state"] != "running":
            print("\r" + text.ljust(self._width), flush=True)
            self._width = 0
            return
        columns = _terminal_columns()
        bar = ""
        if event.get("percent") is not None:
            filled = int(event["percent"] / 5)
            bar = f"[{'=' * filled}{' ' * (20 - filled)}] {event['percent']:3.0f} % "
        text = (bar + text)[: columns - 1]
        print("\r" + text.ljust(self._width), end="", flush=True)
        self._width = len(text)


def _terminal_columns() -> int:
    try:
        return os.get_terminal_size().columns
    except OSError:
        return 80


class _OpenJobDescription:
    """``openjd_progress``, ``openjd_status`` and ``openjd_fail`` lines, as OpenJD's sessions read them."""

    def __call__(self, event: dict) -> None:
        if event.get("percent") is not None:
            print(f"openjd_progress: {event['percent']}", flush=True)
        word = "openjd_fail" if event["state"] == "failed" else "openjd_status"
        text = event.get("error") if event["state"] == "failed" else sentence(event)
        print(f"{word}: {text}", flush=True)

"""Status reporting of a run: status.json, events.jsonl, and progress on the terminal.

The files are the contract with the hosts (docs/job-folder.md): status.json is the latest state, replaced
atomically; events.jsonl has every state, one JSON object per line.
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
# The status is updated at least this often, in seconds, so that a program on another machine can tell a slow run
# from a dead one.
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
# Display name of each value of ``stage``, and its approximate share of a run's time (relative).
STAGES = {
    "open": ("opening the shot", 2),
    "matte": ("finding the matte", 25),
    "read": ("reading the shot", 6),
    "motion": ("measuring the motion", 4),
    "train": ("training", 75),
    "confidence": ("measuring the confidence", 4),
    "render": ("rendering", 12),
    "report": ("writing the report", 1),
}


class Events:
    """Reports the state of a run. Every ``tell`` updates the status, appends an event and calls the display.

    Args:
        folder: the job folder.
        display: called with each event as a dict; prints it for a person or a render farm.
    """

    def __init__(self, folder: JobFolder, display: Callable[[dict], None] | None = None) -> None:
        self._status, self._log = folder.status, folder.events
        self._display = display or (lambda event: None)
        self.warnings: list[str] = []
        self.plan(*STAGES)
        self._state: dict[str, Any] = dict.fromkeys(FIELDS)
        self._state.update(version=FORMAT, state="running", pid=os.getpid(), host=socket.gethostname())
        self._lock, self._last_write = threading.Lock(), time.monotonic()

    def plan(self, *stages: str) -> None:
        """Set which of ``STAGES`` this run goes through. ``percent`` is computed from them."""
        self._shares, done = {}, 0
        total = sum(STAGES[stage][1] for stage in stages)
        for stage in stages:
            self._shares[stage] = done / total, STAGES[stage][1] / total
            done += STAGES[stage][1]

    @contextlib.contextmanager
    def heartbeat(self, seconds: float = HEARTBEAT) -> Iterator[None]:
        """Inside this context, ``updated`` in status.json is refreshed even if there are no events."""
        finished = threading.Event()

        def beat() -> None:
            while not finished.wait(seconds / 2):
                with self._lock, contextlib.suppress(OSError):  # the disk may be full: the run itself reports that
                    if time.monotonic() - self._last_write >= seconds / 2:
                        self._write_status()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()

    def tell(self, **changes: Any) -> None:
        """Set some of ``FIELDS``. ``progress`` (0 to 1 within the stage) is converted to ``percent`` of the run.

        A ``message`` belongs to its event only. A ``warning`` is its event's message, and is added to ``warnings``.
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
            # The reader of the output has closed it. The run continues, and its files have the state.
            self._display = lambda event: None

    def _write_status(self, extra: dict[str, Any] | None = None) -> dict:
        """Update the status; with ``extra``, also append an event. Returns the event."""
        self._state["updated"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        status = {key: _plain(value) for key, value in self._state.items()}
        event = {**status, **(extra or {})}
        if extra is not None:
            self._append(event)
        # An event has only its own warning. The status has all of them, for programs that read it later.
        write_atomically(self._status, json.dumps({**status, "warnings": self.warnings}, indent=1))
        self._last_write = time.monotonic()
        return event

    def _append(self, event: dict) -> None:
        line = json.dumps({k: v for k, v in event.items() if v is not None}) + "\n"
        with open(self._log, "ab+") as log:
            # Do not append to a line that a kill has cut off.
            if log.tell() and (log.seek(-1, os.SEEK_END), log.read(1))[1] != b"\n":
                line = "\n" + line
            log.write(line.encode())


def _plain(value: Any) -> Any:
    # NaN is not JSON.
    if isinstance(value, float):
        return round(value, 6) if value == value and abs(value) != float("inf") else None
    return value


def sentence(event: dict) -> str:
    """An event as one line of text: stage, step, loss, PSNR, frames, time left, message."""
    if event.get("warning"):
        return f"warning: {event['warning']}"
    name = STAGES.get(event.get("stage") or "", (event.get("stage") or "",))[0]
    parts = [name]
    if event.get("stage") in ("matte", "train") and event.get("step") is not None:
        total = f" of {event['steps']}" if event.get("steps") else ""
        parts.append(f"step {event['step']}{total}")
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
    """A function that prints a run's events to stdout.

    Args:
        kind: ``auto`` (a live line on a terminal, else plain), ``plain`` (a line every few seconds and at
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
        important = event.get("stage") != self._stage or event.get("message") or event["state"] != "running"
        if important or time.monotonic() - self._last >= self.SECONDS:
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
    """Prints ``openjd_progress``, ``openjd_status`` and ``openjd_fail`` lines for Open Job Description sessions."""

    def __call__(self, event: dict) -> None:
        if event.get("percent") is not None:
            print(f"openjd_progress: {event['percent']}", flush=True)
        kind = "openjd_fail" if event["state"] == "failed" else "openjd_status"
        text = event.get("error") if event["state"] == "failed" else sentence(event)
        print(f"{kind}: {text}", flush=True)

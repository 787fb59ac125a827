"""A run as a host sees it: begin, look, stop, resume. A host that restarts finds its run again.

No function here waits for the worker. ``Run.look`` reads three small files and may be called from any thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Optional

from internal_inpaint_plugin import worker as workers
from internal_inpaint_plugin.errors import PluginError
from internal_inpaint_plugin.job_folder import (
    MAY_CHANGE,
    PathLike,
    Status,
    ask_to_stop,
    read_job,
    read_json,
    read_status,
    write_job,
    write_json,
)
from internal_inpaint_plugin.sequence import files_of

INPUTS = "inputs.json"
# The engine updates its status at least every 15 s; a busy machine or a network drive may delay this.
SILENT_S = 90.0
STARTING_S = 180.0  # how long loading PyTorch from a slow drive may take before the worker counts as stuck
STAGES = {
    "open": "Opening the shot",
    "matte": "Finding the matte",
    "read": "Reading the shot",
    "motion": "Measuring the motion",
    "train": "Training",
    "confidence": "Measuring confidence",
    "render": "Rendering",
    "report": "Writing the report",
}


LOST = "The worker is no longer running (it was killed, or the machine went down): press Resume to continue"


@dataclass(frozen=True)
class View:
    """The state of a run, for a node to show.

    Attributes:
        state: ``empty`` (nothing was started), ``starting``, ``running``, ``silent`` (no update for a while),
            ``lost`` (the worker process ended without a final status), ``stopped``, ``failed`` or ``done``.
        message: one line for the artist.
        status: the engine's status; ``None`` if it has not written one.
    """

    state: str
    message: str
    status: Optional[Status] = None

    @property
    def busy(self) -> bool:
        """Whether a worker is running, as far as the host can tell."""
        return self.state in ("starting", "running", "silent")

    @property
    def percent(self) -> Optional[float]:
        return self.status.percent if self.status else None

    @property
    def psnr(self) -> Optional[float]:
        return self.status.psnr if self.status else None

    @property
    def eta_s(self) -> Optional[float]:
        return self.status.eta_s if self.status and self.state == "running" else None

    @property
    def frames_done(self) -> Optional[int]:
        return self.status.frames_done if self.status else None


class Run:
    """One job folder.

    Args:
        folder: the job folder; it need not exist yet.
    """

    def __init__(self, folder: PathLike) -> None:
        self.folder = Path(folder).absolute()
        self._last_update, self._last_update_at, self._updates_change = "", time.monotonic(), False

    def look(self) -> View:
        """The run's current state. Never raises and never waits."""
        try:
            return self._look()
        except PluginError as error:
            return View("failed", str(error))

    def _look(self) -> View:
        record, status = workers.started(self.folder), read_status(self.folder)
        if record is not None and not _is_from(status, record):
            return self._before_first_status(record)
        if status is None:
            return View("empty", "")
        if status.state == "running":
            return self._running(status, record)
        if status.state == "failed":
            return View("failed", status.error or "The worker failed: see worker.log in the job folder", status)
        if status.state == "stopped":
            return View("stopped", f"Stopped: press Resume to continue{_warning(status)}", status)
        return View("done", f"Done{_quality(status)}{_warning(status)}", status)

    def _before_first_status(self, record: Dict[str, Any]) -> View:
        seconds = time.time() - record["started"]
        if record.get("host") not in (socket.gethostname(), None):
            return View("starting" if seconds < STARTING_S else "lost", f"Started on {record['host']}")
        if workers.alive(record["pid"]):
            if seconds < STARTING_S:
                return View("starting", "Starting the worker")
            return View("silent", f"The worker was started {duration(seconds)} ago and has not reported yet")
        told = workers.log_tail(self.folder).replace(f"{workers.NAME}: ", "", 1)
        if told:
            return View("failed", told)
        return View(
            "lost", f"The worker ended without a message: check that {_command(record)} is a working {workers.NAME}"
        )

    def _running(self, status: Status, record: Optional[Dict[str, Any]]) -> View:
        if status.updated != self._last_update:
            self._updates_change = bool(self._last_update) and _seconds(status.updated) > _seconds(self._last_update)
            self._last_update, self._last_update_at = status.updated, time.monotonic()
        quiet = time.monotonic() - self._last_update_at
        if not self._updates_change:  # only the other machine's clock to go by, which may differ from ours
            quiet = max(quiet, _age(status.updated) - SILENT_S)
        if status.host == socket.gethostname():
            quiet = max(quiet, _age(status.updated))  # the same clock
            if status.pid is not None and not workers.alive(status.pid):
                # It may have written its final status between the two reads.
                last = read_status(self.folder)
                if last is not None and last.state != "running":
                    return self._look()
                return View("lost", LOST, status)
        if quiet > SILENT_S:
            return View("silent", f"No update from the worker on {status.host} for {duration(quiet)}", status)
        return View("running", sentence(status) + _warning(status), status)

    def begin(self, job: Dict[str, Any], worker: str = "", inputs: Any = None) -> str:
        """Start the job, unless it is already running or done.

        Args:
            job: see ``job_folder.KEYS``; relative paths start at the job folder.
            worker: see ``worker.find_worker``.
            inputs: any JSON value that identifies the input pictures.

        Returns:
            ``started``, ``running`` or ``done``.

        Raises:
            PluginError: there is no worker, the folder cannot be written, or it belongs to a different job.
        """
        job, inputs = _plain(job), _as_read(inputs)
        before = read_job(self.folder)
        if before is not None and not _same(before, job):
            raise PluginError(f"{self.folder} belongs to a different job: use another work folder")
        job = self._starting(job, before)
        view = self.look()
        if view.busy and view.state != "silent":
            return "running"
        if view.state == "done" and before == job and self._complete():
            return "done"
        command = workers.find_worker(worker)
        write_job(self.folder, job)
        write_json(self.folder / INPUTS, {"inputs": inputs})
        workers.start(command, self.folder)
        return "started"

    def _starting(self, job: Dict[str, Any], before: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        """The job with the version that its training starts from: the last one that was trained on this plate.

        A changed matte, frame range or version of the plate so continues the training instead of repeating it.
        """
        if "start_from" in job:
            return job
        if before is not None:
            kept = before.get("start_from")
            return job if kept is None else {**job, "start_from": kept}
        for _, folder in sorted(_versions(self.folder.parent), reverse=True):
            with contextlib.suppress(PluginError):
                earlier = read_job(folder)
                alike = earlier is not None and _unversioned(earlier.get("plate")) == _unversioned(job.get("plate"))
                if alike and folder != self.folder and any(folder.glob("checkpoints/*/step-*")):
                    return {**job, "start_from": os.path.join(os.pardir, folder.name)}
        return job

    def resume(self, worker: str = "", **changes: Any) -> str:
        """Continue the job in the folder.

        Args:
            worker: see ``worker.find_worker``.
            changes: new values for keys of ``MAY_CHANGE``; ``None`` removes a key.

        Returns:
            ``started`` or ``done``.

        Raises:
            PluginError: there is nothing to continue, there is no worker, or a worker is already running.
        """
        job = read_job(self.folder)
        if job is None:
            raise PluginError("nothing has been trained here yet: press Start Training")
        if refused := sorted(set(changes) - MAY_CHANGE):
            raise PluginError(f"{', '.join(refused)} cannot change in a resumed run: press Start Training")
        view = self.look()
        if view.busy and view.state != "silent":
            raise PluginError("this run is already running: press Stop before you change it")
        job = _plain({**job, **changes})
        if view.state == "done" and job == read_job(self.folder) and self._complete():
            return "done"
        command = workers.find_worker(worker)
        write_job(self.folder, job)
        workers.start(command, self.folder)
        return "started"

    def stop(self) -> None:
        """Ask the run to save its state and stop. Raises ``PluginError`` if nothing is running."""
        if not self.look().busy:
            raise PluginError("nothing is running")
        ask_to_stop(self.folder)

    def frames_path(self) -> str:
        """Absolute pattern of the frames that the job writes; empty if there is no job."""
        job = read_job(self.folder)
        return (
            os.path.abspath(str(self.folder / os.path.expanduser(job["output"]))) if job and job.get("output") else ""
        )

    def _complete(self) -> bool:
        """Whether the output holds as many frames as the run reported."""
        frames = (read_json(self.folder / "summary.json") or {}).get("frames")
        return len(files_of(self.frames_path())) >= max(1, frames if isinstance(frames, int) else 1)


def run_for(base: PathLike, job: Dict[str, Any], inputs: Any = None) -> Run:
    """Find the run of this job under ``base`` (``v001``, ``v002``, ...), or the next free version.

    Returns the newest folder with the same job (ignoring the keys of ``MAY_CHANGE``) and the same inputs. Other
    inputs get a new folder, so that nothing learned is lost or mixed.
    """
    job, inputs = _plain(job), _as_read(inputs)
    for run in reversed(_runs(Path(base))):
        with contextlib.suppress(PluginError):
            job_before, inputs_before = read_job(run.folder), read_json(run.folder / INPUTS)
            if job_before is not None and _same(job_before, job) and inputs_before == {"inputs": inputs}:
                return run
    return Run(Path(base) / f"v{_highest(Path(base)) + 1:03d}")


def _unversioned(plate: Any) -> str:
    """A plate's pattern without its version numbers."""
    return re.sub(r"v\d+", "v", str(plate))


def last_run(base: PathLike) -> Optional[Run]:
    """The newest run under ``base``; ``None`` if there is none."""
    runs = _runs(Path(base))
    return runs[-1] if runs else None


def _runs(base: Path) -> List[Run]:
    return [Run(folder) for _, folder in _versions(base) if (folder / "job.json").is_file()]


def _highest(base: Path) -> int:
    return max((number for number, _ in _versions(base)), default=0)


def _versions(base: Path) -> List[tuple[int, Path]]:
    with contextlib.suppress(OSError):
        found = [(re.fullmatch(r"v(\d{3,})", path.name), path) for path in base.iterdir()]
        return sorted((int(match.group(1)), path) for match, path in found if match)
    return []


def _same(before: Dict[str, Any], job: Dict[str, Any]) -> bool:
    def lasting(content: Dict[str, Any]) -> Dict[str, Any]:
        return {key: value for key, value in _plain(content).items() if key not in MAY_CHANGE}

    return lasting(before) == lasting(job)


def _plain(job: Dict[str, Any]) -> Dict[str, Any]:
    return {key: _as_read(value) for key, value in job.items() if value is not None}


def _as_read(value: Any) -> Any:
    """The value as it comes back from JSON: a ``Path`` becomes text, a tuple becomes a list."""
    try:
        return json.loads(json.dumps(value, default=os.fspath))
    except (TypeError, ValueError) as error:
        raise PluginError(f"{value!a} cannot be stored in a job or inputs ({error}): use text or numbers") from None


def _is_from(status: Optional[Status], record: Dict[str, Any]) -> bool:
    """Whether the status comes from the latest process (or from a child of it), and not from an earlier one."""
    if status is None:
        return False
    # The clock may have been set back in between. Process ids repeat: in a container, at every start.
    grace = SILENT_S if status.pid == record["pid"] else 0.0
    return _seconds(status.updated) >= record["started"] - grace


def sentence(status: Status) -> str:
    """One line for the artist: ``Training at 429x241: step 120 of 400, PSNR 22.1 dB, 3 min left``."""
    text = STAGES.get(status.stage or "", status.stage or "Working")
    parts = []
    if status.stage == "train" and status.resolution:
        text += f" at {status.resolution}"
    if status.stage in ("matte", "train") and status.step is not None:
        parts.append(f"step {status.step}" + (f" of {status.steps}" if status.steps else ""))
    if status.stage == "train" and status.psnr is not None:
        parts.append(f"PSNR {status.psnr:.1f} dB")
    if status.frames_done is not None and status.frames:
        parts.append(f"{status.frames_done} of {status.frames} frames")
    if status.eta_s is not None:
        parts.append(f"{duration(status.eta_s)} left")
    return text + (": " + ", ".join(parts) if parts else "")


def _quality(status: Status) -> str:
    return f": validation PSNR {status.psnr:.1f} dB" if status.psnr is not None else ""


def _warning(status: Status) -> str:
    """The worker's last warning, to append to a sentence; the report lists them all."""
    if not status.warnings:
        return ""
    which = "Warning" if len(status.warnings) == 1 else f"The last of {len(status.warnings)} warnings"
    return f". {which}: {status.warnings[-1]}"


def _command(record: Dict[str, Any]) -> str:
    command = record.get("command")
    return " ".join(map(str, command)) if isinstance(command, list) else "the worker command"


def _seconds(updated: str) -> float:
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(updated.replace("Z", "+00:00"))  # Python 3.9 does not parse Z
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    return 0.0


def _age(updated: str) -> float:
    return time.time() - _seconds(updated)


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``1 h 05 min``."""
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"

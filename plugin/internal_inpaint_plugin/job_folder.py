"""The files that host and engine exchange: job.json, status.json, stop (docs/job-folder.md)."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Dict, Optional, Tuple, Union

from internal_inpaint_plugin.errors import PluginError

FORMAT = 1
# Every job key that this version writes, and the keys that may change without a new training.
_PICTURES = ("plate", "matte", "output", "frames", "matte_frame", "guide", "matte_channel", "layer", "view")
_LEARNING = (
    "quality",
    "method",
    "network",
    "vgg19",
    "steps",
    "time",
    "matte_steps",
    "matte_time",
    "seed",
    "device",
    "task",
)
_WORKER = ("threads", "start_from")
_ADDED = ("grain", "fill_layer", "confidence_layer", "source_layer", "elements")
_FINISHING = ("colorspace", "grow", "feather", *_ADDED)
KEYS = frozenset((*_PICTURES, *_LEARNING, *_WORKER, *_FINISHING))
MAY_CHANGE = frozenset((*_WORKER, "output", "steps", "time", "device", "vgg19", *_ADDED))
STATES = ("running", "done", "stopped", "failed")
TRIES, PAUSE = 5, 0.01  # Windows refuses to open or replace a file while another process replaces it

PathLike = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Status:
    """The content of status.json; ``None`` for values that are not set. Units: seconds, percent, dB; times in UTC."""

    state: str
    stage: Optional[str] = None
    resolution: Optional[str] = None
    percent: Optional[float] = None
    step: Optional[int] = None
    steps: Optional[int] = None
    loss: Optional[float] = None
    psnr: Optional[float] = None
    eta_s: Optional[float] = None
    frames_done: Optional[int] = None
    frames: Optional[int] = None
    message: Optional[str] = None
    error: Optional[str] = None
    warnings: Tuple[str, ...] = ()
    updated: str = ""
    pid: Optional[int] = None
    host: str = ""


_NUMBERS = ("percent", "loss", "psnr", "eta_s")
_COUNTS = ("step", "steps", "frames_done", "frames", "pid")
_KINDS: Dict[str, Tuple[type, ...]] = {
    field.name: (int, float) if field.name in _NUMBERS else (int,) if field.name in _COUNTS else (str,)
    for field in fields(Status)
    if field.name != "warnings"
}


def _is(value: Any, kinds: Tuple[type, ...]) -> bool:
    """Whether a value has the expected type. A file edited by hand must not break the host."""
    if isinstance(value, bool) or not isinstance(value, kinds):
        return False
    return isinstance(value, str) or math.isfinite(value)


def write_job(folder: PathLike, job: Dict[str, Any]) -> Path:
    """Write job.json into a job folder, and create the folder if needed.

    Args:
        folder: the job folder.
        job: values by key (``KEYS``); ``None`` values are left out.

    Raises:
        PluginError: a key is unknown, or the folder cannot be written.
    """
    unknown = sorted(set(job) - KEYS)
    if unknown:
        raise PluginError(f"the job has unknown key(s) {', '.join(unknown)}: update the plugin")
    content = {"version": FORMAT, **{key: value for key, value in job.items() if value is not None}}
    path = Path(folder) / "job.json"
    write_json(path, content)
    return path


def read_job(folder: PathLike) -> Optional[Dict[str, Any]]:
    """Read a folder's job.json, without its ``version``; ``None`` if there is none.

    Raises:
        PluginError: the file is damaged, or a newer version wrote it.
    """
    job = read_json(Path(folder) / "job.json")
    if job is None:
        return None
    version = job.pop("version", FORMAT)
    if not isinstance(version, int) or version > FORMAT:
        raise PluginError(
            f"{Path(folder) / 'job.json'} was written by a newer version of Internal Inpaint: update the plugin"
        )
    return job


def read_status(folder: PathLike) -> Optional[Status]:
    """Read the worker's latest status; ``None`` if it has not written one yet.

    Raises:
        PluginError: the file is damaged, or a newer engine wrote it.
    """
    path = Path(folder) / "status.json"
    data = read_json(path)
    if data is None:
        return None
    version = data.get("version", FORMAT)
    if not isinstance(version, int) or version > FORMAT or data.get("state") not in STATES:
        raise PluginError(
            f"{path} was written by a newer version of Internal Inpaint: update the plugin to the worker's version"
        )
    told = data.get("warnings")
    warnings = tuple(str(warning) for warning in told) if isinstance(told, list) else ()
    known = {name: data[name] for name, kinds in _KINDS.items() if _is(data.get(name), kinds)}
    return Status(warnings=warnings, **known)


def ask_to_stop(folder: PathLike) -> None:
    """Ask the run in this folder to save its state and stop.

    Raises:
        PluginError: the folder cannot be written.
    """
    try:
        (Path(folder) / "stop").touch()
    except OSError as error:
        raise PluginError(
            f"{folder} cannot be written ({error.strerror}), so the worker cannot be asked to stop: check the "
            "drive and permissions"
        ) from None


def read_json(path: Path) -> Optional[Dict[str, Any]]:
    """Read a file that holds one JSON object; ``None`` if there is no such file.

    Raises:
        PluginError: the file cannot be read, or holds something else.
    """
    for attempt in range(TRIES):
        try:
            data = json.loads(path.read_text(encoding="utf-8-sig"))
            if isinstance(data, dict):
                return data
            raise ValueError("not a JSON object")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            # The file was replaced while it was read: Windows refuses, and a network drive's handle is stale.
            replaced = os.name == "nt" if isinstance(error, PermissionError) else error.errno == errno.ESTALE
            if replaced and attempt < TRIES - 1:
                time.sleep(PAUSE)
                continue
            raise PluginError(f"{path} cannot be read ({error.strerror}): check the drive and permissions") from None
        except (ValueError, RecursionError) as error:
            raise PluginError(f"{path} is damaged ({error}): delete it, or use another work folder") from None
    return None


def write_json(path: Path, data: Any) -> None:
    """Replace a JSON file atomically, and create its folder if needed.

    Raises:
        PluginError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Paths that are not valid Unicode become escapes here; the engine refuses them by name.
        temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")
        for attempt in range(TRIES):
            try:
                os.replace(str(temporary), str(path))
                return
            except PermissionError:
                if os.name != "nt" or attempt == TRIES - 1:
                    raise
                time.sleep(PAUSE)
    except OSError as error:
        raise PluginError(f"{path} cannot be written ({error.strerror}): choose another work folder") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()

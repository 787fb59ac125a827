"""The engine's process: finding it, starting it detached, telling whether it lives."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from internal_inpaint_plugin.errors import PluginError
from internal_inpaint_plugin.job_folder import PathLike, read_json, write_json

NAME = "internal-inpaint"
VARIABLE = "INTERNAL_INPAINT"
INSTALLED = Path(__file__).with_name("installed_worker.json")  # what `internal-inpaint install` left
RECORD, LOG = "worker.json", "worker.log"
# What a host sets for its own libraries, and what would break another Python's.
OWN = ("PYTHON", "LD_", "DYLD_", "QT_", "QML", "NUKE_", "FUSION_", "__PYVENV")
# The engine raises its nice value by this (POSIX), so that the host stays as quick as it is; the user's own stays.
NICE_VARIABLE, NICE = "INTERNAL_INPAINT_NICE", "10"
STILL_ACTIVE = 259  # GetExitCodeProcess, Windows
# The last of a log that is searched for the worker's last sentence, in bytes.
LOG_TAIL = 4096

# Children of this process: asking them is the only way to tell a zombie from a living one.
_children: Dict[int, subprocess.Popen[bytes]] = {}


def find_worker(setting: str = "") -> List[str]:
    """The command that starts the engine.

    Looked for in this order: ``setting``, the environment variable ``INTERNAL_INPAINT``, what
    ``internal-inpaint install`` wrote down, ``PATH``. The first that is given is the one: a wrong
    setting is not passed over.

    Args:
        setting: an executable, or the folder of an installation (a virtual environment).

    Raises:
        PluginError: none found; says what was tried.
    """
    for given, where in ((setting, "the Worker setting"), (os.environ.get(VARIABLE, ""), f"${VARIABLE}")):
        if given.strip():
            found = _executable(Path(os.path.expanduser(given.strip())))
            if found is None:
                raise PluginError(
                    f"{where} names {given.strip()}, which is no {NAME} that can be started: give the "
                    "full path of one program, without quotes or arguments"
                )
            return [found]
    command = (read_json(INSTALLED) or {}).get("command")
    if not (isinstance(command, list) and command and all(isinstance(part, str) for part in command)):
        command = None
    if command is not None and _executable(Path(command[0])) is not None:
        return command
    found = shutil.which(NAME)
    if found is not None:
        return [os.path.abspath(found)]
    told = f", {command[0]} is gone since it was installed" if command else ""
    raise PluginError(
        f"no worker found: the Worker setting and ${VARIABLE} are empty, and {NAME} is not on PATH{told}; "
        f"install Internal Inpaint, or set Worker to its {NAME}"
    )


def _executable(path: Path) -> Optional[str]:
    places = [path]
    if path.is_dir():
        # No batch files on Windows: a shell would read the job's path.
        name = f"{NAME}.exe" if os.name == "nt" else NAME
        places = [folder / name for folder in (path, path / "bin", path / "Scripts")]
    for place in places:
        if place.is_file() and os.access(str(place), os.X_OK):
            return os.path.abspath(str(place))
    return None


def clean_environment(environ: Optional[Mapping[str, str]] = None) -> Dict[str, str]:
    """The environment for the worker: the host's own Python and library paths must not leak into it.

    ``OCIO`` stays: the plate's colour spaces are named after it.
    """
    given = os.environ if environ is None else environ
    return {name: value for name, value in given.items() if not name.upper().startswith(OWN)}


def start(command: List[str], folder: PathLike) -> int:
    """Start ``COMMAND run FOLDER/job.json`` so that it outlives this process; returns the process number.

    It runs at a lower priority than this process.
    What it prints goes to ``worker.log``; ``worker.json`` says which process it is. Takes as long as the
    system takes to start a process, so a host calls it away from its main thread.

    Raises:
        PluginError: it cannot be started, or the folder cannot be written.
    """
    folder = Path(folder).absolute()
    arguments = [*command, "run", str(folder / "job.json"), "--progress", "plain"]
    with contextlib.suppress(OSError):
        (folder / "stop").unlink()
    try:
        with open(folder / LOG, "ab") as log:
            record: Dict[str, Any] = {"host": socket.gethostname(), "started": time.time(), "log_start": log.tell()}
            child = _detached(arguments, folder, log)
    except OSError as error:
        raise PluginError(f"the worker {command[0]} cannot be started in {folder} ({error.strerror})") from None
    except ValueError as error:  # a NUL in a path
        raise PluginError(f"the worker cannot be started in {str(folder)!a} ({error})") from None
    _children[child.pid] = child
    write_json(folder / RECORD, dict(record, pid=child.pid, command=command))
    return child.pid


def _detached(arguments: List[str], folder: Path, log: Any) -> subprocess.Popen[bytes]:
    options: Dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": log,
        "stderr": subprocess.STDOUT,
        "cwd": str(folder),
        "env": {NICE_VARIABLE: NICE, **clean_environment()},
        "close_fds": True,
    }
    if sys.platform != "win32":
        return subprocess.Popen(arguments, start_new_session=True, **options)
    flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS
    try:
        # Some hosts run in a job object that takes its processes along when it ends.
        return subprocess.Popen(arguments, creationflags=flags | subprocess.CREATE_BREAKAWAY_FROM_JOB, **options)
    except PermissionError:
        return subprocess.Popen(arguments, creationflags=flags, **options)


def started(folder: PathLike) -> Optional[Dict[str, Any]]:
    """What ``worker.json`` says of the process started last: pid, host, started (seconds, UTC), log_start."""
    record = read_json(Path(folder) / RECORD)
    if (
        record is None
        or not isinstance(record.get("pid"), int)
        or not isinstance(record.get("started"), (int, float))
    ):
        return None
    return record


def alive(pid: int) -> bool:
    """Whether a process of this machine lives. A number that now belongs to another process says yes."""
    if pid in _children:
        return _children[pid].poll() is None
    if pid <= 0:
        return False
    if sys.platform == "win32":
        return _alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    with contextlib.suppress(OSError, IndexError):  # Linux: a dead child that nobody has asked for
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def _alive_on_windows(pid: int) -> bool:
    import ctypes

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
    kernel.OpenProcess.argtypes = (ctypes.c_ulong, ctypes.c_int, ctypes.c_ulong)
    kernel.OpenProcess.restype = ctypes.c_void_p
    kernel.GetExitCodeProcess.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    kernel.CloseHandle.argtypes = (ctypes.c_void_p,)
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return ctypes.get_last_error() == 5  # type: ignore[attr-defined]  # access denied: it is there
    try:
        code = ctypes.c_ulong()
        return bool(kernel.GetExitCodeProcess(handle, ctypes.byref(code))) and code.value == STILL_ACTIVE
    finally:
        kernel.CloseHandle(handle)


def log_tail(folder: PathLike) -> str:
    """The last line that the process started last has printed; empty if it printed nothing."""
    record = started(folder) or {}
    begin = record.get("log_start", 0)
    try:
        with open(Path(folder) / LOG, "rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(begin if isinstance(begin, int) else 0, size - LOG_TAIL))
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""

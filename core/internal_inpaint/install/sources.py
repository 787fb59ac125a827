"""The files to install (from ``nuke_gizmos``, ``resolve_fuse`` and ``plugin``), and the worker's command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from internal_inpaint.errors import BadInput
from internal_inpaint.version import __version__

NAME = "internal-inpaint"
PLUGIN = "internal_inpaint_plugin"
WORKER = "installed_worker.json"
# Fusion's folder for each kind of file. The Scripts menu lists only folders with known names, so the package that the
# script imports goes into another folder.
FUSION = {".fuse": "Fuses", ".lua": "Fuses", ".setting": "Macros", ".py": "Scripts/Utility"}
FUSION_PLUGIN = "Scripts/plugin"


@dataclass(frozen=True)
class Source:
    """One file to install: a file of the distribution, or content made for this machine."""

    path: Path | None = None
    made: bytes | None = None

    def read(self) -> bytes:
        return self.path.read_bytes() if self.made is None else self.made


def sources_of(host: str) -> dict[str, Source]:
    """The source of each file by its name below the host's folder, with slashes."""
    worker = Source(made=json.dumps({"command": worker_command(), "version": __version__}, indent=1).encode())
    if host == "nuke":
        found = {f"InternalInpaint/{name}": path for name, path in _files("nuke_gizmos").items()}
        plugin = "InternalInpaint"
        workers = [f"InternalInpaint/{PLUGIN}/{WORKER}"]
    else:
        found = {}
        for name, path in _files("resolve_fuse").items():
            if folder := FUSION.get(path.suffix):
                found[f"{folder}/{name}"] = path
        plugin = FUSION_PLUGIN
        workers = [f"Fuses/{WORKER}", f"{FUSION_PLUGIN}/{PLUGIN}/{WORKER}"]
    found |= {f"{plugin}/{PLUGIN}/{name}": path for name, path in _files(PLUGIN).items()}
    return {name: Source(path) for name, path in sorted(found.items())} | dict.fromkeys(workers, worker)


def _files(part: str) -> dict[str, Path]:
    folder = _folder(part)
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _belongs(path.relative_to(folder))
    }


def _belongs(name: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
    return not hidden and name.suffix not in (".pyc", ".md") and name.name != WORKER


def _folder(part: str) -> Path:
    """A folder with host-side files: inside or beside the installed package, or in the checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package.parent / PLUGIN if part == PLUGIN else package / "hosts" / part
    checkout = package.parents[1] / ("plugin" if part == PLUGIN else "") / part
    for folder in (inside, checkout):
        if folder.is_dir() and any(folder.iterdir()):
            return folder
    raise BadInput(f"the {part} files of Internal Inpaint are missing: install the package again")


@cache
def worker_command() -> list[str]:
    """The command with which any other process can start the engine."""
    name = f"{NAME}.exe" if os.name == "nt" else NAME
    own = Path(sys.argv[0])
    places = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
    candidates = [place / name for place in places] + ([own.absolute()] if own.name == name else [])
    for path in candidates:
        if path.is_file() and os.access(path, os.X_OK):
            return [str(path)]
    # -P: the worker starts in the job folder and must not import files from it.
    return [sys.executable, "-P", "-m", "internal_inpaint"]


def command_note() -> str | None:
    """A note if hosts cannot start the engine because it is found only through this shell's PYTHONPATH, else None."""
    command = worker_command()
    if len(command) == 1:
        return None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    tried = [command[0], "-P", "-c", "import internal_inpaint"]
    if subprocess.run(tried, env=environment, capture_output=True, check=False).returncode == 0:
        return None
    return (
        f"note: {NAME} is found through PYTHONPATH, which hosts do not pass on to the worker: install {NAME}, or "
        f"set INTERNAL_INPAINT to its executable"
    )

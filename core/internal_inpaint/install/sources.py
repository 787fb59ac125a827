"""What is installed: files of ``nuke_gizmos``, ``resolve_fuse`` and ``plugin``, and which worker belongs to them."""

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
# Fusion's folder for each kind of file. The scripts' menu lists folders of known names only, so the package that
# a script imports stands in one beside them.
FUSION = {".fuse": "Fuses", ".lua": "Fuses", ".setting": "Macros", ".py": "Scripts/Utility"}
FUSION_PLUGIN = "Scripts/plugin"


@dataclass(frozen=True)
class Source:
    """One file to install: a file of ours, or content made for this machine."""

    path: Path | None = None
    made: bytes | None = None

    def read(self) -> bytes:
        return self.path.read_bytes() if self.made is None else self.made


def sources_of(host: str) -> dict[str, Source]:
    """What goes where: name below the host's folder, with slashes, to its source."""
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
    """A folder of the host side: inside or beside the installed package, or in the checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package.parent / PLUGIN if part == PLUGIN else package / "hosts" / part
    checkout = package.parents[1] / ("plugin" if part == PLUGIN else "") / part
    for folder in (inside, checkout):
        if folder.is_dir() and any(folder.iterdir()):
            return folder
    raise BadInput(f"this installation of Internal Inpaint lacks its {part} files: install it again")


@cache
def worker_command() -> list[str]:
    """The command that starts the engine from any other process."""
    name = f"{NAME}.exe" if os.name == "nt" else NAME
    own = Path(sys.argv[0])
    places = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
    candidates = [place / name for place in places] + ([own.absolute()] if own.name == name else [])
    for path in candidates:
        if path.is_file() and os.access(path, os.X_OK):
            return [str(path)]
    # -P: the worker starts in the job folder, and what lies there must not be imported.
    return [sys.executable, "-P", "-m", "internal_inpaint"]


def command_note() -> str | None:
    """A sentence where a host could not start the engine by itself: it runs from a PYTHONPATH of this shell."""
    command = worker_command()
    if len(command) == 1:
        return None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    tried = [command[0], "-P", "-c", "import internal_inpaint"]
    if subprocess.run(tried, env=environment, capture_output=True, check=False).returncode == 0:
        return None
    return (
        f"note: {NAME} is not installed in this Python but found through PYTHONPATH, which hosts do not pass on: "
        f"install it, or set INTERNAL_INPAINT to its executable"
    )

"""The record of an installation, for ``uninstall`` and for the next ``install``."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from internal_inpaint.errors import BadInput
from internal_inpaint.files import write_atomically
from internal_inpaint.install.nuke_init import Line
from internal_inpaint.install.sources import Source
from internal_inpaint.version import __version__

FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """The content of ``installed.json``.

    Attributes:
        version: the version of Internal Inpaint that installed the files.
        files: the mark of each file by its name below the host's folder: its SHA-256, or ``link:`` and the target.
        folders: the names of the folders that were created.
        line: the change to ``init.py``; ``None`` for other hosts.
    """

    version: str
    files: dict[str, str]
    folders: tuple[str, ...]
    line: Line | None = None

    @classmethod
    def of(cls, files: dict[str, str], earlier: Manifest | None, made: list[str], line: Line | None) -> Manifest:
        """The manifest of a new installation over an ``earlier`` one; ``made``: the folders that it created."""
        folders = dict.fromkeys([*(earlier.folders if earlier else ()), *made])
        return cls(__version__, files, tuple(folders), line)

    @classmethod
    def read(cls, path: Path) -> Manifest | None:
        """Read a manifest; ``None`` if there is none. Raises ``BadInput`` if it is damaged or of a newer format."""
        if not path.is_file():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] > FORMAT:
                raise BadInput(
                    f"{path} was written by a newer version of Internal Inpaint: use that version's internal-inpaint"
                )
            line = data.get("line")
            read = cls(
                str(data["version"]),
                {_inside(name): str(mark) for name, mark in data["files"].items()},
                tuple(map(_inside, data["folders"])),
                None if line is None else Line(line["added"].encode(), bool(line["created"])),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                f"{path} is damaged ({error}): delete it and install again; after that, uninstall works too"
            ) from None
        return read

    def write(self, path: Path) -> None:
        data = {"format": FORMAT, "version": self.version, "files": self.files, "folders": list(self.folders)}
        if self.line is not None:
            data["line"] = {"added": self.line.added.decode(), "created": self.line.created}
        write_atomically(path, json.dumps(data, indent=1))


def mark_of(source: Source, link: bool) -> str:
    """The mark that identifies a file installed from this source."""
    if link and source.path is not None:
        return f"link:{source.path}"
    return hashlib.sha256(source.read()).hexdigest()


def mark_at(path: Path) -> str | None:
    """The mark of an existing file; ``None`` for anything that is neither a file nor a link."""
    if path.is_symlink():
        return f"link:{os.readlink(path)}"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def newer(one: str, other: str) -> bool:
    """Whether version ``one`` is newer than ``other``."""
    return [int(n) for n in re.findall(r"\d+", one)] > [int(n) for n in re.findall(r"\d+", other)]


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if name == ".":  # the host's folder itself, if it was created
        return name
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or ":" in path.parts[0]:
        raise ValueError(f"it names {name}, which is outside the host's folder")
    return name

"""``internal-inpaint install`` and ``uninstall``: copy the node's files into a host's folders, and remove them.

The artist's own files are never overwritten or removed. Installed files are recognised by their digest. A file with
another digest is renamed to ``.kept`` (``install``) or left where it is (``uninstall``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from internal_inpaint.install import nuke_init
from internal_inpaint.install.changes import Changes, is_as_installed, same_content
from internal_inpaint.install.manifest import Manifest, mark_of, newer
from internal_inpaint.install.places import Place, found_installed, places_for
from internal_inpaint.install.sources import Source, command_note, sources_of
from internal_inpaint.version import __version__

Say = Callable[[str], None]


def install(host: str, into: Path | None, link: bool, dry_run: bool, say: Say) -> None:
    """Install the node in a host, or update an earlier installation.

    Args:
        host: ``nuke`` or ``resolve``.
        into: the host's folder (``.nuke``, or the folder that holds ``Fuses``); ``None``: the system's default.
        link: create links to the files instead of copies.
        dry_run: only report what would be done.
        say: called with each line of output.

    Raises:
        BadInput: there is no folder to install to, a folder cannot be written, or a file is in the place of a
            folder. Nothing has been changed then.
    """
    for place in places_for(host, into):
        _install(host, place, sources_of(host), link, dry_run, say)
    if note := command_note():
        say(note)


def uninstall(host: str, into: Path | None, dry_run: bool, say: Say) -> None:
    """Remove the files that ``install`` has installed, and nothing else.

    Raises:
        BadInput: nothing is installed there, or a file cannot be removed.
    """
    for place in found_installed(host, into):
        _uninstall(place, dry_run, say)


def _install(host: str, place: Place, sources: dict[str, Source], link: bool, dry_run: bool, say: Say) -> None:
    earlier = Manifest.read(place.manifest)
    say(f"{place.name}, {place.root}: {_versions(earlier)}")
    changes = Changes(place.root, dry_run, say)
    for name, source in sources.items():
        target = place.root / name
        if not (os.path.lexists(target) and same_content(target, source, link)):
            mine = earlier is not None and is_as_installed(target, earlier.files.get(name))
            changes.put(target, source, link, keep=os.path.lexists(target) and not mine)
    for name in sorted(set(earlier.files if earlier else ()) - set(sources)):
        if is_as_installed(place.root / name, earlier.files[name]):
            changes.remove(place.root / name)
        elif os.path.lexists(place.root / name):
            say(f"kept {name}: it was changed after the installation")
    line = None
    if host == "nuke":
        line = nuke_init.added(place.root / "init.py", earlier.line if earlier else None)
        changes.edit(place.root / "init.py", line.content, f"one line: {nuke_init.LINE.decode()}")
    if changes.empty:
        say("everything is up to date")
    files = {name: mark_of(source, link) for name, source in sources.items()}
    changes.make(lambda made: Manifest.of(files, earlier, made, line).write(place.manifest))


def _uninstall(place: Place, dry_run: bool, say: Say) -> None:
    manifest = Manifest.read(place.manifest)
    say(f"{place.name}, {place.root}: removing version {manifest.version}")
    changes = Changes(place.root, dry_run, say)
    for name, mark in sorted(manifest.files.items()):
        target = place.root / name
        if is_as_installed(target, mark):
            changes.remove(target)
        elif os.path.lexists(target):
            say(f"kept {name}: it was changed after the installation")
    if manifest.line is not None:
        init = place.root / "init.py"
        if init.is_file():
            content = nuke_init.without(init.read_bytes(), manifest.line)
            changes.edit(init, content, "removed the line that install added; your own lines are unchanged")
    changes.remove(place.manifest, reported=False)
    changes.make()
    if not dry_run:
        for folder in sorted(manifest.folders, key=len, reverse=True):
            if (place.root / folder).is_dir() and not _removed(place.root / folder) and folder != ".":
                say(f"kept {folder}: it contains files that were not installed by Internal Inpaint")


def _removed(folder: Path) -> bool:
    """Remove a folder that contains only Python's compiled files; False if it contains anything else."""
    compiled = folder / "__pycache__"
    if compiled.is_dir() and all(path.suffix == ".pyc" for path in compiled.iterdir()):
        for path in compiled.iterdir():
            path.unlink()
        compiled.rmdir()
    if any(folder.iterdir()):
        return False
    folder.rmdir()
    return True


def _versions(earlier: Manifest | None) -> str:
    if earlier is None:
        return f"installing Internal Inpaint {__version__}"
    if earlier.version == __version__:
        return f"reinstalling version {__version__}"
    if newer(earlier.version, __version__):
        return f"replacing the newer version {earlier.version} with {__version__}"
    return f"updating version {earlier.version} to {__version__}"


__all__ = ["install", "uninstall"]

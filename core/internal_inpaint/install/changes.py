"""Changes to a folder that are applied all together or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from internal_inpaint.errors import BadInput
from internal_inpaint.files import as_user_error
from internal_inpaint.install.manifest import mark_at, mark_of
from internal_inpaint.install.sources import Source


def is_as_installed(target: Path, mark: str | None) -> bool:
    """Whether the file is unchanged since an installation recorded this mark."""
    return mark is not None and mark_at(target) == mark


def same_content(target: Path, source: Source, link: bool) -> bool:
    """Whether the file already has the source's content."""
    return mark_at(target) == mark_of(source, link)


class Changes:
    """A list of changes that ``make`` applies and reports.

    Args:
        root: the host's folder; it is created if needed.
        dry_run: only report the changes.
        say: called with one line for every change.
    """

    def __init__(self, root: Path, dry_run: bool, say: Callable[[str], None]) -> None:
        self._root, self._dry, self._say = root, dry_run, say
        self._new: list[tuple[Path, Callable[[Path], None]]] = []  # target, and the function that writes it
        self._set_aside: list[tuple[Path, Path]] = []
        self._gone: list[Path] = []
        self._lines: list[str] = []

    @property
    def empty(self) -> bool:
        return not (self._new or self._gone)

    def put(self, target: Path, source: Source, link: bool, keep: bool) -> None:
        """Install a file. ``keep``: the existing file is not ours, so rename it to ``NAME.kept``."""
        if target.is_dir() and not target.is_symlink():
            raise BadInput(f"{target} is a folder, but Internal Inpaint installs a file there: move the folder away")
        if keep:
            aside = _free(target)
            self._set_aside.append((target, aside))
            self._report("keep", f"{self._name(target)} as {aside.name}: it is not the file that was installed")
        if link and source.path is not None:
            self._report("link", f"{self._name(target)} to {source.path}")
            self._new.append((target, lambda path: os.symlink(source.path, path)))
        else:
            done = "update" if os.path.lexists(target) and not keep else "write" if source.path is None else "copy"
            self._report(done, self._name(target))
            self._new.append((target, lambda path: path.write_bytes(source.read())))

    def edit(self, target: Path, content: bytes | None, what: str) -> None:
        """Change a file of the artist's. ``None`` removes it; the same content is no change."""
        if content is None:
            self.remove(target)
        elif not target.exists() or target.read_bytes() != content:
            # If it is a link, change the file that it points to.
            target = Path(os.path.realpath(target))
            if target.exists() and not os.access(target, os.W_OK):
                raise BadInput(f"{target} is read-only: make it writable first")
            self._report("edit", f"{self._name(target)}, {what}")

            def write(path: Path) -> None:
                path.write_bytes(content)
                if target.exists():
                    shutil.copymode(target, path)

            self._new.append((target, write))

    def remove(self, target: Path, reported: bool = True) -> None:
        if reported:
            self._report("remove", self._name(target))
        self._gone.append(target)

    def make(self, finish: Callable[[list[str]], None] | None = None) -> None:
        """Apply all changes.

        Args:
            finish: called last with the folders that were created; if it fails, everything is undone.

        Raises:
            BadInput, OutOfResources: a change failed; everything is as it was before.
        """
        self._refuse_files_for_folders()
        if not self._dry:
            self._make(finish)
        for line in self._lines:  # only now, when the changes have succeeded
            self._say(line)

    def _make(self, finish: Callable[[list[str]], None] | None) -> None:
        undo: list[Callable[[], object]] = []  # undoes the steps so far, in order of the steps
        backups: list[Path] = []
        at = self._root
        try:
            made = []
            for folder in [self._root, *(target.parent for target, _ in self._new)]:
                at = folder
                made += _made(folder, undo)
            staged = []
            for at, write in self._new:
                part = at.with_name(f".{at.name}.installing")
                part.unlink(missing_ok=True)
                undo.append(lambda part=part: part.unlink(missing_ok=True))
                write(part)
                staged.append((part, at))
            for at, aside in self._set_aside:
                _move(at, aside, undo)
            for at in [*self._gone, *(target for _, target in staged)]:
                if os.path.lexists(at):
                    backups.append(at.with_name(f".{at.name}.before"))
                    _move(at, backups[-1], undo)
            for part, at in staged:
                _move(part, at, undo)
            if finish is not None:
                inside = [folder for folder in made if folder.is_relative_to(self._root)]
                finish([folder.relative_to(self._root).as_posix() for folder in inside])
        except OSError as error:
            for step in reversed(undo):
                with contextlib.suppress(OSError):
                    step()
            raise as_user_error(error, str(at)) from error
        for backup in backups:
            with contextlib.suppress(OSError):
                backup.unlink()

    def _refuse_files_for_folders(self) -> None:
        for target, _ in self._new:
            for folder in [*target.parents][::-1]:
                if os.path.lexists(folder) and not folder.is_dir():
                    raise BadInput(
                        f"{folder} is not a folder, but a folder is needed there: move it away or use another --into"
                    )

    def _name(self, target: Path) -> str:
        return target.relative_to(self._root).as_posix() if target.is_relative_to(self._root) else str(target)

    def _report(self, verb: str, what: str) -> None:
        past = {"keep": "kept", "write": "wrote", "copy": "copied"}
        self._lines.append(
            f"would {verb} {what}" if self._dry else f"{past.get(verb, verb.rstrip('e') + 'ed')} {what}"
        )


def _made(folder: Path, undo: list[Callable[[], object]]) -> list[Path]:
    """Create a folder and its parents; returns the new ones, outermost first."""
    missing = [place for place in (folder, *folder.parents) if not place.is_dir()][::-1]
    for place in missing:
        place.mkdir()
        undo.append(place.rmdir)
    return missing


def _move(source: Path, target: Path, undo: list[Callable[[], object]]) -> None:
    os.replace(source, target)
    undo.append(lambda: os.replace(target, source))


def _free(target: Path) -> Path:
    """A free name beside a file: ``NAME.kept``, ``NAME.kept1``, ..."""
    number = 0
    while os.path.lexists(aside := target.with_name(f"{target.name}.kept{number or ''}")):
        number += 1
    return aside

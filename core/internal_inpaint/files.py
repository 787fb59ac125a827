"""Atomic file writing: no reader sees a partial file, and none remains after a kill or a power failure."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from internal_inpaint.errors import BadInput, InpaintError, OutOfResources

TRIES, PAUSE = 10, 0.02
NO_SPACE = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)


def write_atomically(path: Path, text: str) -> None:
    """Replace a text file. A reader sees either the old or the new content."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def appearing(target: Path, what: str) -> Iterator[Path]:
    """A temporary file in the folder of ``target``; at the end of the block it is flushed and renamed to ``target``.

    Raises:
        BadInput, OutOfResources: as ``as_user_error(error, what)``; no file remains.
    """
    temporary = target.with_name(f".{target.stem}.part{target.suffix}")
    try:
        yield temporary
        sync(temporary)
        replace(temporary, target)
    except OSError as error:
        raise as_user_error(error, what) from error
    finally:
        temporary.unlink(missing_ok=True)


def new_memory_map(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """A new ``.npy`` file of zeros, mapped for writing, with its disk space allocated.

    Without allocation, the process would be killed without a message at the first write for which there is no
    disk space.

    Raises:
        OSError: not enough disk space; no file remains.
    """
    try:
        mapped = np.lib.format.open_memmap(path, "w+", dtype, shape)
        with open(path, "r+b") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            elif os.name != "nt":  # Windows allocates the space when it creates the file
                _fill(file, mapped.offset, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    return mapped


def _fill(file, start: int, end: int) -> None:
    file.seek(start)
    for position in range(start, end, 2**20):
        file.write(bytes(min(2**20, end - position)))


def replace(source: Path, target: Path) -> None:
    """``os.replace`` with retries: Windows refuses while a reader has the target open."""
    for attempt in range(TRIES):
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if os.name != "nt" or attempt == TRIES - 1:
                raise
            time.sleep(PAUSE)


def as_user_error(error: OSError, what: str) -> InpaintError:
    """The user-facing error for a failed write: ``OutOfResources`` for a full disk, else ``BadInput``.

    Args:
        what: names what could not be written, for example ``frame 1012``.
    """
    reason = error.strerror or str(error)
    if error.errno in NO_SPACE or error.strerror is None:
        return OutOfResources(f"{what} cannot be written ({reason}): free disk space and run again")
    return BadInput(f"{what} cannot be written ({reason}): check the path and its permissions")


def sync(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk."""
    if path.is_dir():
        if os.name == "nt":  # Windows cannot open folders, and need not flush them
            return
        descriptor = os.open(path, os.O_RDONLY)
    else:
        descriptor = os.open(path, os.O_RDWR)  # Windows flushes only files that are open for writing
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

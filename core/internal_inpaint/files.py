"""Writing files so that a reader, a kill or a power cut never meets half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from internal_inpaint.errors import BadInput, InpaintError, OutOfResources

TRIES, PAUSE = 10, 0.02
NO_SPACE = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)


def write_atomically(path: Path, text: str) -> None:
    """Replace a text file so that a reader sees the old or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def appearing(target: Path, what: str) -> Iterator[Path]:
    """A temporary file beside ``target``; when the block is done it is flushed and takes the target's name.

    Raises:
        BadInput, OutOfResources: as ``as_user_error(error, what)``; nothing is left then.
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


def replace(source: Path, target: Path) -> None:
    """``os.replace`` that waits a moment for a reader: Windows refuses while somebody has the target open."""
    for attempt in range(TRIES):
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if os.name != "nt" or attempt == TRIES - 1:
                raise
            time.sleep(PAUSE)


def as_user_error(error: OSError, what: str) -> InpaintError:
    """The sentence for something that could not be written: a full disk is not a missing permission.

    Args:
        what: was to be written, for example ``frame 1012``.
    """
    reason = error.strerror or str(error)
    if error.errno in NO_SPACE or error.strerror is None:
        return OutOfResources(f"{what} cannot be written ({reason}): free disk space and run again")
    return BadInput(f"{what} cannot be written ({reason}): check the path and its permissions")


def sync(path: Path) -> None:
    """Bring a file, or a folder's entries, to the disk itself."""
    if path.is_dir():
        if os.name == "nt":  # folders cannot be opened there, and need not be
            return
        descriptor = os.open(path, os.O_RDONLY)
    else:
        descriptor = os.open(path, os.O_RDWR)  # Windows flushes only what is open for writing
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

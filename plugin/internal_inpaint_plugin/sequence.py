"""The files of a frame sequence, from one listing of their folder."""

from __future__ import annotations

import os
import re
from typing import Dict, Tuple

FRAME_NUMBER = re.compile(r"#+|@+|%0?\d*d")


def files_of(pattern: str) -> Dict[int, Tuple[str, int, int]]:
    """Name, size (bytes) and modification time (ns) of every file of a pattern, by frame number.

    A single file is frame 1. Files whose numbers have another padding belong to another sequence: neither the hosts
    nor the engine would read them by this pattern.
    """
    folder, name = os.path.split(pattern)
    match = FRAME_NUMBER.search(name)
    before, after = (name[: match.start()], name[match.end() :]) if match else (name, "")
    form = re.compile(re.escape(before) + (r"(-?\d+)" if match else "()") + re.escape(after))
    token = match.group() if match else ""
    digits = int(token[1:-1] or 1) if token.startswith("%") else len(token)
    found = {}
    try:
        with os.scandir(folder or ".") as entries:
            for entry in entries:
                fits = form.fullmatch(entry.name)
                if fits is None or (token and fits.group(1) != f"{int(fits.group(1)):0{digits}d}"):
                    continue
                if entry.is_file():
                    stat = entry.stat()
                    found[int(fits.group(1) or 1)] = (entry.name, stat.st_size, stat.st_mtime_ns)
    except OSError:
        return {}
    return found

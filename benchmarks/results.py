"""What benchmarks share: figures that are saved as soon as they are known, and Markdown tables of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, as_completed
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any


class Results:
    """Measurements with their figures, kept in a JSON file that is replaced atomically.

    A measurement is any dataclass: its fields tell it from others.
    """

    def __init__(self, path: Path):
        self._path, self._lock = path, Lock()
        self.records: list[dict] = json.loads(path.read_text()) if path.is_file() else []

    def find(self, wanted: Any) -> dict | None:
        """The record of ``wanted``, or None."""
        fields = asdict(wanted)
        return next((r for r in self.records if all(r.get(k) == v for k, v in fields.items())), None)

    def add(self, made: Any, scores: dict[str, float]) -> None:
        """Save the figures of ``made`` in place of any older ones."""
        with self._lock:
            older = self.find(made)
            if older is not None:
                self.records.remove(older)
            self.records.append({**asdict(made), **scores})
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_name(self._path.name + ".part")
            partial.write_text(json.dumps(self.records, indent=1) + "\n")
            partial.replace(self._path)


def collect(running: dict[Future, Hashable], results: Results, name: Callable[[Hashable], str]) -> int:
    """Add what measurements give as they end, and print it. Returns how many of them failed."""
    failed = 0
    for done, future in enumerate(as_completed(running), 1):
        line = f"[{done}/{len(running)}] {name(running[future])}: "
        try:
            found = future.result()
        except Exception as error:  # one that fails must not cost the figures of the others
            failed += 1
            print(f"{line}failed, {error}", file=sys.stderr, flush=True)
            continue
        results.add(running[future], found)
        print(line + ", ".join(f"{key} {value:g}" for key, value in found.items()), file=sys.stderr, flush=True)
    return failed


def table(rows: dict[str, dict[str, float]], columns: Iterable[str], corner: str, digits: dict[str, int]) -> str:
    """A Markdown table; figures that are not there are dashes."""
    columns = list(columns)
    lines = [f"| {corner} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, values in rows.items():
        cells = [f"{values[c]:.{digits.get(c, 2)}f}" if c in values else "–" for c in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)

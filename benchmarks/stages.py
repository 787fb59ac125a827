"""How long each stage of finished runs took, from their job folders' events.

python benchmarks/stages.py JOBDIR [JOBDIR ...]
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from itertools import groupby, pairwise
from pathlib import Path


def stages(folder: Path) -> dict[str, float]:
    """Seconds by stage of a folder's last run, in order."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    begun = []
    for stage, group in groupby(events, key=lambda event: event["stage"]):
        if stage == "open":
            begun.clear()  # of an earlier run
        begun.append((stage, datetime.fromisoformat(next(group)["updated"])))
    begun.append(("", datetime.fromisoformat(events[-1]["updated"])))
    return {stage: (end - start).total_seconds() for (stage, start), (_, end) in pairwise(begun)}


def main() -> None:
    for folder in map(Path, sys.argv[1:]):
        found = stages(folder)
        parts = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in found.items())
        print(f"{folder}: {parts}; all {sum(found.values()):.1f} s")


if __name__ == "__main__":
    main()

"""Write a finished run of numbered charts, to see in a host which file the node shows for which frame.

    python tests/fusion/fusion_standin/chart.py FOLDER [FIRST] [COUNT]

Each frame has its number in it, UP at the top and LEFT at the left.
"""

import json
import sys
from pathlib import Path


def write_chart(folder: Path, first: int = 1001, count: int = 10) -> Path:
    """FOLDER/Chart/v001/result/result.####.exr, 640x360, and a status that says done; returns the run's folder."""
    import cv2
    import numpy as np
    import OpenImageIO as oiio

    run = folder / "Chart" / "v001"
    (run / "result").mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        ink = np.zeros((360, 640, 1), np.uint8)
        for text, place, size in ((str(number), (170, 220), 4), ("UP", (300, 40), 1), ("LEFT", (5, 190), 1)):
            cv2.putText(ink, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, 255, 3)
        pixels = np.full((360, 640, 3), 0.18, np.float32)
        pixels[:180, :, 1] += 0.1
        pixels[:, :320, 2] += 0.1
        pixels += (np.float32([1.0, 0.9, 0.3]) - pixels) * (ink / np.float32(255))
        output = oiio.ImageOutput.create("chart.exr")
        output.open(str(run / f"result/result.{number:04d}.exr"), oiio.ImageSpec(640, 360, 3, oiio.HALF))
        output.write_image(pixels)
        output.close()
    job = {"version": 1, "plate": "chart.####.exr", "output": "result/result.####.exr"}
    (run / "job.json").write_text(json.dumps(job))
    status = {"state": "done", "updated": "2026-01-01T00:00:00+00:00", "pid": 1, "host": "chart"}
    (run / "status.json").write_text(json.dumps(status))
    return run


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    made = write_chart(Path(sys.argv[1]).absolute(), *map(int, sys.argv[2:4]))
    print(f"Work Folder: {made.parent.parent}\nin the Console:  comp.ActiveTool.NodeFolder = 'Chart'; ", end="")
    print("comp.ActiveTool.RunVersion = 'v001'")

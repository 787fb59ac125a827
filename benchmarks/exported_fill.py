"""How far the exported model, which sees one frame and cannot copy, falls behind the fill of the job that it is from.

    python benchmarks/quality.py --protocol object --methods standard --time 60s --threads 2
    python benchmarks/exported_fill.py goat=.benchmarks/runs/LABEL/job blackswan=.benchmarks/runs/LABEL/job

Each argument is a clip of the ``object`` protocol at 854x480 and a job folder that was trained on it; the job's
result has to be where the job says. Ten frames, spread over the clip.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

import metrics
from clips import frame_path, prepare, read_display
from internal_inpaint.export.model import ShotModel
from internal_inpaint.exporting import trained
from internal_inpaint.job import read_job
from internal_inpaint.report.contact_sheet import srgb_encoded
from internal_inpaint.run import shot_settings
from internal_inpaint.shot import open_shot

FRAMES = 10


@torch.no_grad()
def compared(clip: str, folder: Path) -> tuple[float, float]:
    """PSNR in the hole of the job's own result, and of its exported model."""
    job, shot = read_job(folder / "job.json"), prepare(clip, "object", (854, 480))
    model, plate = ShotModel(trained(job, folder)).eval(), open_shot(shot_settings(job))
    chosen = np.linspace(0, len(shot.frames) - 1, FRAMES).round().astype(int)
    truth, holes = shot.truth()[chosen], shot.holes()[chosen]
    rendered = np.stack([read_display(frame_path(job.output, shot.frames[index])) for index in chosen])
    exported = truth.copy()
    for place, index in enumerate(chosen):
        loaded = plate.load(int(index))
        planes = np.concatenate([loaded.rgb, loaded.alpha[..., None]], axis=2)
        fill = model(torch.from_numpy(planes).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
        exported[place][holes[place]] = srgb_encoded(fill)[holes[place]]
    return tuple(metrics.psnr_in_hole(result, truth, holes) for result in (rendered, exported))


def main() -> None:
    print("| clip | render (dB) | exported model (dB) |\n|---|---|---|")
    for argument in sys.argv[1:]:
        clip, folder = argument.split("=", 1)
        rendered, exported = compared(clip, Path(folder))
        print(f"| {clip} | {rendered:.2f} | {exported:.2f} |", flush=True)


if __name__ == "__main__":
    main()

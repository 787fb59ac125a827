"""``internal-inpaint demo``: the main job on the sample shot, and how good it came out."""

from __future__ import annotations

from pathlib import Path

from internal_inpaint import pipeline
from internal_inpaint.demo.files import make_sample_shot
from internal_inpaint.demo.score import score_against_truth
from internal_inpaint.events import display
from internal_inpaint.job import Job


def run(folder: Path, seconds: float, progress: str) -> None:
    """Make the sample shot, remove its object, print where to look and the true PSNR.

    Args:
        folder: gets ``plate``, ``matte``, ``clean`` (the truth), ``result`` and the job folder ``job``.
        seconds: of training.
        progress: how the run is displayed (``events.display``).
    """
    print(f"making the sample shot in {folder}", flush=True)
    sample = make_sample_shot(folder)
    output = str(folder / "result" / "result.####.exr")
    job = Job(plate=sample.plate, matte=sample.matte, output=output, quality="draft", time=seconds)
    pipeline.run(job, folder / "job", display(progress), restart=True)
    score = score_against_truth(output, sample)
    print(
        f"\nThe object is gone: {len(sample.frames)} frames in {output}\n"
        f"  PSNR inside the hole, against the true clean plate: {score['psnr_hole']:.2f} dB\n"
        f"  Plate, matte, fill and result side by side: {folder / 'job' / 'preview' / 'contact_sheet.png'}"
    )

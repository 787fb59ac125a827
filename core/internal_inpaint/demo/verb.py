"""``internal-inpaint demo``: removes the object from the sample shot and measures the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from internal_inpaint.control import StopRequest
from internal_inpaint.demo.files import make_sample_shot
from internal_inpaint.demo.score import score_against_truth
from internal_inpaint.events import display
from internal_inpaint.files import as_user_error
from internal_inpaint.job import Job
from internal_inpaint.run import Mode
from internal_inpaint.run import run as run_job


def run(folder: Path, seconds: float, progress: str, stop: StopRequest) -> None:
    """Render the sample shot, remove its object, and print where the result is and its PSNR against the truth.

    Args:
        folder: receives ``plate``, ``matte``, ``clean`` (the truth), ``result`` and the job folder ``job``.
        seconds: training time.
        progress: how progress is displayed (``events.display``).
        stop: asks the run to stop.
    """
    folder = folder.absolute()
    output = str(folder / "result" / "result.####.exr")
    job = Job(plate="-", output=output, quality="draft", time=seconds)
    print(f"rendering the sample shot to {folder}", flush=True)
    try:
        sample = make_sample_shot(folder)
    except OSError as error:
        raise as_user_error(error, f"--into {folder}") from error
    job = replace(job, plate=sample.plate, matte=sample.matte)
    run_job(job, folder / "job", display(progress), Mode(restart=True), stop)
    score = score_against_truth(output, sample)
    print(
        f"\nThe object is removed: {len(sample.frames)} frames in {output}\n"
        f"  PSNR inside the hole, against the true clean plate: {score['psnr_hole']:.2f} dB\n"
        f"  Plate, matte, fill and result side by side: {folder / 'job' / 'preview' / 'contact_sheet.png'}\n"
        f"  How good the fill is, and which frames to check: {folder / 'job' / 'report.html'}"
    )

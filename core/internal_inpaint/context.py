"""The context of a run, which every step of the run takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from internal_inpaint.control import STOPPED, StopRequest
from internal_inpaint.errors import Stopped
from internal_inpaint.events import Events
from internal_inpaint.job import Job
from internal_inpaint.job_folder import JobFolder


@dataclass(frozen=True)
class Context:
    """The context of a run, created once at its start.

    Attributes:
        job: the job.
        folder: its job folder, claimed by this run.
        device: device of the networks.
        events: reports the state of the run.
        stop: true once a stop is requested.
    """

    job: Job
    folder: JobFolder
    device: torch.device
    events: Events
    stop: StopRequest

    def check_stop(self) -> None:
        """Raises ``Stopped`` if a stop is requested."""
        if self.stop():
            raise Stopped(STOPPED)

    def progress(self, start: float = 0.0, end: float = 1.0):
        """A function (done, total) that reports the progress of a step, or of its part from ``start`` to ``end``."""

        def report(done: int, total: int) -> None:
            self.events.tell(progress=start + (end - start) * done / max(1, total))

        return report

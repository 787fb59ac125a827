"""What every step of a run needs of the run: made once, handed on whole."""

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
    """A run under way.

    Attributes:
        job: what to do.
        folder: its job folder, claimed by this run.
        device: where networks run.
        events: tells the world.
        stop: true once somebody has asked the run to stop.
    """

    job: Job
    folder: JobFolder
    device: torch.device
    events: Events
    stop: StopRequest

    def check_stop(self) -> None:
        """Raises ``Stopped`` on request."""
        if self.stop():
            raise Stopped(STOPPED)

    def progress(self, start: float = 0.0, end: float = 1.0):
        """A function (done, of all) that tells the progress of a step, or of the part of it from start to end."""

        def tell(done: int, of: int) -> None:
            self.events.tell(progress=start + (end - start) * done / max(1, of))

        return tell

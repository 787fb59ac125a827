"""The job folder: the only thing that a host and the engine share (docs/job-folder.md).

``JobFolder`` spells every path in it; nobody else does. It keeps a second run out, takes over and hands out the
folder's state, and removes what a killed run has left half written.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from internal_inpaint import job as jobs
from internal_inpaint.errors import BadInput
from internal_inpaint.files import write_atomically
from internal_inpaint.job import Job


class RotoFolder:
    """The part of a job folder that one-frame roto keeps, beside the checkpoints of its training."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = path / "store"
        self.frames = path / "frames"  # the mattes as EXR files
        self.result = path / "settled.json"
        # Of the training: labels by round, own motion by frame, and the mattes at the size they were found at.
        self.labels = path / "labels-0.npy", path / "labels-1.npy"
        self.motion = path / "motion.npy"
        self.mattes = path / "mattes.npy"
        self.unfinished_mattes = path / ".mattes.npy.part"
        self.grown_mattes = path / ".mattes.npy.grown.part"
        self.background = path / "background"  # its motion, while mattes grow over what differs from it
        self.mattes_about = path / "propagation.json"


class JobFolder:
    """A job folder, there or not yet.

    Attributes:
        path: of the folder itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # What hosts read and write: the contract.
        self.job_file = path / "job.json"
        self.status = path / "status.json"
        self.events = path / "events.jsonl"
        self.stop = path / "stop"
        self.worker = path / "worker.json"  # written by the host that starts a run; only its time is read here
        self.summary = path / "summary.json"
        self.report = path / "report.html"
        self.contact_sheet = path / "preview" / "contact_sheet.png"
        # What the engine keeps.
        self.checkpoints = path / "checkpoints"
        self.store = path / "store"
        self.motion = path / "motion"
        self.texture = path / "texture.npy"
        self.texture_about = path / "texture.json"
        self.grain = path / "grain.json"
        self.rendered = path / "rendered.json"
        self.confidence = path / "confidence.npy"
        self.confidence_about = path / "confidence.json"
        self.fills = path / "fills.npy"
        # One-frame roto.
        self.roto = RotoFolder(path / "matte")
        self.roto_written = path / "mattes.json"
        self._lock = path / ".lock"

    def __str__(self) -> str:
        return str(self.path)

    def level(self, name: str) -> Path:
        """The checkpoints of one level, ``854x480``."""
        return self.checkpoints / name

    def levels(self) -> list[Path]:
        """The checkpoint folders of all levels that there are."""
        return sorted(path for path in self.checkpoints.glob("*x*") if path.is_dir())

    def keep_levels(self, names: set[str]) -> None:
        """Remove the checkpoints of all other levels."""
        for place in self.levels():
            if place.name not in names:
                shutil.rmtree(place, ignore_errors=True)

    def make(self) -> None:
        """Make the folder. Raises ``BadInput`` where that cannot be done."""
        try:
            self.contact_sheet.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"the job folder {self.path} cannot be made ({error.strerror}): choose another --work"
            ) from None

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder's lock. Raises ``BadInput`` if another live run holds it.

        The operating system drops the lock with the process, so that a killed run leaves nothing behind.
        """
        try:
            lock = open(self._lock, "a+b")  # noqa: SIM115, closed by the "with" below
        except OSError as error:
            raise BadInput(
                f"the job folder {self.path} cannot be written ({error.strerror}): choose another --work"
            ) from None
        with lock:
            try:
                _lock(lock)
            except BlockingIOError:
                raise BadInput(
                    f"{self.path} is in use by another run: wait for it, stop it, or use another --work folder"
                ) from None
            except OSError:
                pass  # a file system without locks: run without one rather than not at all
            yield

    def sweep(self) -> None:
        """Remove what a killed run has left half written."""
        for place in (self.path, self.roto.path):
            for left in place.glob(".*.part"):
                if left.is_file() and left != self.roto.unfinished_mattes:  # those are resumed
                    left.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove what earlier runs have trained, measured and rendered; delivered frames stay.

        Propagated mattes stay until others take their place: they may be the very ones that are given now.
        """
        for place in (self.checkpoints, self.store, self.motion):
            shutil.rmtree(place, ignore_errors=True)
        for path in self.roto.path.glob("*"):
            if path != self.roto.frames:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        kept = self.texture, self.texture_about, self.grain, self.rendered, self.confidence, self.confidence_about
        for path in (*kept, self.fills, self.report):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def has_trained(self) -> bool:
        """Whether any level has a checkpoint, be it set aside for a training that has none of its own yet."""
        return any(any(self.checkpoints.glob(f"*/{name}*")) for name in ("step-", "before-step-"))

    def read_job(self) -> Job:
        """The job in the folder. Raises ``BadInput`` as ``job.read_job``."""
        return jobs.read_job(self.job_file)

    def write_job(self, job: Job) -> None:
        """Put the job into the folder, atomically, unless the very same is there."""
        jobs.write_job(job, self.path)

    def refuse_other(self, job: Job) -> None:
        """A folder in which something was trained keeps the job that it was trained for.

        The same job again resumes. One that differs in what ``job.MAY_CHANGE`` names keeps the weights; one that
        differs in what ``job.RETRAINS`` names continues the training from them, if what the network sees has changed.

        Raises:
            BadInput: the folder holds the weights of a different job.
        """
        if not self.job_file.exists() or not self.has_trained():
            return
        try:
            before = self.read_job()
        except BadInput as error:
            raise BadInput(f"{error} (--restart replaces it and discards what {self} was trained on)") from None
        if differing := [
            declared.option
            for name, declared in jobs.SETTINGS.items()
            if name not in jobs.MAY_CHANGE | jobs.RETRAINS and _in_effect(before, name) != _in_effect(job, name)
        ]:
            raise BadInput(
                f"{self} holds a job with another {', '.join(differing)}: "
                "use another --work folder, or --restart to train anew"
            )

    def write_summary(self, values: dict) -> None:
        write_atomically(self.summary, json.dumps(values, indent=1))


def _in_effect(job: Job, name: str) -> object:
    """A setting's value; of the method, also where the job leaves it to its quality."""
    return job.learns_by if name == "method" else getattr(job, name)


def _lock(file) -> None:
    if os.name == "nt":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

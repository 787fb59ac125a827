"""A job's settings as command-line options, and the job that the options make."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from internal_inpaint.errors import BadInput
from internal_inpaint.job import SETTINGS, Job, default_folder, read_job, with_absolute_paths
from internal_inpaint.job_fields import GROUPS

VGG19 = "INTERNAL_INPAINT_VGG19"  # environment variable: the weights file where the job names none


def add_job_options(parser: argparse.ArgumentParser, verb: str) -> None:
    """Give a verb's parser JOB.json and the options of every setting that the verb takes."""
    taken = [declared for declared in SETTINGS.values() if verb in declared.verbs]
    beside = ", ".join(declared.option for declared in taken if declared.may_change)
    parser.add_argument(
        "job",
        nargs="?",
        metavar="JOB.json",
        help=f"a job file or job folder; only {beside} can be given beside it, and override it",
    )
    for name in GROUPS:
        group = parser.add_argument_group(name)
        for declared in taken:
            if declared.group == name:
                # None is an option that was not given, a switch like any other.
                help = declared.option_help.replace("%", "%%")
                if declared.is_switch:
                    group.add_argument(declared.option, action="store_true", default=None, help=help)
                else:
                    group.add_argument(declared.option, type=declared.parsed, metavar=declared.placeholder, help=help)


def job_and_folder(options: argparse.Namespace) -> tuple[Job, Path]:
    """The job of a JOB.json or of the options, and its folder.

    Raises:
        BadInput: options that are missing, cannot be used or cannot stand beside a JOB.json.
    """
    given = {name: value for name in SETTINGS if (value := getattr(options, name, None)) is not None}
    if options.job is not None:
        return _from_file(options, given)
    if options.plate is None:
        raise BadInput("no --plate: give --plate, --matte and --output, or a job.json")
    if options.output is None:
        raise BadInput("no --output: give a pattern such as 'clean.####.exr'")
    job = with_absolute_paths(Job(**given), Path.cwd())
    return job, _folder(options.work) or default_folder(job.output)


def _from_file(options: argparse.Namespace, given: dict) -> tuple[Job, Path]:
    task = given.pop("task", None)
    if fixed := [SETTINGS[name].option for name in given if not SETTINGS[name].may_change]:
        raise BadInput(f"{', '.join(fixed)} cannot be given together with {options.job}: change the job file instead")
    path = Path(os.path.expanduser(options.job))
    path = path / "job.json" if path.is_dir() else path
    job = read_job(path)
    if task not in (None, job.task):
        raise BadInput(f"{path} is no {task} job: use `internal-inpaint run`")
    # The file's own paths are absolute by now: only those of the options start at the current folder.
    job = with_absolute_paths(replace(job, **given), Path.cwd())
    return job, _folder(options.work) or path.absolute().parent


def _folder(work: str | None) -> Path | None:
    if work is not None and not work.strip():
        raise BadInput("--work is empty: give a folder or leave it out")
    return None if work is None else Path(os.path.expanduser(work))


def with_vgg19_of_environment(job: Job) -> Job:
    """The job that a training follows: with the weights that ``INTERNAL_INPAINT_VGG19`` names, if it uses any.

    So the job folder says all that its run depends on.

    Raises:
        BadInput: the variable names a file that is not there.
    """
    path = os.environ.get(VGG19)
    if not path or job.vgg19 is not None or job.task != "inpaint":
        return job
    # Imported here: it loads PyTorch, which takes seconds.
    from internal_inpaint.training.config import preset

    if not preset(job.quality, job.learns_by).takes_encoder:
        return job
    job = with_absolute_paths(replace(job, vgg19=path), Path.cwd())
    if not os.path.isfile(job.vgg19):
        raise BadInput(f"{VGG19} names {job.vgg19}, which is not a file: correct the variable or unset it")
    return job

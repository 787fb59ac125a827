"""The one description of a run: job.json, read and validated here only (docs/job-folder.md)."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from internal_inpaint.errors import BadInput
from internal_inpaint.files import write_atomically
from internal_inpaint.job_fields import (
    ALL_VERBS,
    AMOUNT,
    FRAMES,
    INPAINTS,
    LEARNS,
    OUTPUT,
    PATH,
    PATHS,
    PIXELS,
    SECONDS,
    SEED,
    SHOT,
    STEPS,
    SWITCH,
    THREADS,
    parse_time,
    paths_in,
    setting,
    settings_of,
)

__all__ = [
    "FORMAT",
    "MAY_CHANGE",
    "METHODS",
    "NETWORKS",
    "QUALITIES",
    "RETRAINS",
    "SETTINGS",
    "TASKS",
    "Job",
    "default_folder",
    "parse_time",
    "read_job",
    "with_absolute_paths",
    "write_job",
]

FORMAT = 1
QUALITIES = ("draft", "standard", "final", "paper")
NETWORKS = ("base", "stacked", "coarse-to-fine")
METHODS = ("copy", "implicit")
TASKS = ("inpaint", "propagate-matte")


@dataclass(frozen=True)
class Job:
    """What to do. ``read_job`` and the command line make its paths absolute.

    A field's declaration is all there is of it: the option, the key of job.json, its row in docs/job-folder.md
    (`python docs/job_table.py` writes it) and its refusals follow. The host side, which cannot import this, lists
    the keys once more in ``internal_inpaint_plugin.job_folder``.

    Raises:
        BadInput: a value that cannot be used, by the name of its option.
    """

    plate: str = setting(
        "the plate: 'plate.####.exr', 'plate.%04d.exr', 'plate.@@@@.exr', a folder or a single file",
        kind=PATH,
        group=SHOT,
        verbs=ALL_VERBS,
        metavar="PATTERN",
        retrains=True,
    )
    output: str = setting(
        "pattern of the files to write, such as 'clean.####.exr'",
        kind=PATH,
        group=OUTPUT,
        verbs=LEARNS,
        metavar="PATTERN",
        may_change=True,
    )
    matte: str | None = setting(
        "the roto matte, in one of the plate's forms",
        default=None,
        absent="the plate's own alpha",
        kind=PATH,
        group=SHOT,
        verbs=ALL_VERBS,
        metavar="PATTERN",
        retrains=True,
    )
    frames: str | None = setting(
        "frame range, such as '1001-1080' or '1001-1010,1020'",
        default=None,
        absent="all of the plate",
        kind=FRAMES,
        group=SHOT,
        verbs=ALL_VERBS,
        metavar="RANGE",
        retrains=True,
    )
    matte_frame: str | None = setting(
        "frames that have a matte, such as '1012' or '1012,1040'; the other mattes are propagated from them",
        default=None,
        absent="those that the matte sequence has",
        kind=FRAMES,
        group=SHOT,
        verbs=ALL_VERBS,
        retrains=True,
        see="one-frame-roto.md",
    )
    matte_channel: str | None = setting(
        "channel of the matte",
        default=None,
        absent="alpha, else the only channel, else the first",
        group=SHOT,
        verbs=ALL_VERBS,
        retrains=True,
    )
    guide: str | None = setting(
        "frames that were painted clean, such as 'guide.1012.exr': a file, a pattern, or several with commas between "
        "them; their pixels under the matte are known",
        default=None,
        absent="none",
        kind=PATHS,
        group=SHOT,
        verbs=(*INPAINTS, "check"),
        metavar="PATTERN",
        retrains=True,
        see="guide-frames.md",
    )
    layer: str | None = setting(
        "layer to fill", default=None, absent="the main RGB", group=SHOT, verbs=ALL_VERBS, see="pixels.md"
    )
    view: str | None = setting(
        "view to fill", default=None, absent="all of them, learned together", group=SHOT, verbs=ALL_VERBS
    )
    colorspace: str | None = setting(
        "colour space of the plate, a name or role of the OpenColorIO configuration",
        default=None,
        absent="by the file's type",
        group=SHOT,
        verbs=ALL_VERBS,
        see="pixels.md",
    )
    grow: float | None = setting(
        "how far the matte is grown, in pixels at plate size",
        default=None,
        absent="1 % of the plate's height",
        kind=PIXELS,
        group=SHOT,
        verbs=(*INPAINTS, "check"),
        retrains=True,
    )
    feather: float | None = setting(
        "width of the soft edge outside the grown matte, in pixels at plate size",
        default=None,
        absent="0.5 % of the plate's height",
        kind=PIXELS,
        group=SHOT,
        verbs=(*INPAINTS, "check"),
        retrains=True,
    )
    grain: float = setting(
        "grain of what is invented or averaged, as a factor on the plate's own",
        default=1.0,
        kind=AMOUNT,
        group=OUTPUT,
        may_change=True,
        see="how-it-works.md",
    )
    fill_layer: bool = setting(
        "also write the fill alone, premultiplied, as layer 'inpaint'",
        default=False,
        kind=SWITCH,
        group=OUTPUT,
        may_change=True,
    )
    confidence_layer: bool = setting(
        "also write the confidence of the fill, as channel 'confidence.Y'",
        default=False,
        kind=SWITCH,
        group=OUTPUT,
        may_change=True,
        see="report.md",
    )
    source_layer: bool = setting(
        "also write where the fill comes from, as layer 'source': the frame copied from, and the share copied",
        default=False,
        kind=SWITCH,
        group=OUTPUT,
        may_change=True,
        see="report.md",
    )
    elements: str | None = setting(
        "folder for separate sequences: 'fill.####.exr' (premultiplied), 'matte.####.exr' (grown and feathered), "
        "'confidence.####.exr' and, unless all is invented, 'source.####.exr'",
        default=None,
        absent="none are written",
        kind=PATH,
        group=OUTPUT,
        metavar="DIR",
        may_change=True,
    )
    quality: str = setting(
        "how long and at what size the shot is learned", default="standard", choices=QUALITIES, verbs=ALL_VERBS
    )
    method: str | None = setting(
        "how the shot is learned: 'copy' copies what other frames show and invents the rest, 'implicit' invents all",
        default=None,
        absent="copy; implicit for --quality paper and with a --network that copy does not have",
        choices=METHODS,
        verbs=ALL_VERBS,
        see="choosing.md",
    )
    network: str | None = setting(
        "network to train", default=None, absent="the quality's", choices=NETWORKS, see="choosing.md"
    )
    steps: int | None = setting(
        "training steps, all levels together; at least one per level",
        default=None,
        absent="the quality's",
        kind=STEPS,
        verbs=LEARNS,
        may_change=True,
    )
    time: float | None = setting(
        "training time, all levels together",
        default=None,
        absent="the quality's",
        kind=SECONDS,
        verbs=LEARNS,
        may_change=True,
    )
    matte_steps: int | None = setting(
        "training steps for propagating the matte", default=None, absent="the quality's", kind=STEPS
    )
    matte_time: float | None = setting(
        "training time for propagating the matte", default=None, absent="the quality's", kind=SECONDS
    )
    seed: int = setting("seed of the random numbers", default=0, kind=SEED, verbs=LEARNS)
    device: str = setting(
        "device to compute on: 'auto', 'cpu', 'cuda' or 'cuda:N'",
        default="auto",
        verbs=ALL_VERBS,
        metavar="DEVICE",
        may_change=True,
    )
    threads: int | None = setting(
        "CPU threads to compute with",
        default=None,
        absent="the cores that other programs leave free",
        kind=THREADS,
        verbs=ALL_VERBS,
        may_change=True,
    )
    start_from: str | None = setting(
        "job folder of a similar shot, or of an earlier version of this one, whose weights the training starts from",
        default=None,
        absent="untrained weights",
        kind=PATH,
        verbs=("run", "train"),
        metavar="JOBDIR",
        may_change=True,
    )
    vgg19: str | None = setting(
        "VGG-19 weights for the anti-ambiguity term",
        default=None,
        absent="the file that $INTERNAL_INPAINT_VGG19 names, else a built-in encoder",
        kind=PATH,
        may_change=True,
        see="regularisers.md",
    )
    task: str = setting(
        "what to write, the filled plate or only a matte for every frame",
        default="inpaint",
        choices=TASKS,
        verbs=(),
        see="one-frame-roto.md",
    )

    def __post_init__(self) -> None:
        for name, declared in SETTINGS.items():
            declared.check(getattr(self, name))
        if self.task == "propagate-matte" and self.matte is None:
            raise BadInput("--matte is missing: give the matte of one frame or of a few")
        if self.matte_frame is not None and self.matte is None:
            raise BadInput("--matte-frame needs --matte: give the matte of those frames")
        if self.method == "copy" and self.quality == "paper":
            raise BadInput("--method copy has no --quality paper: use --method implicit, or another --quality")
        if self.method == "copy" and self.network not in (None, "base"):
            raise BadInput(f"--method copy has no --network {self.network}: use base, or --method implicit")
        if self.source_layer and self.learns_by != "copy":
            chosen = self._inventing_option
            raise BadInput(f"{chosen} copies nothing that --source-layer could name: leave --source-layer out")

    @property
    def learns_by(self) -> str:
        """The method: the one that is asked for, else the one that the quality and the network belong to."""
        if self.method is not None:
            return self.method
        return "copy" if self.quality != "paper" and self.network in (None, "base") else "implicit"

    @property
    def _inventing_option(self) -> str:
        """The option that makes the method ``implicit``."""
        if self.method is not None:
            return f"--method {self.method}"
        return f"--quality {self.quality}" if self.quality == "paper" else f"--network {self.network}"


SETTINGS = settings_of(Job)
# What may change between two runs in the same folder without the learned weights losing their meaning.
MAY_CHANGE = {name for name, declared in SETTINGS.items() if declared.may_change}
# What may change too: the training then continues from the weights that there are.
RETRAINS = {name for name, declared in SETTINGS.items() if declared.retrains}


def read_job(path: Path) -> Job:
    """Read a job.json.

    Raises:
        BadInput: not there, not JSON, unknown or repeated keys, wrong types, missing keys, or a newer format.
    """
    return _job_of(_settings_in(path), path)


def _settings_in(path: Path) -> dict:
    """The keys and values of a job.json but its version, as they stand in the file."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows write a byte order mark
        data = json.loads(text, object_pairs_hook=_without_repeated_keys)
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist: give a job.json, or --plate, --matte and --output") from None
    except IsADirectoryError:
        raise BadInput(f"{path} is a folder: give the job.json in it") from None
    except _RepeatedKey as repeated:
        raise BadInput(f"{path} has the key {repeated} more than once: keep one of them") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not a readable JSON file ({error}): write it again") from None
    if not isinstance(data, dict):
        raise BadInput(f"{path} must hold one JSON object: write it as docs/job-folder.md shows")
    version = data.pop("version", FORMAT)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BadInput(f"{path}: version must be a whole number from 1, not {version!r}")
    if version > FORMAT:
        raise BadInput(
            f"{path} is of job version {version}, this Internal Inpaint knows versions up to {FORMAT}: update it"
        )
    return data


class _RepeatedKey(Exception):
    """A key that a JSON object has more than once."""


def _without_repeated_keys(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKey(next(key for key in keys if keys.count(key) > 1))
    return found


def _job_of(data: dict, path: Path) -> Job:
    if unknown := sorted(set(data) - set(SETTINGS)):
        raise BadInput(f"{path} has unknown key(s) {', '.join(unknown)}: known are {', '.join(sorted(SETTINGS))}")
    if missing := [name for name, declared in SETTINGS.items() if declared.required and name not in data]:
        raise BadInput(f"{path} lacks {' and '.join(missing)}: add the missing key(s)")
    try:
        return with_absolute_paths(Job(**data), path.parent)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def with_absolute_paths(job: Job, folder: Path) -> Job:
    """The same job, its relative paths taken from ``folder``."""

    def absolute(path: str) -> str:
        return os.path.abspath(os.path.join(folder, os.path.expanduser(path)))

    paths = {}
    for name, declared in SETTINGS.items():
        if value := getattr(job, name):
            if declared.is_path:
                paths[name] = absolute(value)
            elif declared.kind is PATHS:
                paths[name] = ",".join(map(absolute, paths_in(value)))
    return replace(job, **paths)


def write_job(job: Job, folder: Path) -> None:
    """Put the job into its folder, atomically, unless the very same is there; defaults are left out.

    What an earlier job.json says and this job does not change stays as it stands there: a host that wrote relative
    paths finds them again, and so knows its own job.
    """
    path = folder / "job.json"
    standing, before = {}, None
    if path.exists():
        with contextlib.suppress(BadInput):
            standing = _settings_in(path)
            before = _job_of(standing, path)
            if before == job:
                return
    data = {}
    for name, declared in SETTINGS.items():
        value = getattr(job, name)
        if before is not None and name in standing and getattr(before, name) == value:
            data[name] = standing[name]
        elif declared.required or value != declared.default:
            data[name] = value
    write_atomically(path, json.dumps({"version": FORMAT, **data}, indent=1))


def default_folder(output: str) -> Path:
    """The job folder where the user names none: beside the output, ``clean.####.exr`` to ``clean.inpaint``."""
    path = Path(output)
    if not path.suffix:
        return path / "job.inpaint"
    stem = re.sub(r"[._-]?(#+|@+|%0?\d*d)", "", path.stem)
    return path.parent / f"{stem or 'job'}.inpaint"

"""The one description of a run: job.json, read and validated here only (docs/job-folder.md)."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from internal_inpaint.errors import BadInput
from internal_inpaint.files import write_atomically

FORMAT = 1
QUALITIES = ("draft", "standard", "final", "paper")
NETWORKS = ("base", "stacked", "coarse-to-fine")
TASKS = ("inpaint", "propagate-matte")
# What may change between two runs in the same folder without the learned weights losing their meaning.
MAY_CHANGE = {"output", "steps", "time", "device", "vgg19", "fill_layer", "confidence_layer", "elements"}


@dataclass(frozen=True)
class Job:
    """What to do. ``read_job`` and the command line make its paths absolute.

    Attributes:
        plate, matte, output: frame patterns, folders or single files; no ``matte``: the plate's own alpha.
        frames: range such as ``1001-1080``; ``None`` is all of the plate.
        matte_channel, layer, view: which channel, layer and view; ``None`` chooses as docs/pixels.md says.
        grow, feather: of the matte, in pixels at plate size; ``None`` follows the plate's height.
        colorspace: of the plate, a name or role of the OpenColorIO configuration.
        quality: ``draft``, ``standard``, ``final`` or ``paper``.
        steps, time: training budget in optimiser steps and seconds; ``None``: the preset's.
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        fill_layer: write the fill alone as an extra layer, ``inpaint``.
        confidence_layer: write how far the shot shows what is filled as an extra layer, ``confidence``.
        elements: folder for the fill, the matte and the confidence as sequences of their own.
        network: ``base``, ``stacked`` or ``coarse-to-fine``; ``None`` is the preset's.
        vgg19: file of VGG-19 weights for the anti-ambiguity term; ``None``: an encoder of our own.
        matte_frame: frames that have a matte, such as ``1012,1040``; the others' are propagated from them.
            ``None``: all have, or those that the matte sequence has.
        matte_steps, matte_time: budget of the matte's propagation in steps and seconds; ``None``: the preset's.
        task: ``inpaint``, or ``propagate-matte``, which writes mattes instead of clean frames.
    """

    plate: str
    output: str
    matte: str | None = None
    frames: str | None = None
    matte_channel: str | None = None
    layer: str | None = None
    view: str | None = None
    grow: float | None = None
    feather: float | None = None
    colorspace: str | None = None
    quality: str = "standard"
    steps: int | None = None
    time: float | None = None
    seed: int = 0
    device: str = "auto"
    fill_layer: bool = False
    confidence_layer: bool = False
    elements: str | None = None
    network: str | None = None
    vgg19: str | None = None
    matte_frame: str | None = None
    matte_steps: int | None = None
    matte_time: float | None = None
    task: str = "inpaint"

    def __post_init__(self) -> None:
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise BadInput(f"{_option(name)} must be {_spoken(kinds)}, not {value!r}")
            if isinstance(value, str):
                _check_text(name, value)
            if isinstance(value, int) and abs(value) >= 2**63:
                raise BadInput(f"{_option(name)} is far too large a number")
        if self.quality not in QUALITIES:
            raise BadInput(f"--quality {self.quality} is not known: use {', '.join(QUALITIES)}")
        if self.network is not None and self.network not in NETWORKS:
            raise BadInput(f"--network {self.network} is not known: use {', '.join(NETWORKS)}")
        if self.task not in TASKS:
            raise BadInput(f"task {self.task} is not known: use {', '.join(TASKS)}")
        for option, steps in (("--steps", self.steps), ("--matte-steps", self.matte_steps)):
            if steps is not None and not 1 <= steps <= 10**9:
                raise BadInput(f"{option} {steps} is out of range: train 1 step to a thousand million")
        for option, seconds in (("--time", self.time), ("--matte-time", self.matte_time)):
            if seconds is not None and not 0 < seconds < 1e9:
                raise BadInput(f"{option} {seconds:g} s is no training time: give for example 10m")
        if self.task == "propagate-matte" and self.matte is None:
            raise BadInput("--matte is missing: give the matte of one frame or of a few")
        if self.matte_frame is not None and self.matte is None:
            raise BadInput("--matte-frame needs --matte: give the matte of those frames")
        for name in ("grow", "feather"):
            if (value := getattr(self, name)) is not None and not 0 <= value <= 1000:
                raise BadInput(f"--{name} {value:g} is out of range: give 0 to 1000 pixels")
        if not 0 <= self.seed < 2**63:
            raise BadInput(f"--seed {self.seed} is out of range: give 0 or a positive whole number")


_STRING, _NUMBER = (str,), (int, float)
_KINDS: dict[str, tuple[type, ...]] = {
    "plate": _STRING,
    "output": _STRING,
    "quality": _STRING,
    "device": _STRING,
    "task": _STRING,
    **dict.fromkeys(("matte", "frames", "matte_channel", "layer", "view", "colorspace"), (str, type(None))),
    **dict.fromkeys(("network", "vgg19", "matte_frame", "elements"), (str, type(None))),
    **dict.fromkeys(("grow", "feather", "time", "matte_time"), (*_NUMBER, type(None))),
    **dict.fromkeys(("steps", "matte_steps"), (int, type(None))),
    "seed": (int,),
    **dict.fromkeys(("fill_layer", "confidence_layer"), (bool,)),
}


def _check_text(name: str, value: str) -> None:
    if not value:
        raise BadInput(f"{_option(name)} is empty: give a value or leave it out")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadInput(
            f"{_option(name)} {value!a} is not valid Unicode text: rename the file or folder, or set a UTF-8 locale"
        ) from None
    if "\0" in value:
        raise BadInput(f"{_option(name)} {value!a} holds a NUL character: no path or name can")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _spoken(kinds: tuple[type, ...]) -> str:
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
    if float in kinds:
        kinds = tuple(k for k in kinds if k is not int)
    return " or ".join(words[kind] for kind in kinds)


def parse_time(text: str, option: str = "--time") -> float:
    """``90``, ``90s``, ``10m``, ``1h30m`` to seconds. Raises ``BadInput`` on anything else."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text)
    if not text or match is None:
        raise BadInput(f"{option} {text} is not a time: give for example 90s, 10m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def read_job(path: Path) -> Job:
    """Read a job.json.

    Raises:
        BadInput: not there, not JSON, unknown keys, wrong types, missing keys, or a newer format.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows write a byte order mark
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist: give a job.json, or --plate, --matte and --output") from None
    except IsADirectoryError:
        raise BadInput(f"{path} is a folder: give the job.json in it") from None
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
    known = {f.name for f in fields(Job)}
    if unknown := sorted(set(data) - known):
        raise BadInput(f"{path} has unknown key(s) {', '.join(unknown)}: known are {', '.join(sorted(known))}")
    if missing := [name for name in ("plate", "output") if name not in data]:
        raise BadInput(f"{path} lacks {' and '.join(missing)}: add the missing key(s)")
    try:
        return with_absolute_paths(Job(**data), path.parent)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def with_absolute_paths(job: Job, folder: Path) -> Job:
    """The same job, its relative paths taken from ``folder``."""
    paths = {name: getattr(job, name) for name in ("plate", "matte", "output", "vgg19", "elements")}
    absolute = {n: os.path.abspath(os.path.join(folder, os.path.expanduser(p))) for n, p in paths.items() if p}
    return replace(job, **absolute)


def write_job(job: Job, folder: Path) -> None:
    """Put the job into its folder, atomically, unless the very same is there; defaults are left out."""
    path = folder / "job.json"
    if path.exists():
        with contextlib.suppress(BadInput):
            if read_job(path) == job:
                return
    defaults = asdict(Job(plate="-", output="-"))
    data = {k: v for k, v in asdict(job).items() if k in ("plate", "output") or v != defaults[k]}
    write_atomically(path, json.dumps({"version": FORMAT, **data}, indent=1))


def default_folder(output: str) -> Path:
    """The job folder where the user names none: beside the output, ``clean.####.exr`` to ``clean.inpaint``."""
    path = Path(output)
    if not path.suffix:
        return path / "job.inpaint"
    stem = re.sub(r"[._-]?(#+|@+|%0?\d*d)", "", path.stem)
    return path.parent / f"{stem or 'job'}.inpaint"


def refuse_other(job: Job, folder: Path) -> None:
    """A folder in which something was learned keeps the job it was learned for.

    The same job again resumes; one that differs only in what ``MAY_CHANGE`` names goes on with the
    same weights.

    Raises:
        BadInput: the folder holds the weights of a different job.
    """
    path = folder / "job.json"
    if not path.exists() or not any(folder.glob("checkpoints/*/step-*")):
        return
    try:
        before = read_job(path)
    except BadInput as error:
        raise BadInput(f"{error} (--restart replaces it and forgets what {folder} has learned)") from None
    if differing := [
        f.name for f in fields(Job) if f.name not in MAY_CHANGE and getattr(before, f.name) != getattr(job, f.name)
    ]:
        raise BadInput(
            f"{folder} holds a job with another {', '.join(map(_option, differing))}: "
            "use another --work folder, or --restart to train anew"
        )

"""How a setting of a job is declared. The command line, job.json, its documentation and every refusal follow from it.

``Job`` declares its fields with ``setting``; ``settings_of`` reads the declarations back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, get_args, get_type_hints

from internal_inpaint.errors import BadInput

# Groups of options, as `--help` shows them.
SHOT, OUTPUT, TRAINING = "the shot", "the output", "the training"
GROUPS = (SHOT, OUTPUT, TRAINING)
# Verbs of the command line that take an option.
INPAINTS = ("run", "train", "render")
LEARNS = (*INPAINTS, "propagate-matte")
ALL_VERBS = (*LEARNS, "check")

# Types as refusals and as the documentation name them.
_SPOKEN = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
_WRITTEN = {str: "text", int: "whole number", float: "number", bool: "true/false"}


@dataclass(frozen=True)
class Kind:
    """What a value stands for, beyond its type.

    Attributes:
        word: unit or meaning, for the documentation's type column.
        metavar: placeholder of the command-line option.
        in_range: whether a value of the right type can be used.
        refusal: the sentence for one that cannot, with ``{option}`` and ``{value}``.
        examples: how the command line's text is written, for ``--help``.
        words: that the command line takes for a value.
    """

    word: str = ""
    metavar: str | None = None
    in_range: Callable[[Any], bool] = lambda _: True
    refusal: str = ""
    examples: str = ""
    words: Mapping[str, Any] = field(default_factory=dict)


TEXT = Kind(metavar="NAME")
SWITCH = Kind()
PATH = Kind("path", "PATH")
PATHS = Kind("paths", "PATHS")  # with commas between them (`paths_in`)
FRAMES = Kind("frames", "FRAMES")
# Written so that NaN is out of every range.
STEPS = Kind(
    "",
    "N",
    lambda steps: 1 <= steps <= 10**9,
    "{option} {value} is out of range: give 1 to 1,000,000,000 training steps",
)
THREADS = Kind(
    "", "N", lambda threads: 1 <= threads <= 1024, "{option} {value} is out of range: give 1 to 1024 threads"
)
SECONDS = Kind(
    "seconds",
    "TIME",
    lambda seconds: 0 < seconds < 1e9,
    "{option} {value:g} s is no training time: give for example 10m",
    "90s, 10m or 1h30m",
)
PIXELS = Kind(
    "pixels",
    "PX",
    lambda pixels: 0 <= pixels <= 1000,
    "{option} {value:g} is out of range: give 0 to 1000 pixels",
)
AMOUNT = Kind(
    "",
    "AMOUNT|off",
    lambda amount: 0 <= amount <= 4,
    "{option} {value:g} is out of range: give 0 to 4; 1 is as much as the plate has, and 0 is off",
    words={"off": 0.0},
)
SEED = Kind(
    "",
    "N",
    lambda seed: 0 <= seed < 2**63,
    "{option} {value} is out of range: give 0 or a positive whole number",
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The declaration of one field of a job.

    Attributes:
        help: what it is, in one sentence without a full stop, for ``--help`` and docs/job-folder.md. Text between
            apostrophes is set as code in the documentation.
        kind: what a value stands for.
        group: of the command-line options it belongs to, one of ``GROUPS``.
        verbs: that take it as an option; none: it stands in job.json only.
        choices: the values there are, if they can be listed.
        absent: what ``None`` means.
        metavar: placeholder of the option, where it is not the kind's.
        may_change: whether it may change between two runs without the learned weights losing their meaning.
        retrains: whether it may change, and the training then continues from the weights that there are.
        see: page of the documentation that says more, a file name in docs/.
        name, types, required, default: the dataclass field's; ``settings_of`` fills them in.
    """

    help: str
    kind: Kind = TEXT
    group: str = TRAINING
    verbs: tuple[str, ...] = INPAINTS
    choices: tuple[str, ...] = ()
    absent: str = ""
    metavar: str | None = None
    may_change: bool = False
    retrains: bool = False
    see: str = ""
    name: str = ""
    types: tuple[type, ...] = ()
    required: bool = False
    default: Any = None

    @property
    def option(self) -> str:
        """How refusals name it: the command-line option, or the key of job.json."""
        return "--" + self.name.replace("_", "-") if self.verbs else self.name

    @property
    def placeholder(self) -> str | None:
        """What stands for a value in ``--help``; ``None``: the choices do."""
        return self.metavar or (None if self.choices else self.kind.metavar)

    @property
    def is_path(self) -> bool:
        return self.kind is PATH

    @property
    def is_switch(self) -> bool:
        return bool in self.types

    @property
    def described(self) -> str:
        """The sentence, with the choices if there are any."""
        if not self.choices:
            return self.help
        return f"{self.help}: {', '.join(self.choices[:-1])} or {self.choices[-1]}"

    @property
    def option_help(self) -> str:
        """What ``--help`` shows."""
        sentence = ": ".join(part for part in (self.described, self.kind.examples) if part)
        default = self.absent if self.default is None else self.default
        return sentence if self.required or self.is_switch else f"{sentence} (default: {default})"

    @property
    def written_type(self) -> str:
        """The type column of the documentation: ``number (seconds)``."""
        of = next(_WRITTEN[kind] for kind in self.types if kind in _WRITTEN)
        return f"{of} ({self.kind.word})" if self.kind.word else of

    def parsed(self, text: str) -> Any:
        """The value that the text of a command-line option stands for. Raises ``BadInput`` if it stands for none."""
        if self.kind is SECONDS:
            return parse_time(text, self.option)
        if text in self.kind.words:
            return self.kind.words[text]
        number = next((kind for kind in (int, float) if kind in self.types), str)
        try:
            return number(text)
        except ValueError:
            spoken = " or ".join([_SPOKEN[number], *self.kind.words])
            raise BadInput(f"{self.option} must be {spoken}, not {text!r}") from None

    def check(self, value: Any) -> None:
        """Raise ``BadInput`` unless a value can be used."""
        if not self._has_type(value):
            raise BadInput(
                f"{self.option} must be {' or '.join(_SPOKEN[kind] for kind in self.types)}, not {value!r}"
            )
        if value is None:
            return
        if isinstance(value, str):
            self._check_text(value)
        if isinstance(value, int) and abs(value) >= 2**63:
            raise BadInput(f"{self.option} is far too large a number")
        if self.choices and value not in self.choices:
            raise BadInput(f"{self.option} {value} is not known: use {', '.join(self.choices)}")
        if not self.kind.in_range(value):
            raise BadInput(self.kind.refusal.format(option=self.option, value=value))

    def _has_type(self, value: Any) -> bool:
        if isinstance(value, bool):  # a kind of int in Python, but not in JSON
            return bool in self.types
        return isinstance(value, (*self.types, int) if float in self.types else self.types)

    def _check_text(self, value: str) -> None:
        if not value:
            raise BadInput(f"{self.option} is empty: give a value or leave it out")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadInput(
                f"{self.option} {value!a} is not valid Unicode text: rename the file or folder, or set a UTF-8 locale"
            ) from None
        if "\0" in value:
            raise BadInput(f"{self.option} {value!a} contains a NUL character, which no path or name can: remove it")


def paths_in(text: str) -> list[str]:
    """The paths of a list with commas.

    A comma separates two paths only after a file extension: the name of a folder may contain one.
    """
    paths = [path.strip() for path in re.split(r"(\.[A-Za-z]\w*)\s*,", text)]
    joined = [name + extension for name, extension in zip(paths[::2], [*paths[1::2], ""], strict=True)]
    return [path for path in joined if path]


def setting(help: str, *, default: Any = MISSING, **declared: Any) -> Any:
    """Declare a dataclass field as a job's setting; the arguments are ``Setting``'s."""
    return field(default=default, metadata={"setting": Setting(help=help, **declared)})


def settings_of(job_class: type) -> dict[str, Setting]:
    """The declarations of a dataclass by name, in order, with each field's types and default."""
    annotated = get_type_hints(job_class)
    return {
        f.name: replace(
            f.metadata["setting"],
            name=f.name,
            types=get_args(annotated[f.name]) or (annotated[f.name],),
            required=f.default is MISSING,
            default=None if f.default is MISSING else f.default,
        )
        for f in fields(job_class)
    }


def parse_time(text: str, option: str = "--time") -> float:
    """``90``, ``90s``, ``10m``, ``1h30m`` to seconds. Raises ``BadInput`` on anything else."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text)
    if not text or match is None:
        raise BadInput(f"{option} {text} is not a time: give for example 90s, 10m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds

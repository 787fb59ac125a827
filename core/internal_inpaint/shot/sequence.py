"""Frame sequences on disk (with Fileseq): patterns, folders, single files and frame ranges.

Each character of a pattern's padding is one digit: `####`, `@@@@` and `%04d` all mean four digits. A single `#`, `@`
or `%d` matches any padding.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import fileseq

from internal_inpaint.errors import BadInput

_STYLE = fileseq.PAD_STYLE_HASH1
_IMAGE_EXTENSIONS = re.compile(r"\.(exr|sxr|mxr|dpx|cin|png|tiff?|jpe?g|jp2|tga|bmp|hdr|webp|psd|sgi|rgb)", re.I)
# A number straight after a letter (plate_v002.exr) is a version, not a frame.
_FRAME_IN_NAME = re.compile(r"(?:^|[._-])(-?\d+)$")
_RANGE = re.compile(r"-?\d+(?:--?\d+(?:x[1-9]\d*)?)?")


@dataclass(frozen=True)
class FrameSequence:
    """The files of one image sequence. `frames` are the shot's own numbers, ascending.

    `numbered` is False for a single file without a frame number in its name. That file is frame 1, and `path` returns
    it for every frame, so that it can be used as a static matte.
    """

    pattern: str
    frames: tuple[int, ...]
    numbered: bool = True

    def path(self, frame: int) -> Path:
        """The file of `frame`, whether or not it exists."""
        if not self.numbered:
            return Path(self.pattern)
        return _numbered(Path(self.pattern), frame)


def find_sequence(pattern: str, what: str = "plate") -> FrameSequence:
    """Lists the existing frames of a pattern, of a folder that holds one sequence, or of a single file.

    `what` names the input in error messages. Raises BadInput if there is no sequence, or more than one.
    """
    if not pattern:
        raise BadInput(f"the {what} is empty; give a pattern such as {what}.####.exr")
    path = Path(pattern).expanduser()
    if path.is_dir():
        return _in_folder(path, what)
    if path.is_file():
        return _single_file(path)
    if not has_frame_token(str(path)):
        raise BadInput(f"{what} file {path} does not exist; check the name")
    if not path.parent.is_dir():
        raise BadInput(f"the folder of the {what} {path} does not exist; check the name")
    return _on_disk(path, what)


def has_frame_token(pattern: str) -> bool:
    """Whether the file name contains a frame number token ('####', '@@@@', '%04d', ...)."""
    template = _template(Path(pattern).name)
    return bool(template.padding()) and template.frameSet() is None


def output_path(pattern: str, frame: int, several: bool = True) -> Path:
    """The output file of `frame`. Raises BadInput if `several` frames would share one file."""
    path = Path(pattern).expanduser()
    if not path.name or pattern.endswith(("/", "\\")) or path.is_dir():
        raise BadInput(f"--output {pattern} is a folder; add a file name such as clean.####.exr")
    if has_frame_token(str(path)):
        return _numbered(path, frame)
    if several:
        raise BadInput(
            f"--output {pattern} has no frame number, but the shot has several frames; add #### to the name"
        )
    return path


def parse_frame_range(text: str) -> tuple[int, ...]:
    """Parses '1001-1080', '1001-1010,1020' or '1001-1080x2' to ascending frame numbers. Raises BadInput otherwise."""
    chunks = [chunk.strip() for chunk in text.split(",")]
    message = f"frame range '{text}' is not valid; write it as 1001-1080, 1001-1010,1020 or 1001-1080x2"
    if not all(_RANGE.fullmatch(chunk) for chunk in chunks):
        raise BadInput(message)
    try:
        return tuple(sorted(set(fileseq.FrameSet(",".join(chunks)))))
    except (fileseq.exceptions.FileSeqException, fileseq.exceptions.MaxSizeException) as error:
        raise BadInput(message) from error


def compact_frames(frames: Iterable[int]) -> str:
    """Frame numbers in a readable form: '1012-1014, 1020'."""
    return fileseq.framesToFrameRange(sorted(frames)).replace(",", ", ")


def select_frames(plate: FrameSequence, frame_range: str | None) -> tuple[int, ...]:
    """The frames of the plate to process. Raises BadInput, with the missing frames, if there are gaps."""
    if not frame_range:
        missing = set(range(plate.frames[0], plate.frames[-1] + 1)) - set(plate.frames)
        if missing:
            raise BadInput(
                f"plate {plate.pattern} has no frames {compact_frames(missing)}; "
                f"add them, or choose frames that exist with --frames"
            )
        return plate.frames
    wanted = parse_frame_range(frame_range)
    missing = set(wanted) - set(plate.frames)
    if missing:
        raise BadInput(
            f"plate {plate.pattern} has no frames {compact_frames(missing)} of --frames {frame_range}; "
            f"it has {compact_frames(plate.frames)}"
        )
    return wanted


def named_frames(text: str, frames: tuple[int, ...], plate: FrameSequence, matte: FrameSequence) -> tuple[int, ...]:
    """The frames of --matte-frame. Raises BadInput unless all are in the shot and have a matte file."""
    try:
        chosen = parse_frame_range(text)
    except BadInput as error:
        raise BadInput(f"--matte-frame: {error}") from None
    if absent := set(chosen) - set(frames):
        raise BadInput(
            f"--matte-frame {compact_frames(absent)} is not in the shot, which has the frames "
            f"{compact_frames(frames)} of plate {plate.pattern}"
        )
    if not matte.numbered and len(chosen) > 1:
        raise BadInput(
            f"--matte-frame {text} names {len(chosen)} frames, but matte {matte.pattern} is one file without a "
            f"frame number; give a pattern such as roto.####.exr"
        )
    if matte.numbered and (missing := set(chosen) - set(matte.frames)):
        raise BadInput(
            f"matte {matte.pattern} has no frames {compact_frames(missing)} of --matte-frame {text}; "
            f"it has {compact_frames(matte.frames)}"
        )
    return chosen


def _single_file(path: Path) -> FrameSequence:
    """One file: its frame number if its name has one, else frame 1."""
    number = _FRAME_IN_NAME.search(path.stem)
    if number is None:
        return FrameSequence(str(path), (1,), numbered=False)
    pattern = f"{path.stem[: number.start(1)]}{'#' * len(number[1])}{path.suffix}"
    return FrameSequence(str(path.with_name(pattern)), (int(number[1]),))


def _in_folder(folder: Path, what: str) -> FrameSequence:
    """The one image sequence (or the one image) in a folder."""
    names = [name for name in sorted(os.listdir(folder)) if not name.startswith(".")]
    found = [
        sequence
        for sequence in fileseq.findSequencesInList(names, pad_style=_STYLE)
        if _IMAGE_EXTENSIONS.fullmatch(sequence.extension())
    ]
    if not found:
        raise BadInput(f"{what} folder {folder} contains no images; check the name")
    if len(found) > 1:
        names = ", ".join(f"{s.basename()}{s.padding()}{s.extension()}" for s in found[:4])
        more = ", ..." if len(found) > 4 else ""
        raise BadInput(
            f"{what} folder {folder} contains {len(found)} sequences ({names}{more}); give the pattern of one of them"
        )
    if len(found[0]) == 1:
        return _single_file(folder / found[0][0])
    return _sequence(folder, found[0], found[0].zfill(), found[0].frameSet())


def _on_disk(path: Path, what: str) -> FrameSequence:
    """The files that match a pattern, by its padding."""
    template = _template(path.name)
    before, after = template.basename(), template.extension()
    names = [name for name in os.listdir(path.parent) if name.startswith(before) and name.endswith(after)]
    numbers = [name[len(before) : len(name) - len(after)] for name in names]
    numbers = [number for number in numbers if re.fullmatch(r"-?\d+", number)]
    width = template.zfill()
    if width > 1:
        # Numbers longer than the padding belong to the sequence; numbers padded to another width do not.
        fitting = [number for number in numbers if str(int(number)).zfill(width) == number]
    else:
        fitting = numbers
        width = max((len(number) for number in numbers if _is_padded(number)), default=1)
        if any(str(int(number)).zfill(width) != number for number in numbers):
            raise BadInput(
                f"{what} {path} matches files with different paddings; write the padding out, such as ####"
            )
    if not fitting:
        have = f" (found {before}{numbers[0]}{after})" if numbers else ""
        raise BadInput(f"no {what} frames match {path}; check the name and the padding{have}")
    return _sequence(path.parent, template, width, map(int, fitting))


def _is_padded(number: str) -> bool:
    return str(int(number)) != number


def _sequence(folder: Path, template: fileseq.FileSequence, width: int, frames: Iterable[int]) -> FrameSequence:
    pattern = f"{template.basename()}{'#' * max(1, width)}{template.extension()}"
    return FrameSequence(str(folder / pattern), tuple(sorted(set(frames))))


def _numbered(pattern: Path, frame: int) -> Path:
    return pattern.with_name(_template(pattern.name).frame(frame))


@lru_cache(maxsize=64)
def _template(name: str) -> fileseq.FileSequence:
    """A parsed file name. Only the name is parsed: folder names may contain any character."""
    message = f"file name {name} is not valid; write the frame number once, as ####"
    if "<" in name:  # Fileseq drops what looks like <UDIM>: frames would go to files with another name
        raise BadInput(f"file name {name} is not valid; remove < and >")
    try:
        template = fileseq.FileSequence(name, pad_style=_STYLE)
    except fileseq.exceptions.FileSeqException as error:
        raise BadInput(message) from error
    if "." in template.padding():  # Fileseq's subframes
        raise BadInput(message)
    return template

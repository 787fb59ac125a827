"""The output files, and every check that can refuse them before any work is done."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from internal_inpaint.errors import BadInput
from internal_inpaint.shot.layout import LOSSLESS, kept_compression, mixes_tiles
from internal_inpaint.shot.sequence import output_path
from internal_inpaint.shot.shot import Shot

# Formats that store pixel values exactly.
_FORMATS = {".exr": "openexr", ".png": "png", ".tif": "tiff", ".tiff": "tiff", ".dpx": "dpx"}


def output_paths(shot: Shot, output: str, option: str = "--output") -> dict[int, Path]:
    """The output file of every frame. Raises BadInput if one is an input or a folder, or cannot be written."""
    paths = {frame: output_path(output, frame, len(shot.frames) > 1) for frame in shot.frames}
    _refuse_inputs(shot, f"{option} {output}", paths)
    _refuse_input_folders(shot, f"{option} {output}", paths)
    for folder in {path.parent for path in paths.values()}:
        _require_writable(folder, f"{option} {output}")
    return paths


def output_format(shot: Shot, output: str, added: Mapping[str, str]) -> str:
    """The output's OpenImageIO format. Raises BadInput if that format cannot store this plate exactly.

    `added`: the layers that are added to the plate's, with a word for each.
    """
    extension = Path(output).suffix.lower()
    if Path(output).is_dir() or not extension or set(extension) <= set(".#@"):
        raise BadInput(f"--output {output} has no file extension; add a file name such as {output}/clean.####.exr")
    kind = _FORMATS.get(extension)
    if kind is None:
        raise BadInput(
            f"--output {output} has the unsupported extension '{extension}'; choose .exr, or for integer plates "
            f".png, .tif or .dpx"
        )
    header = shot.plate_header(shot.frames[0])
    if kind != "openexr":
        if shot.is_float and kind != header.kind:
            raise BadInput(f"--output {output} cannot store a float plate; choose .exr")
        for word in added.values():
            raise BadInput(f"--output {output} cannot store the {word} layer; choose .exr")
    names = {channel.name for part in header.parts for channel in part.channels}
    for layer, word in added.items():
        if any(name.startswith(f"{layer}.") for name in names):
            raise BadInput(f"plate file {header.path} already has a layer {layer}; leave out --{word}-layer")
    return kind


def output_warnings(shot: Shot, file_format: str) -> list[str]:
    """What the output cannot keep of the plate, one sentence each."""
    header = shot.plate_header(shot.frames[0])
    if file_format == "openexr" and not shot.is_float:
        space = shot.colour.name
        return [f"the {header.kind} plate ({space}) is written as half-float EXR in scene-linear"]
    if not file_format == header.kind == "openexr":
        return []
    warnings = []
    headers = [shot.plate_header(frame) for frame in shot.frames]
    parts = [part for header in headers for part in header.parts]
    if replaced := sorted({part.compression for part in parts if kept_compression(part) != part.compression}):
        warnings.append(
            f"the plate's compression ({', '.join(replaced)}) would change pixels outside the matte: "
            f"frames are written with {LOSSLESS} instead"
        )
    if any(mixes_tiles(header) for header in headers):
        warnings.append("the plate has tiled and untiled parts: frames are written with all parts untiled")
    return warnings


def _refuse_inputs(shot: Shot, given: str, paths: dict[int, Path]) -> None:
    """Raises BadInput if an output file is a plate, matte or guide file, even through another name or a link."""
    inputs = [
        (what, sequence.path(frame))
        for what, sequence in (("plate", shot.plate_sequence), ("matte", shot.matte_sequence))
        for frame in sequence.frames
    ]
    inputs += [("guide", guide.header.path) for guide in shot.guides.values()]
    # By name as well as by file: a file system may ignore case, and an input may be missing for the moment.
    by_name = {str(path.resolve()).casefold(): (what, path) for what, path in inputs}
    by_file = {_identity(path): (what, path) for what, path in inputs if path.exists()}
    for path in paths.values():
        clash = by_name.get(str(path.resolve()).casefold())
        if path.exists():
            clash = clash or by_file.get(_identity(path))
        if clash:
            raise BadInput(f"{given} would overwrite the {clash[0]} {clash[1]}; choose another name")
        if path.is_dir():
            raise BadInput(f"{given}: {path} is a folder; choose another name")


def _refuse_input_folders(shot: Shot, given: str, paths: dict[int, Path]) -> None:
    """Raises BadInput if the output would add a second sequence to a folder that was given as an input.

    The run could not be resumed then: the folder would hold two sequences.
    """
    folders = {path.parent.resolve() for path in paths.values()}
    guides = (("guide", guide) for guide in shot.settings.guide)
    for what, named in (("plate", shot.settings.plate), ("matte", shot.settings.matte), *guides):
        if named is None or not (folder := Path(named).expanduser()).is_dir():
            continue
        if folder.resolve() in folders:
            raise BadInput(
                f"{given} would write a second sequence into {named}, the folder given as the {what}; give the "
                f"{what} as a pattern such as {what}.####.exr, or write to another folder"
            )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _require_writable(folder: Path, given: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInput(f"{given}: folder {folder} cannot be written ({reason}); choose another") from error

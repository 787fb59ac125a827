"""TorchScript files for Nuke's CatFileCreator. Only this module uses ``torch.jit``.

Nuke 13 contains PyTorch 1.6 and Nuke 14 contains 1.12, so files must be readable by both: every operator is checked
against ``operators.txt``, and the archive's format number must remain 3. Both versions fail on three things in files
of a newer PyTorch: a class attribute of type ``NoneType`` (removed here), source locations in a newer format
(omitted here), and ``None`` as the end of a slice (not used).
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files

import torch
from torch import nn

from internal_inpaint.errors import BadInput

ARCHIVE_FORMAT = 3  # readable by PyTorch 1.5 and later
# Primitives of the language itself, which every version of TorchScript has.
_LANGUAGE = ("prim::Constant", "prim::If", "prim::Loop", "prim::GetAttr", "prim::ListConstruct")
_LANGUAGE += ("prim::TupleConstruct", "prim::TupleUnpack", "prim::ListUnpack")
_SAME_TYPE = dict.fromkeys(("SymInt", "ScalarType", "Layout", "MemoryFormat"), "int")


def scripted(model: nn.Module) -> torch.jit.ScriptModule:
    """Compile a model with TorchScript, in ``eval`` mode."""
    for module in model.modules():
        # Newer versions give every module this attribute with the value `None`, a type that older ones cannot load.
        module.__dict__.pop("_is_full_backward_hook", None)
    with _without_deprecation():
        return torch.jit.script(model.eval())


def as_torchscript(model: nn.Module, about: dict[str, str]) -> bytes:
    """The content of a TorchScript file of a model.

    Args:
        about: text files by name that describe the model, stored in the archive's folder ``extra``.

    Raises:
        BadInput: the model has an operator, or an operator's argument, that PyTorch 1.6 does not support.
    """
    compiled = scripted(model)
    if found := too_new(compiled.inlined_graph):
        raise _too_new(", ".join(found))
    content = io.BytesIO()
    with _without_deprecation():
        torch.jit.save(compiled, content, _extra_files=about)
    return _without_source_locations(content.getvalue())


@contextmanager
def _without_deprecation() -> Iterator[None]:
    # torch.jit is deprecated, but Nuke reads TorchScript only.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _too_new(what: str) -> BadInput:
    return BadInput(
        f"PyTorch {torch.__version__} writes files that Nuke's PyTorch cannot read ({what}): "
        "install the PyTorch version in constraints.txt"
    )


def too_new(graph: torch.Graph) -> list[str]:
    """The operators of a graph, each once, that PyTorch 1.6 and 1.12 do not both support as they are used."""
    return sorted({operator for node in _nodes(graph) if (operator := _unknown(node)) is not None})


@cache
def operators() -> dict[str, list[str]]:
    """The content of ``operators.txt``: argument types by operator with overload, such as ``aten::add.Tensor``."""
    lines = (files("internal_inpaint.export") / "operators.txt").read_text().splitlines()
    return dict(_parsed(line) for line in lines if line and not line.startswith("#"))


def _parsed(schema: str) -> tuple[str, list[str]]:
    """Parse ``aten::neg(Tensor self) -> (Tensor)`` into its name and argument types, with today's type names."""
    name, arguments = re.match(r"([\w:.]+)\((.*?)\) -> ", schema).groups()
    # Defaults such as [1, 1] contain commas: do not split inside brackets.
    parts = re.split(r", (?![^\[]*\])", arguments) if arguments else []
    kinds = [part.rsplit(" ", 1)[0] for part in parts if part != "*"]
    kinds = [re.sub(r"\(\w+!?(?: -> \*)?\)|(?<=\[)\d+(?=\])", "", kind) for kind in kinds]
    return name, [re.sub(r"\w+", lambda word: _SAME_TYPE.get(word[0], word[0]), kind) for kind in kinds]


def _nodes(block) -> Iterator[torch.Node]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _unknown(node: torch.Node) -> str | None:
    if node.kind() in _LANGUAGE:
        return None
    if node.schema() == "(no schema)":
        return node.kind()
    name, kinds = _parsed(node.schema())
    known = operators().get(name)
    if known is None:
        return name
    given = list(node.inputs())
    if len(given) > len(known) or not all(map(_accepts, known, kinds, given)):
        return f"{name}({', '.join(kinds)})"
    return None


def _accepts(known: str, kind: str, given: torch.Value) -> bool:
    """Whether an argument of the known type accepts a value, if a newer version's type also allows `None`."""
    return known == kind or (known + "?" == kind and given.type().kind() != "NoneType")


def _without_source_locations(content: bytes) -> bytes:
    """The same archive without its ``.debug_pkl`` files, which are used in error messages only."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as read, zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as target:
        for name in read.namelist():
            if name.endswith("/version") and read.read(name).strip() != str(ARCHIVE_FORMAT).encode():
                raise _too_new(f"archive format {read.read(name).decode().strip()}")
            if not name.endswith(".debug_pkl"):
                # With a fixed date, the same weights give the same file.
                target.writestr(zipfile.ZipInfo(name), read.read(name))
    return written.getvalue()

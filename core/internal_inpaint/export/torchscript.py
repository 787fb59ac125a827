"""TorchScript files for Nuke's CatFileCreator. The only place that knows ``torch.jit``.

Nuke 13 is built on PyTorch 1.6 and Nuke 14 on 1.12, so a file must be readable by those: every operator is checked
against ``operators.txt``, and the archive's format number must stay at 3. What both PyTorchs were seen to trip
over in files of a newer one, and what is done here: a class attribute of type ``NoneType`` (taken away), source
locations in a newer form (left out of the file), ``None`` as the end of a slice (not used).
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

ARCHIVE_FORMAT = 3  # what PyTorch 1.5 and later read
# What the language itself is made of: no operators, and as old as TorchScript.
_LANGUAGE = ("prim::Constant", "prim::If", "prim::Loop", "prim::GetAttr", "prim::ListConstruct")
_LANGUAGE += ("prim::TupleConstruct", "prim::TupleUnpack", "prim::ListUnpack")
_SAME_TYPE = dict.fromkeys(("SymInt", "ScalarType", "Layout", "MemoryFormat"), "int")


def scripted(model: nn.Module) -> torch.jit.ScriptModule:
    """A model compiled by TorchScript, in ``eval`` mode."""
    for module in model.modules():
        # An attribute that newer versions give every module, `None`: older readers do not know such a type.
        module.__dict__.pop("_is_full_backward_hook", None)
    with _without_deprecation():
        return torch.jit.script(model.eval())


def as_torchscript(model: nn.Module, about: dict[str, str]) -> bytes:
    """A model as the content of a TorchScript file.

    Args:
        about: what the file says of itself: text files, by name, in its folder ``extra``.

    Raises:
        BadInput: it holds an operator, or an operator's argument, that PyTorch 1.6 does not know.
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
    # torch.jit is deprecated, and what Nuke reads is TorchScript all the same.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _too_new(what: str) -> BadInput:
    return BadInput(
        f"PyTorch {torch.__version__} writes what Nuke's PyTorch does not read ({what}): "
        "install the version that constraints.txt names"
    )


def too_new(graph: torch.Graph) -> list[str]:
    """The operators of a graph that PyTorch 1.6 and 1.12 do not both know, as they are used, each once."""
    return sorted({operator for node in _nodes(graph) if (operator := _unknown(node)) is not None})


@cache
def operators() -> dict[str, list[str]]:
    """The table: operator with overload, for example ``aten::add.Tensor``, to the types of its arguments."""
    lines = (files("internal_inpaint.export") / "operators.txt").read_text().splitlines()
    return dict(_parsed(line) for line in lines if line and not line.startswith("#"))


def _parsed(schema: str) -> tuple[str, list[str]]:
    """``aten::neg(Tensor self) -> (Tensor)`` to its name and the types of its arguments, in today's words."""
    name, arguments = re.match(r"([\w:.]+)\((.*?)\) -> ", schema).groups()
    # A default such as [1, 1] holds commas; an argument never ends inside brackets.
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
    """Whether an argument of the table's type takes what is given where a newer version may take `None` too."""
    return known == kind or (known + "?" == kind and given.type().kind() != "NoneType")


def _without_source_locations(content: bytes) -> bytes:
    """The same archive without its ``.debug_pkl`` files, which serve error messages only."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as read, zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as kept:
        for name in read.namelist():
            if name.endswith("/version") and read.read(name).strip() != str(ARCHIVE_FORMAT).encode():
                raise _too_new(f"archive format {read.read(name).decode().strip()}")
            if not name.endswith(".debug_pkl"):
                # A fixed date: the same weights give the same file.
                kept.writestr(zipfile.ZipInfo(name), read.read(name))
    return written.getvalue()

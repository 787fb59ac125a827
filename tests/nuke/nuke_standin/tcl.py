"""The few Tcl commands and expression operators that the node uses; any other is an error."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from nuke_standin.script_text import ScriptError

TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*)|(?P<name>\$?[A-Za-z_][\w.]*)|(?P<op>\|\||&&|==|!=|<=|>=|[?:()!<>+*/-]))"
)


def substitute(text: str, call: Callable[[list[str]], str]) -> str:
    """The text with every ``[command word ...]`` replaced by what ``call`` says of its words."""
    out, at = [], 0
    while at < len(text):
        if text[at] == "[":
            inner, at = _bracket(text, at)
            out.append(call(_words(inner, call)))
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


def _bracket(text: str, at: int) -> tuple[str, int]:
    depth = 0
    for end in range(at, len(text)):
        depth += {"[": 1, "]": -1}.get(text[end], 0)
        if depth == 0:
            return text[at + 1 : end], end + 1
    raise ScriptError(f"a bracket is never closed in {text}")


def _words(text: str, call: Callable[[list[str]], str]) -> list[str]:
    """Split first, then substitute: what a command returns is never split again."""
    words, at, word, started = [], 0, [], False
    while at < len(text):
        if text[at].isspace():
            if started:
                words.append("".join(word))
            word, started = [], False
            at += 1
        elif text[at] == "[":
            inner, at = _bracket(text, at)
            word.append(call(_words(inner, call)))
            started = True
        else:
            word.append(text[at])
            started = True
            at += 1
    return [*words, "".join(word)] if started else words


def command(words: list[str], value: Callable[[str], str], frame: float, variables: dict[str, str]) -> str:
    """One Tcl command. ``value`` gives a knob by its path."""
    name, *rest = words
    if name == "value" and len(rest) == 1:
        return value(rest[0])
    if name == "frame" and not rest:
        return f"{frame:g}"
    if name == "file" and len(rest) == 2 and rest[0] == "dirname":
        return os.path.dirname(rest[1]) or "."
    if name == "file" and len(rest) == 3 and rest[0] == "join":
        return os.path.join(*rest[1:])
    if name == "file" and len(rest) == 2 and rest[0] == "exists":
        return str(int(os.path.exists(rest[1])))
    if name == "format" and len(rest) == 2 and re.fullmatch(r"%0?\d*(\.\d+)?f", rest[0]):
        return rest[0] % float(rest[1])
    if name == "info" and len(rest) == 2 and rest[0] == "exists":
        return str(int(rest[1] in variables))
    if name == "set" and len(rest) == 2:
        variables[rest[0]] = rest[1]
        return rest[1]
    if name == "unset" and len(rest) == 2 and rest[0] == "-nocomplain":
        variables.pop(rest[1], None)
        return ""
    raise ScriptError(f"Tcl: {' '.join(words)} is not known to the stand-in")


def calculate(text: str, name: Callable[[str], float]) -> float:
    """An expression after Tcl substitution: C's operators, names looked up with ``name``."""
    tokens, at = [], 0
    text = text.strip()
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise ScriptError(f"expression: cannot read {text[at:]!r}")
        tokens.append((match.lastgroup, match.group(match.lastgroup)))
        at = match.end()
    value, end = _ternary(tokens, 0, name)
    if end != len(tokens):
        raise ScriptError(f"expression: {tokens[end][1]!r} is too much in {text}")
    return value


LEVELS = (("||",), ("&&",), ("==", "!="), ("<", ">", "<=", ">="), ("+", "-"), ("*", "/"))


def _ternary(tokens, at, name):
    value, at = _binary(tokens, at, name, 0)
    if at < len(tokens) and tokens[at][1] == "?":
        yes, at = _ternary(tokens, at + 1, name)
        if at >= len(tokens) or tokens[at][1] != ":":
            raise ScriptError("expression: ? without :")
        no, at = _ternary(tokens, at + 1, name)
        return (yes if value else no), at
    return value, at


def _binary(tokens, at, name, level):
    if level == len(LEVELS):
        return _unary(tokens, at, name)
    value, at = _binary(tokens, at, name, level + 1)
    while at < len(tokens) and tokens[at][1] in LEVELS[level]:
        operator = tokens[at][1]
        other, at = _binary(tokens, at + 1, name, level + 1)
        value = float(
            {
                "||": lambda a, b: bool(a) or bool(b),
                "&&": lambda a, b: bool(a) and bool(b),
                "==": lambda a, b: a == b,
                "!=": lambda a, b: a != b,
                "<": lambda a, b: a < b,
                ">": lambda a, b: a > b,
                "<=": lambda a, b: a <= b,
                ">=": lambda a, b: a >= b,
                "+": lambda a, b: a + b,
                "-": lambda a, b: a - b,
                "*": lambda a, b: a * b,
                "/": lambda a, b: a / b,
            }[operator](value, other)
        )
    return value, at


def _unary(tokens, at, name):
    if at >= len(tokens):
        raise ScriptError("expression: ends too early")
    kind, text = tokens[at]
    if text == "!":
        value, at = _unary(tokens, at + 1, name)
        return float(not value), at
    if text == "-":
        value, at = _unary(tokens, at + 1, name)
        return -value, at
    if text == "(":
        value, at = _ternary(tokens, at + 1, name)
        if at >= len(tokens) or tokens[at][1] != ")":
            raise ScriptError("expression: a parenthesis is never closed")
        return value, at + 1
    if kind == "number":
        return float(text), at + 1
    if kind == "name":
        return float(name(text)), at + 1
    raise ScriptError(f"expression: {text!r} is out of place")

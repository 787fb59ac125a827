"""Reading Nuke's script format (.nk, .gizmo): a subset of Tcl, taken strictly."""

from __future__ import annotations

from dataclasses import dataclass, field


class ScriptError(Exception):
    """The text would not load in Nuke, or not mean what it looks like."""


@dataclass(frozen=True)
class Word:
    """One Tcl word. ``kind``: brace (taken literally), quote or bare (escapes resolved)."""

    kind: str
    text: str
    line: int


@dataclass
class NodeText:
    """A node as written: knobs in order, user knobs apart, and what follows inside a group."""

    cls: str
    line: int
    knobs: list[tuple[str, Word]] = field(default_factory=list)
    user_knobs: list[list[Word]] = field(default_factory=list)
    inside: list[NodeText | list[Word]] = field(default_factory=list)

    def get(self, name: str, default: str = "") -> str:
        return next((word.text for knob, word in self.knobs if knob == name), default)


def commands(text: str, line: int = 1) -> list[list[Word]]:
    """The commands of a text: lists of words, ended by newlines or semicolons."""
    found: list[list[Word]] = [[]]
    at = 0
    while at < len(text):
        char = text[at]
        if char in "\n;":
            line += char == "\n"
            found.append([])
            at += 1
        elif char in " \t\r":
            at += 1
        elif char == "#" and not found[-1]:
            at = text.find("\n", at) if "\n" in text[at:] else len(text)
        else:
            word, at, line = _word(text, at, line)
            found[-1].append(word)
    return [words for words in found if words]


def items(word: Word) -> list[Word]:
    """The elements of a Tcl list, over as many lines as it has."""
    return [element for words in commands(word.text, word.line) for element in words]


def _word(text: str, at: int, line: int) -> tuple[Word, int, int]:
    begun = line
    if text[at] == "{":
        depth, start = 0, at
        while at < len(text):
            if text[at] == "\\":
                at += 2
                continue
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            line += text[at] == "\n"
            at += 1
            if depth == 0:
                if at < len(text) and text[at] not in " \t\r\n;":
                    raise ScriptError(f"line {line}: text straight after a closing brace")
                return Word("brace", text[start + 1 : at - 1], begun), at, line
        raise ScriptError(f"line {begun}: a brace is never closed")
    quoted = text[at] == '"'
    at += quoted
    out = []
    while at < len(text):
        char = text[at]
        if quoted and char == '"':
            if at + 1 < len(text) and text[at + 1] not in " \t\r\n;":
                raise ScriptError(f"line {line}: text straight after a closing quote")
            return Word("quote", "".join(out), begun), at + 1, line
        if not quoted and char in " \t\r\n;":
            break
        if char == "}" and not quoted:
            raise ScriptError(f"line {line}: a brace is closed that was never opened")
        if char == "\\" and at + 1 < len(text):
            out.append({"n": "\n", "t": "\t"}.get(text[at + 1], text[at + 1]))
            at += 2
            continue
        if char == "[" and not quoted:
            end = text.index("]", at)
            out.append(text[at : end + 1])
            at = end + 1
            continue
        if char == "[" or (char == "$" and quoted):
            raise ScriptError(f"line {line}: an unescaped {char} would be run as Tcl when the file is read")
        out.append(char)
        line += char == "\n"
        at += 1
    if quoted:
        raise ScriptError(f"line {begun}: a quote is never closed")
    return Word("bare", "".join(out), begun), at, line


def parse(text: str) -> list[NodeText | list[Word]]:
    """A script: nodes, each with its inside if it is a group, and other commands (set, push, version, ...)."""
    top: list = []
    stack = [top]
    for words in commands(text):
        name = words[0].text
        if name == "end_group":
            if len(stack) == 1:
                raise ScriptError(f"line {words[0].line}: end_group without a group")
            stack.pop()
        elif name[:1].isupper():
            node = _node(words)
            stack[-1].append(node)
            if node.cls in ("Group", "Gizmo"):
                stack.append(node.inside)
        else:
            stack[-1].append(words)
    if len(stack) != 1:
        raise ScriptError("a group is never ended")
    return top


def _node(words: list[Word]) -> NodeText:
    if len(words) != 2 or words[1].kind != "brace":
        raise ScriptError(f"line {words[0].line}: {words[0].text} without knobs in braces")
    node = NodeText(words[0].text, words[0].line)
    for line in commands(words[1].text, words[1].line):
        if len(line) != 2:
            raise ScriptError(f"line {line[0].line}: knob {line[0].text} needs one value, has {len(line) - 1}")
        if line[0].text == "addUserKnob":
            node.user_knobs.append(items(line[1]))
            node.knobs.append(("addUserKnob", line[1]))
        else:
            node.knobs.append((line[0].text, line[1]))
    return node

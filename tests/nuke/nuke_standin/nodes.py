"""Nodes and knobs as Nuke's Python shows them."""

from __future__ import annotations

import re

from nuke_standin import knowledge, tcl
from nuke_standin.script_text import NodeText, ScriptError, Word, items


class Strict:
    """An attribute that Nuke does not have is a violation, not only an error."""

    def __getattr__(self, name):
        if name.startswith("_") or name == "host":
            raise AttributeError(name)
        message = f"{type(self).__name__} has no attribute {name}"
        if (host := self.__dict__.get("host")) is not None:
            host.violated(message)
        raise AttributeError(message)


class Knob(Strict):
    """One knob; ``text`` or ``number`` or curve (frame -> value) or expression."""

    def __init__(self, host, node, name, kind, default, values=(), label=""):
        self.host, self._node, self._name, self._kind = host, node, name, kind
        self._values, self._held, self._label = tuple(values), default, label
        self._expression, self._curve, self._on, self._flags = None, {}, True, ()

    # As Nuke's.
    def name(self):
        return self._name

    def label(self):
        return self._label

    def values(self):
        if self._kind != knowledge.MENU:
            self.host.violated(f"{self._name} has no values()")
            raise AttributeError("values")
        return list(self._values)

    def value(self):
        self._check("value")
        return self._at(self.host.frame)

    def getValue(self):
        return self.value()

    def evaluate(self):
        self._check("evaluate")
        return self._text(self.host.frame)

    def setValue(self, value):
        self._check("setValue")
        self._put(value)
        self.host.edited(f"{self._node.fullName()}.{self._name}")
        self.host.knob_set(self._node, self)
        return True

    def setValueAt(self, value, time):
        self._check("setValueAt")
        self._curve[time] = float(value)
        return True

    def toScript(self):
        self._check("toScript")
        if self._kind == knowledge.BUTTON:
            return self._held
        if self._expression is not None:
            return "{{" + self._expression + "}}"
        if self._curve:
            return "{{curve " + " ".join(f"x{t} {v}" for t, v in sorted(self._curve.items())) + "}}"
        return str(self._held)

    def setEnabled(self, on):
        self._check("setEnabled")
        self._on = bool(on)

    def enabled(self):
        return self._on

    def execute(self):
        self._check("execute")
        if self._kind != knowledge.BUTTON:
            self.host.violated(f"{self._name} is no button")
            raise AttributeError("execute")
        if self._name == "reload":
            self.host.reloads.append(self._node.fullName())
            self.host.edited(f"{self._node.fullName()}.version")  # a Read counts its reloads in a knob
        else:
            self.host.run_script(self._held, self._node)

    # The stand-in's own.
    def _check(self, what):
        self.host.main_only(f"{self._name}.{what}")
        self._node._attached()

    def _at(self, frame):
        if self._expression is not None:
            return self._node._calculate(self._expression, frame)
        if self._curve:
            times = sorted(self._curve)
            return self._curve[max([t for t in times if t <= frame], default=times[0])]
        return self._held

    def _text(self, frame):
        if self._kind in (knowledge.TEXT, knowledge.FILE, "label"):
            return self._node._substitute(self._held, frame)
        if self._kind == knowledge.MENU:
            return self._held
        return f"{self._at(frame):g}"

    def _number(self, frame):
        if self._kind == knowledge.MENU:
            return float(self._values.index(self._held))
        return float(self._at(frame))

    def _put(self, value):
        kinds = {
            knowledge.INT: (int,),
            knowledge.DOUBLE: (int, float),
            knowledge.BOOL: (bool, int),
            knowledge.MENU: (str, int),
            knowledge.CHANNELS: (str,),
        }
        text = knowledge.TEXT, knowledge.FILE, knowledge.SCRIPT, "label"
        if not isinstance(value, kinds.get(self._kind, (str,) if self._kind in text else (object,))):
            self.host.violated(f"{self._node.fullName()}.{self._name} cannot be {value!r}")
            raise TypeError(f"{self._name}: {value!r}")
        if self._kind == knowledge.MENU:
            value = self._values[value] if isinstance(value, int) else value
            if value not in self._values:
                self.host.violated(f"{self._node.fullName()}.{self._name} has no value {value}")
                raise TypeError(value)
        self._held, self._expression, self._curve = value, None, {}

    def _read(self, word: Word):
        """From a script's text."""
        if self._kind in (knowledge.INT, knowledge.DOUBLE):
            if word.kind == "brace":
                inner = items(word)
                if len(inner) != 1:
                    raise ScriptError(f"line {word.line}: {self._name} is one number")
                expression = inner[0] if inner[0].kind != "brace" else items(inner[0])[0]
                self._expression = expression.text
            else:
                self._put(float(word.text) if self._kind == knowledge.DOUBLE else int(word.text))
        elif self._kind == knowledge.BOOL:
            if word.text not in ("true", "false"):
                raise ScriptError(f"line {word.line}: {self._name} is true or false")
            self._put(word.text == "true")
        elif self._kind == knowledge.OTHER:
            self._held = word.text
        else:
            self._put(word.text)


class Node(Strict):
    """Made by the host; deleted, every method raises ValueError as Nuke's does."""

    def __init__(self, host, cls, parent):
        try:
            known = knowledge.knobs_of(cls)
        except KeyError:
            raise ScriptError(f"{cls}: no such node class") from None
        self.host, self._cls, self._parent = host, cls, parent
        self._inputs, self._inner, self._gone = [], [], False
        self._knobs = {name: Knob(host, self, name, *known[name]) for name in known if name != "inputs"}

    def Class(self):
        self._attached()
        return self._cls

    def name(self):
        self._attached()
        return self._knobs["name"]._held

    def fullName(self):
        self._attached()
        prefix = f"{self._parent.fullName()}." if self._parent is not None and self._parent._cls != "Root" else ""
        return prefix + self._knobs["name"]._held

    def setName(self, name):
        self._knobs["name"].setValue(name)

    def parent(self):
        self._attached()
        return self._parent

    def knob(self, name):
        self._attached()
        return self._knobs.get(name)

    def knobs(self):
        self._attached()
        return dict(self._knobs)

    def __getitem__(self, name):
        self._attached()
        if name not in self._knobs:
            self.host.violated(f"{self.fullName()} ({self._cls}) has no knob {name}")
            raise NameError(f"knob {name} does not exist")
        return self._knobs[name]

    def inputs(self):
        self._attached()
        return len(self._inputs)

    def input(self, index):
        self._attached()
        self.host.main_only("input")
        return self._inputs[index] if index < len(self._inputs) else None

    def setInput(self, index, node):
        self._attached()
        self._inputs += [None] * (index + 1 - len(self._inputs))
        self._inputs[index] = node
        return True

    def dependencies(self, what):
        self._attached()
        self.host.main_only("dependencies")
        assert what
        return [node for node in self._inputs if node is not None]

    def firstFrame(self):
        return self._range()[0]

    def lastFrame(self):
        return self._range()[1]

    def _range(self):
        self._attached()
        if self._cls == "Read":
            return self._knobs["first"]._held, self._knobs["last"]._held
        above = next((node for node in self._inputs if node is not None), None)
        return above._range() if above is not None else (1, 1)

    def _attached(self):
        if self._gone:
            raise ValueError("A PythonObject is not attached to a node")

    def _lookup(self, path, frame):
        *way, name = path.split(".")
        node = self
        for step in way:
            if step == "parent":
                node = node._parent
            elif step == "root":
                node = self.host.root
            elif step not in ("this", ""):
                beside = node._parent._inner if node._parent is not None else self.host.top
                node = next((other for other in beside if other._knobs["name"]._held == step), None)
                if node is None:
                    raise ScriptError(f"{path}: no node {step} beside {self._knobs['name']._held}")
        if name not in node._knobs:
            raise ScriptError(f"{path}: {node._knobs['name']._held} has no knob {name}")
        return node._knobs[name]

    def _substitute(self, text, frame):
        def call(words):
            return tcl.command(
                words, lambda path: self._lookup(path, frame)._text(frame), frame, self.host.tcl_variables
            )

        return tcl.substitute(text, call)

    def _calculate(self, text, frame):
        def name(word):
            known = {"frame": frame, "$gui": float(self.host.gui)}
            return known[word] if word in known else self._lookup(word, frame)._number(frame)

        return tcl.calculate(self._substitute(text, frame), name)

    def _file(self, frame, pattern=None):
        """A file knob with its frame number put in."""
        text = self._knobs["file"]._text(frame) if pattern is None else pattern

        def number(match):
            digits = len(match.group()) if match.group()[0] == "#" else int(match.group()[1:-1] or 1)
            return f"{int(frame):0{digits}d}"

        return re.sub(r"#+|%0?\d*d", number, text)


class Group(Node):
    def nodes(self):
        self._attached()
        return list(self._inner)

    def node(self, name):
        self._attached()
        self.host.main_only("node")
        return next((inner for inner in self._inner if inner._knobs["name"]._held == name), None)

    def _range(self):
        return self._inputs[0]._range() if self._inputs and self._inputs[0] is not None else (1, 1)


class Root(Group):
    _modified = False

    def name(self):
        return self._knobs["name"]._held or "Root"

    def modified(self):
        self.host.main_only("modified")
        return self._modified

    def setModified(self, modified):
        self.host.main_only("setModified")
        self._modified = modified


def add_user_knob(node, words: list[Word]):
    """One ``addUserKnob {code name flags}`` of a group."""
    code, name, *flags = [word.text for word in words]
    kind = knowledge.USER_KNOBS.get(int(code))
    if kind is None:
        raise ScriptError(f"line {words[0].line}: addUserKnob code {code} is not known")
    given, at = {}, 0
    while at < len(flags):
        if flags[at] in knowledge.USER_FLAGS:
            at += 1
        elif flags[at] in ("l", "t", "T", "M", "R", "n"):
            width = 3 if flags[at] == "R" else 2
            given[flags[at]] = words[2 + at + 1] if width == 2 else flags[at + 1 : at + 3]
            at += width
        else:
            raise ScriptError(f"line {words[0].line}: {name}: {flags[at]} is no flag of addUserKnob")
    if kind == "tab" or not name:
        return
    if name in node._knobs:
        raise ScriptError(f"line {words[0].line}: {name} is a knob of every {node._cls} already")
    if kind == knowledge.MENU and "M" not in given:
        raise ScriptError(f"line {words[0].line}: {name} is a menu without M {{...}}")
    values = tuple(item.text for item in items(given["M"])) if "M" in given else ()
    default = {knowledge.INT: 0, knowledge.DOUBLE: 0.0, knowledge.BOOL: False, knowledge.MENU: values[:1]}.get(
        kind, ""
    )
    if kind == knowledge.MENU:
        default = values[0]
    if "T" in given:
        default = given["T"].text
    label = given["l"].text if "l" in given else name
    node._knobs[name] = Knob(node.host, node, name, kind, default, values, label)


def build(host, statements: list, parent) -> list[Node]:
    """Nodes from parsed text, connected by Tcl's stack. Callbacks of groups run before their inside is made; Nuke's
    run after it, so that one which needs the inside would be found out."""
    made, stack, named = [], [], {}
    for statement in statements:
        if isinstance(statement, list):
            words = [word.text for word in statement]
            if words[0] == "set" and re.fullmatch(r"\[stack 0\]", words[2]):
                named[words[1]] = stack[-1]
            elif words[0] == "push" and (words[1].lstrip("$") in named or words[1] == "0"):
                stack.append(named[words[1].lstrip("$")] if words[1] != "0" else None)
            elif words[0] == "add_layer":
                name, *channels = [item.text for item in items(statement[1])]
                host.layers[name] = tuple(channels)
            elif words[0] not in ("version",):
                raise ScriptError(f"line {statement[0].line}: {' '.join(words)} is not known to the stand-in")
            continue
        node = _node(host, statement, parent)
        count = statement.get("inputs", "0" if statement.cls in ("Read", "Input") else "1")
        for index in range(int(count)):
            node.setInput(index, stack.pop() if stack else None)
        stack.append(node)
        made.append(node)
        if parent is not None:
            parent._inner.append(node)
        host.created(node)
        build(host, statement.inside, node)
    return made


def _node(host, statement: NodeText, parent) -> Node:
    kind = {"Group": Group, "Root": Root}.get(statement.cls, Node)
    node = kind(host, statement.cls, parent)
    for name, word in statement.knobs:
        if name == "addUserKnob":
            add_user_knob(node, items(word))
        elif name != "inputs":
            if name not in node._knobs:
                raise ScriptError(f"line {word.line}: {statement.cls} has no knob {name}")
            try:
                node._knobs[name]._read(word)
            except TypeError as error:
                raise ScriptError(f"line {word.line}: {name} {error}") from None
    held = node._knobs["name"]
    held._held = host.free_name(held._held or f"{statement.cls}1", parent)
    return node

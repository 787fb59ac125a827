"""The program: the ``nuke`` module, its scripts and its main loop."""

from __future__ import annotations

import queue
import re
import sys
import threading
import time
import types
from pathlib import Path

from nuke_standin import nodes, pictures
from nuke_standin.script_text import ScriptError, parse
from nuke_standin.waiting import no_waiting

GIZMOS = Path(__file__).resolve().parents[3] / "nuke_gizmos"


class Module(types.ModuleType):
    """``nuke``: what is not in it is a violation."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        self.__dict__["_host"].violated(f"nuke has no {name}")
        raise AttributeError(name)


class Undo:
    depth = 0

    @staticmethod
    def disable():
        Undo.depth += 1

    @staticmethod
    def enable():
        Undo.depth -= 1


class Menu:
    """``nuke.menu("Nodes")``: what was put into it."""

    def __init__(self):
        self.entries = {}

    def addMenu(self, name, icon=""):
        return self.entries.setdefault(name, Menu())

    def addCommand(self, name, command, shortcut="", icon="", tooltip=""):
        self.entries[name] = command


class Host:
    """One start of Nuke.

    Args:
        script: path of the saved script; "" is a new one that was never saved.
        gui: with a window; False is ``nuke -t`` or ``-x``.
        views: of the project.
    """

    def __init__(self, script="", gui=True, views=("main",)):
        self.gui, self.views, self.frame = gui, list(views), 1.0
        self.violations, self.messages, self.printed, self.reloads = [], [], [], []
        self.undoable = []  # what the artist's next undo would take back
        self.layers, self.tcl_variables, self.callbacks = {}, {}, {"beforeRender": [], "afterRender": []}
        self.queue, self.main, self.running = queue.Queue(), threading.current_thread(), True
        self.executing, self.cancel_after, self.executed = False, None, []
        # "after rendering of all frames is finished" is all that is said of afterRender: tests with either.
        self.tells_of_broken_renders = True
        self.menus, self._this, self._knob, self.module = {}, [], None, None
        self.root = nodes.Root(self, "Root", None)
        self.root._knobs["name"]._held = str(script).replace("\\", "/")
        self.top = []

    # Starting and ending.
    def __enter__(self):
        self.before = sys.modules.get("nuke")
        sys.modules["nuke"] = self.module = self._module()
        package = sys.modules.get("internal_inpaint_plugin")
        for name in [name for name in sys.modules if name.startswith("internal_inpaint_plugin.nuke_")]:
            del sys.modules[name]  # a new process imports anew
            package.__dict__.pop(name.rpartition(".")[2], None)
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """The program ends, in the middle of whatever its threads do."""
        self.running = False
        for node in self.top:
            node._gone = True
        if sys.modules.get("nuke") is self.module:
            del sys.modules["nuke"]
            if self.before is not None:
                sys.modules["nuke"] = self.before

    def _module(self):
        module = Module("nuke")
        module.__dict__.update(
            _host=self,
            GUI=self.gui,
            INPUTS=1,
            HIDDEN_INPUTS=2,
            EXPRESSIONS=4,
            Undo=Undo,
            Group=nodes.Group,
            thisNode=lambda: self._this[-1],
            thisKnob=lambda: self._knob,
            root=lambda: self.guarded(self.root),
            toNode=self._to_node,
            views=lambda: self.guarded(list(self.views)),
            frame=lambda: self.guarded(int(self.frame)),
            executing=lambda: self.guarded(self.executing),
            execute=self.execute,
            executeInMainThread=self.execute_in_main_thread,
            filename=self._filename,
            tcl=self._tcl,
            createNode=self.create,
            delete=self.delete,
            message=self.messages.append,
            tprint=self.printed.append,
            menu=lambda name: self.menus.setdefault(name, Menu()),
            pluginPath=lambda: [str(GIZMOS)],
            addBeforeRender=lambda call: self.callbacks["beforeRender"].append(call),
            addAfterRender=lambda call: self.callbacks["afterRender"].append(call),
        )
        return module

    # Strictness.
    def violated(self, what):
        self.violations.append(what)

    def main_only(self, what):
        if threading.current_thread() is not self.main:
            self.violated(f"{what} from a child thread")
            raise RuntimeError(f"{what} from a child thread")

    def guarded(self, value):
        self.main_only("nuke")
        return value

    # What the module does.
    def execute_in_main_thread(self, call, args=(), kwargs=None):
        if threading.current_thread() is self.main:
            self.violated("executeInMainThread from the main thread: Nuke hangs")
            raise RuntimeError("deadlock")
        if not self.running:
            raise RuntimeError("Nuke is going down")
        self.queue.put((call, args if isinstance(args, tuple) else (args,), kwargs or {}))

    def pump(self, until=lambda: False, seconds=60.0):
        """Run the main loop until something holds; False: it did not, in time."""
        end = time.monotonic() + seconds
        while True:
            try:
                call, args, kwargs = self.queue.get(timeout=0.02)
            except queue.Empty:
                pass
            else:
                with no_waiting(self.violated):
                    call(*args, **kwargs)
            if until():
                return True
            if time.monotonic() > end:
                return False

    def _to_node(self, name):
        self.main_only("toNode")
        found, inside = None, self.top
        for step in name.split("."):
            found = next((node for node in inside if node._knobs["name"]._held == step), None)
            if found is None:
                return None
            inside = found._inner
        return found

    def _filename(self, node):
        self.main_only("filename")
        small = node._knobs["proxy"]._text(self.frame) if self.root._knobs["proxy"]._held else ""
        return small or node._knobs["file"]._text(self.frame) or None

    def _tcl(self, text):
        self.main_only("tcl")
        try:
            return self.root._substitute(f"[{text}]", self.frame)
        except ScriptError as error:
            self.violated(str(error))
            raise RuntimeError(str(error)) from None

    def free_name(self, name, parent):
        taken = {node._knobs["name"]._held for node in (parent._inner if parent is not None else self.top)}
        while name in taken:
            stem, number = re.fullmatch(r"(.*?)(\d*)", name).groups()
            name = f"{stem}{int(number or 0) + 1}"
        return name

    def run_script(self, code, node, knob=None):
        self._this.append(node)
        before, self._knob = self._knob, knob
        try:
            with no_waiting(self.violated):
                return exec(compile(code, f"<{node.fullName()}>", "exec"), {"nuke": self.module})
        finally:
            self._this.pop()
            self._knob = before

    def edited(self, what):
        self.root._modified = True
        if Undo.depth == 0:
            self.undoable.append(what)

    def knob_set(self, node, knob):
        if code := node._knobs.get("knobChanged") and node._knobs["knobChanged"]._held:
            self.run_script(code, node, knob)

    def created(self, node):
        if node._parent is None:
            self.top.append(node)
        if code := node._knobs["onCreate"]._held:
            self.run_script(code, node)

    # The artist's hands.
    def create(self, cls, knobs="", inputs=()):
        """A node of Nuke's own, or a gizmo from its file."""
        self.main_only("createNode")
        gizmo = GIZMOS / f"{cls}.gizmo"
        text = gizmo.read_text(encoding="utf-8") if gizmo.is_file() else f"{cls} {{\n inputs 0\n {knobs}\n}}\n"
        if cls == "Group":
            text += "end_group\n"
        return self.paste(text, inputs)[-1]

    def paste(self, text, inputs=()):
        """Nodes from a script's text."""
        made = nodes.build(self, parse(text), None)
        for index, node in enumerate(inputs):
            if node is not None:
                made[-1].setInput(index, node)
        return made

    def delete(self, node):
        if code := node._knobs["onDestroy"]._held:
            self.run_script(code, node)
        node._gone = True
        self.top.remove(node)

    def press(self, node, button):
        """Press a button; returns what the message line then says."""
        node._knobs[button].execute()
        return self.says(node)

    def change(self, node, **knobs):
        """Set knobs by hand."""
        for name, value in knobs.items():
            node[name].setValue(value)

    @staticmethod
    def says(node, knob="message"):
        return node._knobs[knob]._held.strip()

    def show(self, node, frame, view="main"):
        """What the Viewer shows of a node."""
        return pictures.picture(node, float(frame), view)

    # Rendering.
    def execute(self, node, first, last, incr=1, views=()):
        """``nuke.execute`` of a Write: real files. Cancelled after ``cancel_after`` frames, if set."""
        self.main_only("execute")
        if node._cls != "Write":
            self.violated(f"execute of a {node._cls}")
        if node._knobs["disable"]._held:
            raise RuntimeError(f"{node.fullName()} is disabled")
        unknown = set(views) - set(self.views)
        if unknown or not isinstance(views, (list, tuple)):
            self.violated(f"execute with views {views}")
        self._this.append(node)
        self.executing, finished = True, False
        try:
            for call in self.callbacks["beforeRender"]:
                call()
            for done, frame in enumerate(range(first, last + 1, incr)):
                if self.cancel_after is not None and done >= self.cancel_after:
                    raise RuntimeError("Cancelled")
                self.executed.append(pictures.write(node, float(frame), list(views) or self.views))
            finished = True
        finally:
            self.executing = False
            if finished or self.tells_of_broken_renders:
                for call in self.callbacks["afterRender"]:
                    call()
            self._this.pop()

    # Saving and opening.
    def save(self):
        """The script's text, as far as the stand-in needs it to open it again."""
        return "".join(_text(node, self.top) for node in self.top)

    def open(self, text):
        """Open a saved script; connections by name."""
        made = nodes.build(self, parse(re.sub(r"(?m)^#wired .*\n", "", text)), None)
        for line in re.findall(r"(?m)^#wired (.*)$", text):
            name, index, above = line.split()
            self._to_node(name).setInput(int(index), self._to_node(above))
        return made


def _text(node, top, indent=""):
    """One node as a script has it. A group's inside is taken from its gizmo, but for its knobs."""
    lines = []
    if node._cls == "Group":
        gizmo = (GIZMOS / "InternalInpaint.gizmo").read_text(encoding="utf-8")
        body = gizmo[gizmo.index("Group {") :]
        head, inside = body.split("\n}\n", 1)
        head = re.sub(r"(?m)^ name .*$", f" name {node.name()}", head)
        for name, knob in node._knobs.items():
            if re.search(rf"addUserKnob \{{\d+ {name} ", head) and knob._kind not in ("button", "label"):
                head = re.sub(rf"(?m)^ {name} .*\n", "", head + "\n").rstrip("\n")
                head += f"\n {name} {_word(knob)}"
        for inner in node._inner:
            if inner._cls == "Read":
                ranges = "".join(
                    f"\n  {n} {inner._knobs[n]._held}" for n in ("first", "last", "origfirst", "origlast")
                )
                inside = inside.replace(f"  name {inner.name()}\n", f"  name {inner.name()}{ranges}\n")
        lines.append(f"{head}\n}}\n{inside}")
    else:
        words = "".join(
            f" {name} {_word(knob)}\n"
            for name, knob in node._knobs.items()
            if knob._held not in ("", None) and knob._kind not in ("button", "other")
        )
        lines.append(f"{node._cls} {{\n inputs 0\n{words}}}\n")
    for index, above in enumerate(node._inputs):
        if above is not None:
            lines.append(f"#wired {node.name()} {index} {above.name()}\n")
    return "".join(lines)


def _word(knob):
    if knob._curve:
        raise ScriptError("the stand-in saves no curves")
    if isinstance(knob._held, bool):
        return str(knob._held).lower()
    if isinstance(knob._held, (int, float)):
        return str(knob._held)
    escaped = re.sub(r'([\\\[\]"$])', r"\\\1", knob._held).replace("\n", "\\n")
    return f'"{escaped}"'

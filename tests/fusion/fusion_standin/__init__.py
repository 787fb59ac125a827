"""A strict stand-in of Fusion for the Fuse: Lua's side in host.lua, files, pictures and processes here.

What it does as Fusion does: frames are read from the real files (OpenImageIO), pixel (0, 0) is the bottom
left one, a button is 1 in NotifyChanged alone, only inputs survive the host (``Node.save``).
What no document says is a setting, and the tests run with every value: which frame ``Clip:GetFrame(n)``
gives (``numbering``), and how ``bmd.executebg`` takes a command apart (``executes``).
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
FUSE = ROOT / "resolve_fuse" / "InternalInpaint.fuse"
NUMBERINGS = ("number", "count", "given", "alone")


@dataclass(frozen=True)
class Tool:
    """A tool of the comp, as ``comp:FindTool`` gives it: a Loader, Saver, MediaIn, or anything else."""

    id: str
    name: str
    clip: str | None = None
    start_frame: int = 0
    trim_in: int = 0
    global_in: int = 0
    media: str | None = None
    input: str | None = None
    matte: str | None = None


class Held:
    """Pixels [height, width, 4], the top row first, as they lie in the file.

    ``window``: left, bottom, right and top of those that are there, from the bottom left; all where ``None``.
    """

    def __init__(self, pixels: np.ndarray, path: str = "", window=None) -> None:
        self.pixels, self.path = pixels, path
        self.height, self.width = pixels.shape[:2]
        self.window = window or (0, 0, self.width, self.height)


def read(path: str | Path) -> np.ndarray:
    """A picture's RGBA over its display window, as a Loader gives it."""
    import OpenImageIO as oiio

    loaded = oiio.ImageBuf(str(path))
    if loaded.has_error or not loaded.initialized:
        raise OSError(loaded.geterror())
    spec = loaded.spec()
    out = np.zeros((spec.full_height, spec.full_width, 4), np.float32)
    pixels = loaded.get_pixels(oiio.FLOAT)
    names = list(spec.channelnames)
    y0, x0 = spec.y - spec.full_y, spec.x - spec.full_x
    top, left = max(0, y0), max(0, x0)
    bottom, right = min(spec.full_height, y0 + spec.height), min(spec.full_width, x0 + spec.width)
    for i, name in enumerate("RGBA"):
        if name in names:
            channel = pixels[..., names.index(name)]
            out[top:bottom, left:right, i] = channel[top - y0 : bottom - y0, left - x0 : right - x0]
    return out


class Host:
    """Fusion, for one comp.

    Args:
        comp_folder: what ``Comp:`` stands for; ``None``: the comp was never saved.
        numbering: what ``Clip:GetFrame(n)`` takes: the file's ``number``, ``count`` from the sequence's
            first file, from the ``given`` one, or the file ``alone``, whatever n.
        executes: how ``bmd.executebg`` starts a command: ``words`` (split at spaces, no quoting), ``shell``,
            ``quotes`` (split as a shell would), ``waits`` (until it has ended, and what it prints too), ``never``
            (silently), ``raises``.
        apart: Process runs in a Lua state of its own, and sees nothing that the other events have remembered.
        locks: during Process no control that is not external takes a value.
        metadata: whether images say which file they are of.
        sandboxed: Lua without ``io`` and ``os``.
        tells: True: a Fuse's own comp finds tools, which no document says; "fusion": scripts' current comp does;
            False: neither can be had.
        windows: Lua says that it runs there, or, "without package", only Fusion does; what the node writes can be
            read, not run.
    """

    def __init__(
        self,
        comp_folder,
        numbering="number",
        executes="words",
        metadata=False,
        tools=(),
        sandboxed=False,
        windows=False,
        apart=True,
        locks=False,
        tells=False,
        fuse=FUSE,
    ) -> None:
        self.comp_folder, self.numbering, self.executes = comp_folder, numbering, executes
        self.with_metadata, self.sandboxed, self.windows, self.fuse_path = metadata, sandboxed, windows, str(fuse)
        self.apart, self.locks, self.tells = apart, locks, tells
        self.source = Path(fuse).read_text(encoding="utf-8")
        self.tools = {tool.name: tool for tool in tools}
        self.rendering, self.skew, self.node_name = False, 0, ""
        self.violations: list[str] = []
        self.printed: list[str] = []
        self.commands: list[str] = []
        self.children: list[subprocess.Popen] = []
        self.environment: dict[str, str] = {}
        self._held: list[Held] = []

    def node(self, name="InternalInpaint1", saved=None) -> Node:
        """Drop the node into the comp, or open the comp that holds it: ``saved`` of ``Node.save``."""
        return Node(self, name, saved)

    # What host.lua calls.

    def violation(self, text):
        self.violations.append(text)

    def print(self, text):
        self.printed.append(text)

    def map_path(self, path):
        if self.comp_folder is not None and path.startswith("Comp:"):
            return f"{self.comp_folder}/{path[5:].lstrip('/')}"
        if not path.startswith("/") and ":" not in path:
            return f"/the/folder/that/the/host/was/started/in/{path}"  # no document says that it stays as it is
        return path

    def tool(self, name):
        found = self.tools.get(name)
        return found and "".join(f"{key}={value}\1" for key, value in vars(found).items() if value is not None)

    def connected(self, name):
        """Whether something is connected to an image input of the node."""
        node = self.tools.get(self.node_name)
        return bool(node and (node.input if name == "Input" else node.matte))

    def clock_skew(self):
        return self.skew

    def is_rendering(self):
        return self.rendering

    def execute(self, command):
        self.commands.append(command)
        words = {
            "words": lambda: command.split(" "),
            "quotes": lambda: shlex.split(command),
            "shell": lambda: ["/bin/sh", "-c", command],
        }
        if self.executes == "raises":
            raise RuntimeError("executebg is not to be had")
        environment = dict(os.environ, **self.environment)
        if self.executes == "waits":
            try:
                subprocess.run(command.split(" "), env=environment, capture_output=True, timeout=20)
            except subprocess.TimeoutExpired:
                self.violation(f"the host waits for {command}")
        if self.executes in words:
            self.children.append(subprocess.Popen(words[self.executes](), env=environment))

    def os_execute(self, command):
        self.commands.append(command)
        return subprocess.call(["/bin/sh", "-c", command], env=dict(os.environ, **self.environment))

    def create_folder(self, path):
        try:
            os.mkdir(path)  # no document says that the folders above are made
        except OSError:
            return False
        return True

    def folder_exists(self, path):
        return os.path.isdir(path)

    def file_exists(self, path):
        return os.path.isfile(path)

    def list_folder(self, pattern):
        folder, wanted = os.path.split(pattern)
        names = fnmatch.filter(os.listdir(folder), wanted) if os.path.isdir(folder) else []
        return "".join(f"{'d' if os.path.isdir(f'{folder}/{n}') else 'f'}/{n}/" for n in names)

    def read_frame(self, path, number):
        wanted = self._file(Path(path), int(number))
        if wanted is None or not wanted.is_file():
            return None
        try:
            return self.hold(Held(read(wanted), str(wanted) if self.with_metadata else ""))
        except OSError:
            return None

    def hold(self, held: Held) -> str:
        """Lua's side of a picture: its number, width, height, data window and file."""
        self._held.append(held)
        left, bottom, right, top = held.window
        return f"{len(self._held) - 1} {held.width} {held.height} {left} {bottom} {right} {top} {held.path}"

    def held(self, number) -> Held:
        return self._held[int(number)]

    def _file(self, path: Path, number: int) -> Path | None:
        digits = re.search(r"(\d+)$", path.stem)
        if digits is None or self.numbering == "alone":
            return path
        before, width = path.stem[: digits.start()], len(digits[1])
        like = re.compile(re.escape(before) + r"(\d+)" + re.escape(path.suffix))
        there = sorted(int(m[1]) for p in path.parent.iterdir() if (m := like.fullmatch(p.name)))
        start = {"number": 0, "count": there[0] if there else 0, "given": int(digits[1])}[self.numbering]
        if self.numbering != "number" and number < 0:
            return None
        return path.with_name(f"{before}{start + number:0{width}d}{path.suffix}")

    def copy(self, number):
        held = self.held(number)
        return self.hold(Held(held.pixels.copy(), held.path, held.window))

    def get_pixel(self, number, x, y):
        held = self.held(number)
        return tuple(float(v) for v in held.pixels[held.height - 1 - int(y), int(x)])

    def set_pixel(self, number, x, y, r, g, b, a):
        held = self.held(number)
        held.pixels[held.height - 1 - int(y), int(x)] = r, g, b, a


class Node:
    """The Fuse in a Lua state of its own, as Fusion keeps it."""

    def __init__(self, host: Host, name: str, saved: dict | None) -> None:
        from lupa import luajit21

        self.host = host
        host.node_name = name
        lua = luajit21.LuaRuntime(unpack_returned_tuples=True)
        source = (Path(__file__).parent / "host.lua").read_text(encoding="utf-8")
        self._driver = lua.eval("function(source, host) return assert(loadstring(source, '@host.lua'))(host) end")(
            source, host
        )
        for key, value in (saved or {}).items():
            self._driver.restore(key, value)
        self._driver.ready()
        self._strictly()

    @property
    def status(self) -> str:
        return self._driver.value("StatusLine")

    def value(self, key):
        return self._driver.value(key)

    def set(self, **values) -> Node:
        for key, value in values.items():
            self._driver.set(key, value)
        self._strictly()
        return self

    def press(self, key: str) -> str:
        """Press a button; returns the status line."""
        self._driver.press(key)
        self._strictly()
        return self.status

    def process(
        self, time=0, plate: np.ndarray | None = None, final=False, window=None, size_only=False
    ) -> np.ndarray | None:
        """What the node gives for a frame of the comp, top row first; ``None`` where it fails.

        Args:
            window: the plate's data window, see ``Held``.
            size_only: a request before the render, in which images have a size and no pixels.
        """
        self.host.rendering = final
        held = None if plate is None else self.host.hold(Held(plate.astype(np.float32), "", window))
        out = self._driver.process(time, not final, held, size_only)
        self._strictly()
        return None if out is None else self.host.held(out).pixels

    def save(self) -> dict:
        """What a saved comp keeps: the inputs' values, and nothing else."""
        ids = [i for i in self._driver.ids().split(" ") if self._driver.kind(i) != "Image"]
        return {i: self._driver.value(i) for i in ids}

    def _strictly(self) -> None:
        assert not self.host.violations, "\n".join(self.host.violations)

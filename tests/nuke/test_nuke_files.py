"""The node's files: a gizmo that Nuke can read, programs that old Pythons can run, a start that nothing stops."""

import ast
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from nuke_standin import Host, knowledge
from nuke_standin.host import GIZMOS
from nuke_standin.script_text import ScriptError, commands, items, parse

ROOT = Path(__file__).resolve().parents[2]
GIZMO = GIZMOS / "InternalInpaint.gizmo"
HOST_SIDE = [*sorted((ROOT / "plugin").rglob("*.py")), *sorted(GIZMOS.glob("*.py"))]


@pytest.fixture(scope="module")
def group():
    (node,) = (statement for statement in parse(GIZMO.read_text()) if not isinstance(statement, list))
    return node


def everything(node):
    """A node's text and those inside it."""
    yield node
    for inner in node.inside:
        if not isinstance(inner, list):
            yield from everything(inner)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Group {\n name a\n", "never closed"),
        ("Group {\n name a\n}\n", "never ended"),
        ("Group {\n name a\n}\nend_group\nend_group\n", "end_group without"),
        ('Read {\n file "[value x]"\n}\n', "unescaped"),
        ('Read {\n file "a\n}\n', "never closed"),
        ("Read {\n file a b\n}\n", "needs one value"),
        ("Read }\n", "never opened"),
    ],
)
def test_the_tokenizer_refuses_what_nuke_would_not_read(text, complaint):
    with pytest.raises(ScriptError, match=complaint):
        parse(text)


def test_the_tokenizer_reads_braces_quotes_and_escapes():
    ((name, braced, quoted),) = commands(r'a {b {c} \} "d"} "e \[f] \"g\"\n"')
    assert (name.text, braced.text, quoted.text) == ("a", r'b {c} \} "d"', 'e [f] "g"\n')
    assert [item.text for item in items(commands('M {one "two three" four}')[0][1])] == ["one", "two three", "four"]


def test_every_class_and_knob_of_the_gizmo_is_known(group):
    for node in everything(group):
        own = {items(word)[1].text for name, word in node.knobs if name == "addUserKnob"}
        for name, word in node.knobs:
            assert name in {*knowledge.knobs_of(node.cls), *own, "addUserKnob"}, (
                f"line {word.line}: {node.cls}.{name}"
            )


def test_every_program_in_the_gizmo_is_short_and_compiles(group):
    programs = [word.text for name, word in group.knobs if knowledge.COMMON.get(name, ("",))[0] == knowledge.SCRIPT]
    for name, word in group.knobs:
        if name == "addUserKnob" and items(word)[0].text == "22":
            texts = [item.text for item in items(word)]
            programs.append(texts[texts.index("T") + 1])
    assert len(programs) == 7
    for program in programs:
        ast.parse(program, feature_version=(3, 9))
        assert len(program.splitlines()) <= 5
        assert "internal_inpaint_plugin.nuke_node" in program
    from_plugin = (ROOT / "plugin/internal_inpaint_plugin/nuke_node.py").read_text()
    for called in re.findall(r"inpaint\.(\w+)\(", " ".join(programs)):
        assert f"def {called}(" in from_plugin


def test_buttons_are_two_lines(group):
    buttons = [items(word) for name, word in group.knobs if name == "addUserKnob" and items(word)[0].text == "22"]
    assert {button[1].text for button in buttons} == {"start", "stop", "resume", "this_frame"}
    for button in buttons:
        texts = [word.text for word in button]
        assert len(texts[texts.index("T") + 1].splitlines()) == 2


def test_no_path_in_the_gizmo_is_absolute(group):
    for node in everything(group):
        for name, word in node.knobs:
            assert not re.match(r"(/|[A-Za-z]:|~|\\\\)", word.text), f"line {word.line}: {name} {word.text}"
            if name == "file":
                assert word.text.startswith("[value parent.work_folder]/[value parent.id]/[value parent.")


def test_reads_and_writes_are_set_explicitly(group):
    kinds = {node.get("name"): node for node in everything(group) if node.cls in ("Read", "Write")}
    assert set(kinds) == {"PlateToFiles", "MatteToFiles", "Result", "Preview", "Outside"}
    for name in ("PlateToFiles", "MatteToFiles"):
        write = kinds[name]
        assert (write.get("file_type"), write.get("raw"), write.get("datatype")) == ("exr", "true", "32 bit float")
        assert write.get("compression") in ("none", "Zip (1 scanline)", "Zip (16 scanlines)"), "lossless"
        assert write.get("channels")
        assert write.get("create_directories") == "true"
        assert write.get("disable") == "true", "else `nuke -x` on a farm would execute it"
    assert (kinds["Result"].get("raw"), kinds["Result"].get("on_error")) == ("true", "error")
    assert all(kinds[name].get("localizationPolicy") == "off" for name in ("Result", "Preview"))


@pytest.mark.parametrize("path", HOST_SIDE, ids=lambda path: path.name)
def test_host_side_python_is_3_9_and_needs_nothing_installed(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    allowed = {*sys.stdlib_module_names, "internal_inpaint_plugin"} - {"tomllib"}
    if path.name.startswith("nuke_") or path.parent == GIZMOS:
        allowed.add("nuke")
    if path.name.startswith("fusion_"):
        allowed |= {"fusionscript", "DaVinciResolveScript"}
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert {name.split(".")[0] for name in names} <= allowed, f"{path.name}:{getattr(node, 'lineno', 0)} {names}"


def runs(python):
    return subprocess.run([str(python), "-S", "-c", ""], capture_output=True).returncode == 0


def test_python_3_9_itself_runs_the_package(tmp_path):
    pythons = [*sorted(Path.home().glob(".pyenv/versions/3.9.*/bin/python3.9")), shutil.which("python3.9")]
    python = next((str(python) for python in pythons if python and runs(python)), None)
    if python is None:
        pytest.skip("no python3.9 on this machine")
    (tmp_path / "nuke.py").write_text("GUI, INPUTS, HIDDEN_INPUTS, EXPRESSIONS = True, 1, 2, 4\n")
    modules = [f"internal_inpaint_plugin.{path.stem}" for path in HOST_SIDE if path.stem.startswith("nuke_")]
    assert len(modules) >= 5
    run = [python, "-S", "-c", "; ".join(f"import {name}" for name in modules)]
    environment = {"PYTHONPATH": f"{ROOT / 'plugin'}:{tmp_path}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(run, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def start_nuke(host, folder):
    """What Nuke runs at its start from one folder of its plugin path."""
    for name in ("init.py", "menu.py") if host.gui else ("init.py",):
        path = folder / name
        exec(compile(path.read_text(), str(path), "exec"), {"__file__": str(path), "__name__": "__main__"})


@pytest.fixture
def no_plugin(monkeypatch):
    """As if the package were nowhere; restored afterwards."""
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("internal_inpaint_plugin")}
    monkeypatch.setattr(sys, "path", [place for place in sys.path if not place.endswith("plugin")])
    # An editable installation finds its packages by a finder of its own.
    plain = [finder for finder in sys.meta_path if getattr(finder, "__module__", "").startswith("_frozen_importlib")]
    monkeypatch.setattr(sys, "meta_path", plain)
    yield
    for name in [name for name in sys.modules if name.startswith("internal_inpaint_plugin")]:
        del sys.modules[name]
    sys.modules.update(kept)


def installed(folder, plugin=True):
    """nuke_gizmos/* and the package in one folder, as `internal-inpaint install nuke` puts them."""
    shutil.copytree(GIZMOS, folder)
    if plugin:
        shutil.copytree(
            ROOT / "plugin/internal_inpaint_plugin", folder / "internal_inpaint_plugin",
            ignore=shutil.ignore_patterns("__pycache__"),
        )  # fmt: skip
    return folder


def test_installed_in_one_folder_it_starts(no_plugin, tmp_path, capsys):
    with Host("/shots/a.nk") as host:
        start_nuke(host, installed(tmp_path / "InternalInpaint"))
        assert capsys.readouterr().out == ""
        assert host.menus["Nodes"].entries["Internal Inpaint"].entries["Internal Inpaint"]
        assert [len(calls) for calls in host.callbacks.values()] == [1, 1]
        assert not host.violations


def test_from_the_repository_it_starts(no_plugin, capsys):
    with Host("/shots/a.nk") as host:
        start_nuke(host, GIZMOS)
        assert capsys.readouterr().out == ""
        assert "Internal Inpaint" in host.menus["Nodes"].entries["Internal Inpaint"].entries


def test_a_missing_plugin_gives_a_line_and_a_menu_entry_that_explains(no_plugin, tmp_path, capsys):
    with Host("/shots/a.nk") as host:
        start_nuke(host, installed(tmp_path / "InternalInpaint", plugin=False))
        assert len(capsys.readouterr().out.strip().splitlines()) == 2, "one of init.py, one of menu.py"
        (command,) = host.menus["Nodes"].entries["Internal Inpaint"].entries.values()
        command()
        assert "internal_inpaint_plugin" in host.messages[0]
        assert not host.violations


def test_a_broken_plugin_does_not_stop_nuke(no_plugin, tmp_path, capsys):
    folder = installed(tmp_path / "InternalInpaint")
    (folder / "internal_inpaint_plugin/nuke_watch.py").write_text("this is no Python")
    with Host("/shots/a.nk") as host:
        start_nuke(host, folder)
        assert "SyntaxError" in capsys.readouterr().out


def test_in_a_render_only_the_callbacks_are_there(no_plugin, tmp_path):
    with Host("/shots/a.nk", gui=False) as host:
        start_nuke(host, installed(tmp_path / "InternalInpaint"))
        assert [len(calls) for calls in host.callbacks.values()] == [1, 1]
        assert not host.menus


def test_a_script_opens_without_the_plugin(no_plugin):
    with Host("/shots/a.nk") as host:
        node = host.create("InternalInpaint")
        host.change(node, quality="final", run="v001")
        host.delete(node)
        assert not host.violations


def test_the_icon_is_a_small_png():
    data = (GIZMOS / "InternalInpaint.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (24, 24)
    assert len(data) < 4096

"""The macro, and the Resolve script: as Lua, against the published stubs, against a strict stand-in of Resolve."""

import ast
import functools
import os
import re
import shutil
import subprocess
import sys

import pytest
from fusion_standin import ROOT, Host, Tool
from fusion_standin.shots import finished_run, make_shot, quick_worker

from internal_inpaint_plugin import fusion_files, fusion_node
from internal_inpaint_plugin.errors import PluginError
from internal_inpaint_plugin.run import Run

SCRIPT = ROOT / "resolve_fuse" / "InternalInpaintToClip.py"
MACRO = ROOT / "resolve_fuse" / "InternalInpaint.setting"
# Arguments that the stubs' own words call optional, or that came with a later version.
OPTIONAL = {"AddTrack": {1}, "GetLeftOffset": {0}, "GetDuration": {0}, "GetStart": {0}}
# What Fusion gives a file: constructors, and nothing else.
CONSTRUCTORS = {
    "ordered", "MacroOperator", "InstanceInput", "InstanceOutput", "Input", "Loader", "Clip", "Dissolve", "FuID",
    "OperatorInfo", "GroupInfo", "Composition", "MediaIn", "MediaOut", "Fuse",
}  # fmt: skip


def as_lua(text):
    """The file as Fusion reads it: a table constructor, its constructors all known. A dict; lists from 1."""
    luajit = pytest.importorskip(
        "lupa.luajit21", reason="lupa is not installed, so there is no LuaJIT to read the file with: install .[dev]"
    )
    lua = luajit.LuaRuntime()
    load = lua.eval(
        """function(text, names)
            local env = {}
            local function maker(kind) return function(content) content.kind = kind return content end end
            for name in names:gmatch("%S+") do env[name] = maker(name) end
            env.ordered = function() return function(content) return content end end
            env.Fuse = setmetatable({}, {__index = function(_, name) return maker("Fuse." .. name) end})
            setmetatable(env, {__index = function(_, name) error("unknown constructor " .. name) end})
            local chunk = assert(loadstring("return " .. text))
            setfenv(chunk, env)
            return chunk()
        end"""
    )

    def plain(value):
        if not hasattr(value, "items"):
            return value
        return {key: plain(item) for key, item in value.items()}

    return plain(load(text, " ".join(CONSTRUCTORS - {"ordered", "Fuse"})))


# --------------------------------------------------------------------------------------------------- the macro


def test_the_shipped_macro_is_the_written_one():
    assert MACRO.read_text(encoding="utf-8") == fusion_files.shipped_macro()


def test_the_macro_hangs_together():
    content = as_lua(MACRO.read_text(encoding="utf-8"))
    group = content["Tools"]["InternalInpaint"]
    tools = group["Tools"]
    assert content["ActiveTool"] == "InternalInpaint"
    assert {tool["kind"] for tool in tools.values()} == {"Loader", "Dissolve"}
    for link in [*group["Inputs"].values(), *group["Outputs"].values()]:
        assert link["SourceOp"] in tools
    for name, file in fusion_files.LOADERS.items():
        loader = tools[name]
        clip = loader["Clips"][1]
        assert clip["Filename"].startswith("Comp:/"), "no absolute path"
        assert clip["Filename"].endswith("/v001/" + file.replace("####", "1001"))
        assert (clip["StartFrame"], clip["GlobalStart"], clip["TrimIn"]) == (1001, 1001, 0)
        assert clip["Length"] == clip["TrimOut"] + 1 == clip["GlobalEnd"] - clip["GlobalStart"] + 1
        assert loader["Inputs"]["MissingFrames"]["Value"] == 1, "a missing frame holds the one before"
        assert f"{name}Clip" in group["Inputs"], "the artist can choose other frames"
    assert tools["Shown"]["Inputs"]["Foreground"]["SourceOp"] == "Result"


def test_the_macro_of_a_run_follows_its_frames(tmp_path):
    run = Run(finished_run(tmp_path / 'a "b" \\ ü' / "v002", range(1005, 1009)))
    loader = as_lua(fusion_files.macro_of(run, 0))["Tools"]["InternalInpaint"]["Tools"]["Result"]
    clip = loader["Clips"][1]
    assert clip["Filename"] == str(run.folder / "result/result.1005.exr")
    assert (clip["StartFrame"], clip["Length"], clip["GlobalStart"], clip["GlobalEnd"]) == (1005, 4, 0, 3)
    with pytest.raises(PluginError, match=r"no finished frames in .*: train the shot first"):
        fusion_files.macro_of(Run(tmp_path / "nothing"))


# --------------------------------------------------------------------------------- the API, by the stubs


@functools.lru_cache
def stub_methods():
    """Method name to the numbers of arguments it takes, over all classes of the published stubs."""
    folders = [f"{p}/fusionscript-stubs" for p in sys.path if os.path.isdir(f"{p}/fusionscript-stubs")]
    if not folders:
        pytest.skip("fusionscript-stubs is not installed: install .[dev]")
    with open(f"{folders[0]}/fusionscript.pyi", encoding="utf-8") as file:
        tree = ast.parse(file.read())
    methods = {}
    for of in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for method in (node for node in of.body if isinstance(node, ast.FunctionDef)):
            most = len(method.args.args) - 1
            optional = sum("Optional" in ast.dump(a.annotation) for a in method.args.args[1:] if a.annotation)
            counts = set(range(most - optional - len(method.args.defaults), most + 1))
            methods.setdefault(method.name, {}).setdefault(of.name, set()).update(counts)
    return methods


def test_every_call_is_one_of_the_published_api():
    methods, called = stub_methods(), set()
    for node in ast.walk(ast.parse((ROOT / "plugin/internal_inpaint_plugin/fusion_node.py").read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and re.match("[A-Z]", node.func.attr):
            name, count = node.func.attr, len(node.args)
            assert name in methods, f"Resolve has no {name}"
            known = set.union(*methods[name].values()) | OPTIONAL.get(name, set())
            assert count in known, f"{name} with {count} argument(s)"
            called.add(name)
    assert called >= {"ImportFusionComp", "ImportMedia", "AppendToTimeline", "GetCurrentVideoItem"}


# ------------------------------------------------------------------------------------------- a run of the script


class Strict:
    """An object of Resolve's API: the methods of its class in the stubs, of which these do something."""

    def __init__(self, of, **does):
        self._of, self._does, self.calls = of, does, []
        methods = stub_methods()
        for name in does:
            assert of in methods.get(name, {}), f"{of} has no {name}"

    def __getattr__(self, name):
        if name not in self._does:
            raise AssertionError(f"{self._of}.{name} is not foreseen")

        def call(*arguments):
            counts = stub_methods()[name][self._of] | OPTIONAL.get(name, set())
            assert len(arguments) in counts, f"{self._of}.{name}{arguments}"
            self.calls.append((name, arguments))
            found = self._does[name]
            return found(*arguments) if callable(found) else found

        return call


class Resolve:
    """A project with one clip, frames 1003 to 1006 of plate.[1001-1008].exr at timeline frame 86400."""

    def __init__(self, folder, comps=0, path=None, imports=("dict",), item=True, old=False):
        self.comps, self.tracks, self.bins, self.imported, self.placed = [], 1, [], [], []

        def import_comp(path):
            with open(path, encoding="utf-8") as file:
                self.comps.append(file.read())
            return object()

        def import_media(items):
            if ("dict" if isinstance(items[0], dict) else "paths") not in imports:
                return []
            self.imported.append(items)
            return ["media item"]

        def add_track(kind):
            assert kind == "video"
            self.tracks += 1
            return True

        def add_bin(parent, name):
            assert parent is self.root
            self.bins.append(Strict("Folder", GetName=name))
            return self.bins[-1]

        def append(items):
            self.placed.append(items)
            return ["item"]

        def whole(frames):
            """Versions before 20 take no argument, and answer nothing to one."""

            def answer(*arguments):
                assert arguments in ((False,), ())
                return None if old and arguments else frames

            return answer

        media = Strict("MediaPoolItem", GetClipProperty=path or f"{folder}/plate.[1001-1008].exr")
        self.item = Strict(
            "TimelineItem",
            GetMediaPoolItem=media, GetName="plate",
            GetLeftOffset=whole(2), GetDuration=whole(4), GetStart=whole(86400),
            GetFusionCompCount=lambda: comps + len(self.comps), ImportFusionComp=import_comp,
        )  # fmt: skip
        self.root = Strict("Folder", GetSubFolderList=lambda: self.bins)
        pool = Strict(
            "MediaPool",
            GetRootFolder=self.root, AddSubFolder=add_bin, SetCurrentFolder=lambda folder: folder in self.bins,
            ImportMedia=import_media, AppendToTimeline=append,
        )  # fmt: skip
        timeline = Strict(
            "Timeline",
            GetCurrentVideoItem=lambda: self.item if item else None,
            GetTrackCount=lambda kind: self.tracks,
            AddTrack=add_track,
        )
        project = Strict("Project", GetCurrentTimeline=timeline, GetMediaPool=pool)
        manager = Strict("ProjectManager", GetCurrentProject=project)
        self.api = Strict("Resolve", GetProjectManager=manager)
        for name, strict in (("GetCurrentTimeline", timeline), ("GetMediaPool", pool)):
            project._does[name] = lambda found=strict: found
        manager._does["GetCurrentProject"] = lambda: project
        self.api._does["GetProjectManager"] = lambda: manager
        self.item._does["GetMediaPoolItem"] = lambda: media
        pool._does["GetRootFolder"] = lambda: self.root


def test_a_clip_without_the_node_gets_it(tmp_path):
    resolve = Resolve(tmp_path / "shot")
    line = fusion_node.to_current_clip(resolve.api)
    assert line == "The node was added to plate: open the Fusion page, choose a matte and press Start Training"
    tools = as_lua(resolve.comps[0])["Tools"]
    node = tools["InternalInpaint1"]
    assert node["kind"] == "Fuse.InternalInpaint"
    assert node["Inputs"]["Input"]["SourceOp"] == "MediaIn1"
    assert tools["MediaOut1"]["Inputs"]["Input"]["SourceOp"] == "InternalInpaint1"
    assert str(tmp_path) not in resolve.comps[0], "no absolute path"
    assert fusion_node.to_current_clip(resolve.api).startswith("plate already has a Fusion comp")
    assert len(resolve.comps) == 1


def test_from_the_clip_to_the_finished_frames(tmp_path):
    """The script's comp, opened in the host with the Fuse and a worker, then its frames on a track."""
    shot = tmp_path / "shot"
    make_shot(shot, frames=8)
    resolve = Resolve(shot)
    fusion_node.to_current_clip(resolve.api)
    inputs = as_lua(resolve.comps[0])["Tools"]["InternalInpaint1"]["Inputs"]
    saved = {key: value["Value"] for key, value in inputs.items() if "Value" in value}
    tools = [
        Tool("Fuse.InternalInpaint", "InternalInpaint1", input="MediaIn1"),
        Tool("MediaIn", "MediaIn1", media=f"{shot}/plate.[1001-1008].exr"),
    ]
    node = Host(None, tools=tools, tells=True).node(saved=saved)
    node.set(MatteFile=f"{shot}/matte.1001.exr", Worker=str(quick_worker(tmp_path)))
    assert node.press("StartTraining") == "Starting the worker"
    while not node.press("RefreshStatus").startswith("Done"):
        assert "Starting" in node.status
    assert node.process(0) is not None

    assert fusion_node.to_current_clip(resolve.api) == "4 finished frames of plate are on a new track above the clip"
    result = tmp_path / "InternalInpaint/plate/v001/result/result.%04d.exr"
    assert resolve.imported == [[{"FilePath": str(result), "StartIndex": 1001, "EndIndex": 1008}]]
    # Frames 1003 to 1006: endFrame is the first that is not placed, as others have measured in version 21.
    assert resolve.placed == [
        [{"mediaPoolItem": "media item", "startFrame": 2, "endFrame": 6, "trackIndex": 2, "recordFrame": 86400}]
    ]
    fusion_node.to_current_clip(resolve.api)
    assert len(resolve.bins) == 1, "the bin is used again"


def test_a_run_that_is_not_finished_is_not_brought_in(tmp_path):
    (tmp_path / "shot").mkdir()
    finished_run(tmp_path / "InternalInpaint/plate/v001", range(1001, 1009), {"state": "stopped"})
    with pytest.raises(PluginError, match="plate is not finished: Stopped: press Resume to continue"):
        fusion_node.to_current_clip(Resolve(tmp_path / "shot").api)


def test_an_older_resolve(tmp_path):
    """It takes paths only, and no argument where newer ones ask for fractions."""
    (tmp_path / "shot").mkdir()
    finished_run(tmp_path / "InternalInpaint/plate/v001", range(1001, 1009))
    resolve = Resolve(tmp_path / "shot", imports=("paths",), old=True)
    fusion_node.to_current_clip(resolve.api)
    assert resolve.placed[0][0]["recordFrame"] == 86400
    assert resolve.imported[0][0].endswith("result.1001.exr")
    (tmp_path / "InternalInpaint/plate/v001/result/result.1004.exr").unlink()
    with pytest.raises(PluginError, match="finished frame 1004 is missing"):
        fusion_node.to_current_clip(resolve.api)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"item": False}, "there is no clip under the playhead"),
        ({"path": "/x/movie.mov"}, "/x/movie.mov is not an image sequence: render the clip as EXR files first"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path, options, sentence, capsys):
    assert fusion_node.main(Resolve(tmp_path, **options).api) == 2
    assert capsys.readouterr().err.startswith(f"Internal Inpaint: {sentence}")


def test_a_resolve_that_answers_nothing_is_one_sentence(tmp_path, capsys):
    resolve = Resolve(tmp_path)
    resolve.api._does["GetProjectManager"] = lambda: None
    assert fusion_node.main(resolve.api) == 2
    assert "Resolve's scripting API gave an unexpected answer" in capsys.readouterr().err


def test_a_clip_of_unpadded_numbers(tmp_path):
    *_, clip = fusion_node.current_clip(Resolve(tmp_path, path="C:\\shots\\010\\plate.[8-12].exr").api)
    assert (clip.plate, clip.first, clip.length) == ("C:/shots/010/plate.#.exr", 10, 4)


@pytest.mark.parametrize("plugin", [True, False])
def test_the_script_outside_resolve_says_so(tmp_path, plugin):
    script = SCRIPT
    if not plugin:
        script = tmp_path / SCRIPT.name
        script.write_text(SCRIPT.read_text())
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    # Without site-packages: the package may be installed in this Python.
    command = [sys.executable, "-S", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert (
        "DaVinciResolveScript cannot be imported" if plugin else "internal_inpaint_plugin cannot be found"
    ) in done.stderr


def test_the_script_finds_its_package_where_resolve_tells_it_nothing_of_itself(tmp_path):
    """Menu scripts may have no ``__file__``: where install has put things, the path map leads."""
    package = tmp_path / "Fusion" / "Scripts" / "plugin"
    shutil.copytree(ROOT / "plugin" / "internal_inpaint_plugin", package / "internal_inpaint_plugin")
    host = (
        "class App:\n    def MapPath(self, path): return '/not/there;' + " + repr(str(package.parent)) + "\n"
        "source = open(" + repr(str(SCRIPT)) + ").read()\n"
        "exec(compile(source, '<script>', 'exec'), {'fusion': App(), '__name__': '__main__'})\n"
        "import internal_inpaint_plugin; print(internal_inpaint_plugin.__file__)\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "INTERNAL_INPAINT"))}
    done = subprocess.run([sys.executable, "-P", "-c", host], capture_output=True, text=True, env=environment)
    assert str(package) in done.stdout, done.stderr
    assert "DaVinciResolveScript cannot be imported" in done.stderr

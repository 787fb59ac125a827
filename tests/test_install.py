"""Installing into hosts: what is put where, that it comes out again, and that nothing of the artist's is touched."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from running import ROOT

from internal_inpaint.cli import main
from internal_inpaint.install import manifest, nuke_init, places, sources

GIZMO, OWN_LINE = "InternalInpaint/InternalInpaint.gizmo", nuke_init.LINE.decode()


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A small host side in place of the repository's, so that the tests hold whatever that consists of."""
    folder = tmp_path / "parts"
    texts = {
        "nuke_gizmos/init.py": "print('init')\n",
        "nuke_gizmos/menu.py": "print('menu')\n",
        "nuke_gizmos/InternalInpaint.gizmo": "Group {}\n",
        "nuke_gizmos/icons/InternalInpaint.png": "png",
        "nuke_gizmos/__pycache__/init.cpython-311.pyc": "no",
        "internal_inpaint_plugin/__init__.py": "",
        "internal_inpaint_plugin/farm/job.py": "x = 1\n",
        "internal_inpaint_plugin/installed_worker.json": "another machine's",
        "resolve_fuse/InternalInpaint.fuse": "-- fuse\n",
        "resolve_fuse/InternalInpaint.setting": "{}\n",
        "resolve_fuse/InternalInpaintToClip.py": "pass\n",
        "resolve_fuse/README.md": "no",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(sources, "_folder", lambda part: folder / part)
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    home = tmp_path / "home é"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    return home


@pytest.fixture
def told(capsys):
    """Run a verb; returns its exit code and its lines, the error's last."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, (printed.out + printed.err).splitlines()

    return run


def tree(folder):
    """Every file, link and folder below a folder, with content."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
        found[path.relative_to(folder).as_posix()] = content
    return found


def test_nuke_gets_its_files_one_line_and_the_worker(parts, home, told):
    code, lines = told("install", "nuke")
    assert code == 0
    nuke = home / ".nuke"
    assert set(tree(nuke)) == {
        "init.py",
        "InternalInpaint",
        "InternalInpaint/installed.json",
        "InternalInpaint/init.py",
        "InternalInpaint/menu.py",
        GIZMO,
        "InternalInpaint/icons",
        "InternalInpaint/icons/InternalInpaint.png",
        "InternalInpaint/internal_inpaint_plugin",
        "InternalInpaint/internal_inpaint_plugin/__init__.py",
        "InternalInpaint/internal_inpaint_plugin/farm",
        "InternalInpaint/internal_inpaint_plugin/farm/job.py",
        "InternalInpaint/internal_inpaint_plugin/installed_worker.json",
    }
    assert (nuke / "init.py").read_text() == OWN_LINE + "\n"
    worker = json.loads((nuke / "InternalInpaint/internal_inpaint_plugin/installed_worker.json").read_text())
    assert os.path.isabs(worker["command"][0])
    assert worker["version"] == manifest.__version__
    assert f"copied {GIZMO}" in lines
    assert told("uninstall", "nuke")[0] == 0
    assert tree(home) == {}


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"import nuke\n",
        b"import nuke\nprint(1)",
        b"a = 1\r\nb = 2\r\n",
        b"# caf\xe9, no UTF-8\nprint 'Nuke 12'\n",
    ],
)
def test_the_artists_init_py_comes_back_byte_for_byte(parts, home, told, before):
    init = home / ".nuke/init.py"
    init.parent.mkdir()
    init.write_bytes(before)
    assert told("install", "nuke")[0] == 0
    assert told("install", "nuke")[0] == 0
    now = init.read_bytes()
    assert now.startswith(before)
    assert now.count(nuke_init.LINE) == 1
    assert nuke_init.LINE in now.splitlines()
    assert told("uninstall", "nuke")[0] == 0
    assert tree(home) == {".nuke": "folder", ".nuke/init.py": before}


def test_what_the_artist_wrote_after_our_line_stays(parts, home, told):
    init = home / ".nuke/init.py"
    init.parent.mkdir()
    init.write_bytes(b"first = 1")
    told("install", "nuke")
    init.write_bytes(init.read_bytes() + b"second = 2\n")
    told("uninstall", "nuke")
    assert init.read_bytes() == b"first = 1\nsecond = 2\n"


def test_an_init_py_that_a_line_would_break_is_left_alone(parts, home, told):
    init = home / ".nuke/init.py"
    init.parent.mkdir()
    init.write_bytes("import nuke\n".encode("utf-16"))
    before = tree(home)
    code, lines = told("install", "nuke")
    assert code == 2
    assert "a line cannot be appended to" in lines[-1]
    assert tree(home) == before


def test_a_dry_run_writes_nothing_and_says_the_same(parts, home, told):
    _, would = told("install", "nuke", "--dry-run")
    assert tree(home) == {}
    _, did = told("install", "nuke")
    words = {"copied": "copy", "wrote": "write", "edited": "edit"}
    assert [
        f"would {words[line.split()[0]]} {line.split(' ', 1)[1]}" for line in did if line.split()[0] in words
    ] == [line for line in would if line.startswith("would")]
    before = tree(home)
    _, would = told("uninstall", "nuke", "--dry-run")
    assert tree(home) == before
    assert f"would remove {GIZMO}" in would


def test_a_second_install_updates_and_sets_aside_what_the_artist_changed(parts, home, told, monkeypatch):
    told("install", "nuke")
    (home / ".nuke/InternalInpaint/menu.py").write_text("mine\n")
    (home / ".nuke/InternalInpaint/notes.txt").write_text("mine too\n")
    (parts / "nuke_gizmos/InternalInpaint.gizmo").write_text("Group { new }\n")
    (parts / "nuke_gizmos/icons/InternalInpaint.png").unlink()
    monkeypatch.setattr(manifest, "__version__", "9.0.0")
    monkeypatch.setattr("internal_inpaint.install.__version__", "9.0.0")
    _, lines = told("install", "nuke")
    assert "updating version 0.1.0 to 9.0.0" in lines[0]
    assert f"updated {GIZMO}" in lines
    assert "removed InternalInpaint/icons/InternalInpaint.png" in lines
    assert any("kept InternalInpaint/menu.py" in line and "menu.py.kept" in line for line in lines)
    assert (home / ".nuke" / GIZMO).read_text() == "Group { new }\n"
    assert (home / ".nuke/InternalInpaint/menu.py").read_text() == "print('menu')\n"
    monkeypatch.setattr("internal_inpaint.install.__version__", "0.1.0")
    assert "replacing the newer version 9.0.0 with 0.1.0" in told("install", "nuke")[1][0]
    told("uninstall", "nuke")
    left = {name: content for name, content in tree(home).items() if content != "folder"}
    assert left == {
        ".nuke/InternalInpaint/menu.py.kept": b"mine\n",
        ".nuke/InternalInpaint/notes.txt": b"mine too\n",
    }


def test_uninstall_keeps_and_names_a_changed_file_and_sweeps_what_python_compiled(parts, home, told):
    told("install", "nuke")
    (home / ".nuke" / GIZMO).write_text("Group { mine }\n")
    compiled = home / ".nuke/InternalInpaint/internal_inpaint_plugin/__pycache__"
    compiled.mkdir()
    (compiled / "worker.cpython-311.pyc").write_bytes(b"")
    _, lines = told("uninstall", "nuke")
    assert f"kept {GIZMO}: it was changed after the installation" in lines
    assert [name for name, content in tree(home).items() if content != "folder"] == [f".nuke/{GIZMO}"]


def test_links_lead_to_the_files_and_are_all_that_is_removed(parts, home, told):
    assert told("install", "nuke", "--link")[0] == 0
    gizmo = home / ".nuke" / GIZMO
    assert gizmo.is_symlink()
    assert gizmo.read_text() == "Group {}\n"
    before = tree(parts)
    told("install", "nuke")  # and back to copies
    assert not gizmo.is_symlink()
    told("install", "nuke", "--link")
    told("uninstall", "nuke")
    assert tree(home) == {}
    assert tree(parts) == before


@pytest.mark.parametrize("installed", [False, True])
def test_a_failure_at_any_moment_leaves_everything_as_it_was(parts, home, told, monkeypatch, installed):
    init = home / ".nuke/init.py"
    init.parent.mkdir()
    init.write_bytes(b"mine")
    if installed:
        told("install", "nuke")
        (parts / "nuke_gizmos/InternalInpaint.gizmo").write_text("Group { new }\n")
        (home / ".nuke/InternalInpaint/menu.py").write_text("mine\n")
    before, real = tree(home), os.replace
    for moment in range(60):
        calls = iter(range(1000))

        def fails(source, target, calls=calls, moment=moment):
            if next(calls) == moment:
                raise OSError(30, "Read-only file system", str(target))
            return real(source, target)

        with monkeypatch.context() as broken:
            broken.setattr(os, "replace", fails)
            code, lines = told("install", "nuke")
        if code == 0:
            break
        assert code == 2
        assert "Read-only file system" in lines[-1]
        assert not [line for line in lines if line.startswith(("copied", "updated", "wrote", "edited"))]
        assert tree(home) == before
    assert code == 0
    assert moment > (3 if installed else 8)


def test_what_cannot_be_done_is_one_sentence(parts, home, told, tmp_path):
    for arguments, said in (
        (["install", "maya"], "invalid choice"),
        (["install", "resolve"], "no folders of DaVinci Resolve or Fusion Studio"),
        (["uninstall", "nuke"], "there is no installation in"),
        (["install", "nuke", "--into", " "], "--into is empty"),
        (["install", "nuke", "--into", parts / "nuke_gizmos/init.py"], "is not a folder, but a folder is needed"),
        (["install", "nuke", "--into", "/dev/null/nuke"], "/dev/null"),
    ):
        before = tree(tmp_path)
        code, lines = told(*arguments)
        assert code == 2, arguments
        assert said in lines[-1]
        assert tree(tmp_path) == before
    (home / ".nuke").mkdir()
    (home / ".nuke/InternalInpaint").write_text("a file\n")
    assert "InternalInpaint is not a folder" in told("install", "nuke")[1][-1]
    (home / ".nuke/InternalInpaint").unlink()
    (home / ".nuke/InternalInpaint").symlink_to(parts)
    assert "is a link to" in told("install", "nuke")[1][-1]


# A list that names a file elsewhere, with that file's very digest.
OUTSIDE = {"format": 1, "version": "1", "folders": [], "files": {"../x": hashlib.sha256(b"").hexdigest()}}


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 99}', json.dumps(OUTSIDE)])
def test_a_damaged_or_foreign_list_of_files_removes_nothing(parts, home, told, content):
    told("install", "nuke")
    (home / ".nuke/InternalInpaint/installed.json").write_text(content)
    (home / "x").write_text("")
    before = tree(home)
    code, lines = told("uninstall", "nuke")
    assert code == 2
    assert "installed.json" in lines[-1]
    assert tree(home) == before


def test_resolve_and_fusion_get_theirs_in_both_applications(parts, home, told, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    (home / ".local/share/DaVinciResolve").mkdir(parents=True)
    (home / ".fusion/BlackmagicDesign/Fusion/Fuses").mkdir(parents=True)
    (home / ".fusion/BlackmagicDesign/Fusion/Fuses/Other.fuse").write_text("the artist's")
    before = tree(home)
    assert told("install", "resolve")[0] == 0
    for root in (home / ".local/share/DaVinciResolve/Fusion", home / ".fusion/BlackmagicDesign/Fusion"):
        for name in (
            "Fuses/InternalInpaint.fuse",
            "Fuses/installed_worker.json",
            "Macros/InternalInpaint.setting",
            "Scripts/Utility/InternalInpaintToClip.py",
            "Scripts/plugin/internal_inpaint_plugin/__init__.py",
            "Scripts/plugin/internal_inpaint_plugin/installed_worker.json",
        ):
            assert (root / name).is_file(), name
    assert told("uninstall", "resolve")[0] == 0
    assert tree(home) == before


@pytest.mark.parametrize(
    ("platform", "resolve", "studio"),
    [
        ("linux", ".local/share/DaVinciResolve/Fusion", ".fusion/BlackmagicDesign/Fusion"),
        (
            "darwin",
            "Library/Application Support/Blackmagic Design/DaVinci Resolve/Support/Fusion",
            "Library/Application Support/Blackmagic Design/Fusion",
        ),
        (
            "win32",
            "Roaming/Blackmagic Design/DaVinci Resolve/Support/Fusion",
            "Roaming/Blackmagic Design/Fusion",
        ),
    ],
)
def test_fusions_folders_of_each_system(tmp_path, platform, resolve, studio):
    found = places.fusion_folders(platform, tmp_path, {"APPDATA": str(tmp_path / "Roaming")})
    roots = [root.relative_to(tmp_path).as_posix() for _, _, root in found]
    assert roots[0] == resolve
    assert roots[-1] == studio


@pytest.mark.parametrize("there", ["Support/Fusion", "Fusion"])
def test_where_documents_differ_the_folder_that_is_there_is_taken(parts, home, told, monkeypatch, there):
    monkeypatch.setattr(sys, "platform", "darwin")
    resolve = home / "Library/Application Support/Blackmagic Design/DaVinci Resolve"
    (resolve / there).mkdir(parents=True)
    assert told("install", "resolve")[0] == 0
    assert [path.relative_to(resolve).as_posix() for path in home.rglob("*.fuse")] == [
        f"{there}/Fuses/InternalInpaint.fuse"
    ]


def test_a_wheel_brings_the_hosts_files_and_installs_them(tmp_path):
    """Built, unpacked and used away from the checkout, as a studio would."""
    tree_ = tmp_path / "tree"
    for name in ("setup.py", "README.md", "pyproject.toml", "core", "plugin", "nuke_gizmos", "resolve_fuse"):
        source = ROOT / name
        if source.is_file():
            (tree_ / name).parent.mkdir(parents=True, exist_ok=True)
            (tree_ / name).write_bytes(source.read_bytes())
        for path in source.rglob("*") if source.is_dir() else ():
            if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path):
                target = tree_ / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    for folder in ("nuke_gizmos", "resolve_fuse"):
        (tree_ / folder).mkdir(exist_ok=True)
    (tree_ / "nuke_gizmos/Test.gizmo").write_text("Group {}\n")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "--no-index"]
    subprocess.run([*pip, "-w", str(tmp_path), "."], cwd=tree_, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    into = tmp_path / "nuke folder"
    done = subprocess.run(
        [sys.executable, "-m", "internal_inpaint", "install", "nuke", "--into", str(into)],
        env=dict(os.environ, PYTHONPATH=str(site)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    installed = {PurePosixPath(name).relative_to("InternalInpaint") for name in tree(into) if "/" in name}
    assert PurePosixPath("Test.gizmo") in installed
    for path in (ROOT / "plugin/internal_inpaint_plugin").rglob("*.py"):
        assert PurePosixPath(path.relative_to(ROOT / "plugin").as_posix()) in installed
    assert (site / "internal_inpaint/export/operators.txt").is_file()
    assert (site / "internal_inpaint/report/report.html.j2").is_file()


def test_the_installed_plugin_finds_the_worker_that_installed_it(home, tmp_path, told):
    """The real package, in a process that knows nothing else of Internal Inpaint."""
    nuke = tmp_path / "nuke"
    if told("install", "nuke", "--into", nuke)[0] != 0:
        pytest.skip("nuke_gizmos is not there yet")
    code = "from internal_inpaint_plugin import find_worker; print(*find_worker(), sep='\\n')"
    environment = {name: value for name, value in os.environ.items() if name != "INTERNAL_INPAINT"}
    environment |= {"PYTHONPATH": str(nuke / "InternalInpaint"), "PATH": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == sources.worker_command()


@pytest.mark.skipif(os.name == "nt", reason="a script is no executable there")
def test_what_lies_in_a_job_folder_is_not_imported(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "NAME", "no-such-script")
    (tmp_path / "argparse.py").write_text("raise SystemExit('code of the job folder')\n")
    done = subprocess.run([*sources.worker_command.__wrapped__(), "--version"], cwd=tmp_path, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_engine_that_a_host_would_not_find_is_told(tmp_path, monkeypatch):
    """Found through this shell's PYTHONPATH only, which hosts do not pass on."""
    for status, told in ((1, True), (0, False)):
        python = tmp_path / f"python{status}"
        python.write_text(f'#!/bin/sh\n[ -z "$PYTHONPATH" ] && exit {status}\nexit 0\n')
        python.chmod(0o755)
        monkeypatch.setenv("PYTHONPATH", "/somewhere")
        monkeypatch.setattr(sources, "worker_command", lambda python=python: [str(python), "-m", "internal_inpaint"])
        assert bool(sources.command_note()) == told

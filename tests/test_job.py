"""job.json and the words of the command line: what is read, what is refused and how it is said."""

import json
import re
import runpy
from dataclasses import replace

import pytest
from running import ROOT, internal_inpaint, status

from internal_inpaint import job as jobs
from internal_inpaint.errors import BadInput
from internal_inpaint.job import (
    QUALITIES,
    SETTINGS,
    Job,
    default_folder,
    parse_time,
    read_job,
    write_job,
)
from internal_inpaint.job_folder import JobFolder
from internal_inpaint.training.config import PRESETS, TrainingConfig


def write(path, **data):
    path.write_text(json.dumps({"plate": "a.####.exr", "output": "b.####.exr", **data}))
    return path


def test_a_job_survives_its_file(tmp_path):
    job = Job("/plate with ümlaut.####.exr", "/o.####.exr", grow=0, time=12.5, steps=3, fill_layer=True)
    write_job(job, tmp_path)
    assert read_job(tmp_path / "job.json") == job


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"quallity": "draft"}, "unknown key.*quallity"),
        ({"steps": "100"}, "--steps must be a whole number"),
        ({"steps": True}, "--steps must be a whole number"),
        ({"steps": 0}, "--steps 0 is out of range"),
        ({"steps": 10**30}, "--steps is far too large"),
        ({"grow": 10**4000}, "--grow is far too large"),
        ({"frames": ""}, "--frames is empty"),
        ({"plate": "\ud800.####.exr"}, "not valid Unicode"),
        ({"output": "a\0b.####.exr"}, "NUL"),
        ({"time": "10m"}, "--time must be a number"),
        ({"time": -1}, "no training time"),
        ({"plate": None}, "--plate must be text"),
        ({"plate": ""}, "--plate is empty"),
        ({"grow": -2}, "--grow -2 is out of range"),
        ({"quality": "best"}, "draft, standard, final, paper"),
        ({"seed": -1}, "--seed"),
        ({"version": 99}, "job version 99.*update"),
        ({"version": "1"}, "version must be"),
        ({"fill_layer": 1}, "--fill-layer must be true or false"),
        ({"grain": 5}, "--grain 5 is out of range: give 0 to 4"),
        ({"grain": -0.5}, "--grain -0.5 is out of range"),
        ({"grain": float("nan")}, "--grain nan is out of range"),
        ({"grain": "off"}, "--grain must be a number"),
        ({"grain": None}, "--grain must be a number"),
        ({"steps": 12.5}, "--steps must be a whole number or null"),
        ({"grow": float("nan")}, "--grow nan is out of range"),
        ({"time": float("inf")}, "no training time"),
        ({"network": "huge"}, "--network huge is not known: use base, stacked, coarse-to-fine"),
        ({"task": "paint"}, "task paint is not known: use inpaint, propagate-matte"),
        ({"task": "propagate-matte"}, "--matte is missing"),
        ({"matte_frame": "1001"}, "--matte-frame needs --matte"),
    ],
)
def test_a_bad_job_file_is_refused_by_key_and_value(tmp_path, data, said):
    with pytest.raises(BadInput, match=said):
        read_job(write(tmp_path / "job.json", **data))


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "{'plate': 1}", '{"plate": "a"}', "[" * 100_000])
def test_files_that_are_no_job_are_refused(tmp_path, text):
    path = tmp_path / "job.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"job\.json"):
        read_job(path)


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "job.json"
    path.write_text('{"plate": "a.exr", "steps": 10, "output": "b.exr", "steps": 20}')
    with pytest.raises(BadInput, match=r"job\.json has the key steps more than once: keep one"):
        read_job(path)


def test_a_job_file_that_is_not_there_or_is_a_folder(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        read_job(tmp_path / "job.json")
    with pytest.raises(BadInput, match="is a folder"):
        read_job(tmp_path)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("10m", 600), ("1h30m", 5400), ("1h5s", 3605)]
)
def test_times(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10 m", "ten", "10m5h", "-5s", "nan"])
def test_times_that_are_none(text):
    with pytest.raises(BadInput, match="--time"):
        parse_time(text)


@pytest.mark.parametrize(
    ("output", "folder"),
    [
        ("out/clean.####.exr", "out/clean.inpaint"),
        ("out/clean_%04d.exr", "out/clean.inpaint"),
        ("####.exr", "job.inpaint"),
        ("clean.exr", "clean.inpaint"),
        ("folder", "folder/job.inpaint"),
    ],
)
def test_the_job_folder_lies_beside_the_output(output, folder):
    assert default_folder(output).as_posix() == folder


def test_a_folder_keeps_its_job_but_lets_budget_and_output_change(tmp_path):
    job = Job("/a.####.exr", "/b.####.exr", steps=10)
    write_job(Job("/a.####.exr", "/b.####.exr", seed=5), tmp_path)
    JobFolder(tmp_path).refuse_other(job)  # nothing learned yet: the folder is free
    write_job(job, tmp_path)
    (tmp_path / "checkpoints" / "32x24" / "step-0000000001.000").mkdir(parents=True)
    JobFolder(tmp_path).refuse_other(replace(job, output="/c.####.exr", steps=20, device="cpu", fill_layer=True))
    JobFolder(tmp_path).refuse_other(replace(job, grow=3))  # the training continues for the changed shot
    with pytest.raises(BadInput, match=r"--quality, --seed.*--restart"):
        JobFolder(tmp_path).refuse_other(replace(job, seed=3, quality="final", grow=3))
    assert read_job(tmp_path / "job.json") == job


def test_the_same_job_leaves_a_hosts_file_as_it_is(tmp_path):
    path = write(tmp_path / "job.json")
    before = path.read_bytes()
    write_job(read_job(path), tmp_path)
    assert path.read_bytes() == before


def test_what_a_host_wrote_stays_as_it_is_where_the_job_is_the_same(tmp_path):
    """A host compares its job with the file by the letters: a changed device must not make its paths absolute."""
    path = write(tmp_path / "job.json", matte="inputs/m.####.exr", layer=None, seed=0, device="cuda", steps=9)
    write_job(replace(read_job(path), device="cpu", steps=None), tmp_path)
    assert json.loads(path.read_text()) == {
        "version": 1,
        "plate": "a.####.exr",
        "output": "b.####.exr",
        "matte": "inputs/m.####.exr",
        "layer": None,
        "seed": 0,
        "device": "cpu",
    }


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "job.json"
    path.write_bytes(b'\xef\xbb\xbf{\r\n "plate": "/a.####.exr",\r\n "output": "/b.####.exr"}\r\n')
    assert read_job(path).plate == "/a.####.exr"


def test_a_home_folder_is_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    job = read_job(write(tmp_path / "job.json", output="~/clean.####.exr"))
    assert job.output == str(tmp_path / "clean.####.exr")


def test_relative_paths_in_a_job_file_start_at_its_folder(tmp_path):
    job = read_job(write(tmp_path / "job.json", matte="../roto.####.exr"))
    assert job.plate == str(tmp_path / "a.####.exr")
    assert job.matte == str(tmp_path.parent / "roto.####.exr")


def test_every_quality_has_its_recipe_and_recipes_survive_json():
    assert set(QUALITIES) == set(PRESETS)
    assert jobs.FORMAT == 1
    for config in PRESETS.values():
        assert TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="flux"):
        TrainingConfig.from_dict({**PRESETS["draft"].to_dict(), "flux": 1})


def test_the_papers_recipe_is_the_papers():
    paper = PRESETS["paper"]
    assert (paper.method.network.kind, paper.method.network.width) == ("coarse-to-fine", 1.0)
    assert (paper.optimiser, paper.lr, paper.schedule, paper.steps) == ("adam", 2e-4, "constant", 80_000)
    assert paper.crop_scale is None
    assert paper.method.hole_weight is None


def test_the_documentations_table_is_what_the_declarations_say():
    table = runpy.run_path(str(ROOT / "docs" / "job_table.py"))
    page = table["PAGE"].read_text(encoding="utf-8")
    assert page == table["updated"](page), "run `python docs/job_table.py`"


@pytest.mark.parametrize("verb", ["run", "train", "render", "propagate-matte", "check"])
def test_help_shows_every_setting_that_the_verb_takes(verb, monkeypatch, capsys):
    from internal_inpaint.cli import main

    monkeypatch.setenv("COLUMNS", "2000")
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    shown = capsys.readouterr().out
    for declared in SETTINGS.values():
        line = re.search(rf"^  {declared.option} .*", shown, re.MULTILINE)
        assert (line is not None) == (verb in declared.verbs), declared.name
        assert line is None or declared.help in line.group()


class TestBesideAJobFile:
    """Options given together with a JOB.json."""

    @pytest.fixture
    def opened(self, tmp_path, monkeypatch):
        """The job and folder that a command line stands for."""
        from internal_inpaint.cli import _parser
        from internal_inpaint.job_options import job_and_folder

        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        return lambda *arguments: job_and_folder(_parser().parse_args([*map(str, arguments)]))

    def test_those_that_may_change_override_it(self, opened, tmp_path):
        path = write(tmp_path / "job.json", device="cuda", steps=9, grow=2)
        options = (
            "--output c.####.exr --steps 5 --time 2m --device cpu --vgg19 v.pth --fill-layer --elements e --grain off"
        )
        job, folder = opened("run", path, *options.split(), "--confidence-layer")
        here = tmp_path / "elsewhere"
        assert folder == tmp_path
        assert job == replace(
            read_job(path),
            output=str(here / "c.####.exr"),
            steps=5,
            time=120,
            device="cpu",
            vgg19=str(here / "v.pth"),
            grain=0,
            fill_layer=True,
            confidence_layer=True,
            elements=str(here / "e"),
        )
        assert job.plate == str(tmp_path / "a.####.exr"), "the file's own paths start at the file"
        assert opened("run", tmp_path)[0] == read_job(path)

    def test_the_others_are_refused(self, refused, tmp_path):
        path = write(tmp_path / "job.json")
        for option, value in {"--grow": "1", "--seed": "0", "--quality": "final", "--matte-steps": "4"}.items():
            said = refused("run", path, "--device", "cpu", option, value)
            assert said.startswith(f"internal-inpaint: {option} cannot be given together with {path}")
        assert "--steps 0 is out of range" in refused("run", path, "--steps", "0")
        assert "--time soon" in refused("run", path, "--time", "soon")
        assert "--grain must be a number or off, not 'much'" in refused("run", path, "--grain", "much")
        assert "--grain 4.5 is out of range: give 0 to 4" in refused("run", path, "--grain", "4.5")

    def test_the_folders_job_file_says_what_ran(self, sample, tmp_path):
        path = tmp_path / "job.json"
        given = {"plate": sample.plate, "matte": sample.matte, "output": "c.####.exr", "quality": "draft"}
        path.write_text(json.dumps({**given, "device": "cuda:31", "steps": 500}))
        done = internal_inpaint("train", path, "--device", "cpu", "--steps", "2")
        assert done.returncode == 0, done.stderr
        assert json.loads(path.read_text()) == {"version": 1, **given, "device": "cpu", "steps": 2}


class TestVgg19OfTheEnvironment:
    """``INTERNAL_INPAINT_VGG19`` becomes part of the job that trains with it."""

    @pytest.fixture
    def weights(self, tmp_path):
        import torch
        from safetensors.torch import save_file

        from internal_inpaint.methods.implicit.encoders import VGG_CHANNELS

        parts = {}
        for index, (channels_in, channels_out) in VGG_CHANNELS.items():
            parts[f"features.{index}.weight"] = torch.full((channels_out, channels_in, 3, 3), 0.01)
            parts[f"features.{index}.bias"] = torch.zeros(channels_out)
        save_file(parts, tmp_path / "vgg.safetensors")
        return tmp_path / "vgg.safetensors"

    def test_a_training_goes_on_where_the_variable_is_not_set(self, sample, weights, tmp_path):
        given = {"plate": sample.plate, "matte": sample.matte, "output": "c.####.exr", "quality": "paper"}
        given |= {"network": "base", "device": "cpu", "steps": 1}
        path = tmp_path / "job" / "job.json"
        path.parent.mkdir()
        path.write_text(json.dumps(given))
        done = internal_inpaint("train", path, cwd=tmp_path, env={"INTERNAL_INPAINT_VGG19": weights.name})
        assert done.returncode == 0, done.stderr
        assert json.loads(path.read_text()) == {"version": 1, **given, "vgg19": str(weights)}
        done = internal_inpaint("train", path, "--steps", "2")
        assert done.returncode == 0, done.stderr
        assert status(path.parent)["step"] == 2

    @pytest.mark.parametrize(
        "given", [{"quality": "standard"}, {"quality": "paper", "vgg19": "/mine.pth"}, {"task": "propagate-matte"}]
    )
    def test_it_is_left_out_where_it_has_no_say(self, given, weights, monkeypatch):
        from internal_inpaint.job_options import with_vgg19_of_environment

        monkeypatch.setenv("INTERNAL_INPAINT_VGG19", str(weights))
        job = Job("/a.exr", "/b.exr", matte="/m.exr", **given)
        assert with_vgg19_of_environment(job) == job

    def test_a_file_that_is_not_there_is_named_with_the_variable(self, refused, sample, tmp_path, monkeypatch):
        monkeypatch.setenv("INTERNAL_INPAINT_VGG19", str(tmp_path / "gone.pth"))
        options = ["--plate", sample.plate, "--output", tmp_path / "c.####.exr", "--quality", "paper"]
        said = refused("run", *options)
        assert "INTERNAL_INPAINT_VGG19" in said
        assert "gone.pth" in said

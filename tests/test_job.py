"""job.json and the words of the command line: what is read, what is refused and how it is said."""

import json
from dataclasses import replace

import pytest

from internal_inpaint import job as jobs
from internal_inpaint.errors import BadInput
from internal_inpaint.job import QUALITIES, Job, default_folder, parse_time, read_job, refuse_other, write_job
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
    refuse_other(job, tmp_path)  # nothing learned yet: the folder is free
    write_job(job, tmp_path)
    (tmp_path / "checkpoints" / "32x24" / "step-0000000001.000").mkdir(parents=True)
    refuse_other(replace(job, output="/c.####.exr", steps=20, device="cpu", fill_layer=True), tmp_path)
    with pytest.raises(BadInput, match=r"--grow.*--restart"):
        refuse_other(replace(job, grow=3), tmp_path)
    assert read_job(tmp_path / "job.json") == job


def test_the_same_job_leaves_a_hosts_file_as_it_is(tmp_path):
    path = write(tmp_path / "job.json")
    before = path.read_bytes()
    write_job(read_job(path), tmp_path)
    assert path.read_bytes() == before


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
    with pytest.raises(KeyError, match="flux"):
        TrainingConfig.from_dict({**PRESETS["draft"].to_dict(), "flux": 1})


def test_the_papers_recipe_is_the_papers():
    paper = PRESETS["paper"]
    assert (paper.network.kind, paper.network.width) == ("coarse-to-fine", 1.0)
    assert (paper.optimiser, paper.lr, paper.schedule, paper.steps) == ("adam", 2e-4, "constant", 80_000)
    assert paper.crop_scale is None
    assert paper.hole_weight is None

"""Checkpoints: whole or not there, refused where they do not belong, and nothing in them is executed."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from small_training import CPU, SHOT, TINY, save, trainer

from internal_inpaint import checkpoints
from internal_inpaint.errors import BadInput
from internal_inpaint.fit import load_trained
from internal_inpaint.ingest import Ingested
from internal_inpaint.job_folder import JobFolder
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.levels import Level
from internal_inpaint.training.state import Hooks


@pytest.fixture
def saved(tmp_path):
    t = trainer()
    t.run(Budget(steps=3), Hooks())
    return save(t, tmp_path)


def test_only_the_newest_is_kept_and_nothing_unfinished_lies_about(saved):
    t = trainer()
    checkpoints.resume(t, saved, SHOT)
    t.run(Budget(steps=5), Hooks())
    newest = save(t, saved.parent)
    assert [p.name for p in saved.parent.iterdir()] == [newest.name]


def test_of_many_made_at_one_step_the_last_is_kept(saved):
    """Between two steps there is work too: frames are labelled, mattes are predicted."""
    t = trainer()
    checkpoints.resume(t, saved, SHOT)
    for seconds in range(100, 112):
        t.counters.seconds = seconds
        save(t, saved.parent)
        (kept,) = checkpoints.newest_first(saved.parent)
        assert checkpoints.read_about(kept).counters.seconds == seconds


def test_a_half_written_checkpoint_is_not_seen(saved):
    (saved.parent / ".step-0000000009.part").mkdir()
    assert checkpoints.newest_first(saved.parent) == [saved]


def test_nothing_in_it_is_a_pickle(saved):
    names = {p.name for p in saved.iterdir()}
    assert names == {"weights.safetensors", "best.safetensors", "optimisers.safetensors", "training.json"}


def test_of_another_shot_is_refused(saved):
    with pytest.raises(BadInput, match="another shot"):
        checkpoints.resume(trainer(), saved, "another fingerprint")


def test_of_another_shot_is_not_rendered(tmp_path):
    folder = JobFolder(tmp_path)
    save(trainer(), folder.level("64x48"))
    level, store = Level((48, 64), TINY, 1.0), SimpleNamespace(fingerprint="another fingerprint")
    with pytest.raises(BadInput, match="another shot"):
        load_trained(folder, Ingested((level,), (store,), None), None, CPU)


def test_of_other_settings_or_seed_is_refused(saved):
    with pytest.raises(BadInput, match="other settings"):
        checkpoints.resume(trainer(dataclasses.replace(TINY, lr=0.5)), saved, SHOT)
    with pytest.raises(BadInput, match="other settings"):
        checkpoints.resume(trainer(seed=4), saved, SHOT)


def test_of_a_newer_version_is_refused(saved):
    about = json.loads((saved / "training.json").read_text())
    (saved / "training.json").write_text(json.dumps(dict(about, format=99)))
    with pytest.raises(BadInput, match="newer version"):
        checkpoints.resume(trainer(), saved, SHOT)


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "best.safetensors", "optimisers.safetensors", "training.json"]
)
def test_a_torn_file_is_named(saved, name):
    path = saved / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInput, match="damaged"):
        checkpoints.resume(trainer(), saved, SHOT)


def test_configuration_travels_inside_the_weights(saved):
    method, network = checkpoints.load_best(saved, CPU)
    assert network.config == TINY.method.network
    assert method.config == TINY.method
    about = checkpoints.read_about(saved)
    assert about.config == TINY
    assert about.counters.step == 3
    assert about.size == (48, 64)


def test_killed_between_writing_and_tidying_up_there_is_always_a_whole_one(saved, monkeypatch):
    t = trainer()
    checkpoints.resume(t, saved, SHOT)
    real = checkpoints.replace

    def killed(source, target):
        raise KeyboardInterrupt

    # Nothing has been trained since, so that the new checkpoint is of the same step.
    monkeypatch.setattr(checkpoints, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save(t, saved.parent)
    assert checkpoints.newest_first(saved.parent) == [saved]
    monkeypatch.setattr(checkpoints, "replace", lambda s, d: killed(s, d) if s.name == saved.name else real(s, d))
    with pytest.raises(KeyboardInterrupt):
        save(t, saved.parent)
    newest, older = checkpoints.newest_first(saved.parent)
    assert older == saved
    checkpoints.resume(trainer(), newest, SHOT)


@pytest.mark.parametrize("bf16", [False, True])
def test_it_is_filled_at_the_precision_that_it_was_trained_at(tmp_path, bf16):
    t = trainer(bf16=bf16)
    t.run(Budget(steps=1), Hooks())
    saved = save(t, tmp_path)
    assert checkpoints.read_about(saved).counters.bf16 is bf16
    _, network = checkpoints.load_best(saved, CPU)
    assert network.bf16 is bf16
    picture, mask = torch.rand(1, 3, 68, 68), torch.zeros(1, 1, 68, 68)
    with torch.no_grad():
        assert torch.equal(network(picture, mask)[-1], t.best_network()(picture, mask)[-1])


def test_a_training_is_not_resumed_at_another_precision(tmp_path):
    t = trainer(bf16=True)
    saved = save(t, tmp_path)
    with pytest.raises(ValueError, match="bfloat16"):
        checkpoints.resume(trainer(), saved, SHOT)


def test_of_an_older_version_is_refused(saved):
    about = json.loads((saved / "training.json").read_text())
    (saved / "training.json").write_text(json.dumps(dict(about, format=1)))
    with pytest.raises(BadInput, match="older version"):
        checkpoints.resume(trainer(), saved, SHOT)
    with pytest.raises(BadInput, match="older version"):
        checkpoints.load_best(saved, CPU)


def test_a_full_disk_is_an_os_error_and_the_older_one_stays(saved, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(saved), "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save(trainer(), saved.parent)
    assert checkpoints.newest_first(saved.parent) == [saved]

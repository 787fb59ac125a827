"""Checkpoints: whole or not there, refused where they do not belong, and nothing in them is executed."""

import dataclasses
import json

import pytest
from small_training import CPU, SHOT, TINY, trainer

from internal_inpaint.errors import BadInput
from internal_inpaint import checkpoints
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.loop import Hooks


@pytest.fixture
def saved(tmp_path):
    t = trainer()
    t.run(Budget(steps=3), Hooks())
    return checkpoints.save(t, tmp_path, SHOT)


def test_only_the_newest_is_kept_and_nothing_unfinished_lies_about(saved):
    t = trainer()
    checkpoints.resume(t, saved, SHOT)
    t.run(Budget(steps=5), Hooks())
    newest = checkpoints.save(t, saved.parent, SHOT)
    assert [p.name for p in saved.parent.iterdir()] == [newest.name]


def test_a_half_written_checkpoint_is_not_seen(saved):
    (saved.parent / ".step-0000000009.part").mkdir()
    assert checkpoints.newest_first(saved.parent) == [saved]


def test_nothing_in_it_is_a_pickle(saved):
    names = {p.name for p in saved.iterdir()}
    assert names == {"weights.safetensors", "best.safetensors", "optimiser.safetensors", "training.json"}


def test_of_another_shot_is_refused(saved):
    with pytest.raises(BadInput, match="another shot"):
        checkpoints.resume(trainer(), saved, "another fingerprint")
    with pytest.raises(BadInput, match="another shot"):
        checkpoints.load_best(saved, "another fingerprint", CPU)


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
    "name", ["weights.safetensors", "best.safetensors", "optimiser.safetensors", "training.json"]
)
def test_a_torn_file_is_named(saved, name):
    path = saved / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInput, match="damaged"):
        checkpoints.resume(trainer(), saved, SHOT)


def test_configuration_travels_inside_the_weights(saved):
    network = checkpoints.load_best(saved, SHOT, CPU)
    assert network.config == TINY.network
    about = checkpoints.read_about(saved)
    assert about.config == TINY
    assert about.counters.step == 3
    assert about.size == (48, 64)


def test_killed_between_writing_and_tidying_up_there_is_always_a_whole_one(saved, monkeypatch):
    t = trainer()
    checkpoints.resume(t, saved, SHOT)
    real = checkpoint.replace

    def killed(source, target):
        raise KeyboardInterrupt

    # Nothing has been trained since, so that the new checkpoint is of the same step.
    monkeypatch.setattr(checkpoint, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(t, saved.parent, SHOT)
    assert checkpoints.newest_first(saved.parent) == [saved]
    monkeypatch.setattr(checkpoint, "replace", lambda s, d: killed(s, d) if s.name == saved.name else real(s, d))
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(t, saved.parent, SHOT)
    newest, older = checkpoints.newest_first(saved.parent)
    assert older == saved
    checkpoints.resume(trainer(), newest, SHOT)


def test_learned_on_another_kind_of_device_it_keeps_this_ones_precision(saved):
    about = json.loads((saved / "training.json").read_text())
    about["counters"]["bf16"], about["device"] = True, "cuda"
    (saved / "training.json").write_text(json.dumps(about))
    t = trainer()
    checkpoints.resume(t, saved, SHOT)
    assert t.counters.bf16 is False


def test_a_full_disk_is_an_os_error_and_the_older_one_stays(saved, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(saved), "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(trainer(), saved.parent, SHOT)
    assert checkpoints.newest_first(saved.parent) == [saved]

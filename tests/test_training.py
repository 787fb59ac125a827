"""The loop: it learns, goes on where it was, recovers from NaN and from too little memory, and ends."""

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from running import ROOT
from small_training import SHOT, TINY, assert_same_training, save, stop_at, trainer, with_method

from internal_inpaint import checkpoints
from internal_inpaint.methods.base import hidden_filters, parameters_of
from internal_inpaint.methods.implicit.losses import reconstruction_loss
from internal_inpaint.methods.implicit.networks import NetworkConfig
from internal_inpaint.training import trainer as loop
from internal_inpaint.training.budget import Budget, Schedule
from internal_inpaint.training.config import PRESETS, batch_size
from internal_inpaint.training.muon import MuonAdam, orthogonalise
from internal_inpaint.training.state import Hooks


def test_training_learns_to_fill_holes_it_was_never_shown():
    # Never wound up early: with some seeds the first half of so short a training gains nothing.
    config = dataclasses.replace(TINY, batch=4, patience=0)
    t = trainer(with_method(config, network=NetworkConfig("base", width=0.25)))
    t.run(Budget(steps=120), Hooks())
    first, last = t.counters.history[0][3], t.counters.best_psnr
    assert last > first + 2, f"validation went from {first:.1f} to {last:.1f} dB"


@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_interrupted_training_ends_with_the_same_weights_as_an_uninterrupted_one(kind, tmp_path):
    config = dataclasses.replace(TINY, optimiser=kind)
    whole = trainer(config)
    assert whole.run(Budget(steps=23), Hooks())

    part = trainer(config)
    for step in (5, 14):  # stopped twice, each time a new process would begin here
        hooks = Hooks(should_stop=stop_at(part, step), checkpoint=lambda t: save(t, tmp_path))
        assert not part.run(Budget(steps=23), hooks)
        part = trainer(config)
        torch.rand(7)  # whatever else has drawn from the global generator must not matter
        checkpoints.resume(part, checkpoints.newest(tmp_path), SHOT)
    assert part.run(Budget(steps=23), Hooks())
    assert_same_training(whole, part)
    assert [h[3] for h in whole.counters.history] == [h[3] for h in part.counters.history]


def test_a_finished_training_run_again_changes_nothing(tmp_path):
    t = trainer()
    t.run(Budget(steps=6), Hooks())
    history, weights = list(t.counters.history), {k: v.clone() for k, v in t.network.state_dict().items()}
    assert t.run(Budget(steps=6), Hooks())
    assert t.counters.history == history
    assert all(torch.equal(v, weights[k]) for k, v in t.network.state_dict().items())


def test_a_larger_budget_later_goes_on_with_validations_all_along():
    t = trainer(dataclasses.replace(TINY, patience=0))
    t.run(Budget(steps=10), Hooks())
    before = len(t.counters.history)
    t.run(Budget(steps=30), Hooks())
    steps = [entry[0] for entry in t.counters.history[before:]]
    assert len(steps) >= 10
    assert steps[0] < 14
    assert steps[-1] == 30


def test_a_stop_at_the_very_end_still_judges_the_last_weights():
    t = trainer(dataclasses.replace(TINY, patience=0))
    assert t.run(Budget(steps=10), Hooks(should_stop=stop_at(t, 10)))
    assert t.counters.history[-1][0] == 10


def test_the_network_is_never_shown_what_it_has_to_fill():
    t = trainer()
    seen = []
    t.network.register_forward_hook(lambda module, inputs, output: seen.append(inputs))
    batches = []
    draw = t.task.draw
    t.task.draw = lambda *arguments: batches.append(draw(*arguments)) or batches[-1]
    t._step(1.0, 0.0)
    (masked, mask, _), batch = seen[0], batches[0]
    assert torch.equal(mask, batch.hidden[:, 0])
    assert mask.sum() > 0
    assert not (masked * mask).any()
    assert torch.equal(masked * (1 - mask), batch.pixels[:, 0] * (1 - mask))


class TestLoss:
    """Equation (2) in numbers; pixels that are not known hold poison."""

    def batch(self):
        target = torch.zeros(1, 3, 2, 4)
        known = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]])[None, None]
        synthetic = torch.tensor([[1.0, 0, 0, 0], [1, 0, 1, 0]])[None, None]
        target[..., 1, 2:] = 1e6
        output = torch.tensor([[0.5, 0.1, 0.1, 0.1], [0.3, 0.2, -1e6, 1e6]]).expand(1, 3, 2, 4)
        return output, target, known, synthetic

    def test_the_papers_loss_is_the_mean_over_all_known_pixels(self):
        output, *batch = self.batch()
        expected = (0.5 + 0.1 * 3 + 0.3 + 0.2) / 6
        assert float(reconstruction_loss([output], *batch, None)) == pytest.approx(expected)

    def test_ours_weighs_the_synthetic_hole_against_the_rest(self):
        output, *batch = self.batch()
        expected = 0.9 * (0.5 + 0.3) / 2 + 0.1 * (0.1 * 3 + 0.2) / 4
        assert float(reconstruction_loss([output], *batch, 0.9)) == pytest.approx(expected)

    @pytest.mark.parametrize("weight", [None, 0.9])
    def test_every_stage_is_supervised(self, weight):
        output, *batch = self.batch()
        one = reconstruction_loss([output], *batch, weight)
        both = reconstruction_loss([output * 2, output], *batch, weight)
        assert float(both) == pytest.approx(3 * float(one))


def test_validation_psnr_is_that_of_the_error_inside_the_held_out_holes():
    t = trainer()

    def fill(clip):
        # Off by 0.2, a tenth of the range, inside the hole, and wildly elsewhere.
        inside = clip.synthetic * clip.known
        return (clip.pixels + 0.2 * inside + 50 * (1 - inside))[:, 0]

    assert t.task.score(fill) == pytest.approx(20, abs=1e-3)


def test_a_time_budget_ends_the_training_and_is_counted_over_attempts():
    seconds = iter(np.arange(0, 1000, 0.5))
    t = trainer(dataclasses.replace(TINY, patience=0))
    t.run(Budget(seconds=20), Hooks(clock=lambda: float(next(seconds)), should_stop=stop_at(t, 8)))
    used, steps = t.counters.seconds, t.counters.step
    assert steps == 8
    t.run(Budget(seconds=20), Hooks(clock=lambda: float(next(seconds))))
    assert t.counters.seconds >= 20
    assert t.counters.seconds < 20 + used


def test_nan_goes_back_to_the_last_good_weights_with_a_smaller_step(monkeypatch):
    t = trainer()
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)
    original, calls, warnings = t._step, [], []

    def step(rate, share):
        calls.append(1)
        loss = original(rate, share)
        if len(calls) == 12:
            with torch.no_grad():
                next(t.network.parameters()).fill_(math.nan)
            return loss * math.nan
        return loss

    t._step = step
    assert t.run(Budget(steps=20), Hooks(warn=warnings.append))
    assert len(warnings) == 1
    assert "diverged" in warnings[0]
    assert t.counters.rate_scale == 0.5
    assert all(torch.isfinite(p).all() for p in t.network.parameters())


def test_a_loss_that_is_always_nan_is_given_up_and_the_checkpoint_stays_good(monkeypatch, tmp_path):
    t = trainer()
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)
    save(t, tmp_path)
    monkeypatch.setattr(t, "_step", lambda rate, share: torch.tensor(math.nan))
    with pytest.raises(loop.Diverged):
        t.run(Budget(steps=20), Hooks(checkpoint=lambda t: save(t, tmp_path)))
    saved = trainer()
    checkpoints.resume(saved, checkpoints.newest(tmp_path), SHOT)
    assert all(torch.isfinite(p).all() for p in saved.network.parameters())


def test_a_nan_between_reports_never_reaches_a_checkpoint(tmp_path):
    """Reports come once a second, a checkpoint may fall between two of them."""
    t = trainer()
    original = t._step
    saved = []

    def step(rate, share):
        loss = original(rate, share)
        if t.counters.step == 5:
            with torch.no_grad():
                next(t.network.parameters()).fill_(math.nan)
            return loss * math.nan
        return loss

    def save(t):
        saved.append(all(bool(torch.isfinite(p).all()) for p in t.network.parameters()))

    t._step = step
    t.run(Budget(steps=12), Hooks(checkpoint=save, checkpoint_seconds=0.0))
    assert saved
    assert all(saved)


@pytest.mark.parametrize("at", [5, 11])
def test_weights_that_break_under_a_finite_loss_are_not_kept_either(at):
    """The loss is that of the weights before the step: the step itself may be what breaks them."""
    t = trainer()
    original, saved = t._step, []

    def step(rate, share):
        loss = original(rate, share)
        if t.counters.step == at and t.counters.retries == 0:
            with torch.no_grad():
                next(t.network.parameters()).fill_(math.nan)
        return loss

    t._step = step
    hooks = Hooks(
        checkpoint=lambda t: saved.append(all(bool(torch.isfinite(p).all()) for p in t.network.parameters())),
        checkpoint_seconds=0.0,
    )
    assert t.run(Budget(steps=12), hooks)
    assert all(saved)
    assert t.counters.retries == 1


def test_single_batches_with_a_high_loss_are_not_taken_for_divergence(monkeypatch):
    """Flat frames among busy ones: the loss of one batch may be a hundred times another's."""
    t = trainer(dataclasses.replace(TINY, patience=0))
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)
    losses = iter([0.001, 0.4] * 200)
    monkeypatch.setattr(t, "_step", lambda rate, share: torch.tensor(next(losses)))
    warnings = []
    assert t.run(Budget(steps=200), Hooks(warn=warnings.append))
    assert not warnings


def test_a_loss_that_grows_and_grows_is_divergence(monkeypatch):
    t = trainer(dataclasses.replace(TINY, patience=0))
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)
    monkeypatch.setattr(t, "_step", lambda rate, share: torch.tensor(0.01 * 1.02**t.counters.step))
    with pytest.raises(loop.Diverged):
        t.run(Budget(steps=2000), Hooks())


def test_out_of_memory_shrinks_batch_then_crop_and_says_so():
    t = trainer(dataclasses.replace(TINY, batch=4, crop_scale=None))
    t.counters.crop = (48, 64)
    original, warnings = t._step, []

    def step(rate, share):
        if t.counters.batch > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(rate, share)

    t._step = step
    assert t.run(Budget(steps=4), Hooks(warn=warnings.append))
    assert t.counters.batch == 1
    assert len(warnings) == 2
    assert "batch is now 1" in warnings[-1]


def test_when_one_crop_is_too_much_crops_shrink_until_they_fit_or_nothing_does():
    t = trainer(dataclasses.replace(TINY, batch=1, crop_scale=None))
    t.counters.crop = (48, 400)
    original, warnings = t._step, []

    def step(rate, share):
        if t.counters.crop[1] > 100:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        t.counters.crop = (48, 64)
        return original(rate, share)

    t._step = step
    assert t.run(Budget(steps=2), Hooks(warn=warnings.append))
    assert any("crops are now" in warning for warning in warnings)

    def never(rate, share):
        raise MemoryError

    t = trainer()
    t._step = never
    with pytest.raises(MemoryError):
        t.run(Budget(steps=2), Hooks())


def test_other_runtime_errors_are_not_taken_for_lack_of_memory():
    t = trainer()

    def step(rate, share):
        raise RuntimeError("shapes do not match")

    t._step = step
    with pytest.raises(RuntimeError, match="shapes"):
        t.run(Budget(steps=4), Hooks())


def test_training_winds_up_when_validation_stops_improving(monkeypatch):
    t = trainer(dataclasses.replace(TINY, patience=3))
    psnrs = iter([20.0] + [19.0] * 100)
    monkeypatch.setattr(t.task, "score", lambda fill: next(psnrs))
    rates = []
    original = t._step

    def step(rate, share):
        loss = original(rate, share)
        rates.append(t.optimisers["network"].param_groups[0]["lr"])
        return loss

    t._step = step
    assert t.run(Budget(steps=200), Hooks())
    assert t.counters.step < 120, "it should have ended long before its budget"
    assert rates[-1] < 0.1 * max(rates), "and have cooled down on the way"
    assert t.counters.best_step == t.counters.history[0][0]


def test_best_weights_are_kept_not_the_last(monkeypatch):
    t = trainer()
    psnrs = iter([20.0, 25.0] + [19.0] * 100)
    monkeypatch.setattr(t.task, "score", lambda fill: next(psnrs))
    at_best = {}

    def validated(t):
        if t.counters.psnr == 25.0:
            at_best.update({k: v.clone() for k, v in t.network.state_dict().items()})

    t.run(Budget(steps=40), Hooks(validated=validated))
    assert all(torch.equal(v, at_best[k]) for k, v in t.best.items())
    assert not all(torch.equal(v, at_best[k]) for k, v in t.network.state_dict().items())


def test_schedule_holds_then_falls_to_zero_and_paper_is_constant():
    held = Schedule("held")
    assert held.rate(0.5) == 1
    assert held.rate(0.85) == pytest.approx(0.5)
    assert held.rate(1.0) == 0
    held.finish_early(0.35)
    assert held.end == pytest.approx(0.5)
    assert held.done(0.5)
    assert Schedule("constant").rate(0.9) == 1
    assert PRESETS["paper"].schedule == "constant"
    assert PRESETS["paper"].method.hole_weight is None


def test_orthogonalised_matrices_have_singular_values_near_one():
    torch.manual_seed(0)
    for shape in ((3, 24, 200), (2, 64, 16)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.min() > 0.6
        assert values.max() < 1.3


def test_muon_takes_the_hidden_filters_only():
    network = trainer().network
    hidden = hidden_filters(network)
    assert "first.encoder.1.conv.weight" in hidden
    assert "first.encoder.0.conv.weight" not in hidden
    assert "first.output.conv.weight" not in hidden
    assert not any(name.endswith("bias") for name in hidden)
    groups = MuonAdam(parameters_of(network), 1e-2, 1e-3).param_groups
    assert sum(len(g["params"]) for g in groups if g["muon"]) == len(hidden)
    assert sum(len(g["params"]) for g in groups) == len(list(network.parameters()))


def test_the_adam_beside_muon_is_adam():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Linear(3, 2) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    one = MuonAdam(parameters_of(ours), lr=1.0, adam_lr=1e-2)
    other = torch.optim.Adam(theirs.parameters(), 1e-2, betas=(0.9, 0.99))
    for _ in range(5):
        x = torch.randn(4, 3)
        for network, optimiser in ((ours, one), (theirs, other)):
            optimiser.zero_grad()
            network(x).square().mean().backward()
            optimiser.step()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)


def test_a_training_does_not_load_what_compiles_networks(tmp_path):
    """``torch._dynamo`` takes 1.5 s to load and 60 MiB; making a ``torch.optim`` optimiser loads it."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from small_training import trainer; from internal_inpaint.training.budget import Budget\n"
        "from internal_inpaint.training.state import Hooks\n"
        "trainer().run(Budget(steps=1), Hooks()); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(ROOT / "tests")], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_large_crops_make_small_batches_but_not_in_the_papers_recipe():
    standard, paper = PRESETS["standard"], PRESETS["paper"]
    assert batch_size(standard, (96, 96), on_cuda=False) == 8
    assert batch_size(standard, (136, 240), on_cuda=False) == 3
    assert batch_size(standard, (240, 432), on_cuda=False) == 2
    assert batch_size(standard, (240, 432), on_cuda=True) == 8
    assert batch_size(paper, (320, 600), on_cuda=False) == 5

"""bfloat16 on the CPU, where most machines emulate it: it trains, resumes and renders, close to float32."""

import dataclasses

import pytest
import torch
from small_training import SHOT, TINY, assert_same_training, fills, save, shot, stop_at, trainer, with_method

from internal_inpaint import checkpoints
from internal_inpaint.methods.implicit.networks import KINDS, InpaintNetwork, NetworkConfig, initialise
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.state import Hooks

CONFIG = dataclasses.replace(TINY, patience=0)
STEPS = 8


def filters_dtypes(network):
    """A set that fills with the types in which the network's convolutions compute."""
    seen = set()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    return seen


@pytest.fixture(scope="module")
def both():
    """The same short training in float32 and in bfloat16."""
    trained = [trainer(CONFIG, bf16=bf16) for bf16 in (False, True)]
    for t in trained:
        assert t.run(Budget(steps=STEPS), Hooks())
    return trained


def test_the_network_computes_in_the_precision_that_was_asked_for():
    for bf16, expected in ((False, torch.float32), (True, torch.bfloat16)):
        t = trainer(CONFIG, bf16=bf16)
        seen = filters_dtypes(t.network)
        t.run(Budget(steps=1), Hooks())
        assert expected in seen
        assert bf16 or seen == {torch.float32}


def test_a_step_in_bfloat16_has_the_loss_and_the_gradient_of_one_in_float32():
    steps = []
    for bf16 in (False, True):
        t = trainer(CONFIG, bf16=bf16)
        loss = t._step(1.0, 0.0)
        assert loss.dtype == torch.float32
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in t.network.parameters())
        steps.append((float(loss), torch.cat([p.grad.flatten() for p in t.network.parameters()])))
    (loss, gradient), (loss16, gradient16) = steps
    assert loss16 == pytest.approx(loss, rel=0.01)
    assert torch.cosine_similarity(gradient, gradient16, dim=0) > 0.99


def test_a_short_training_in_bfloat16_ends_near_that_in_float32(both):
    plain, low = both
    assert all(torch.isfinite(weights).all() for weights in low.network.state_dict().values())
    assert low.counters.retries == 0
    for step, step16 in zip(plain.counters.history, low.counters.history, strict=True):
        assert step16[3] == pytest.approx(step[3], abs=0.3), "PSNR in dB"


def test_with_both_regularisers_it_stays_finite():
    t = trainer(with_method(CONFIG, ambiguity=0.1, stabilise=0.2, regularise_share=0.5), bf16=True)
    assert t.run(Budget(steps=4), Hooks())
    assert all(torch.isfinite(weights).all() for weights in t.network.state_dict().values())
    assert t.counters.retries == 0


def test_what_is_rendered_in_bfloat16_is_near_what_is_rendered_in_float32(both):
    low = both[1]
    in_float32 = low.method.build(False)
    in_float32.load_state_dict(low.best)
    plain, low_fills = fills(low, in_float32), fills(low)
    assert low_fills.dtype == torch.float32
    assert torch.isfinite(low_fills).all()
    assert not torch.equal(plain, low_fills), "rendered in float32"
    error = (plain - low_fills).abs()
    assert error.max() < 0.1, "working space, in [-1, 1]"
    assert error.mean() < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_every_network_gives_nearly_the_same_picture_in_bfloat16(kind):
    frames, state = shot()
    hidden = (state[:2, None] != 0).float()
    pictures = []
    with torch.no_grad():
        for bf16 in (False, True):
            torch.manual_seed(0)
            network = InpaintNetwork(NetworkConfig(kind, width=0.17), bf16)
            initialise(network, "preserving")
            pictures.append(network(frames[:2].permute(0, 3, 1, 2).float() * (1 - hidden), hidden)[-1])
    assert pictures[1].dtype == torch.float32
    assert torch.isfinite(pictures[1]).all()
    error = (pictures[0] - pictures[1]).abs()
    assert error.max() < 0.1
    assert error.mean() < 0.01


def test_stopped_and_resumed_in_bfloat16_it_ends_as_if_it_had_not_been(both, tmp_path):
    whole, part = both[1], trainer(CONFIG, bf16=True)
    hooks = Hooks(should_stop=stop_at(part, 5), checkpoint=lambda t: save(t, tmp_path))
    assert not part.run(Budget(steps=STEPS), hooks)
    part = trainer(CONFIG, bf16=True)
    checkpoints.resume(part, checkpoints.newest(tmp_path), SHOT)
    assert part.counters.bf16
    assert part.run(Budget(steps=STEPS), Hooks())
    assert_same_training(whole, part)

"""The same work on a CUDA device: it trains, waits for nothing, resumes, and its pictures are the CPU's."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from running import frame, internal_inpaint, pixels, shot_options
from small_training import CPU, SHOT, TINY, fills, save, shot, stop_at, trainer
from test_regularisers import BOTH

from internal_inpaint import checkpoints
from internal_inpaint.methods.implicit.ambiguity import ambiguity_loss
from internal_inpaint.methods.memory import is_out_of_memory
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.fill_task import fill_trainer
from internal_inpaint.training.state import Hooks

pytestmark = pytest.mark.cuda
CUDA = torch.device("cuda")
LONGER = dataclasses.replace(TINY, patience=0)


def on_cuda(config=LONGER, resident=True, bf16=False):
    """A trainer on the CUDA device; its shot lies there (``resident``) or in main memory, as a long one does."""
    frames, state = shot()
    if resident:
        frames, state = frames.to(CUDA), state.to(CUDA)
    return fill_trainer(config, frames, state, CUDA, 3, bf16)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_short_training_ends_and_everything_of_it_lies_on_the_device(resident, bf16):
    t = on_cuda(BOTH, resident, bf16)
    clip = t.task.draw(np.random.default_rng(0), *t.task.first_sizes(), False)
    assert {plane.device.type for plane in (clip.pixels, clip.hidden, clip.known, clip.synthetic)} == {"cuda"}
    assert t.run(Budget(steps=8), Hooks())
    weights = t.network.state_dict()
    assert {tensor.device.type for tensor in weights.values()} == {"cuda"}
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    assert np.isfinite(t.counters.best_psnr)
    assert t.counters.retries == 0


def test_between_two_reports_the_host_never_waits_for_the_device():
    t = on_cuda(BOTH)
    for _ in range(3):  # what is set up once may wait
        t._step(1.0, 0.9)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            t._step(1.0, 0.9)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_first_step_has_the_loss_that_it_has_on_the_cpu():
    losses = [float(t._step(1.0, 0.0)) for t in (trainer(LONGER), on_cuda())]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_the_anti_ambiguity_term_is_the_cpus():
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.randn(2, 6, 9, 11, generator=generator) for _ in range(2))
    drawn, seen = (torch.rand(2, 9, 11, generator=generator) for _ in range(2))
    drawn, seen = (drawn - 0.5).clamp(min=0), seen > 0.4
    found = [float(ambiguity_loss(*(v.to(d) for v in (source, target, drawn, seen)))) for d in (CPU, CUDA)]
    assert found[1] == pytest.approx(found[0], rel=1e-3)


@pytest.mark.parametrize("bf16", [False, True])
def test_what_it_renders_is_near_what_the_cpu_renders(bf16):
    t = on_cuda(bf16=bf16)
    assert t.run(Budget(steps=8), Hooks())
    assert next(t.best_network().parameters()).is_cuda
    there = fills(t)
    in_float32 = t.method.build(False)
    in_float32.load_state_dict(t.best)
    here = fills(t, in_float32)
    # Not bit for bit: CUDA sums in another order, and its convolutions round to TF32.
    assert (there - here).abs().max() < (0.1 if bf16 else 0.02)


def test_stopped_and_resumed_it_goes_on_and_the_cpu_goes_on_with_it_too(tmp_path):
    t = on_cuda()
    hooks = Hooks(should_stop=stop_at(t, 4), checkpoint=lambda t: save(t, tmp_path))
    assert not t.run(Budget(steps=8), hooks)
    saved = checkpoints.newest(tmp_path)
    for again in (on_cuda(), trainer(LONGER)):
        checkpoints.resume(again, saved, SHOT)
        assert again.counters.step == 4
        for name, tensor in t.network.state_dict().items():
            assert torch.equal(again.network.state_dict()[name].cpu(), tensor.cpu()), name
        assert again.run(Budget(steps=8), Hooks())
        assert again.counters.step == 8
        assert all(torch.isfinite(tensor).all() for tensor in again.network.state_dict().values())


def test_no_memory_left_is_told_from_other_errors():
    with pytest.raises(RuntimeError) as full:
        torch.empty(1 << 50, dtype=torch.uint8, device=CUDA)
    assert is_out_of_memory(full.value)


def test_a_run_on_the_command_line_is_the_plate_outside_the_matte_and_goes_on(sample, tmp_path):
    output, work = tmp_path / "clean.####.exr", tmp_path / "job"
    options = ("--quality", "draft", "--device", "cuda", "--progress", "plain")
    for steps in (4, 8):
        done = internal_inpaint("run", *shot_options(sample, output, work), *options, "--steps", steps)
        assert done.returncode == 0, done.stderr
    summary = json.loads((work / "summary.json").read_text())
    assert summary["steps"] == 8
    for number in sample.frames:
        plate, _ = pixels(frame(sample.plate, number), "float")
        result, _ = pixels(frame(output, number), "float")
        matte, _ = pixels(frame(sample.matte, number), "float")
        far = np.ones(matte.shape[:2], bool)
        rows, columns = np.nonzero(matte[..., 0])
        far[max(0, rows.min() - 12) : rows.max() + 13, max(0, columns.min() - 12) : columns.max() + 13] = False
        assert result[far][:, :4].tobytes() == plate[far].tobytes()
        assert np.isfinite(result).all()
        assert not np.array_equal(result[..., :3], plate[..., :3])

"""What a method may rely on: clips of several frames, an adversary beside the network, the precision it asks for.

The methods here are toys; the trainer, the sampler, the checkpoints and the renderer around them are the engine's.
"""

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from running import frame, internal_inpaint, pixels, shot_options
from safetensors.torch import load_file
from small_training import CPU, SHOT, TINY, assert_same_training, save, shot, stop_at
from torch import nn

from internal_inpaint import checkpoints
from internal_inpaint.methods.base import Clip, Geometry, parameters_of
from internal_inpaint.methods.implicit.config import ImplicitConfig
from internal_inpaint.methods.implicit.method import ImplicitMethod
from internal_inpaint.methods.implicit.networks import NetworkConfig
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.rendering.inference import fill_frame
from internal_inpaint.rendering.trained_shot import TrainedLevel, TrainedShot
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.device import has_bf16
from internal_inpaint.training.fill_task import FillTask
from internal_inpaint.training.sampling import DRIFT, HoleSampler, Placement
from internal_inpaint.training.state import Hooks
from internal_inpaint.training.trainer import Trainer

AROUND = (-1, 0, 1)
SIZE = (60, 80)


def hole_of(index):
    """Rows and columns of the wandering hole in picture ``index``: no two pictures have the same."""
    return slice(20 + index, 30 + 2 * index), slice(30 + index, 45 + index)


def wandering(count=8):
    """Pictures whose every pixel says which one it is, and their holes."""
    frames = torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(count, *SIZE, 3) / 10
    state = torch.zeros(count, *SIZE, dtype=torch.uint8)
    for index in range(count):
        state[index, *hole_of(index)] = PixelState.HOLE
    return frames.clone(), state


class TestTracks:
    """The synthetic hole of a clip of several frames (equation 1, frame by frame)."""

    def assert_track(self, clip, state, frames, sources, shifts):
        for t, (index, source, (dy, dx)) in enumerate(zip(frames, sources, shifts, strict=True)):
            rows, columns = hole_of(source)
            moved = torch.zeros(SIZE, dtype=torch.bool)
            moved[rows.start + dy : rows.stop + dy, columns.start + dx : columns.stop + dx] = True
            blocked = state[index] != PixelState.KNOWN
            assert torch.equal(clip.synthetic[0, t, 0].bool(), moved), f"frame {t} of the clip"
            assert torch.equal(clip.hidden[0, t, 0].bool(), moved | blocked)
            assert torch.equal(clip.known[0, t, 0].bool(), ~blocked)
            assert clip.pixels[0, t].unique().tolist() == pytest.approx([index / 10])

    @pytest.mark.parametrize("drift", [(0.0, 0.0), (1.4, -0.6), (-1.5, 1.5)])
    def test_every_frame_hides_the_matte_of_its_own_time_moved_by_shift_and_drift(self, drift):
        frames, state = wandering()
        sampler = HoleSampler(frames, state, SIZE, CPU, offsets=AROUND)
        clip = sampler.gather([Placement(2, 4, -5, 7, 0, 0, drift=drift)])
        assert clip.pixels.shape == (1, 3, 3, *SIZE)
        shifts = [(-5 + round(k * drift[0]), 7 + round(k * drift[1])) for k in AROUND]
        self.assert_track(clip, state, (1, 2, 3), (3, 4, 5), shifts)

    def test_frames_and_mattes_are_reflected_at_the_ends_of_the_shot(self):
        frames, state = wandering()
        sampler = HoleSampler(frames, state, SIZE, CPU, offsets=(-2, -1, 0, 1))
        clip = sampler.gather([Placement(0, 7, -9, 3, 0, 0)])
        self.assert_track(clip, state, (2, 1, 0, 1), (5, 6, 7, 6), [(-9, 3)] * 4)

    def test_neighbours_are_of_the_same_view(self):
        frames, state = wandering()
        sampler = HoleSampler(frames, state, SIZE, CPU, offsets=AROUND, views=2)
        clip = sampler.gather([Placement(3, 6, -9, 3, 0, 0)])
        self.assert_track(clip, state, (1, 3, 5), (4, 6, 4), [(-9, 3)] * 3)

    def test_a_shot_of_one_frame_has_clips_of_that_frame(self):
        frames, state = wandering(1)
        sampler = HoleSampler(frames, state, SIZE, CPU, offsets=AROUND)
        clip = sampler.gather([Placement(0, 0, 2, 2, 0, 0)])
        self.assert_track(clip, state, (0, 0, 0), (0, 0, 0), [(2, 2)] * 3)

    def test_a_crop_of_a_clip_is_the_same_crop_of_every_frame_of_it(self):
        frames, state = wandering()
        place = Placement(2, 4, -5, 7, 12, 30, drift=(1.0, -1.0))
        crop = HoleSampler(frames, state, (24, 32), CPU, offsets=AROUND).gather([place])
        place = dataclasses.replace(place, top=0, left=0)
        whole = HoleSampler(frames, state, SIZE, CPU, offsets=AROUND).gather([place])
        for name in ("pixels", "hidden", "known", "synthetic"):
            assert torch.equal(getattr(crop, name), getattr(whole, name)[..., 12:36, 30:62]), name
        assert crop.synthetic.sum() > 0

    def test_the_drift_is_drawn_anew_for_each_clip_and_small(self):
        sampler = HoleSampler(*wandering(), (40, 48), CPU, offsets=AROUND)
        rng = np.random.default_rng(0)
        drifts = np.array([sampler.draw(rng).drift for _ in range(300)])
        assert np.abs(drifts).max() <= DRIFT
        assert (drifts.max(0) > 0.9 * DRIFT).all()
        assert (drifts.min(0) < -0.9 * DRIFT).all()

    def test_one_frame_draws_the_numbers_that_it_always_drew(self):
        """A training of the paper's method is the same, bit for bit, as before there were clips."""
        state = torch.zeros(8, *SIZE, dtype=torch.uint8)
        for index in range(8):
            state[index, 20 + index : 32 + index, 30 + index : 50 + index] = PixelState.HOLE
        rng = np.random.default_rng(0)
        sampler = HoleSampler(torch.zeros(8, *SIZE, 3), state, (40, 48), CPU, offsets=(0,))
        assert [sampler.draw(rng) for _ in range(3)] == [
            Placement(6, 5, 0, -19, 8, 0),
            Placement(0, 0, -12, 19, 0, 32),
            Placement(4, 4, 23, 10, 20, 31),
        ]
        assert rng.integers(10**6) == 559917


class Mixture(nn.Module):
    """Three pictures in, and how much of each there is in the fill."""

    def __init__(self):
        super().__init__()
        self.output = nn.Conv2d(9, 3, 1)

    def forward(self, planes):
        return self.output(planes)


class ThreeFrames:
    """A toy that fills a frame with a mixture of itself and the frames beside it."""

    config = None
    geometry = Geometry(reach=0, stride=1, smallest=1, frames=AROUND)

    def build(self, bf16=False):
        return Mixture()

    def parameter_groups(self, network):
        return {"network": parameters_of(network)}

    def needs_others(self, progress):
        return False

    def phase(self, progress):
        return 0

    def step(self, network, clip, progress, rng):
        error = (self.fill(network, clip) - clip.pixels[:, 1]).abs() * clip.known[:, 1] * clip.synthetic[:, 1]
        return {"network": {"error": error.sum() / (clip.known[:, 1] * clip.synthetic[:, 1]).sum().clamp(min=1)}}

    def fill(self, network, clip):
        assert clip.pixels.shape[1] == clip.hidden.shape[1] == 3
        return network((clip.pixels * (1 - clip.hidden)).flatten(1, 2))


def standing(frames=9):
    """A picture that stands still under a hole that is another place in every frame."""
    y, x = np.mgrid[:48, :64].astype(np.float32)
    picture = torch.from_numpy(np.stack([np.sin(x / 3), np.sin(x / 5 + y / 4), np.cos(y / 6)], axis=-1) * 0.8)
    state = torch.zeros(frames, 48, 64, dtype=torch.uint8)
    for index in range(frames):
        top, left = 4 + 12 * (index % 3), 4 + 18 * (index % 3)
        state[index, top : top + 9, left : left + 14] = PixelState.HOLE
    return picture, (picture * (state == 0)[..., None]).contiguous(), state


def trainer_of(method, frames, state, config=TINY, seed=3):
    task = FillTask(config, frames, state, CPU, seed, method.geometry.frames)
    return Trainer(method, task, config, CPU, seed)


class TestThreeFrames:
    """A method that looks at several frames, trained and rendered by what trains and renders the paper's."""

    def test_it_is_trained_by_the_same_trainer_and_fills_with_what_the_frames_beside_show(self):
        picture, frames, state = standing()
        method = ThreeFrames()
        config = dataclasses.replace(TINY, optimiser="adam", lr=3e-2, patience=0)
        t = trainer_of(method, frames, state, config)
        t.run(Budget(steps=150), Hooks())
        assert t.counters.best_psnr > t.counters.history[0][3] + 3
        level = TrainedLevel(method, t.best_network(), frames.numpy(), state.numpy())
        trained, errors = TrainedShot((level,), None, (48, 64)), []
        for index in range(len(state)):
            hole = state[index] == PixelState.HOLE
            fill = trained.fill(index, hole)
            assert not fill[~hole].any()
            errors.append((fill - picture)[hole].abs().mean())
        # From its own frame alone it could say no more than one colour.
        alone = (picture - picture.mean((0, 1))).abs().mean()
        assert max(errors) < 0.6 * alone, (max(errors), alone)

    @pytest.mark.parametrize("views", [1, 2])
    @pytest.mark.parametrize("offset", AROUND)
    def test_a_frame_is_filled_from_the_frames_that_the_method_asked_for(self, views, offset):
        frames, state = torch.rand(6, 48, 64, 3) * 2 - 1, torch.zeros(6, 48, 64, dtype=torch.uint8)
        method = ThreeFrames()
        network = method.build()
        with torch.no_grad():  # all of one of the three frames, nothing of the others
            network.output.weight.zero_()
            network.output.bias.zero_()
            for channel in range(3):
                network.output.weight[channel, 3 * AROUND.index(offset) + channel] = 1
        trained = TrainedShot((TrainedLevel(method, network, frames.numpy(), state.numpy(), views),), None, (48, 64))
        wanted = torch.zeros(48, 64, dtype=torch.bool)
        wanted[10:30, 20:50] = True
        for index in range(6):
            time, last = index // views + offset, 6 // views - 1
            time = -time if time < 0 else min(time, 2 * last - time)
            expected = frames[time * views + index % views]
            assert torch.allclose(trained.fill(index, wanted)[wanted], expected[wanted], atol=1e-6), index

    def test_tiles_of_a_clip_are_the_same_part_of_every_frame(self):
        torch.manual_seed(0)
        method = ThreeFrames()
        network, frames = method.build(), torch.rand(3, 200, 300, 3) * 2 - 1
        unknown, wanted = torch.rand(3, 200, 300) > 0.9, torch.ones(200, 300, dtype=torch.bool)
        whole = fill_frame(method, network, frames, unknown, wanted)
        tiled = fill_frame(method, network, frames, unknown, wanted, most_pixels=150 * 150, overlap=16)
        assert torch.allclose(tiled, whole, atol=1e-5)


class Players(nn.Module):
    """A filler, and a critic who looks at its pictures."""

    def __init__(self):
        super().__init__()
        self.filler = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ELU(), nn.Conv2d(8, 3, 3, padding=1))
        self.critic = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ELU(), nn.Conv2d(8, 1, 3, padding=1))


class Adversarial:
    """A toy with an adversary: two players, each minimises a loss of its own."""

    config = None
    geometry = Geometry(reach=2, stride=1, smallest=4)

    def build(self, bf16=False):
        return Players()

    def parameter_groups(self, network):
        return {"network": parameters_of(network.filler), "adversary": parameters_of(network.critic)}

    def needs_others(self, progress):
        return False

    def phase(self, progress):
        return 0

    def step(self, network, clip, progress, rng):
        output, target, known = self.fill(network, clip), clip.pixels[:, 0], clip.known[:, 0]
        said, truth = network.critic(output), network.critic(target * known)
        mine = {"reconstruction": ((output - target).abs() * known).mean(), "adversarial": -0.1 * said.mean()}
        # The critic's loss depends on the filler, too: only what it trains itself may get its gradients.
        return {"network": mine, "adversary": {"critic": F.softplus(-truth).mean() + F.softplus(said).mean()}}

    def fill(self, network, clip):
        pixels, hidden = clip.pixels[:, 0], clip.hidden[:, 0]
        return network.filler(torch.cat([pixels * (1 - hidden), hidden], 1))


class TestAdversary:
    @pytest.mark.parametrize("optimiser", ["muon", "adam"])
    def test_each_optimiser_gets_the_gradients_of_its_own_losses_alone(self, optimiser):
        config = dataclasses.replace(TINY, optimiser=optimiser)
        t, same = (trainer_of(Adversarial(), *shot(), config) for _ in range(2))
        assert set(t.optimisers) == {"network", "adversary"}
        for trainer in (t, same):
            trainer._step(1.0, 0.0)  # gradients of the step before must not be among those of the next
        clip = same.task.draw(same.rng, same.counters.batch, same.counters.crop, False)
        losses = same.method.step(same.network, clip, 0.0, same.rng)
        before = {name: tensor.clone() for name, tensor in t.network.state_dict().items()}
        first = t._step(1.0, 0.0)
        assert float(first) == pytest.approx(losses["network"]["reconstruction"].item())
        for group, part in (("network", "filler"), ("adversary", "critic")):
            own, theirs = (dict(getattr(trainer.network, part).named_parameters()) for trainer in (t, same))
            expected = torch.autograd.grad(sum(losses[group].values()), list(theirs.values()), retain_graph=True)
            for (name, parameter), gradient in zip(own.items(), expected, strict=True):
                assert torch.allclose(parameter.grad, gradient, rtol=1e-4, atol=1e-7), f"{part}.{name}"
                assert not torch.equal(parameter, before[f"{part}.{name}"]), f"{part}.{name} is not trained"

    @pytest.mark.parametrize("optimiser", ["muon", "adam"])
    def test_both_are_in_the_checkpoint_and_a_resumed_training_ends_as_if_it_had_not_been_stopped(
        self, optimiser, tmp_path
    ):
        config = dataclasses.replace(TINY, optimiser=optimiser, patience=0)
        whole = trainer_of(Adversarial(), *shot(), config)
        assert whole.run(Budget(steps=16), Hooks())
        part = trainer_of(Adversarial(), *shot(), config)
        hooks = Hooks(should_stop=stop_at(part, 7), checkpoint=lambda t: save(t, tmp_path))
        assert not part.run(Budget(steps=16), hooks)
        newest = checkpoints.newest(tmp_path)
        kept = {name.split(".")[0] for name in load_file(newest / "optimisers.safetensors")}
        assert kept == {"network", "adversary"}
        part = trainer_of(Adversarial(), *shot(), config)
        checkpoints.resume(part, newest, SHOT)
        assert part.run(Budget(steps=16), Hooks())
        assert_same_training(whole, part)
        for name, optimiser_ in whole.optimisers.items():
            states = optimiser_.state_dict()["state"], part.optimisers[name].state_dict()["state"]
            assert states[0].keys() == states[1].keys()
            for index, values in states[0].items():
                for key, value in values.items():
                    assert torch.equal(torch.as_tensor(value), torch.as_tensor(states[1][index][key])), (name, key)

    def test_a_diverged_adversary_goes_back_with_the_network(self, monkeypatch):
        t = trainer_of(Adversarial(), *shot(), dataclasses.replace(TINY, patience=0))
        original, warnings, broken = t._step, [], []

        def step(rate, share):
            loss = original(rate, share)
            if t.counters.step == 4 and not broken:  # and the next step's gradients are no numbers either
                broken.append(True)
                with torch.no_grad():
                    next(t.network.critic.parameters()).fill_(torch.nan)
            return loss

        monkeypatch.setattr(t, "_step", step)
        assert t.run(Budget(steps=60), Hooks(warn=warnings.append))
        assert len(warnings) == 1
        assert "diverged" in warnings[0]
        assert all(torch.isfinite(p).all() for p in t.network.parameters())
        for optimiser in t.optimisers.values():
            for state in optimiser.state_dict()["state"].values():
                assert all(torch.isfinite(torch.as_tensor(value)).all() for value in state.values())


class TestBfloat16:
    def test_a_sky_has_no_bands(self):
        """The last layer is fitted to a ramp: what it gives may be rounded by the layers before it, not by itself."""
        torch.manual_seed(0)
        network = ImplicitMethod(ImplicitConfig(NetworkConfig("base", width=0.17))).build(bf16=True).eval()
        ramp = torch.linspace(0.5, 0.95, 5000)
        picture, mask = ramp.expand(1, 3, 68, 5000), torch.zeros(1, 1, 68, 5000)
        seen = []
        hook = network.first.output.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        with torch.no_grad():
            network(picture, mask)
            hook.remove()
            features = torch.cat([seen[0][0, :, 34].float(), torch.ones(1, 5000)]).T.double()
            fitted = torch.linalg.lstsq(features, torch.atanh(ramp).double()[:, None]).solution[:, 0].float()
            network.first.output.conv.weight[:] = fitted[:-1].view(1, -1, 1, 1)
            network.first.output.conv.bias[:] = fitted[-1]
            sky = network(picture, mask)[-1][0, 0, 34]
        assert sky.dtype == torch.float32
        assert (sky - ramp).abs().mean() < 0.02, "it is the ramp"
        assert len(sky.unique()) > 2000

    def test_the_hidden_layers_run_in_it_and_nothing_else(self):
        """Weights, outputs and losses stay in float32."""
        method, dtypes = ImplicitMethod(ImplicitConfig(NetworkConfig("base", width=0.17))), {}
        network = method.build(bf16=True)
        hidden = network.first.encoder[3].conv
        hidden.register_forward_hook(lambda module, inputs, output: dtypes.update(hidden=output.dtype))
        network.first.output.register_forward_hook(lambda module, inputs, output: dtypes.update(last=output.dtype))
        t = trainer_of(method, *shot())
        clip = t.task.draw(t.rng, 2, (48, 64), False)
        losses = method.step(network, clip, 0.0, t.rng)["network"]
        assert dtypes == {"hidden": torch.bfloat16, "last": torch.float32}
        assert losses["reconstruction"].dtype == torch.float32
        assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}

    def test_what_is_filled_is_matched_with_other_frames_in_float32(self):
        """Each feature point of a tight cluster has a twin in the other frame, which bfloat16 would not find."""
        generator = torch.Generator().manual_seed(0)
        cluster = torch.ones(1, 32, 16, 16) + 0.02 * torch.randn(1, 32, 16, 16, generator=generator)

        def encoder(picture, known):
            # The fill is asked for first, with all of it known; then the other frame.
            return cluster if known.all() else cluster.roll((1, -1), (2, 3))

        config = ImplicitConfig(NetworkConfig("base", width=0.17), ambiguity=1.0)
        method = ImplicitMethod(config, encoder)
        hidden, seen = torch.zeros(1, 1, 1, 64, 64), torch.ones(1, 1, 1, 64, 64)
        hidden[..., 24:40, 24:40] = 1
        known = seen.clone()
        known[..., :2, :2] = 0
        other = Clip(torch.zeros(1, 1, 3, 64, 64), 1 - known, known, torch.zeros_like(known))
        clip = Clip(torch.rand(1, 1, 3, 64, 64), hidden, seen, hidden, others=other)
        losses = method.step(method.build(bf16=True), clip, 1.0, np.random.default_rng(0))["network"]
        assert losses["ambiguity"].dtype == torch.float32
        assert losses["ambiguity"].item() < 1e-5

    @pytest.mark.parametrize("trained", ["bfloat16", "float32"])
    def test_a_shot_is_rendered_at_the_precision_that_it_was_trained_at(self, sample, tmp_path, trained):
        output, work = tmp_path / "clean.####.exr", tmp_path / "job"
        options = [*shot_options(sample, output, work), "--quality", "draft", "--steps", "3", "--device", "cpu"]
        there, elsewhere = (
            {"INTERNAL_INPAINT_PRECISION": precision}
            for precision in (trained, "float32" if trained == "bfloat16" else "bfloat16")
        )
        # Stopped on the way, and resumed where the device would choose the other precision.
        done = internal_inpaint("train", *options[:-4], "--steps", "2", "--device", "cpu", env=there)
        assert done.returncode == 0, done.stderr
        done = internal_inpaint("run", *options, env=elsewhere)
        assert done.returncode == 0, done.stderr
        slow = trained == "bfloat16" and not has_bf16(torch.device("cpu"))
        assert ("has no instructions for" in done.stdout + done.stderr) == slow
        about = json.loads(next(work.glob("checkpoints/*/step-*/training.json")).read_text())
        assert about["counters"]["bf16"] is (trained == "bfloat16")
        assert about["counters"]["step"] == 3
        files = [frame(output, number) for number in sample.frames]
        before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
        for environment in (there, elsewhere):
            done = internal_inpaint("render", *options, env=environment)
            assert done.returncode == 0, done.stderr
            assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in files] == before, "rendered again"
        shown = [pixels(path)[0].tobytes() for path in files]
        for environment in (there, elsewhere):
            for path in files:
                path.unlink()
            done = internal_inpaint("render", *options, env=environment)
            assert done.returncode == 0, done.stderr
            assert [pixels(path)[0].tobytes() for path in files] == shown

    def test_the_two_precisions_do_not_give_the_same_frames(self, sample, tmp_path):
        frames = {}
        for precision in ("float32", "bfloat16"):
            output = tmp_path / precision / "clean.####.exr"
            options = [*shot_options(sample, output, tmp_path / f"job {precision}"), "--quality", "draft"]
            done = internal_inpaint("run", *options, "--steps", "2", env={"INTERNAL_INPAINT_PRECISION": precision})
            assert done.returncode == 0, done.stderr
            frames[precision] = pixels(frame(output, sample.frames[2]))[0].tobytes()
        assert frames["float32"] != frames["bfloat16"]

    def test_a_precision_that_is_none_is_refused(self, refused, sample, tmp_path, monkeypatch):
        monkeypatch.setenv("INTERNAL_INPAINT_PRECISION", "float16")
        said = refused("run", *shot_options(sample, tmp_path / "clean.####.exr", tmp_path / "job"))
        assert "INTERNAL_INPAINT_PRECISION=float16" in said
        assert not (tmp_path / "job").exists()

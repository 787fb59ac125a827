"""The two regularisers in a training: when they are on, and that each does what it is there for."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_training import BOTH, CPU, SHOT, TINY, assert_same_training, save, stop_at, trainer, with_method

from internal_inpaint import checkpoints
from internal_inpaint.methods.implicit.config import ImplicitConfig
from internal_inpaint.methods.implicit.method import ImplicitMethod
from internal_inpaint.methods.implicit.networks import NetworkConfig
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import PRESETS, TrainingConfig
from internal_inpaint.training.fill_task import fill_trainer
from internal_inpaint.training.state import Hooks


def without_learning(t, psnrs, monkeypatch):
    """A trainer whose steps do nothing and whose validations say what they are told to."""
    told = iter(psnrs)
    monkeypatch.setattr(t.task, "score", lambda fill: next(told))
    t._step = lambda rate, share: torch.tensor(0.1)
    return t


class TestPhase:
    """When the terms are on, and which weights are then the best."""

    def test_they_are_on_in_the_last_share_wherever_the_training_ends(self):
        on = ImplicitMethod(with_method(BOTH, regularise_share=0.25).method)
        assert [on.needs_others(p) for p in (0.0, 0.74, 0.75, 1.0)] == [False, False, True, True]
        assert [on.phase(p) for p in (0.0, 0.86, 0.88)] == [0, 0, 1]
        off = ImplicitMethod(TINY.method)
        assert not off.needs_others(1.0)
        assert off.phase(1.0) == 0
        t = trainer(BOTH)
        batch = t.task.draw(t.rng, 2, t.counters.crop, True)
        for share, terms in ((0.74, ["reconstruction"]), (0.75, ["reconstruction", "ambiguity", "stabilise"])):
            assert list(t.method.step(t.network, batch, share, t.rng)["network"]) == terms

    @pytest.mark.parametrize("end", [1.0, 0.5])
    def test_of_a_training_that_ends_early_it_is_the_last_share_of_what_there_was(self, end):
        t = trainer(BOTH)
        t.counters.schedule_end, t.counters.budget = end, [40, None]
        shares = []
        t._step = lambda rate, share: shares.append(share) or torch.tensor(0.1)
        t.run(Budget(steps=40), Hooks())
        assert len(shares) == 40 * end
        assert [t.method.needs_others(share) for share in shares].count(True) == 10 * end
        assert shares == sorted(shares)

    @pytest.mark.parametrize("kind", ["base", "stacked"])
    def test_a_training_with_them_runs_and_says_the_reconstruction_loss_alone(self, kind):
        config = with_method(BOTH, network=NetworkConfig(kind, width=0.17), ambiguity=50.0, stabilise=50.0)
        t = trainer(config)
        monitored = []
        original = t._step

        def step(rate, share):
            monitored.append(float(original(rate, share)))
            return torch.tensor(monitored[-1])

        t._step = step
        assert t.run(Budget(steps=8), Hooks())
        assert max(monitored[6:]) < 3 * max(monitored[:6])

    @pytest.mark.parametrize("term", ["ambiguity", "stabilise"])
    def test_each_changes_what_is_learned_once_it_is_on(self, term):
        # Both draw the same at random; only the gradient of the term tells them apart.
        plain = dataclasses.replace(TINY, patience=0)
        trainers = [trainer(with_method(plain, **{term: weight})) for weight in (1e-20, 0.1)]
        for t in trainers:
            t.run(Budget(steps=16), Hooks())
        without, with_it = (t.network.state_dict() for t in trainers)
        assert not any(torch.equal(tensor, with_it[name]) for name, tensor in without.items())

    def test_nothing_is_drawn_for_them_before_they_begin(self):
        plain, both = trainer(dataclasses.replace(TINY, patience=0)), trainer(BOTH)
        for t in (plain, both):
            t.run(Budget(steps=16), Hooks(should_stop=stop_at(t, 11)))
        for name, tensor in plain.network.state_dict().items():
            assert torch.equal(tensor, both.network.state_dict()[name]), name

    @pytest.mark.parametrize("optimiser", ["muon", "adam"])
    def test_resumed_across_their_beginning_it_ends_as_if_it_had_not_been_stopped(self, optimiser, tmp_path):
        config = with_method(dataclasses.replace(BOTH, optimiser=optimiser), regularise_share=0.5)
        whole = trainer(config)
        assert whole.run(Budget(steps=16), Hooks())
        part = trainer(config)
        for step in (6, 11):  # before and after they begin, at 8
            hooks = Hooks(should_stop=stop_at(part, step), checkpoint=lambda t: save(t, tmp_path))
            assert not part.run(Budget(steps=16), hooks)
            part = trainer(config)
            checkpoints.resume(part, checkpoints.newest(tmp_path), SHOT)
        assert part.run(Budget(steps=16), Hooks())
        assert_same_training(whole, part)
        assert whole.counters.best_step == part.counters.best_step

    def test_earlier_bests_are_forgotten_once_they_have_settled(self, monkeypatch):
        t = without_learning(trainer(BOTH), [*[30.0] * 17, 21.0, 22.0, 20.0, 20.0, 20.0], monkeypatch)
        assert t.run(Budget(steps=40), Hooks())
        assert t.counters.best_psnr == 22.0
        assert t.counters.best_step > 35

    def test_so_they_are_in_a_resumed_run(self, monkeypatch, tmp_path):
        psnrs = iter([*[30.0] * 16, *[21.0, 22.0, 20.0] * 10])
        t = without_learning(trainer(BOTH), psnrs, monkeypatch)
        t.run(
            Budget(steps=40),
            Hooks(should_stop=stop_at(t, 33), checkpoint=lambda t: save(t, tmp_path)),
        )
        assert t.counters.best_psnr == 30.0
        again = without_learning(trainer(BOTH), psnrs, monkeypatch)
        checkpoints.resume(again, checkpoints.newest(tmp_path), SHOT)
        assert again.run(Budget(steps=40), Hooks())
        assert again.counters.best_psnr == 22.0

    def test_without_them_the_best_is_the_best_of_all(self, monkeypatch):
        t = trainer(dataclasses.replace(TINY, patience=0))
        without_learning(t, [30.0, *[20.0] * 40], monkeypatch)
        t.run(Budget(steps=40), Hooks())
        assert t.counters.best_psnr == 30.0

    def test_training_that_winds_up_early_has_them_in_its_last_part(self, monkeypatch):
        t = trainer(dataclasses.replace(BOTH, patience=3))
        without_learning(t, [20.0, *[19.0] * 100], monkeypatch)
        on, original = [], t._step

        def step(rate, share):
            on.append(t.method.needs_others(share))
            return original(rate, share)

        t._step = step
        assert t.run(Budget(steps=100), Hooks())
        assert t.counters.step < 60
        assert 0.15 < np.mean(on) < 0.35
        assert on[-1]
        assert t.counters.best_phase == 1
        assert t.counters.best_step > 0.8 * t.counters.step

    def test_another_encoder_does_not_go_on_with_the_training(self, tmp_path):
        from test_encoders import made_up_weights

        from internal_inpaint.errors import BadInput
        from internal_inpaint.methods.implicit.encoders import Vgg19

        encoder = Vgg19(made_up_weights())
        t = trainer(BOTH, encoder=encoder)
        assert t.recipe.method.encoder == encoder.name
        saved = save(t, tmp_path)
        assert "vgg" not in " ".join(p.name for p in saved.iterdir())
        with pytest.raises(BadInput, match="other settings"):
            checkpoints.resume(trainer(BOTH), saved, SHOT)
        checkpoints.resume(trainer(BOTH, encoder=encoder), saved, SHOT)
        assert trainer(encoder=encoder).recipe == TINY

    def test_the_papers_recipe_has_both_with_its_weights(self):
        paper = PRESETS["paper"]
        method = paper.method
        assert (method.ambiguity, method.stabilise, method.regularise_share) == (0.1, 0.2, 0.25)
        assert TrainingConfig.from_dict(paper.to_dict()) == paper
        for quality in ("draft", "standard"):
            assert PRESETS[quality].method.ambiguity == PRESETS[quality].method.stabilise == 0


STATIC_HOLE = (slice(16, 32), slice(22, 42))
SMALL = TrainingConfig(
    method=ImplicitConfig(NetworkConfig("base", width=0.25), regularise_share=0.5),
    lr=5e-3,
    batch=4,
    crop_smallest=(48, 48),
    patience=0,
)


def blobs(rng, *shape):
    """Random texture ``[N, H, W, 3]`` of about five pixels, in [-0.7, 0.7]."""
    noise = torch.from_numpy(rng.standard_normal((shape[0], 3, *shape[1:])).astype(np.float32))
    smooth = F.avg_pool2d(noise, 5, 1, 2, count_include_pad=False)
    return (torch.tanh(8 * smooth) * 0.7).permute(0, 2, 3, 1)


def trainer_of(pictures, config=SMALL, **settings):
    """A trainer of the shot ``[N, H, W, 3]`` with one hole, the same in every frame."""
    state = torch.zeros(pictures.shape[:3], dtype=torch.uint8)
    state[:, *STATIC_HOLE] = PixelState.HOLE
    return fill_trainer(with_method(config, **settings), pictures * (state == 0)[..., None], state, CPU, 3)


class Painted:
    """A network whose output is given; its first layers are those of another, as features."""

    def __init__(self, network, output):
        self._network, self._output = network, output

    def __call__(self, *planes):
        return [self._output]

    def __getattr__(self, name):
        return getattr(self._network, name)


def test_what_frames_contradict_each_other_about_is_filled_sharper_with_the_anti_ambiguity_term():
    """One picture for the hole of eight frames of other textures: nearest to all of them is a grey blur.

    The pixels themselves are learned, as a network would that cannot tell the frames apart: a training of
    seconds ends elsewhere with every seed.
    """
    pictures = blobs(np.random.default_rng(0), 8, 48, 64).permute(0, 3, 1, 2)

    def detail(frames):
        inside = frames[:, :, *STATIC_HOLE]
        return float(inside.diff(dim=2).abs().mean() + inside.diff(dim=3).abs().mean())

    def filled(weight):
        t = trainer_of(pictures.permute(0, 2, 3, 1), dataclasses.replace(SMALL, crop_scale=None), ambiguity=weight)
        rng = np.random.default_rng(3)
        picture = torch.zeros(1, 3, 48, 64, requires_grad=True)
        adam = torch.optim.Adam([picture], 0.03)
        for _ in range(80):
            clip = t.task.draw(rng, 4, (48, 64), t.method.needs_others(1.0))
            painted = Painted(t.network, picture.expand(4, -1, -1, -1))
            term = t.method.step(painted, clip, 1.0, rng)["network"].get("ambiguity", 0)
            loss = (picture - pictures)[:, :, *STATIC_HOLE].square().mean() + term
            adam.zero_grad()
            loss.backward()
            adam.step()
        return detail(picture.detach()) / detail(pictures)

    without, with_it = filled(0.0), filled(1.0)
    assert without < 0.5
    assert 1.3 * without < with_it < 1.2, (without, with_it)  # no more than the shot has, either: that is noise


def test_what_no_frame_shows_flickers_less_with_the_stabilisation_term():
    """The camera trembles by a pixel or two and the light by a few per cent; the hole never moves."""
    rng = np.random.default_rng(0)
    ground = blobs(rng, 1, 56, 72)[0]
    moves = [(*rng.integers(0, 3, 2), float(rng.uniform(0.95, 1.05))) for _ in range(8)]
    pictures = torch.stack([(ground[dy : dy + 48, dx : dx + 64] + 1) * light - 1 for dy, dx, light in moves])

    def flicker(frames):
        # Each frame laid back over the ground, in the same light: a steady fill is the same in all.
        steady = [
            (frame[:, 18 - dy : 30 - dy, 24 - dx : 40 - dx] + 1) / light - 1
            for frame, (dy, dx, light) in zip(frames, moves, strict=True)
        ]
        return float(torch.stack(steady).std(0).mean())

    frames = pictures.permute(0, 3, 1, 2)
    assert flicker(frames) < 1e-6
    begun = trainer_of(pictures)
    begun.run(Budget(steps=60), Hooks())

    def refined(weight):
        """On from the same weights, in small steps: two whole trainings differ by more than the term does."""
        slow = dataclasses.replace(SMALL, lr=1e-3, adam_lr=5e-4)
        t = trainer_of(pictures, slow, stabilise=weight, regularise_share=1.0)
        t.network.load_state_dict(begun.network.state_dict())
        t.run(Budget(steps=30), Hooks())
        hidden = torch.zeros(8, 1, 48, 64)
        hidden[:, :, *STATIC_HOLE] = 1
        with torch.no_grad():
            return flicker(t.network.eval()(frames * (1 - hidden), hidden)[-1])

    without, with_it = refined(1e-20), refined(3.0)  # both draw the same at random
    assert with_it < 0.97 * without, (without, with_it)

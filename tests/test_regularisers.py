"""The two regularisers: what they compute, when they are on, and that each does what it is there for."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_training import CPU, SHOT, TINY, save, stop_at, trainer, with_method
from torch.utils._python_dispatch import TorchDispatchMode

from internal_inpaint import checkpoints
from internal_inpaint.methods.implicit import ambiguity
from internal_inpaint.methods.implicit.ambiguity import (
    ambiguity_loss,
    candidate_points,
    nearest_points,
    point_weights,
)
from internal_inpaint.methods.implicit.config import ImplicitConfig
from internal_inpaint.methods.implicit.method import ImplicitMethod
from internal_inpaint.methods.implicit.networks import NetworkConfig
from internal_inpaint.methods.implicit.stabilise import (
    KERNELS,
    Change,
    apply_change,
    draw_change,
    stabilise_loss,
)
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import PRESETS, TrainingConfig
from internal_inpaint.training.fill_task import fill_trainer
from internal_inpaint.training.state import Hooks

BOTH = with_method(dataclasses.replace(TINY, patience=0), ambiguity=0.1, stabilise=0.2)


class Says(torch.nn.Module):
    """A network that says what it is told the first time it is asked, and then goes by itself.

    Attributes:
        shown: what it was shown each time.
    """

    def __init__(self, network, first):
        super().__init__()
        self.network, self.shown, self._first = network, [], first

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.network, name)

    def forward(self, *inputs):
        self.shown.append(inputs)
        return [self._first] if len(self.shown) == 1 else self.network(*inputs)


class TestAmbiguity:
    """Equations (3), (8) and (9) on features made up here."""

    def features(self, seed, size=(5, 7), channels=6):
        return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(seed))

    def whole(self, source, target, drawn, seen):
        """Equation (9) as it stands: all pairs, one minimum."""
        s, t = (F.normalize(v.flatten(2), dim=1) for v in (source, target))
        distances = 1 - torch.einsum("bcp,bcq->bpq", s, t)
        distances = distances.masked_fill(~seen.flatten(1)[:, None, :], math.inf)
        return (distances.amin(2) * drawn.flatten(1)).sum() / drawn.sum()

    @pytest.mark.parametrize("chunk", [1, 40, 10**9])
    def test_loss_and_gradient_are_those_of_all_pairs_whatever_the_chunk(self, chunk):
        target, seen = self.features(1, (4, 9)), torch.rand(2, 4, 9, generator=torch.Generator().manual_seed(3)) > 0.4
        drawn = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(4)).clamp(min=0.3) - 0.3
        losses, gradients = [], []
        for compute in (lambda *a: ambiguity_loss(*a, chunk=chunk), self.whole):
            source = self.features(0).requires_grad_()
            loss = compute(source, target, drawn, seen)
            loss.backward()
            losses.append(loss.item())
            gradients.append(source.grad)
        assert losses[0] == pytest.approx(losses[1], abs=1e-6)
        assert torch.allclose(gradients[0], gradients[1], atol=1e-7)
        assert (gradients[0].abs().sum(1)[drawn == 0] == 0).all()

    def test_a_crop_of_960x540_never_holds_more_distances_than_a_chunk(self):
        class Largest(TorchDispatchMode):
            elements = 0

            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                result = function(*args, **(kwargs or {}))
                if isinstance(result, torch.Tensor):
                    self.elements = max(self.elements, result.numel())
                return result

        points = 960 // 4 * (540 // 4)
        source, target = (F.normalize(torch.randn(points, 4), dim=1) for _ in range(2))
        with Largest() as largest:
            nearest_points(source[: points // 16], target, torch.ones(points, dtype=torch.bool))
        assert 0 < largest.elements <= ambiguity.CHUNK
        assert ambiguity.CHUNK * 4 <= 32 << 20

    def test_a_blocked_target_counts_nothing(self):
        target, drawn = self.features(1), torch.ones(2, 5, 7)
        seen = torch.ones(2, 5, 7, dtype=torch.bool)
        seen[1] = False
        source = self.features(0).requires_grad_()
        loss = ambiguity_loss(source, target, drawn, seen)
        loss.backward()
        assert (source.grad[1] == 0).all()
        assert (source.grad[0] != 0).any()
        assert ambiguity_loss(source, target, drawn, torch.zeros_like(seen)).item() == 0

    def test_points_under_the_targets_own_hole_are_not_drawn_to(self):
        source = self.features(0)
        target = self.features(1)
        target[:, :, 2, 3] = source[:, :, 0, 0]  # a perfect match, but blocked
        seen = torch.ones(2, 5, 7, dtype=torch.bool)
        drawn = torch.zeros(2, 5, 7)
        drawn[:, 0, 0] = 1
        assert float(ambiguity_loss(source, target, drawn, seen)) == pytest.approx(0, abs=1e-6)
        seen[:, 2, 3] = False
        assert float(ambiguity_loss(source, target, drawn, seen)) > 0.1

    def test_points_are_counted_by_their_cells(self):
        hidden = torch.zeros(1, 1, 16, 16)
        hidden[..., 4:8, 4:6] = 1
        assert point_weights(hidden, 4)[0, 1, 1] == 0.5
        assert point_weights(hidden, 4).sum() == 0.5
        seen = candidate_points(1 - hidden, torch.ones(1, 4, 4), 4)[0]
        assert not seen[:3, :3].any()
        assert seen[3].all()
        assert seen[:, 3].all()

    def test_points_far_from_what_is_filled_are_not_drawn_to(self):
        drawn = torch.zeros(1, 20, 30)
        drawn[:, 10, 5] = 0.1
        seen = candidate_points(torch.ones(1, 1, 80, 120), drawn, 4)[0]
        expected = torch.zeros(20, 30, dtype=torch.bool)
        expected[10 - ambiguity.REACH : 11 + ambiguity.REACH, 5 - ambiguity.REACH : 6 + ambiguity.REACH] = True
        assert torch.equal(seen, expected)

    def test_the_real_hole_is_drawn_too_and_nothing_that_is_known(self):
        t = trainer(with_method(BOTH, stabilise=0.0))
        batch = t.task.draw(t.rng, 3, (48, 64), True)
        output = (torch.rand(3, 3, 48, 64) * 2 - 1).requires_grad_()
        t.method.step(Says(t.network, output), batch, 1.0, t.rng)["network"]["ambiguity"].backward()
        pulled = output.grad.abs().sum(1, keepdim=True) > 0
        hidden, known, synthetic = (plane[:, 0] for plane in (batch.hidden, batch.known, batch.synthetic))
        real = (known == 0) & (synthetic == 0)
        assert pulled[real].float().mean() > 0.9
        assert pulled[synthetic == 1].float().mean() > 0.9
        assert not pulled[hidden == 0].any()


def identity(count=2):
    return Change(np.tile(np.eye(2), (count, 1, 1)), np.zeros((count, 2)), np.ones(count), np.zeros(count, int))


class TestStabilise:
    """Equations (4) and (5) and the transformation of A.3."""

    def planes(self, size=(40, 56)):
        generator = torch.Generator().manual_seed(0)
        picture = torch.rand(2, 3, *size, generator=generator) * 2 - 1
        known, synthetic = torch.ones(2, 1, *size), torch.zeros(2, 1, *size)
        known[..., 12:22, 20:34] = 0
        synthetic[..., 24:34, 8:20] = 1
        return picture * known, torch.maximum(1 - known, synthetic), known, synthetic

    def test_no_change_changes_nothing(self):
        picture, hidden, known, synthetic = self.planes()
        changed = apply_change(identity(), picture, hidden, known, synthetic)
        assert torch.allclose(changed.picture, picture, atol=1e-5)
        for plane, same in ((changed.hidden, hidden), (changed.known, known), (changed.synthetic, synthetic)):
            assert torch.equal(plane, same)
        output = torch.rand_like(picture)
        loss = stabilise_loss(output, picture, known, synthetic, output, changed, 0.8)
        assert float(loss) == pytest.approx(0, abs=1e-5)

    @pytest.mark.parametrize(("dx", "dy"), [(2, -3), (-1, 2)])
    def test_a_shift_moves_frame_and_mattes_alike(self, dx, dy):
        picture, hidden, known, synthetic = self.planes()
        extra = 0.8 * picture.flip(1) + 0.1 * hidden
        change = dataclasses.replace(identity(), shift=np.array([[dx, dy]] * 2, float))
        changed = apply_change(change, picture, hidden, known, synthetic, extra)
        inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
        for plane, before in (
            (changed.picture, picture),
            (changed.hidden, hidden),
            (changed.known, known),
            (changed.synthetic, synthetic),
            (changed.extra, extra),
        ):
            assert torch.allclose(plane[inner], before.roll((dy, dx), (2, 3))[inner], atol=1e-4)
        assert not changed.known[..., : max(0, dy), :].any()
        assert not changed.known[..., :, : max(0, dx)].any()

    def test_a_point_goes_where_the_matrix_says_whatever_the_shape_of_the_crop(self):
        _, hidden, known, synthetic = self.planes()
        picture = torch.zeros(2, 3, 40, 56)
        picture[:, :, 8:11, 40:43] = 1
        start = np.array([41 + 0.5 - 28, 9 + 0.5 - 20])
        change = dataclasses.replace(draw_change(np.random.default_rng(1), 2), brightness=np.ones(2))
        changed = apply_change(change, picture, hidden * 0, known * 0 + 1, synthetic)
        y, x = torch.meshgrid(torch.arange(40) + 0.5 - 20, torch.arange(56) + 0.5 - 28, indexing="ij")
        for b in range(2):
            mass = changed.picture[b, 0]
            found = [float((mass * axis).sum() / mass.sum()) for axis in (x, y)]
            assert found == pytest.approx(change.matrix[b] @ start + change.shift[b], abs=0.1)

    def test_under_any_change_a_frame_keeps_to_its_mattes(self):
        """The hole is another colour than the rest: no pixel that g calls known may have any of it."""
        rng = np.random.default_rng(0)
        _, hidden, known, synthetic = self.planes()
        picture = (known * 0.5 - 0.9 * (1 - known)).expand(-1, 3, -1, -1)
        for _ in range(20):
            change = dataclasses.replace(draw_change(rng, 2), brightness=np.ones(2))
            changed = apply_change(change, picture, hidden, known, synthetic)
            assert ((changed.picture - 0.5) * changed.known).abs().max() < 0.02
            assert 0.7 < (1 - changed.known[..., 4:-4, 4:-4]).sum() / (1 - known).sum() < 1.6
            # Further in than g moves anything: there, known says nothing of the crop's own edge.
            inner = (slice(None), slice(None), slice(7, -7), slice(7, -7))
            either = torch.maximum(1 - changed.known, changed.synthetic)
            assert torch.equal(changed.hidden[inner], either[inner])

    def test_brightness_and_blur_are_for_pictures_not_for_mattes(self):
        picture, hidden, known, synthetic = self.planes()
        change = dataclasses.replace(identity(), brightness=np.array([0.95, 1.05]), blur=np.array([1, 2]))
        changed = apply_change(change, picture, hidden, known, synthetic)
        assert torch.equal(changed.hidden, hidden)
        assert torch.equal(changed.known, known)
        smooth = changed.picture[..., 30:, 30:].diff(dim=3).abs().mean((1, 2, 3))
        before = picture[..., 30:, 30:].diff(dim=3).abs().mean((1, 2, 3))
        assert (smooth < 0.6 * before).all()
        assert smooth[1] < smooth[0]
        flat = apply_change(change, picture * 0 + 0.2, hidden, known, synthetic).picture[..., 2, 2]
        assert torch.allclose(flat, torch.tensor([1.2 * 0.95 - 1, 1.2 * 1.05 - 1])[:, None].expand(-1, 3), atol=1e-5)

    def test_changes_stay_in_the_papers_ranges_and_use_them(self):
        change = draw_change(np.random.default_rng(0), 4000)
        scale = np.linalg.norm(change.matrix[:, :, 0], axis=1)
        angle = np.degrees(np.arctan2(change.matrix[:, 1, 0], change.matrix[:, 0, 0]))
        columns = np.degrees(np.arctan2(change.matrix[:, 1, 1], change.matrix[:, 0, 1]))
        for values, low, high in (
            (change.shift, -3, 3),
            (angle, -2, 2),
            (columns - angle - 90, -1, 1),
            (scale, 0.95, 1.05),
            (change.brightness, 0.95, 1.05),
        ):
            assert low - 1e-9 <= values.min() < low + 0.05 * (high - low)
            assert high - 0.05 * (high - low) < values.max() <= high + 1e-9
        assert set(change.blur) == {0, 1, 2}
        assert np.allclose(KERNELS.sum(1), 1)
        assert [(kernel > 0).sum() for kernel in KERNELS] == [1, 3, 5]

    @pytest.mark.parametrize("share", [None, 0.8])
    def test_the_change_of_the_output_is_compared_with_that_of_the_picture_outside_both_holes(self, share):
        picture, hidden, known, synthetic = self.planes()
        change = dataclasses.replace(identity(), shift=np.array([[3.0, 0.0]] * 2))
        changed = apply_change(change, picture, hidden, known, synthetic)
        inside = torch.maximum(synthetic, changed.synthetic)
        error = 0.3 * inside + 0.1 * (1 - inside)
        output = torch.rand_like(picture)
        again = output + (changed.picture - picture) + error
        poison = (known == 0) | (changed.known == 0)
        again = torch.where(poison, 1e6, again)
        loss = float(stabilise_loss(output, picture, known, synthetic, again, changed, share))
        counted = known * changed.known
        part = float((counted * inside).sum() / counted.sum())
        part = part if share is None else share
        assert loss == pytest.approx(0.3 * part + 0.1 * (1 - part), rel=1e-4)

    def test_both_passes_learn(self):
        t = trainer(with_method(BOTH, ambiguity=0.0))
        batch = t.task.draw(t.rng, 2, (48, 64), False)
        output = torch.zeros(2, 3, 48, 64, requires_grad=True)
        network = Says(t.network, output)
        t.method.step(network, batch, 1.0, t.rng)["network"]["stabilise"].backward()
        assert output.grad.abs().sum() > 0
        assert next(t.network.parameters()).grad.abs().sum() > 0
        _, (masked, hidden, _) = network.shown
        assert hidden.sum() > 0
        assert not (masked * hidden).any()


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
        for name, tensor in whole.network.state_dict().items():
            assert torch.equal(tensor, part.network.state_dict()[name]), name
        for name, tensor in whole.best.items():
            assert torch.equal(tensor, part.best[name]), name
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

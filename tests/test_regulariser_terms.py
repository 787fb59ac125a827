"""The terms of the two regularisers: what they compute (equations 3 to 5, 8, 9 and A.3)."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_training import BOTH, trainer, with_method
from torch.utils._python_dispatch import TorchDispatchMode

from internal_inpaint.methods.implicit import ambiguity
from internal_inpaint.methods.implicit.ambiguity import (
    ambiguity_loss,
    candidate_points,
    nearest_points,
    point_weights,
)
from internal_inpaint.methods.implicit.stabilise import (
    KERNELS,
    Change,
    apply_change,
    draw_change,
    stabilise_loss,
)


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

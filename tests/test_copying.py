"""The copying method: what its network decides, and the fill that follows from it at the plate's size."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from exact_motion import SIZE, moving_hole, panning, truth

from internal_inpaint.methods.base import Clip
from internal_inpaint.methods.copying.config import CopyConfig
from internal_inpaint.methods.copying.method import CopyMethod
from internal_inpaint.methods.copying.network import chosen, mixed
from internal_inpaint.methods.implicit.networks import NetworkConfig
from internal_inpaint.motion.candidates import COUNT, find_candidates
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.rendering.copy_source import CopySource
from internal_inpaint.rendering.copying import ShotCopies
from internal_inpaint.resample import enlarge_bicubic, reduce_area, reduce_max

TINY = CopyConfig(NetworkConfig("base", 0.17, shortcuts=True))
PAN = (2.6, -0.3)


def method_and_network(seed=0, **settings):
    torch.manual_seed(seed)
    method = CopyMethod(replace(TINY, **settings))
    return method, method.build()


def trained_a_little(network, seed=1):
    """As if it had learned something: no weight is 0 any more."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return network


def clip(batch=2, size=(32, 40), candidates=True, seed=0):
    """A random batch with a hole in its middle, in which most pixels have a few candidates."""
    random = torch.Generator().manual_seed(seed)
    hidden, there = torch.zeros(batch, 1, 1, *size), torch.rand(batch, COUNT, *size, generator=random) < 0.6
    hidden[..., 8:24, 10:30] = 1
    there &= (hidden[:, 0] > 0) & candidates
    weights = torch.rand(batch, COUNT, *size, generator=random) * there
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)
    copies = (torch.rand(batch, COUNT, 3, *size, generator=random) * 1.6 - 0.8) * there[:, :, None]
    pixels, smooth = (torch.rand(batch, 1, 3, *size, generator=random) * 1.6 - 0.8 for _ in range(2))
    planes = {"copies": copies.flatten(1, 2)[:, None], "weights": weights[:, None], "smooth": smooth}
    return Clip(pixels, hidden, torch.ones_like(hidden), hidden.clone(), planes=planes)


def parts(given):
    return given.planes["copies"][:, 0].unflatten(1, (COUNT, 3)), given.planes["weights"][:, 0]


class TestMethod:
    def test_untrained_it_gives_the_best_copy(self):
        method, network = method_and_network()
        given = clip()
        copies, weights = parts(given)
        with torch.no_grad():
            made = method.fill(network, given)
        there = weights.sum(dim=1, keepdim=True) > 0
        best = (weights[:, :, None] * copies).sum(dim=1)
        # What is left for the two choices that are no copies: about e^-4.
        assert ((made - best).abs() * there).max() < 0.05
        shares = chosen(weights, torch.zeros(2, COUNT + 2, *weights.shape[-2:]))
        torch.testing.assert_close(shares.sum(dim=1, keepdim=True), torch.ones_like(there, dtype=torch.float32))
        copied = shares[:, :COUNT] / shares[:, :COUNT].sum(dim=1, keepdim=True)
        torch.testing.assert_close(copied * there, weights * there, atol=1e-5, rtol=1e-4)

    def test_without_candidates_it_continues_smoothly_first(self):
        method, network = method_and_network()
        given = clip(candidates=False)
        with torch.no_grad():
            made = method.fill(network, given)
        assert (made - given.planes["smooth"][:, 0]).abs().max() < 0.1

    def test_what_is_not_there_is_never_chosen(self):
        _, weights = parts(clip())
        shares = chosen(weights, torch.cat([torch.ones(2, COUNT, 32, 40), -torch.ones(2, 2, 32, 40)], dim=1))
        assert shares[:, :COUNT][weights == 0].max() < 1e-9

    @pytest.mark.parametrize("candidates", [True, False])
    def test_every_weight_learns(self, candidates):
        method, network = method_and_network(dropped=0.0)
        trained_a_little(network)
        given = clip(candidates=candidates)
        losses = method.step(network, given, 0.5, np.random.default_rng(0))["network"]
        assert next(iter(losses)) == "mixture"
        sum(losses.values()).backward()
        for name, parameter in network.named_parameters():
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.any(), name

    def test_deciding_and_filling_agree(self):
        method, network = method_and_network()
        trained_a_little(network)
        given = clip()
        copies, weights = parts(given)
        with torch.no_grad():
            decision = method.decide(network, given)
            made = method.fill(network, given)
        assert decision.shape[1] == COUNT + 5
        assert decision.abs().max() <= 1
        shares = chosen(weights, decision[:, : COUNT + 2])
        again = mixed(shares, copies, given.planes["smooth"][:, 0], decision[:, COUNT + 2 :])
        torch.testing.assert_close(again, made)

    def test_its_inventing_part_stands_alone(self):
        """Export has no candidates to give."""
        method, network = method_and_network()
        trained_a_little(network)
        given = clip(candidates=False, size=(37, 50))
        hidden = given.hidden[:, 0]
        with torch.no_grad():
            alone = network.inventing()(given.pixels[:, 0] * (1 - hidden), hidden)[-1]
            whole = method.decide(network, given)[:, COUNT + 2 :]
        torch.testing.assert_close(alone, whole, atol=1e-5, rtol=0)

    def test_only_a_base_network(self):
        with pytest.raises(ValueError, match="stacked"):
            CopyMethod(replace(TINY, network=NetworkConfig("stacked"))).build()

    def test_taken_away_and_spoiled_candidates_are_as_candidates_are(self):
        given = clip(batch=16)
        copies, weights = parts(given)
        before = copies.clone(), weights.clone()

        def changed(**settings):
            return method_and_network(**settings)[0]._spoiled(copies, weights, np.random.default_rng(3))

        same = changed(dropped=0.0, spoiled=0.0)
        torch.testing.assert_close(same[0], copies)
        torch.testing.assert_close(same[1], weights)
        fewer, shares = changed(dropped=1.0)
        total = shares.sum(dim=1)
        assert ((total - 1).abs() < 1e-5).logical_or(total == 0).all()
        assert (fewer[(shares == 0)[:, :, None].expand_as(fewer)] == 0).all()
        none = total.flatten(1).sum(dim=1) == 0
        assert 0 < none.sum() < 16, "all candidates of some examples, some candidates of the others"
        moved, shares = changed(dropped=0.0, spoiled=1.0)
        torch.testing.assert_close(shares, weights)
        assert (moved != copies).flatten(1).any(dim=1).float().mean() > 0.7
        assert (moved[(weights == 0)[:, :, None].expand_as(moved)] == 0).all()
        for one, other in zip(changed(dropped=0.5, spoiled=0.5), changed(dropped=0.5, spoiled=0.5), strict=True):
            assert torch.equal(one, other)
        assert torch.equal(copies, before[0])
        assert torch.equal(weights, before[1])

    def test_a_batch_without_a_synthetic_hole_has_a_finite_loss(self):
        method, network = method_and_network()
        given = clip()
        given = replace(given, synthetic=torch.zeros_like(given.synthetic), known=1 - given.hidden)
        losses = method.step(network, given, 0.5, np.random.default_rng(0))["network"]
        assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.fixture(scope="module")
def copies():
    """A shot whose level has half of the plate's size."""
    state, large = moving_hole(8, (14, 2), (96, 160), (30, 14), (34, 40)), truth(8, PAN, (96, 160))
    small = np.stack([reduce_area(picture, SIZE) for picture in large])
    level = CopySource(small, np.stack([reduce_max(plane, SIZE) for plane in state]), panning(8, (1.3, -0.15)))
    return ShotCopies(level, CopySource(large, state, panning(8, PAN, (96, 160))), 0.5)


class TestFill:
    """At the plate's size, from what was decided at half of it."""

    def filled(self, copies, index, change, invented=None):
        """With one decision for all pixels, and the truth as what is invented."""
        level = copies.level.frames[index]
        decision = np.empty((*SIZE, COUNT + 5), np.float32)
        decision[..., : COUNT + 2], decision[..., COUNT + 2 :] = change, level if invented is None else invented
        found = copies.fill(lambda index, planes: decision, index)
        return found, copies.plate.frames[index][found.box], copies.plate.state[index][found.box] == PixelState.HOLE

    def test_copies_are_the_plates_own_pixels(self, copies):
        found, clean, hole = self.filled(copies, 3, np.zeros(COUNT + 2), invented=0)
        np.testing.assert_array_equal(found.hidden, hole)
        has = hole & (found.copied.sum(axis=0) > 0)
        assert has.mean() > 0.5
        assert np.abs(found.picture - clean)[has].mean() < 0.02
        np.testing.assert_allclose(found.copied.sum(axis=0)[has], 1, atol=1e-5)

    def test_what_is_invented_is_enlarged_without_a_shift(self, copies):
        change = np.full(COUNT + 2, -1.0)
        change[-1] = 1
        found, clean, hole = self.filled(copies, 3, change)
        large = enlarge_bicubic(copies.level.frames[3], (96, 160))
        inner = cv2.erode(hole.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        expected = np.abs(large[found.box] - clean)[inner].mean()
        assert np.abs(found.picture - clean)[inner].mean() < expected + 0.02
        assert found.weights[..., -1][hole].min() > 0.9

    def test_what_is_invented_has_the_detail_of_copies_that_look_like_it(self, copies):
        """Water that the network invents: soft, and of the right brightness."""
        change = np.full(COUNT + 2, -1.0)
        change[-1] = 1
        soft, clean, hole = self.filled(copies, 3, change)
        inner = cv2.erode(hole.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0

        def detail(picture):
            small = tuple(side // 2 for side in picture.shape[:2])
            return (picture - enlarge_bicubic(reduce_area(picture, small), picture.shape[:2]))[inner]

        assert soft.weights[..., -1][hole].min() > 0.9
        assert np.corrcoef(detail(soft.picture).ravel(), detail(clean).ravel())[0, 1] > 0.9
        assert 0.8 < detail(soft.picture).std() / detail(clean).std() < 1.2
        # Something else stands there than other frames show: their detail is none of it.
        other, _, _ = self.filled(copies, 3, change, invented=0.99)
        assert detail(other.picture).std() < 0.6 * detail(clean).std()

    def test_known_pixels_are_the_plates_own(self, copies):
        small = copies.at_level()
        found, own, hole = self.filled(small, 3, np.zeros(COUNT + 2), invented=0)
        np.testing.assert_array_equal(found.picture[~hole], own[~hole])
        found, own, hole = self.filled(copies, 3, np.zeros(COUNT + 2), invented=0)
        # The low frequencies of a seam are spread over it.
        assert np.abs(found.picture - own)[~hole].mean() < 0.01

    def test_a_picture_without_a_hole_needs_no_decision(self, copies):
        state = copies.level.state.copy()
        state[3] = 0
        level = CopySource(copies.level.frames, state, copies.level.motion)
        found = replace(copies, level=level).fill(None, 3)
        assert not found.hidden.any()

    def test_the_plate_is_searched_as_far_as_the_level_found_something(self, copies):
        plate = copies.plate
        whole = find_candidates(plate.motion, plate.shown, plate.state[3], 3)
        found, _, _ = self.filled(copies, 3, np.zeros(COUNT + 2), invented=0)
        np.testing.assert_array_equal(found.copied.sum(axis=0) > 0, whole.valid.any(axis=0))
        np.testing.assert_array_equal(found.points[whole.valid], whole.points[whole.valid])

    def test_what_no_frame_shows_is_not_followed_through_the_whole_plate(self):
        state = np.zeros((40, 96, 160), np.uint8)
        state[:, 30:50, 60:90] = PixelState.HOLE
        still, pictures, asked = (0.0, 0.0), truth(1, (0, 0), (96, 160)), []
        small = np.broadcast_to(reduce_area(pictures[0], SIZE), (40, *SIZE, 3))
        level = CopySource(small, np.stack([reduce_max(plane, SIZE) for plane in state]), panning(40, still))

        class Asked:
            size = (96, 160)

            def neighbour(self, index, direction):
                asked.append(index)

            def sharpness(self, index):
                return 1.0

        copies = ShotCopies(level, CopySource(np.broadcast_to(pictures, (40, 96, 160, 3)), state, Asked()), 0.5)
        found, _, hole = self.filled(copies, 20, np.zeros(COUNT + 2), invented=0)
        assert (found.hidden == hole).all()
        assert asked == []

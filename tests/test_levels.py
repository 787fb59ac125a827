"""Progressive learning (4.1, A.4): which levels, what the finer ones are shown, where they look."""

import dataclasses
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_training import CPU, assert_same_training, save, with_method

from internal_inpaint import checkpoints
from internal_inpaint.fit import _renew_best_score
from internal_inpaint.methods.implicit.config import ImplicitConfig
from internal_inpaint.methods.implicit.method import ImplicitMethod
from internal_inpaint.methods.implicit.networks import NetworkConfig
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.rendering.inference import enlarge
from internal_inpaint.rendering.trained_shot import TrainedLevel, TrainedShot
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import PRESETS, TrainingConfig
from internal_inpaint.training.fill_task import fill_trainer
from internal_inpaint.training.levels import plan_levels, whole_steps
from internal_inpaint.training.patches import BOUNDARY_PREFERENCE, PatchSampler, grid_cells, near_boundary
from internal_inpaint.training.prior import CoarsePrior
from internal_inpaint.training.sampling import HoleSampler, Placement, crop_size, hole_boxes
from internal_inpaint.training.state import Hooks

COARSE = TrainingConfig(
    method=ImplicitConfig(NetworkConfig("base", width=0.17)), lr=5e-3, batch=2, crop_smallest=(32, 32), patience=0
)
FINE = dataclasses.replace(
    with_method(COARSE, network=NetworkConfig("base", 0.17, extra_planes=3, refines=True)),
    crop_scale=0.0,
    crop_smallest=(48, 48),
    crop_pixels=48 * 48,
)


def shot(scale=2, frames=6):
    """A panning pattern at 40x56 times ``scale``, with a hole; the coarse one is the fine one averaged."""
    y, x = np.mgrid[: 40 * scale, : 56 * scale].astype(np.float32) / scale
    pictures = np.stack(
        [np.stack([np.sin(x + 2 * i), np.sin(x / 3 + y / 2), np.cos(y / 2)], axis=-1) * 0.8 for i in range(frames)]
    )
    state = torch.zeros(frames, 40 * scale, 56 * scale, dtype=torch.uint8)
    state[:, 12 * scale : 24 * scale, 20 * scale : 34 * scale] = PixelState.HOLE
    return (torch.from_numpy(pictures) * (state == 0)[..., None]).half(), state


def two_trainers(seed=3):
    coarse = fill_trainer(COARSE, *shot(1), CPU, seed)
    coarse.run(Budget(steps=4), Hooks())
    return coarse, fill_trainer(FINE, *shot(2), CPU, seed, coarser=coarse)


def trained_shot(trainers, planes):
    """What renders with the best weights of these trainers, each for its planes (frames, state)."""
    levels = [
        TrainedLevel(trainer.method, trainer.best_network(), np.asarray(frames), np.asarray(state))
        for trainer, (frames, state) in zip(trainers, planes, strict=True)
    ]
    return TrainedShot(levels, None, levels[-1].size)


def handed_on(trainer):
    """What a level hands on to the next finer one."""
    network = trainer.best_network()
    return trainer.task.as_prior(lambda clip: trainer.method.fill(network, clip), trainer.counters.crop)


class TestPlan:
    @pytest.mark.parametrize("quality", ["standard", "final", "paper"])
    @pytest.mark.parametrize("on_cuda", [False, True])
    @pytest.mark.parametrize("canvas", [(240, 432), (480, 854), (1080, 1920), (2160, 4096), (4320, 7680), (97, 3000)])
    def test_each_level_is_about_twice_the_one_before_and_the_budget_is_shared(self, quality, on_cuda, canvas):
        levels = plan_levels(canvas, PRESETS[quality], on_cuda)
        assert sum(level.share for level in levels) == pytest.approx(1)
        for before, after in pairwise(levels):
            assert 1.2 <= (after.size[0] * after.size[1] / (before.size[0] * before.size[1])) ** 0.5 <= 2.9
            assert after.config.method.network.extra_planes == 3
            assert after.config.method.network.refines == (quality != "paper")
        assert not levels[0].config.method.network.refines
        if quality != "paper" or canvas[0] * canvas[1] > 1280 * 720:
            assert levels[-1].size == canvas
        elsewhere = plan_levels(canvas, PRESETS[quality], not on_cuda, levels[0].size)
        assert [there.size for there in elsewhere] == [here.size for here in levels], "begun here, resumed there"

    def test_the_papers_steps_at_4k(self):
        levels = plan_levels((2160, 3840), PRESETS["paper"], True)
        whole = Budget(steps=whole_steps(levels, PRESETS["paper"]))
        assert [level.budget(whole).steps for level in levels] == [30_000, 45_000, 60_000]
        assert [level.size for level in levels] == [(540, 960), (1080, 1920), (2160, 3840)]
        assert {(level.config.batch, level.config.lr) for level in levels} == {(2, 1e-4)}

    def test_the_papers_frames_and_patches_beyond_1k(self):
        """A.4: whole frames of 960x540 first, then patches of 960x540, whatever the size of the hole."""
        levels = plan_levels((2160, 3840), PRESETS["paper"], on_cuda=False)
        assert [level.size for level in levels] == [(540, 960), (1080, 1920), (2160, 3840)]
        for level in levels:
            config = level.config
            boxes = np.array([[100, 100, 420, 700]])
            crop = crop_size(boxes, level.size, config.crop_scale, config.crop_smallest, config.crop_pixels)
            assert crop == (540, 960)

    def test_a_recipe_survives_the_checkpoint(self):
        for level in plan_levels((2160, 3840), PRESETS["paper"], True):
            assert TrainingConfig.from_dict(level.config.to_dict()) == level.config


class TestPrior:
    def test_an_untrained_finer_level_gives_the_coarser_ones_picture(self):
        coarse, fine = two_trainers()
        both_levels = trained_shot([coarse, fine], [shot(1), shot(2)])
        first, size = both_levels.coarsest(), both_levels.size
        below = first.fill(2, torch.ones(first.size, dtype=torch.bool))
        known = (shot(1)[1][2] == 0)[..., None]
        filled = torch.where(known, shot(1)[0][2].float(), below)
        hole = shot(2)[1][2] != 0
        both = both_levels.fill(2, torch.ones(size, dtype=torch.bool))
        assert torch.allclose(both[hole], enlarge(filled, size)[hole], atol=1e-5)

    def test_what_training_shows_is_what_rendering_shows(self):
        coarse, fine = two_trainers()
        frames, state = shot(1)
        index = next(i for i in range(len(state)) if i not in coarse.task.held_out.masks)
        hidden, zero = (shot(2)[1][index][None, None] != 0).float(), torch.tensor([0])
        shown = handed_on(coarse).picture(torch.tensor([index]), zero, zero, hidden, fine.task.size)
        level = trained_shot([coarse], [(frames, state)])
        fill = level.fill(index, torch.ones(level.size, dtype=torch.bool))
        filled = torch.where((state[index] == 0)[..., None], frames[index].float(), fill)
        assert torch.allclose(shown[0].permute(1, 2, 0), enlarge(filled, fine.task.size), atol=1e-4)

    def test_the_prior_does_not_know_what_is_hidden(self):
        """Whatever stands under the synthetic hole: the finer level is shown the same."""
        torch.manual_seed(0)
        method = ImplicitMethod(COARSE.method)
        network = method.build().eval()
        frames, state = shot(1)
        hidden = torch.zeros(1, 1, 80, 112)
        hidden[..., 40:60, 60:90] = 1
        pictures = []
        for poison in (0.0, 0.9):
            changed = frames.clone()
            changed[1, 20:30, 30:45] = poison
            prior = CoarsePrior(lambda clip: method.fill(network, clip), HoleSampler(changed, state, (32, 32), CPU))
            zero = torch.tensor([0])
            pictures.append(prior.picture(torch.tensor([1]), zero, zero, hidden, (80, 112)))
        assert torch.equal(*pictures)

    def test_a_hole_larger_than_the_patch_is_as_large_for_the_coarser_level(self):
        """Beyond the patch, too, nothing of what stands under the hole is shown."""
        frames, state = shot(1)
        fine = torch.zeros(6, 80, 112, dtype=torch.uint8)
        fine[0, 4:76, 6:106] = PixelState.HOLE
        asked = []

        class Spy:
            def picture(self, frame, top, left, hidden, size, covers):
                asked.append(covers(torch.tensor([[0, 10, 70]]), torch.tensor([[0, 8, 100]])))
                return torch.zeros(1, 3, *hidden.shape[-2:])

        sampler = HoleSampler(torch.zeros(6, 80, 112, 3).half(), fine, (32, 32), CPU, prior=Spy())
        sampler.gather([Placement(1, 0, 0, 0, 30, 30)])
        assert asked[0].tolist() == [[[False] * 3, [False, True, True], [False, True, True]]]

        seen = []
        coarse = fill_trainer(COARSE, frames, state, CPU, 3)

        def fill(clip):
            seen.append(clip.hidden)
            return coarse.fill(clip)

        prior = coarse.task.as_prior(fill, coarse.counters.crop)
        hidden = torch.ones(1, 1, 16, 16)
        zero = torch.tensor([32])
        prior.picture(torch.tensor([1]), zero, zero, hidden, (80, 112), lambda rows, columns: rows[:, :, None] < 60)
        assert seen[0][0, 0, 0, :28].all(), "everything above row 60 of the finer level, 30 of this one"

    def test_validation_holes_stay_hidden_at_every_level(self):
        coarse, fine = two_trainers()
        assert [p.frame for p in fine.task.held_out.placements] == [p.frame for p in coarse.task.held_out.placements]
        for frame, mask in coarse.task.held_out.masks.items():
            larger = mask.repeat_interleave(2, 0).repeat_interleave(2, 1)
            known = shot(2)[1][frame] == 0
            assert not (larger & known & ~fine.task.held_out.masks[frame]).any()
            assert not (fine.task.held_out.masks[frame] & ~known).any()


class TestPatches:
    def test_small_pieces_of_a_matte_are_left_out_unless_all_are(self):
        state = torch.zeros(2, 200, 300, dtype=torch.uint8)
        state[0, 20:100, 30:200] = PixelState.HOLE
        state[0, 100:102, 30:32] = PixelState.HOLE
        state[1, 5:7, 5:7] = PixelState.HOLE
        cells = grid_cells(state, hole_boxes(state), (64, 64))
        assert set(cells[:, 0]) == {0}, "four pixels of 64x64 are fewer than 1,000 of 960x540"
        for _, top, left, y, x in cells:
            assert top <= y < top + 64
            assert left <= x < left + 64
        assert len(grid_cells(state[1:], hole_boxes(state[1:]), (64, 64))) == 1

    def test_the_boundary_is_five_times_as_likely(self):
        state = torch.zeros(1, 600, 1000, dtype=torch.uint8)
        state[0, 150:450, 250:750] = PixelState.HOLE
        sampler = PatchSampler(torch.zeros(1, 600, 1000, 3).half(), state, (64, 64), CPU)
        rng, drawn, possible = np.random.default_rng(0), [0, 0], [0, 0]
        (top, bottom), (left, right) = sampler._corners
        for y in range(top, bottom + 1, 2):
            for x in range(left, right + 1, 2):
                possible[near_boundary(sampler.boxes[0], y + 32, x + 32, sampler.crop)] += 1
        for _ in range(4000):
            place = sampler.draw(rng)
            drawn[near_boundary(sampler.boxes[0], place.top + 32, place.left + 32, sampler.crop)] += 1
        assert possible[0] > 0
        assert (drawn[1] / possible[1]) / (drawn[0] / possible[0]) == pytest.approx(BOUNDARY_PREFERENCE, rel=0.2)

    def test_the_boundarys_distances_are_the_papers_for_its_patches_and_in_proportion_for_others(self):
        box = np.array([200, 200, 400, 500])
        for patch, near, far in (((540, 960), 44, 46), ((270, 480), 22, 24), ((54, 96), 4, 6)):
            assert near_boundary(box, 200 - near, 300, patch)
            assert not near_boundary(box, 200 - far, 300, patch)
        assert near_boundary(box, 300, 200 - 79, (540, 960))
        assert not near_boundary(box, 300, 200 - 79, (540, 480))

    def test_what_is_far_from_every_hole_is_not_trained_on(self):
        state = torch.zeros(3, 600, 1000, dtype=torch.uint8)
        state[0, 250:290, 450:500] = PixelState.HOLE
        state[1, 280:300, 480:520] = PixelState.HOLE
        sampler = PatchSampler(torch.zeros(3, 600, 1000, 3).half(), state, (64, 64), CPU)
        rng = np.random.default_rng(0)
        places = [sampler.draw(rng) for _ in range(300)]
        assert {250 - 64 <= p.top <= 300 and 450 - 64 <= p.left <= 520 for p in places} == {True}

    def test_every_patch_has_a_piece_of_a_matte_in_it_and_lies_in_the_frame(self):
        frames, state = shot(4)
        sampler = PatchSampler(frames, state, (48, 48), CPU)
        rng = np.random.default_rng(0)
        batch = sampler.gather([sampler.draw(rng) for _ in range(60)])
        assert (batch.synthetic.sum((1, 2, 3, 4)) > 0).all()
        assert batch.pixels.shape == (60, 1, 3, 48, 48)


def test_a_finer_level_stopped_and_resumed_ends_as_if_it_had_not_been(tmp_path):
    _, whole = two_trainers()
    whole.run(Budget(steps=9), Hooks())
    _, part = two_trainers()
    hooks = Hooks(should_stop=lambda: part.counters.step >= 4, checkpoint=lambda t: save(t, tmp_path, "shot"))
    assert not part.run(Budget(steps=9), hooks)
    _, part = two_trainers()
    checkpoints.resume(part, checkpoints.newest(tmp_path), "shot")
    part.run(Budget(steps=9), Hooks())
    assert_same_training(whole, part)


def test_a_finer_level_is_never_worse_than_the_one_before_by_its_own_score():
    _, fine = two_trainers()
    fine.run(Budget(steps=3), Hooks())
    history = [psnr for _, _, _, psnr in fine.counters.history]
    assert fine.counters.history[0][0] == 0, "scored before the first step"
    assert fine.counters.best_psnr == max(history)


def test_where_the_coarser_level_was_trained_further_the_best_is_scored_with_its_new_picture():
    """Also where the finer level's own budget is used up: its score would else be missing from the report."""
    coarse, fine = two_trainers()
    fine.run(Budget(steps=3), Hooks())
    before = fine.counters.best_psnr
    fine.counters.prior = "of the coarser level as it was"
    with torch.no_grad():
        fine.best = {name: tensor + 0.1 for name, tensor in fine.best.items()}
    _renew_best_score(fine, SimpleNamespace(trainer=coarse))
    assert fine.counters.best_psnr < before
    network = fine.best_network()
    assert fine.counters.best_psnr == fine.task.score(lambda clip: fine.method.fill(network, clip))


def test_finer_levels_bring_back_detail_that_one_level_enlarged_cannot_have():
    """At equal work (pixels a step, the prior's included), against the true picture under the hole."""
    y, x = np.mgrid[:96, :144].astype(np.float32)
    stripes = [
        np.sign(np.sin((x + 5 * i + 0.3 * y) * np.pi / 20)) * np.where(y % 50 < 25, 0.7, 0.3) for i in range(5)
    ]
    truth = torch.from_numpy(np.repeat(np.stack(stripes)[..., None], 3, axis=3).astype(np.float32))
    hole = torch.zeros(5, 96, 144, dtype=torch.uint8)
    hole[:, 38:58, 56:80] = PixelState.HOLE
    small = torch.nn.functional.adaptive_avg_pool2d(truth.permute(0, 3, 1, 2), (36, 54)).permute(0, 2, 3, 1)
    small_hole = torch.nn.functional.adaptive_max_pool2d(hole[:, None].float(), (36, 54))[:, 0].to(torch.uint8)
    planes = [((p * (h == 0)[..., None]).half(), h) for p, h in ((small, small_hole), (truth, hole))]
    first = with_method(COARSE, network=NetworkConfig("base", 0.25))
    first = dataclasses.replace(first, crop_smallest=(36, 36), batch=4)
    second = with_method(FINE, network=NetworkConfig("base", 0.25, 3, True))
    second = dataclasses.replace(second, crop_smallest=(64, 64), crop_pixels=64 * 64)

    def trained(config, level, steps, coarser=None):
        trainer = fill_trainer(config, *planes[level], CPU, 1, coarser=coarser)
        trainer.run(Budget(steps=steps), Hooks())
        return trainer

    def error_and_detail(*trainers):
        levels, inside = trained_shot(trainers, planes[: len(trainers)]), (slice(38, 58), slice(56, 80), 0)
        everywhere = torch.ones(levels.size, dtype=torch.bool)
        fills = torch.stack([enlarge(levels.fill(i, everywhere), (96, 144))[inside] for i in range(5)])
        true = truth[(slice(None), *inside)]
        detail = fills.diff(dim=2).square().mean().sqrt() / true.diff(dim=2).square().mean().sqrt()
        return float((fills - true).square().mean()), float(detail)

    steps = 160, 90
    work = steps[1] * (2 * 64 * 64 + 2 * 36 * 54 / 3) / (4 * 36 * 54)
    one_error, one_detail = error_and_detail(trained(first, 0, steps[0] + round(work)))
    error, detail = error_and_detail(coarse := trained(first, 0, steps[0]), trained(second, 1, steps[1], coarse))
    assert detail > 1.1 * one_detail, (detail, one_detail)
    assert error < 0.9 * one_error, (error, one_error)


def test_a_matte_of_two_objects_is_judged_where_one_of_them_is():
    """Between them, in the middle of their box, there is nothing to judge: that is no divergence."""
    coarse_planes, fine_planes = shot(1, 3), shot(2, 3)
    for scale, (frames, state) in ((1, coarse_planes), (2, fine_planes)):
        state[:] = 0
        state[:, 4 * scale : 8 * scale, 3 * scale : 8 * scale] = PixelState.HOLE
        state[:, 30 * scale : 35 * scale, 48 * scale : 52 * scale] = PixelState.HOLE
        frames *= (state == 0)[..., None]
    coarse = fill_trainer(COARSE, *coarse_planes, CPU, 3)
    coarse.run(Budget(steps=2), Hooks())
    small = dataclasses.replace(FINE, crop_smallest=(16, 16), crop_pixels=256)
    fine = fill_trainer(small, *fine_planes, CPU, 3, coarser=coarse)
    fine.run(Budget(steps=2), Hooks())
    assert fine.counters.best_psnr is not None
    assert fine.counters.retries == 0

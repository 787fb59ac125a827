"""Progressive learning (4.1, A.4): which stages, what the finer ones are shown, where they look."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from internal_inpaint.methods.implicit.networks import InpaintNetwork, NetworkConfig, initialise
from internal_inpaint.rendering.cascade import Cascade, RenderStage
from internal_inpaint.rendering.inference import enlarge
from internal_inpaint.training import checkpoint
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import PRESETS, TrainingConfig
from internal_inpaint.training.loop import Hooks, Trainer, best_network
from internal_inpaint.training.patches import LIKELIER, PatchSampler, grid_cells, near_boundary
from internal_inpaint.training.sampling import HOLE, HoleSampler, Placement, hole_boxes
from internal_inpaint.training.stages import plan_stages, whole_steps

CPU = torch.device("cpu")
COARSE = TrainingConfig(network=NetworkConfig("base", width=0.17), lr=5e-3, batch=2, crop_smallest=32, patience=0)
FINE = dataclasses.replace(
    COARSE,
    network=NetworkConfig("base", 0.17, extra_planes=3, refines=True),
    crop_scale=0.0,
    crop_smallest=48,
    crop_pixels=48 * 48,
)


def shot(scale=2, frames=6):
    """A panning pattern at 40x56 times ``scale``, with a hole; the coarse one is the fine one averaged."""
    y, x = np.mgrid[: 40 * scale, : 56 * scale].astype(np.float32) / scale
    pictures = np.stack(
        [np.stack([np.sin(x + 2 * i), np.sin(x / 3 + y / 2), np.cos(y / 2)], axis=-1) * 0.8 for i in range(frames)]
    )
    state = torch.zeros(frames, 40 * scale, 56 * scale, dtype=torch.uint8)
    state[:, 12 * scale : 24 * scale, 20 * scale : 34 * scale] = HOLE
    return (torch.from_numpy(pictures) * (state == 0)[..., None]).half(), state


def two_trainers(seed=3):
    coarse = Trainer(COARSE, *shot(1), CPU, seed)
    coarse.run(Budget(steps=4), Hooks())
    return coarse, Trainer(FINE, *shot(2), CPU, seed, coarser=coarse)


class TestPlan:
    @pytest.mark.parametrize("quality", ["standard", "final", "paper"])
    @pytest.mark.parametrize("on_cuda", [False, True])
    @pytest.mark.parametrize("canvas", [(240, 432), (480, 854), (1080, 1920), (2160, 4096), (4320, 7680), (97, 3000)])
    def test_each_stage_is_about_twice_the_one_before_and_the_budget_is_shared(self, quality, on_cuda, canvas):
        stages = plan_stages(canvas, PRESETS[quality], on_cuda)
        assert sum(stage.share for stage in stages) == pytest.approx(1)
        for before, after in pairwise(stages):
            assert 1.2 <= (after.size[0] * after.size[1] / (before.size[0] * before.size[1])) ** 0.5 <= 2.9
            assert after.config.network.extra_planes == 3
            assert after.config.network.refines == (quality != "paper")
        assert not stages[0].config.network.refines
        if quality != "paper" or canvas[0] * canvas[1] > 1280 * 720:
            assert stages[-1].size == canvas
        elsewhere = plan_stages(canvas, PRESETS[quality], not on_cuda, stages[0].size)
        assert [there.size for there in elsewhere] == [here.size for here in stages], "begun here, gone on with there"

    def test_the_papers_steps_at_4k(self):
        stages = plan_stages((2160, 3840), PRESETS["paper"], True)
        whole = Budget(steps=whole_steps(stages, PRESETS["paper"]))
        assert [stage.budget(whole).steps for stage in stages] == [30_000, 45_000, 60_000]
        assert [stage.size for stage in stages] == [(540, 960), (1080, 1920), (2160, 3840)]
        assert {(stage.config.batch, stage.config.lr) for stage in stages} == {(2, 1e-4)}

    def test_a_recipe_survives_the_checkpoint(self):
        for stage in plan_stages((2160, 3840), PRESETS["paper"], True):
            assert TrainingConfig.from_dict(stage.config.to_dict()) == stage.config


class TestPrior:
    def test_an_untrained_finer_stage_gives_the_coarser_ones_picture(self):
        coarse, fine = two_trainers()
        stages = [
            RenderStage(best_network(t), planes[0].numpy(), planes[1].numpy())
            for t, planes in ((coarse, shot(1)), (fine, shot(2)))
        ]
        everywhere = torch.ones(stages[1].size, dtype=torch.bool)
        below = Cascade(stages[:1]).fill(2, torch.ones(stages[0].size, dtype=torch.bool))
        known = (shot(1)[1][2] == 0)[..., None]
        filled = torch.where(known, shot(1)[0][2].float(), below)
        hole = shot(2)[1][2] != 0
        both = Cascade(stages).fill(2, everywhere)
        assert torch.allclose(both[hole], enlarge(filled, stages[1].size)[hole], atol=1e-5)

    def test_what_training_shows_is_what_rendering_shows(self):
        coarse, fine = two_trainers()
        frames, state = shot(1)
        index = next(i for i in range(len(state)) if i not in coarse.held_out.masks)
        hidden, zero = (shot(2)[1][index][None, None] != 0).float(), torch.tensor([0])
        shown = coarse.level().picture(torch.tensor([index]), zero, zero, hidden, fine.size)
        stage = RenderStage(best_network(coarse), frames.numpy(), state.numpy())
        fill = Cascade([stage]).fill(index, torch.ones(stage.size, dtype=torch.bool))
        filled = torch.where((state[index] == 0)[..., None], frames[index].float(), fill)
        assert torch.allclose(shown[0].permute(1, 2, 0), enlarge(filled, fine.size), atol=1e-4)

    def test_the_prior_does_not_know_what_is_hidden(self):
        """Whatever stands under the synthetic hole: the finer stage is shown the same."""
        torch.manual_seed(0)
        network = InpaintNetwork(COARSE.network)
        initialise(network, "preserving")
        frames, state = shot(1)
        hidden = torch.zeros(1, 1, 80, 112)
        hidden[..., 40:60, 60:90] = 1
        pictures = []
        for poison in (0.0, 0.9):
            changed = frames.clone()
            changed[1, 20:30, 30:45] = poison
            coarse = Trainer(COARSE, frames, state, CPU, 3)
            level = coarse.level()
            level.network = network.eval()
            level._sampler = HoleSampler(changed, state, (32, 32), CPU)
            zero = torch.tensor([0])
            pictures.append(level.picture(torch.tensor([1]), zero, zero, hidden, (80, 112)))
        assert torch.equal(*pictures)

    def test_a_hole_larger_than_the_patch_is_as_large_for_the_coarser_stage(self):
        """Beyond the patch, too, nothing of what stands under the hole is shown."""
        frames, state = shot(1)
        fine = torch.zeros(6, 80, 112, dtype=torch.uint8)
        fine[0, 4:76, 6:106] = HOLE
        asked = []

        class Spy:
            def picture(self, frame, top, left, hidden, size, covers):
                asked.append(covers(torch.tensor([[0, 10, 70]]), torch.tensor([[0, 8, 100]])))
                return torch.zeros(1, 3, *hidden.shape[-2:])

        sampler = HoleSampler(torch.zeros(6, 80, 112, 3).half(), fine, (32, 32), CPU, prior=Spy())
        sampler.gather([Placement(1, 0, 0, 0, 30, 30)])
        assert asked[0].tolist() == [[[False] * 3, [False, True, True], [False, True, True]]]

        seen = []
        coarse = Trainer(COARSE, frames, state, CPU, 3)
        level = coarse.level()
        level.network.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))
        hidden = torch.ones(1, 1, 16, 16)
        zero = torch.tensor([32])
        level.picture(torch.tensor([1]), zero, zero, hidden, (80, 112), lambda rows, columns: rows[:, :, None] < 60)
        assert seen[0][0, 0, :28].all(), "everything above row 60 of the finer stage, 30 of this one"

    def test_validation_holes_stay_hidden_at_every_stage(self):
        coarse, fine = two_trainers()
        assert [p.frame for p in fine.held_out.placements] == [p.frame for p in coarse.held_out.placements]
        for frame, mask in coarse.held_out.masks.items():
            larger = mask.repeat_interleave(2, 0).repeat_interleave(2, 1)
            known = shot(2)[1][frame] == 0
            assert not (larger & known & ~fine.held_out.masks[frame]).any()
            assert not (fine.held_out.masks[frame] & ~known).any()


class TestPatches:
    def test_small_pieces_of_a_matte_are_left_out_unless_all_are(self):
        state = torch.zeros(2, 200, 300, dtype=torch.uint8)
        state[0, 20:100, 30:200] = HOLE
        state[0, 100:102, 30:32] = HOLE
        state[1, 5:7, 5:7] = HOLE
        cells = grid_cells(state, hole_boxes(state), (64, 64))
        assert set(cells[:, 0]) == {0}, "four pixels of 64x64 are fewer than 1,000 of 960x540"
        for _, top, left, y, x in cells:
            assert top <= y < top + 64
            assert left <= x < left + 64
        assert len(grid_cells(state[1:], hole_boxes(state[1:]), (64, 64))) == 1

    def test_the_boundary_is_five_times_as_likely(self):
        state = torch.zeros(1, 600, 1000, dtype=torch.uint8)
        state[0, 150:450, 250:750] = HOLE
        sampler = PatchSampler(torch.zeros(1, 600, 1000, 3).half(), state, (64, 64), CPU)
        rng, drawn, possible = np.random.default_rng(0), [0, 0], [0, 0]
        (top, bottom), (left, right) = sampler._corners
        for y in range(top, bottom + 1, 2):
            for x in range(left, right + 1, 2):
                possible[near_boundary(sampler.boxes[0], y + 32, x + 32)] += 1
        for _ in range(4000):
            place = sampler.draw(rng)
            drawn[near_boundary(sampler.boxes[0], place.top + 32, place.left + 32)] += 1
        assert possible[0] > 0
        assert (drawn[1] / possible[1]) / (drawn[0] / possible[0]) == pytest.approx(LIKELIER, rel=0.2)

    def test_what_is_far_from_every_hole_is_not_trained_on(self):
        state = torch.zeros(3, 600, 1000, dtype=torch.uint8)
        state[0, 250:290, 450:500] = HOLE
        state[1, 280:300, 480:520] = HOLE
        sampler = PatchSampler(torch.zeros(3, 600, 1000, 3).half(), state, (64, 64), CPU)
        rng = np.random.default_rng(0)
        places = [sampler.draw(rng) for _ in range(300)]
        assert {250 - 64 <= p.top <= 300 and 450 - 64 <= p.left <= 520 for p in places} == {True}

    def test_every_patch_has_a_piece_of_a_matte_in_it_and_lies_in_the_frame(self):
        frames, state = shot(4)
        sampler = PatchSampler(frames, state, (48, 48), CPU)
        rng = np.random.default_rng(0)
        batch = sampler.gather([sampler.draw(rng) for _ in range(60)])
        assert (batch.synthetic.sum((1, 2, 3)) > 0).all()
        assert batch.target.shape == (60, 3, 48, 48)


def test_a_finer_stage_stopped_and_resumed_ends_as_if_it_had_not_been(tmp_path):
    _, whole = two_trainers()
    whole.run(Budget(steps=9), Hooks())
    _, part = two_trainers()
    hooks = Hooks(
        should_stop=lambda: part.counters.step >= 4, checkpoint=lambda t: checkpoint.save(t, tmp_path, "shot")
    )
    assert not part.run(Budget(steps=9), hooks)
    _, part = two_trainers()
    checkpoint.resume(part, checkpoint.newest_first(tmp_path)[0], "shot")
    part.run(Budget(steps=9), Hooks())
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, part.network.state_dict()[name]), name


def test_a_finer_stage_is_never_worse_than_the_one_before_by_its_own_judgement():
    _, fine = two_trainers()
    fine.run(Budget(steps=3), Hooks())
    history = [psnr for _, _, _, psnr in fine.counters.history]
    assert fine.counters.history[0][0] == 0, "judged before the first step"
    assert fine.counters.best_psnr == max(history)


def test_finer_stages_bring_back_detail_that_one_stage_enlarged_cannot_have():
    """At equal work (pixels a step, the prior's included), against the true picture under the hole."""
    y, x = np.mgrid[:96, :144].astype(np.float32)
    stripes = [
        np.sign(np.sin((x + 5 * i + 0.3 * y) * np.pi / 20)) * np.where(y % 50 < 25, 0.7, 0.3) for i in range(5)
    ]
    truth = torch.from_numpy(np.repeat(np.stack(stripes)[..., None], 3, axis=3).astype(np.float32))
    hole = torch.zeros(5, 96, 144, dtype=torch.uint8)
    hole[:, 38:58, 56:80] = HOLE
    small = torch.nn.functional.adaptive_avg_pool2d(truth.permute(0, 3, 1, 2), (36, 54)).permute(0, 2, 3, 1)
    small_hole = torch.nn.functional.adaptive_max_pool2d(hole[:, None].float(), (36, 54))[:, 0].to(torch.uint8)
    planes = [((p * (h == 0)[..., None]).half(), h) for p, h in ((small, small_hole), (truth, hole))]
    network = {"network": NetworkConfig("base", 0.25), "crop_smallest": 36, "batch": 4}
    first = dataclasses.replace(COARSE, **network)
    network = {"network": NetworkConfig("base", 0.25, 3, True), "crop_smallest": 64, "crop_pixels": 64 * 64}
    second = dataclasses.replace(FINE, **network)

    def trained(config, stage, steps, coarser=None):
        trainer = Trainer(config, *planes[stage], CPU, 1, coarser=coarser)
        trainer.run(Budget(steps=steps), Hooks())
        return trainer

    def error_and_detail(*trainers):
        stages = [RenderStage(best_network(t), *map(np.asarray, p)) for t, p in zip(trainers, planes, strict=False)]
        cascade, inside = Cascade(stages), (slice(38, 58), slice(56, 80), 0)
        everywhere = torch.ones(cascade.size, dtype=torch.bool)
        fills = torch.stack([enlarge(cascade.fill(i, everywhere), (96, 144))[inside] for i in range(5)])
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
        state[:, 4 * scale : 8 * scale, 3 * scale : 8 * scale] = HOLE
        state[:, 30 * scale : 35 * scale, 48 * scale : 52 * scale] = HOLE
        frames *= (state == 0)[..., None]
    coarse = Trainer(COARSE, *coarse_planes, CPU, 3)
    coarse.run(Budget(steps=2), Hooks())
    fine = Trainer(dataclasses.replace(FINE, crop_smallest=16, crop_pixels=256), *fine_planes, CPU, 3, coarser=coarse)
    fine.run(Budget(steps=2), Hooks())
    assert fine.counters.best_psnr is not None
    assert fine.counters.retries == 0

"""Random strokes as synthetic holes: how large, where, reproducible, and never what the fill is judged by."""

import dataclasses

import numpy as np
import pytest
import torch
from small_training import CPU, TINY, assert_same_training, save, with_method

from internal_inpaint import checkpoints
from internal_inpaint.methods.implicit.networks import KINDS, NetworkConfig
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import PRESETS, TrainingConfig, with_network
from internal_inpaint.training.fill_task import fill_trainer
from internal_inpaint.training.sampling import HoleSampler
from internal_inpaint.training.state import Hooks
from internal_inpaint.training.strokes import MOST_OF_A_CROP, RADIUS, stroke_hole

SIZE = (48, 64)
STROKES = dataclasses.replace(TINY, lr=4e-3, holes="strokes")


def shot(frames=6):
    """A panning pattern with a small hole and an edge outside the data window, in [-1, 1]."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    pictures = [np.stack([np.sin((x + 2 * i) / 3), np.cos(y / 6), np.sin(x / 9)], axis=-1) for i in range(frames)]
    state = torch.zeros(frames, *SIZE, dtype=torch.uint8)
    state[:, 18:28, 26:38] = PixelState.HOLE
    state[:, :, :3] = PixelState.OUTSIDE
    return (torch.from_numpy(np.stack(pictures)) * (state == 0)[..., None]).half(), state


@pytest.mark.parametrize("size", [(96, 120), (64, 300), (270, 480)])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.25])
def test_strokes_cover_the_asked_area_and_hardly_more(size, share):
    area = int(share * size[0] * size[1])
    one_disc = np.pi * (RADIUS[1] * min(size) + 1) ** 2
    for seed in range(20):
        hole = stroke_hole(np.random.default_rng(seed), size, area)
        assert hole.shape == size
        assert hole.dtype == bool
        assert area <= hole.sum() <= area + one_disc


def test_more_than_a_quarter_of_a_crop_is_never_hidden_by_strokes():
    hole = stroke_hole(np.random.default_rng(0), (96, 120), area=10**9)
    assert hole.mean() == pytest.approx(MOST_OF_A_CROP, abs=0.03)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (8, 8)])
def test_the_smallest_crops_get_a_hole_too(size):
    for seed in range(20):
        assert stroke_hole(np.random.default_rng(seed), size, 5).any()


def test_one_seed_one_hole_and_another_seed_another():
    first, again, other = (stroke_hole(np.random.default_rng(seed), (96, 120), 900) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert (first != other).mean() > 0.05


def test_strokes_reach_every_part_of_a_crop():
    mean = np.mean([stroke_hole(np.random.default_rng(seed), (96, 120), 1500) for seed in range(400)], axis=0)
    assert mean[20:-20, 20:-20].min() > 0.06
    assert mean.min() > 0.01, "a corner that is never hidden is never learned"


def test_strokes_are_lines_not_blobs():
    """Wide holes have a small outline for their area; strokes have a long one."""
    hole = np.pad(stroke_hole(np.random.default_rng(3), (270, 480), 12_000), 1)
    outline = sum(int((hole != np.roll(hole, 1, axis)).sum()) for axis in (0, 1))
    square = 4 * hole.sum() ** 0.5
    assert outline > 2 * square


def test_batches_with_strokes_keep_what_is_hidden_and_known_apart():
    frames, state = shot()
    held = torch.zeros(SIZE, dtype=torch.bool)
    held[30:40, 40:50] = True
    sampler = HoleSampler(frames, state, SIZE, CPU, {2: held}, holes="strokes")
    rng = np.random.default_rng(0)
    placements = [sampler.draw(rng) for _ in range(40)]
    batch = sampler.gather(placements)
    for index, placement in enumerate(placements):
        hidden, known, synthetic = (
            plane[index, 0, 0].bool() for plane in (batch.hidden, batch.known, batch.synthetic)
        )
        blocked = (state[placement.frame] != 0) | (held if placement.frame == 2 else torch.zeros_like(held))
        assert torch.equal(known, ~blocked)
        assert torch.equal(hidden, blocked | synthetic)
        assert 120 <= synthetic.sum() < 400, "as large as the shot's hole"
    masks = [plane[0, 0].bool().numpy() for plane in batch.synthetic]
    assert len({mask.tobytes() for mask in masks}) == 40
    rectangles = [np.ix_(mask.any(1), mask.any(0)) for mask in masks]
    assert not any(mask[box].all() for mask, box in zip(masks, rectangles, strict=True)), (
        "the shot's hole, not strokes"
    )
    assert torch.equal(sampler.gather(placements).synthetic, batch.synthetic)


def test_the_presets_train_on_the_shots_own_mattes():
    assert all(config.holes == "object" for config in PRESETS.values())
    with pytest.raises(ValueError, match="squares"):
        HoleSampler(*shot(), SIZE, CPU, holes="squares")


def test_training_hides_strokes_but_is_judged_by_holes_like_the_shots():
    trainer = fill_trainer(STROKES, *shot(), CPU, seed=3)
    drawn, draw = [], trainer.task.draw
    trainer.task.draw = lambda *arguments: drawn.append(draw(*arguments)) or drawn[-1]
    trainer.run(Budget(steps=2), Hooks())
    for mask in (plane[0, 0].bool().numpy() for batch in drawn for plane in batch.synthetic):
        assert not mask[np.ix_(mask.any(1), mask.any(0))].all(), "the shot's hole, not strokes"
    plain = fill_trainer(TINY, *shot(), CPU, seed=3)
    assert trainer.task.held_out.placements == plain.task.held_out.placements
    scored = {trainer: [], plain: []}
    for t, seen in scored.items():
        t.task.score(lambda clip, t=t, seen=seen: seen.append(clip.synthetic) or t.fill(clip))
    assert scored[plain]
    assert all(torch.equal(*masks) for masks in zip(scored[trainer], scored[plain], strict=True))


def test_interrupted_training_with_strokes_ends_with_the_same_weights(tmp_path):
    whole = fill_trainer(STROKES, *shot(), CPU, seed=3)
    assert whole.run(Budget(steps=11), Hooks())
    part = fill_trainer(STROKES, *shot(), CPU, seed=3)
    hooks = Hooks(should_stop=lambda: part.counters.step >= 4, checkpoint=lambda t: save(t, tmp_path, "shot"))
    assert not part.run(Budget(steps=11), hooks)
    part = fill_trainer(STROKES, *shot(), CPU, seed=3)
    np.random.seed(5)  # noqa: NPY002 (whatever else draws from the global generator must not matter)
    checkpoints.resume(part, checkpoints.newest(tmp_path), "shot")
    assert part.run(Budget(steps=11), Hooks())
    assert_same_training(whole, part)


class TestNetworkChoice:
    @pytest.mark.parametrize("quality", list(PRESETS))
    @pytest.mark.parametrize("kind", KINDS)
    def test_only_the_kind_of_network_changes(self, quality, kind):
        chosen = with_network(PRESETS[quality], kind)
        before = PRESETS[quality].method.network
        assert chosen.method.network == NetworkConfig(kind, width=before.width)
        assert with_method(chosen, network=before) == PRESETS[quality]

    def test_other_names_are_refused_with_those_there_are(self):
        with pytest.raises(ValueError, match=r"tiny.*base, stacked, coarse-to-fine"):
            with_network(PRESETS["standard"], "tiny")

    def test_the_choice_and_the_holes_travel_inside_a_checkpoint(self):
        config = with_network(STROKES, "stacked")
        assert TrainingConfig.from_dict(config.to_dict()) == config
        older = config.to_dict()
        del older["holes"]
        assert TrainingConfig.from_dict(older).holes == "object"

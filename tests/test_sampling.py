"""Synthetic holes (equation 1): where they lie, what is hidden, what the loss may look at."""

import numpy as np
import pytest
import torch

from internal_inpaint.pixel_state import PixelState
from internal_inpaint.training.sampling import HoleSampler, Placement, crop_size, hole_boxes
from internal_inpaint.training.validation import choose_held_out

CPU = torch.device("cpu")
SIZE = (60, 80)


@pytest.fixture
def shot():
    """Frames whose red says the row and green the column, and a hole that wanders; frame 3 has none."""
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    frames = torch.stack([rows / 100, columns / 100, torch.zeros_like(rows)], dim=-1).repeat(8, 1, 1, 1)
    state = torch.zeros(8, *SIZE, dtype=torch.uint8)
    for i in range(8):
        if i != 3:
            state[i, 20 + i : 32 + i, 30 + i : 50 + i] = PixelState.HOLE
    state[:, :, :4] |= PixelState.OUTSIDE
    return frames, state


def test_boxes_are_those_of_the_hole_and_zero_where_there_is_none(shot):
    boxes = hole_boxes(shot[1])
    assert boxes[0].tolist() == [20, 30, 32, 50]
    assert boxes[3].tolist() == [0, 0, 0, 0]


def test_the_synthetic_hole_is_the_other_frames_hole_moved_pixel_for_pixel(shot):
    sampler = HoleSampler(*shot, crop=SIZE, device=CPU)
    batch = sampler.gather([Placement(frame=1, source=5, dy=-10, dx=12, top=0, left=0)])
    expected = torch.zeros(SIZE, dtype=torch.bool)
    expected[25 - 10 : 37 - 10, 35 + 12 : 55 + 12] = True
    assert torch.equal(batch.synthetic[0, 0, 0].bool(), expected)
    real = shot[1][1] != 0
    assert torch.equal(batch.hidden[0, 0, 0].bool(), expected | real)
    assert torch.equal(batch.known[0, 0, 0].bool(), ~real)


def test_a_crop_shows_its_own_part_of_the_frame(shot):
    sampler = HoleSampler(*shot, crop=(16, 24), device=CPU)
    batch = sampler.gather([Placement(0, 0, 0, 0, top=7, left=9)])
    assert batch.pixels.shape == (1, 1, 3, 16, 24)
    assert batch.pixels[0, 0, 0, 2, 3] == pytest.approx(0.09)
    assert batch.pixels[0, 0, 1, 2, 3] == pytest.approx(0.12)


def test_placements_keep_the_whole_hole_in_frame_and_in_the_crop(shot):
    sampler = HoleSampler(*shot, crop=(40, 48), device=CPU)
    rng = np.random.default_rng(0)
    frames, sources, tops = set(), set(), set()
    for _ in range(300):
        p = sampler.draw(rng)
        box = sampler.boxes[p.source]
        top, left, bottom, right = box + np.array([p.dy, p.dx, p.dy, p.dx])
        assert top >= 0
        assert left >= 0
        assert bottom <= 60
        assert right <= 80
        assert p.top <= top
        assert bottom <= p.top + 40
        assert p.left <= left
        assert right <= p.left + 48
        frames.add(p.frame)
        sources.add(p.source)
        tops.add(int(top))
    assert frames == set(range(8))
    assert sources == {0, 1, 2, 4, 5, 6, 7}, "a frame without a hole lends none"
    assert len(tops) > 40, "holes go everywhere in the frame"


def test_a_hole_larger_than_the_crop_or_the_frame_still_gives_usable_batches(shot):
    frames, state = shot
    state = torch.full_like(state, PixelState.HOLE)
    state[:, :, 70:] = 0
    sampler = HoleSampler(frames, state, crop=(16, 16), device=CPU)
    rng = np.random.default_rng(1)
    batch = sampler.gather([sampler.draw(rng) for _ in range(64)])
    assert batch.pixels.shape == (64, 1, 3, 16, 16)


def test_held_out_pixels_are_hidden_and_never_in_the_loss(shot):
    judge = HoleSampler(*shot, crop=SIZE, device=CPU)
    held = choose_held_out(judge, 8, seed=0)
    assert held.placements, "this shot has room for a validation hole"
    frame, mask = next(iter(held.masks.items()))
    assert not (mask & (shot[1][frame] != 0)).any(), "only known pixels can be judged"
    sampler = HoleSampler(*shot, crop=SIZE, device=CPU, held_out=held.masks)
    batch = sampler.gather([Placement(frame, 0, 0, 0, 0, 0)])
    assert (batch.hidden[0, 0, 0].bool() & mask).sum() == mask.sum()
    assert not (batch.known[0, 0, 0].bool() & mask).any()
    other = (frame + 1) % 8
    batch = sampler.gather([Placement(other, 0, 0, 0, 0, 0)])
    assert torch.equal(batch.known[0, 0, 0].bool(), shot[1][other] == 0)


def test_crops_leave_context_round_the_largest_hole_and_stay_within_limits():
    boxes = np.array([[0, 0, 50, 30], [0, 0, 20, 90], [0, 0, 0, 0]])
    assert crop_size(boxes, (480, 640), 2.0, (96, 96), 10**9) == (104, 184)
    assert crop_size(boxes, (80, 100), 2.0, (96, 96), 10**9) == (80, 100)
    assert crop_size(boxes, (480, 640), None, (96, 96), 10**9) == (480, 640)
    height, width = crop_size(boxes, (2160, 4096), None, (96, 96), 512 * 512)
    assert height * width <= 512 * 512
    assert height / width == pytest.approx(2160 / 4096, rel=0.05)

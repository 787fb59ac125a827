"""What ``check`` foretells: what can be tested of it without a clock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import check
from internal_inpaint import cost, estimate
from internal_inpaint.cost import LevelCost
from internal_inpaint.demo import make_sample_shot
from internal_inpaint.shot import PictureData, ShotSettings, open_shot
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import PRESETS
from internal_inpaint.training.levels import Level

SECOND = LevelCost(
    step_s=1.0,
    regularised_s=3.0,
    validation_s=0.0,
    fill_s=0.0,
    save_s=0.0,
    batch_bytes=0.0,
    pixel_bytes=0.0,
    weight_bytes=0,
    reach=10,
)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system does not say what a process has")
@pytest.mark.parametrize("quality", ["draft", "paper"])
def test_memory_is_foretold_within_a_half(quality, tmp_path):
    shot = make_sample_shot(tmp_path, frames=3, width=112, height=72)
    _, _, foretold, peak, _ = check.compared(shot, quality, 4, tmp_path / "job")
    assert peak / 1.5 < foretold < peak * 1.5


def test_the_last_quarter_of_paper_costs_what_its_own_steps_cost():
    level = Level((100, 100), PRESETS["paper"], 1.0)
    assert estimate._training_s(Budget(steps=100), (level,), [SECOND], 50, [0.0]) == pytest.approx(75 + 25 * 3)
    plain = replace(level, config=PRESETS["final"])
    assert estimate._training_s(Budget(steps=100), (plain,), [SECOND], 50, [0.0]) == pytest.approx(100)


def test_a_budget_in_time_holds_everything_beside_the_steps():
    level = Level((100, 100), PRESETS["standard"], 1.0)
    slow = replace(SECOND, validation_s=10.0)
    assert estimate._training_s(Budget(seconds=600), (level,), [slow], 50, [5.0]) == 600
    assert estimate._training_s(Budget(steps=10_000, seconds=600), (level,), [slow], 50, [5.0]) == 600
    # 20 validations of 8 holes, and previews for a twentieth of that.
    alone = estimate._training_s(Budget(steps=1000), (level,), [slow], 50, [0.0])
    assert alone == pytest.approx(1000 + 20 * 8 * 10)


def test_a_fill_is_computed_in_the_box_of_the_hole_and_its_surroundings():
    levels = (Level((100, 200), PRESETS["draft"], 0.5), Level((200, 400), PRESETS["draft"], 0.5))
    boxes = np.array([[50, 100, 70, 140], [0, 0, 20, 40]])  # of 200 x 400 pixels
    (pixels,) = estimate._computed_pixels(boxes, (200, 400), levels[1:], [SECOND])
    assert pixels == pytest.approx((40 * 60 + 30 * 50) / 2), "ten pixels on each side, as far as the frame goes"
    coarse, fine = estimate._computed_pixels(boxes, (200, 400), levels, [SECOND, SECOND])
    assert fine == pixels
    assert coarse == pytest.approx((80 * 100 + 50 * 70) / 2 / 4), "as far again, at half the size"


@pytest.mark.parametrize("allowed_s", [1e-6, 1.0, 40.0, 1e6])
def test_a_step_too_long_to_measure_is_foretold_from_two_shorter_ones(allowed_s, monkeypatch):
    measured = []

    def steps(trainer, share, batch, crop, count, clock):
        measured.append(batch * crop[0] * crop[1])
        return 0.3 + 2e-5 * measured[-1]  # a fixed time, and one for each pixel

    monkeypatch.setattr(cost, "_steps", steps)
    task = SimpleNamespace(first_sizes=lambda: (5, (320, 600)))
    network = SimpleNamespace(parameters=list)
    trainer = SimpleNamespace(task=task, network=network, device=SimpleNamespace(type="cpu"))
    found, _ = cost._step_cost(trainer, 0.0, allowed_s, None)
    assert found == pytest.approx(0.3 + 2e-5 * 5 * 320 * 600)
    if allowed_s == 1.0:
        assert max(measured) < 30_000, "no step that takes longer than it may"
    if allowed_s == 1e6:
        assert max(measured) == 5 * 320 * 600, "measured as it is"


def test_the_frames_to_measure_on_have_the_largest_hole_and_something_known(tmp_path):
    sample = make_sample_shot(tmp_path, frames=6, width=96, height=64)
    shot = open_shot(ShotSettings(sample.plate, sample.matte))
    boxes, known = np.zeros((6, 4), int), np.full(6, 10)
    boxes[1], boxes[4], known[0] = (0, 0, 50, 5), (0, 0, 5, 50), 99
    frames = cost.sample_frames(shot, boxes, known)
    assert frames == [shot.frames[i] for i in (0, 1, 2, 4)], "with the tallest one's neighbour in time"
    part = shot.only(frames)
    assert part.canvas == shot.canvas
    assert [picture.frame for picture in part.pictures] == frames
    np.testing.assert_array_equal(part.load(2).rgb, shot.load(2).rgb)
    np.testing.assert_array_equal(part.load(3).alpha, shot.load(4).alpha)
    assert len(shot.pictures) == 6, "the shot itself stays whole"


def test_broken_pixels_away_from_the_matte_are_no_hole():
    alpha, broken = np.zeros((40, 60), np.float32), np.zeros((40, 60), bool)
    alpha[10:20, 30:50], broken[35, 2], broken[12, 40] = 1, True, True
    void, rgb = np.zeros_like(broken), np.zeros((40, 60, 3), np.float32)
    holes = estimate._Holes()
    holes.add(0, PictureData(rgb, alpha, (alpha > 0) | broken, void, broken))
    assert [tuple(map(int, box)) for box in holes.boxes] == [(10, 30, 20, 50)]

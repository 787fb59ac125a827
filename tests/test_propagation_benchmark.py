"""The benchmark of propagated mattes: its figures on mattes whose scores are known."""

import numpy as np
import pytest

import propagation


def test_scores_leave_the_reference_frames_out_and_count_lost_frames():
    truth = np.zeros((4, 10, 10), bool)
    truth[:3, :4, :5] = True  # 20 pixels; nothing in the last frame
    found = truth.astype(np.float32)
    found[1, :2] = 0  # half of it missed
    found[2, 4:8, :5] = 1  # as much again too many
    scores = propagation.scores(found, truth, {0}, doubtful=[1])
    assert scores["recall"] == pytest.approx((0.5 + 1 + 1) / 3, abs=1e-3)
    assert scores["precision"] == pytest.approx((1 + 0.5 + 1) / 3, abs=1e-3)
    assert scores["IoU"] == pytest.approx((0.5 + 0.5 + 1) / 3, abs=1e-3)
    assert (scores["worst IoU"], scores["lost"], scores["doubtful"]) == (0.5, 0, 1)
    found[1] = 0
    scores = propagation.scores(found, truth, {0}, doubtful=[1])
    assert (scores["lost"], scores["lost and doubtful"]) == (1, 1)


def test_the_frame_to_correct_is_the_one_with_most_missed():
    truth = np.ones((3, 6, 6), bool)
    found = np.ones((3, 6, 6), np.float32)
    found[1, :2], found[2, :4] = 0, 0
    assert propagation.worst_frame(found, truth) == 2

"""Confidence: high where other frames show what was filled, low where none does or they show something else."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from moving_shot import COUNT, ground, shot
from scipy.stats import rankdata

from internal_inpaint.confidence.measure import measure_confidence
from internal_inpaint.confidence.metric import (
    CONFIDENT_THRESHOLD,
    NOT_OBSERVED_LIMIT,
    frame_confidence,
    write_confidence,
)
from internal_inpaint.errors import BadInput, Stopped


def hidden(truth, state):
    return np.where(state[..., None] == 0, truth, 0).astype(np.float16)


def measured(truth, state, fills, path, **options):
    result = write_confidence(hidden(truth, state), state, fills.astype(np.float16), path / "c.npy", **options)
    assert result.shape == state.shape
    assert (result[state != 1] == 1).all()
    assert ((result >= 0) & (result <= 1)).all()
    return np.asarray(result, np.float32)


def spearman(a, b):
    return np.corrcoef(rankdata(a), rankdata(b))[0, 1]


def test_low_confidence_is_large_error_and_what_is_never_seen_is_least(tmp_path):
    truth, state, never = shot()
    # The fill is right but for two places: what nobody has seen, and a quarter of what was seen.
    fills = truth.copy()
    fills[never] = ground(seed=9)[:, ::-1][np.nonzero(never)[1:]]
    wrong = (state == 1) & ~never
    wrong[:, 20:] = False
    fills[wrong] += 0.5 * ground(seed=5)[np.nonzero(wrong)[1:]]
    confidence = measured(truth, state, fills, tmp_path)
    hole = state == 1
    error = np.abs(fills - truth).mean(axis=3)
    right = hole & ~never & ~cv2.dilate(wrong.astype(np.uint8)[..., None].max(axis=0), np.ones((9, 9))).astype(bool)
    assert confidence[never].max() <= NOT_OBSERVED_LIMIT
    assert np.median(confidence[right]) > 0.7
    assert confidence[right].mean() > confidence[wrong].mean() + 0.25
    assert spearman(confidence[hole], error[hole]) < -0.75
    fifths = [part.mean() for part in np.array_split(error[hole][np.argsort(confidence[hole], kind="stable")], 5)]
    assert all(worse > better for worse, better in pairwise(fifths)), fifths
    assert fifths[0] > 4 * fifths[3], fifths
    border = np.stack([cv2.distanceTransform(plane, cv2.DIST_L2, 5) for plane in state])
    assert spearman(confidence[hole], error[hole]) < spearman(-border[hole], error[hole]) - 0.3


@pytest.mark.parametrize("pan", [0.0, 2.6])
def test_what_the_moving_camera_shows_elsewhere_is_found(tmp_path, pan):
    truth, state, _ = shot(pan, covered=False)
    confidence = measured(truth, state, truth, tmp_path)
    assert np.median(confidence[state == 1]) > 0.6
    wrong = measured(truth, state, truth[:, ::-1], tmp_path)
    assert np.median(wrong[state == 1]) < 0.35


def test_one_picture_shows_nothing_else(tmp_path):
    truth, state, _ = shot()
    confidence = measured(truth[:1], state[:1], truth[:1], tmp_path)
    assert (confidence[state[:1] == 1] <= NOT_OBSERVED_LIMIT).all()


def test_holes_voids_and_sizes_of_every_kind(tmp_path):
    truth, state, _ = shot()
    nothing = np.zeros_like(state)
    assert (measured(truth, nothing, truth, tmp_path) == 1).all()
    everything = np.ones_like(state)
    assert (measured(truth, everything, truth, tmp_path) <= NOT_OBSERVED_LIMIT).all()
    void = state.copy()
    void[:, :, :30] = 2
    void[3] = 2
    measured(truth, void, np.full_like(truth, np.nan), tmp_path)
    for height, width in ((1, 1), (7, 40), (16, 16)):
        measured(truth[:3, :height, :width], state[:3, 8 : 8 + height, :width], truth[:3, :height, :width], tmp_path)


def test_views_are_tracks_of_their_own(tmp_path):
    truth, state, _ = shot(pan=2.6, covered=False)
    other = truth[:, :, ::-1], state[:, :, ::-1]
    both = [np.stack([a, b], axis=1).reshape(-1, *a.shape[1:]) for a, b in zip((truth, state), other, strict=True)]
    confidence = measured(*both, both[0], tmp_path, views=2)
    np.testing.assert_array_equal(confidence[::2], measured(truth, state, truth, tmp_path))
    np.testing.assert_array_equal(confidence[1::2], measured(*other, other[0], tmp_path))


def test_a_stop_leaves_nothing_and_the_next_call_gives_the_same(tmp_path):
    truth, state, _ = shot()
    asked, told = [], []

    def stop():
        asked.append(1)
        return len(asked) > COUNT + 3

    with pytest.raises(Stopped, match="again"):
        measured(truth, state, truth, tmp_path, should_stop=stop)
    assert not list(tmp_path.iterdir())
    first = measured(truth, state, truth, tmp_path, progress=lambda done, of: told.append((done, of)))
    assert told[0] == (0, COUNT)
    assert told == sorted(told)
    assert told[-1][0] < COUNT
    np.testing.assert_array_equal(first, measured(truth, state, truth, tmp_path))
    with pytest.raises(BadInput, match="cannot be written"):
        measured(truth, state, truth, tmp_path / "no" / "folder")


def measured_once(truth, state, folder, key="one", fill=None, **options):
    fill = fill or (lambda index: truth[index])
    pictures = [(1001 + index, "") for index in range(len(state))]
    frames, names = hidden(truth, state), (folder / "c.npy", folder / "c.json")
    return measure_confidence(fill, frames, state, pictures, *names, key, **options)


def test_each_frame_is_filled_once_and_measured_again_only_when_the_fill_may_be_another(tmp_path):
    truth, state, _ = shot()
    filled, shares = [], []

    def fill(index):
        filled.append(index)
        return truth[index]

    first = measured_once(truth, state, tmp_path, fill=fill, progress=shares.append)
    assert filled == list(range(COUNT))
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0.9 < shares[-1] < 1
    assert [frame.frame for frame in first.frames] == list(range(1001, 1001 + COUNT))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.json", "c.npy"]
    again = measured_once(truth, state, tmp_path, fill=pytest.fail)
    assert again.frames == first.frames
    np.testing.assert_array_equal(again.planes, first.planes)
    assert again.mean == pytest.approx(np.asarray(first.planes, np.float64)[state == 1].mean(), abs=1e-3)
    (tmp_path / "plain").mkdir()
    np.testing.assert_array_equal(first.planes, measured(truth, state, truth, tmp_path / "plain"))
    del first, again
    other = measured_once(truth, state, tmp_path, "two", lambda index: truth[index, :, ::-1])
    assert other.mean < 0.3


def test_a_stop_while_filling_leaves_nothing_that_a_later_run_would_take_for_its_own(tmp_path):
    truth, state, _ = shot()
    measured_once(truth, state, tmp_path)
    asked = iter([False, True])
    with pytest.raises(Stopped, match="filling"):
        measured_once(truth, state, tmp_path, "two", should_stop=lambda: next(asked))
    assert [path.name for path in tmp_path.iterdir()] == ["c.npy"]
    asked = iter([False] * (COUNT + 3) + [True])
    with pytest.raises(Stopped, match="measuring"):
        measured_once(truth, state, tmp_path, "two", should_stop=lambda: next(asked))
    assert [path.name for path in tmp_path.iterdir()] == ["c.npy"]


def test_figures_of_a_picture():
    state = np.array([[0, 0, 1, 1], [2, 2, 1, 1]], np.uint8)
    plane = np.array([[1, 1, 0.25, 0.75], [1, 1, CONFIDENT_THRESHOLD, 0]], np.float16)
    result = frame_confidence(plane, state, 1001)
    assert (result.coverage, result.confidence, result.confident) == pytest.approx((4 / 6, 0.375, 0.5))
    assert frame_confidence(plane, np.zeros_like(state), 1001).confidence is None

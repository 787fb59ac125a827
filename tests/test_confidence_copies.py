"""The confidence of copies: past and future must bear each other out; one side alone is trusted less."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from exact_motion import best_copy
from moving_shot import COUNT, HEIGHT, WIDTH, ground, shot

from internal_inpaint.confidence.copies import CopiedFill, copied_confidence
from internal_inpaint.confidence.measure import measure_copied_confidence
from internal_inpaint.confidence.metric import NOT_OBSERVED_LIMIT, write_confidence
from internal_inpaint.errors import Stopped
from internal_inpaint.motion.candidates import COUNT as KINDS
from internal_inpaint.motion.candidates import Found, astray, find_candidates
from internal_inpaint.motion.compare import Candidates, compare_candidates
from internal_inpaint.motion.contrast import contrast_of
from internal_inpaint.motion.follow import NOWHERE, shows
from internal_inpaint.motion.measure import MotionSource, measure_motion
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.resample import push_pull


class Copied:
    """A shot that is filled with what the past shows, else with the best copies."""

    def __init__(self, truth, state, folder):
        self.truth, self.state, self.folder = truth, state, folder
        self.frames = np.stack([push_pull(t, s == 0) for t, s in zip(truth, state, strict=True)])
        source = MotionSource(self.frames.__getitem__, state.__getitem__, len(state), state.shape[1:], 1, "shot")
        (self.motion,) = measure_motion(source, folder / "motion")
        self.contrast = contrast_of(self.frames, state, range(len(state)))
        self.shown = lru_cache(lambda index: shows(state[index]))

    def candidates(self, index):
        found = find_candidates(self.motion, self.shown, self.state[index], index)
        if found is None:
            return None
        return compare_candidates(found, astray(found, self.motion), self.frames.__getitem__, self.contrast)

    def copied(self, index):
        candidates = self.candidates(index)
        if candidates is None:
            return None
        past = candidates.found.valid[0][..., None]
        picture = np.where(past, candidates.colours[0], best_copy(candidates))
        return CopiedFill(candidates, picture, candidates.weights.sum(axis=0))

    def fill(self, index):
        """``[H, W, 3]``."""
        whole, copied = self.frames[index].copy(), self.copied(index)
        whole[copied.candidates.found.box] = copied.picture
        return whole

    def measured(self, copied=None, key="one", **options):
        pictures = [(1001 + index, "") for index in range(len(self.state))]
        files = self.folder / "c.npy", self.folder / "c.json"
        copied = copied or self.copied
        return measure_copied_confidence(copied, self.state, pictures, self.contrast, *files, key, **options)


@pytest.mark.parametrize("pan", [0.0, 2.6])
def test_what_past_and_future_show_alike_is_confident(tmp_path, pan):
    truth, state, _ = shot(pan, covered=False)
    confidence = np.asarray(Copied(truth, state, tmp_path).measured().planes, np.float32)
    assert (confidence[state != 1] == 1).all()
    middle = slice(3, -3)
    assert np.median(confidence[middle][state[middle] == 1]) > 0.6
    assert (confidence[middle][state[middle] == 1] > 0.5).mean() > 0.75


def test_what_no_frame_shows_is_at_most_a_guess(tmp_path):
    truth, state, never = shot()
    confidence = Copied(truth, state, tmp_path).measured()
    planes = np.asarray(confidence.planes, np.float32)
    deep = never.copy()
    deep[:, :46], deep[:, 60:], deep[:, :, :44], deep[:, :, 66:] = False, False, False, False
    assert planes[deep].max() <= NOT_OBSERVED_LIMIT + 1e-3
    assert 0.3 < confidence.copied < 0.95
    assert planes[(state == 1) & ~never].mean() > planes[never].mean() + 0.3


def test_past_and_future_that_contradict_each_other_are_not_trusted_though_the_copy_agrees_with_its_frame(tmp_path):
    """Behind the hole the ground becomes another one: what was copied is right for the past or the future only."""
    truth, state, _ = shot(covered=False)
    at = 5
    rows, columns = slice(8, 34), slice(4 + 9 * at, 26 + 9 * at)
    changed = truth.copy()
    changed[at + 1 :, rows, columns] = ground(seed=7)[rows, columns]
    before, after = (Copied(pictures, state, tmp_path / name) for pictures, name in ((truth, "a"), (changed, "b")))
    inside = slice(rows.start + 3, rows.stop - 3), slice(columns.start + 3, columns.stop - 3)
    sure, doubtful = (np.asarray(one.measured().planes[at][inside], np.float32) for one in (before, after))
    assert np.median(sure) > 0.6
    assert np.median(doubtful) < 0.4
    # Compared with the nearest frames alone, as an invented fill is, it would be trusted.
    fills = np.stack([after.fill(index) for index in range(COUNT)]).astype(np.float16)
    known = np.where(state[..., None] == 0, changed, 0).astype(np.float16)
    fooled = np.asarray(write_confidence(known, state, fills, tmp_path / "old.npy")[at][inside], np.float32)
    assert np.median(fooled) > 0.7


def made(frames=(48, 52, 48, 52), index=50, colours=(0.0, 0.0, 0.0, 0.0), error=0.05):
    """Candidates of a flat 9x9 hole: pictures to copy from, colours and expected error; ``None``: there is none."""
    size, box = (9, 9), (slice(0, 9), slice(0, 9))
    there = np.array([NOWHERE if frame is None else frame for frame in frames], np.int32)
    frame = np.broadcast_to(there[:, None, None], (KINDS, *size)).copy()
    hidden, valid = np.ones(size, bool), frame != NOWHERE
    found = Found(index, box, hidden, ~hidden, frame, np.zeros((KINDS, *size, 2), np.float32))
    flat = np.broadcast_to(np.float32(colours)[:, None, None, None], (KINDS, *size, 3)).copy()
    weights = valid / np.maximum(valid.sum(axis=0), 1)
    errors = np.full(valid.shape, error, np.float32)
    return Candidates(found, errors * 0, flat, flat * 0, errors, weights.astype(np.float32))


def confidence_of(candidates, fill=0.0, contrast=0.5):
    picture = np.full((9, 9, 3), fill, np.float32)
    plane = copied_confidence(CopiedFill(candidates, picture, np.ones((9, 9), np.float32)), contrast)
    assert plane.min() == pytest.approx(plane.max(), abs=1e-4)
    return float(plane.mean())


def test_doubt_grows_with_contradiction_and_expected_error():
    best = confidence_of(made())
    assert best > 0.8
    only_past = (48, None, 48, None)
    one = confidence_of(made(only_past))
    assert 0.5 < one < best
    assert confidence_of(made((None, 52, None, 52))) == pytest.approx(one)
    assert confidence_of(made(only_past, error=0.25)) < one - 0.1
    doubted = made(only_past)
    doubted = replace(doubted, weights=0.3 * doubted.weights)
    assert confidence_of(doubted) < one - 0.1, "the smooth continuation is likelier than the only copy"
    contradicting = made(colours=(0.0, 0.6, 0.0, 0.6))
    assert confidence_of(contradicting, 0.0) < 0.3
    assert confidence_of(contradicting, 0.6) < 0.3
    assert confidence_of(contradicting, 0.3) < 0.3
    assert confidence_of(made(), 0.6) < 0.1, "the fill is not what either shows"
    # Where flow and camera lead to different places, one of them is enough.
    assert confidence_of(made(colours=(0.0, 0.0, 0.6, 0.6))) == pytest.approx(best)
    assert confidence_of(made((None,) * 4)) == pytest.approx(NOT_OBSERVED_LIMIT)


def test_pixels_that_are_not_hidden_are_certain():
    candidates = made()
    hidden = candidates.found.hidden.copy()
    hidden[:3] = False
    part = replace(candidates, found=replace(candidates.found, hidden=hidden, ring=~hidden))
    plane = copied_confidence(CopiedFill(part, np.full((9, 9, 3), 0.6, np.float32), np.ones((9, 9))), 0.5)
    assert (plane[:3] == 1).all()
    assert (plane[3:] < 0.5).all()


def test_it_is_measured_again_only_when_the_fill_may_be_another_and_a_stop_leaves_nothing(tmp_path):
    truth, state, _ = shot(covered=False)
    state = state.copy()
    state[0], state[1, :, :], state[1, 0, 0] = 0, PixelState.OUTSIDE, PixelState.HOLE
    one, shares = Copied(truth, state, tmp_path), []
    first = one.measured(progress=shares.append)
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert [frame.frame for frame in first.frames] == list(range(1001, 1001 + COUNT))
    assert first.frames[0].copied is None
    assert first.frames[0].confidence is None
    assert all(0 <= frame.copied <= 1 for frame in first.frames[1:])
    assert first.frames[4].copied == pytest.approx(1, abs=0.02)
    again = one.measured(pytest.fail)
    assert again.frames == first.frames
    assert again.copied == first.copied
    np.testing.assert_array_equal(again.planes, first.planes)
    del first, again
    asked = iter([False, False, True])
    with pytest.raises(Stopped, match="measuring"):
        one.measured(key="two", should_stop=lambda: next(asked))
    assert not (tmp_path / "c.json").exists()
    assert not list(tmp_path.glob(".*.part"))
    assert one.measured(key="two").planes.shape == (COUNT, HEIGHT, WIDTH)

"""The examples that copying is learned from: tracks of holes, hidden in every frame, near the real hole."""

import numpy as np
import pytest
from exact_motion import SIZE, moving_hole, panning, truth

from internal_inpaint.motion.held_out import hold_out
from internal_inpaint.motion.tracks import EXAMPLES, NEAR, Example, Track, TrackSource
from internal_inpaint.pixel_state import PixelState

PAN = (2.6, -0.3)
CROP = (32, 40)
MARK = 5.0  # in pixels that nobody may see; no working space has such a value


def track_source(count=8, seed=0, frames=None, state=None, by=PAN, views=1, **options):
    state = moving_hole(count, (7, 1)) if state is None else state
    frames = truth(len(state), by) if frames is None else frames
    return TrackSource(frames, state, panning(len(state), by, views=views), CROP, 0.5, seed, **options)


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in Example.__dataclass_fields__)


class TestTracks:
    def test_an_example_is_what_the_real_hole_will_be(self):
        source = track_source()
        (examples, others) = source.examples(0), source.examples(1)
        assert 1 <= len(examples) <= EXAMPLES
        for example in [*examples, *others]:
            assert example.hidden.shape == CROP
            scored = example.synthetic & example.known
            assert scored.any()
            assert example.hidden[scored].all()
            assert (example.known | example.hidden).all()
            total = example.weights.astype(np.float32).sum(axis=0)
            assert total.max() < 1.001
            best = (example.weights[..., None].astype(np.float32) * example.copies).sum(axis=0)
            trusted = scored & (total > 0.9)
            assert trusted.sum() > 0.5 * (scored & (total > 0)).sum()
            assert np.abs(best - example.pixels)[trusted].mean() < 0.05
            assert not example.copies[example.weights == 0].any()

    def test_a_track_is_the_same_at_every_call_and_another_for_every_number_and_seed(self):
        examples = track_source().examples(3)
        again = track_source().examples(3)
        assert len(examples) == len(again)
        assert all(map(same, examples, again))
        for other in (track_source().examples(4), track_source(seed=1).examples(3)):
            assert len(other) != len(examples) or not all(map(same, examples, other))

    def test_a_track_is_hidden_in_the_other_frames_too(self):
        """If one frame alone had the hole, its neighbours would show the answer."""
        state, by = np.zeros((6, *SIZE), np.uint8), (0.0, 0.0)
        state[:, 20:30, 10:20] = PixelState.HOLE  # it and the camera stand still
        frames = truth(6, by)
        plain = track_source(frames=frames, state=state, by=by)
        track = Track(0, 0, 0, (2, 30), (0.0, 0.0))
        for index in range(6):
            frames[index][plain.hole(track, index)] = MARK
        examples = plain.of_track(track, np.random.default_rng(0))
        assert len(examples) == 6
        for example in examples:
            assert (example.pixels[example.synthetic] == MARK).all(), "the truth, which only the loss sees"
            assert not example.weights[:, example.synthetic].any()
            assert example.copies.max() < 1
            assert example.smooth.max() < 1

    def test_a_moving_track_is_filled_from_frames_that_do_not_hide_it(self):
        state, by = np.zeros((8, *SIZE), np.uint8), (0.0, 0.0)
        state[:, 20:30, 10:20] = PixelState.HOLE
        frames = truth(8, by)
        source = track_source(frames=frames, state=state, by=by)
        track = Track(0, 0, 0, (2, 20), (0.0, 5.0))
        for index in range(8):
            frames[index][source.hole(track, index)] = MARK
        for example in source.of_track(track, np.random.default_rng(0)):
            assert example.weights[:, example.synthetic].any()
            assert example.copies.max() < 1

    def test_tracks_lie_near_the_real_hole(self):
        state = np.zeros((8, *SIZE), np.uint8)
        state[:, 2:12, 4:20] = PixelState.HOLE  # in a corner
        source, rng = track_source(state=state), np.random.default_rng(0)
        centres = []
        for _ in range(100):
            track = source.draw(rng)
            rows, columns = np.nonzero(source.hole(track, source.index(track.anchor, 0)))
            centres.append([rows.mean() / SIZE[0], columns.mean() / SIZE[1]])
        distance = np.linalg.norm(np.array(centres) - [7 / SIZE[0], 12 / SIZE[1]], axis=1)
        assert np.median(distance) < 1.5 * NEAR
        assert (distance > 0.5 * NEAR).any()

    def test_what_is_held_out_is_neither_seen_nor_learned(self):
        state, frames = moving_hole(8, (7, 1)), truth(8, (0.0, 0.0))
        masks = {index: np.zeros(SIZE, bool) for index in (2, 3)}
        for index, mask in masks.items():
            mask[16:34, 40:64] = True
            frames[index][mask] = MARK
        source = track_source(state=state, frames=frames, by=(0.0, 0.0), held_out=masks)
        seen_mark = False
        for number in range(12):
            for example in source.examples(number):
                marked = example.pixels.max(axis=2) == MARK
                seen_mark |= marked.any()
                assert example.hidden[marked].all()
                assert not example.known[marked].any()
                assert not example.synthetic[marked].any()
                assert example.copies.max() < 1.5
                assert example.smooth.max() < 1.5
        assert seen_mark

    def test_held_out_tracks_are_scored_where_the_training_is_blind(self):
        state = moving_hole(12, (5, 0))
        held = hold_out(track_source(state=state), 12, 0)
        assert held.masks
        assert held.examples
        again = hold_out(track_source(state=state), 12, 0)
        assert all(map(same, held.examples, again.examples))
        for index, mask in held.masks.items():
            assert mask.any()
            assert not (mask & (state[index] != PixelState.KNOWN)).any()
        for example in held.examples:
            assert (example.synthetic & example.known).any()

    def test_a_shot_that_has_no_room_for_a_synthetic_hole_still_gives_examples(self):
        state = np.full((3, *SIZE), PixelState.HOLE, np.uint8)
        state[:, :, :6] = PixelState.KNOWN
        source = track_source(state=state)
        assert hold_out(source, 3, 0).examples == []
        for number in range(3):
            for example in source.examples(number):
                assert example.hidden.any()
                assert np.isfinite(example.smooth).all()

    @pytest.mark.parametrize("count", [1, 2])
    def test_a_short_shot_has_tracks_too(self, count):
        state = np.zeros((count, *SIZE), np.uint8)
        state[:, 10:20, 10:24] = PixelState.HOLE
        source = track_source(state=state)
        assert source.examples(0)[0].synthetic.any()
        assert hold_out(source, count, 0).examples

    def test_a_frame_without_a_hole_is_an_example_like_any_other(self):
        state = np.zeros((5, *SIZE), np.uint8)
        state[4, 10:20, 10:24] = PixelState.HOLE
        examples = [example for number in range(6) for example in track_source(state=state).examples(number)]
        assert any(example.synthetic.any() for example in examples)

    def test_views_do_not_mix(self):
        state = np.repeat(moving_hole(6, (7, 1)), 2, axis=0)
        frames = np.repeat(truth(6, PAN), 2, axis=0)
        frames[1::2] = MARK
        source = track_source(state=state, frames=frames, views=2)
        views = set()
        for number in range(8):
            for example in source.examples(number):
                seen = example.copies[example.weights > 0]
                views.add(bool(example.pixels.max() == MARK))
                assert seen.max(initial=-1) < 1.5 or seen.min() > 3.5
        assert views == {True, False}

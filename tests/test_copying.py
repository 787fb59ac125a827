"""Learning what to copy: the method, the examples it learns from, the task that draws them, and the fill."""

import threading
import time
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
from internal_inpaint.motion.held_out import hold_out
from internal_inpaint.motion.tracks import EXAMPLES, NEAR, Example, Track, TrackSource
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.rendering.copying import CopySource, ShotCopies
from internal_inpaint.resample import enlarge_bicubic, reduce_area, reduce_max
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import TrainingConfig
from internal_inpaint.training.copy_task import AHEAD, FEWEST_TRACKS, POOL_BYTES, STEPS_PER_TRACK, CopyTask
from internal_inpaint.training.state import Hooks
from internal_inpaint.training.trainer import Trainer

CPU = torch.device("cpu")
TINY = CopyConfig(NetworkConfig("base", 0.17, shortcuts=True))
PAN = (2.6, -0.3)
CROP = (32, 40)
MARK = 5.0  # in pixels that nobody may see; no working space has such a value


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
            assert ((np.abs(total - 1) < 5e-3) | (total == 0)).all()
            best = (example.weights[..., None].astype(np.float32) * example.copies).sum(axis=0)
            assert np.abs(best - example.pixels)[scored & (total > 0)].mean() < 0.05
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


def numbered(number, count=2, crop=CROP):
    """Examples that say which track they are of."""
    plane, picture = np.zeros(crop, bool), np.full((*crop, 3), number / 100, np.float16)
    hidden = plane.copy()
    hidden[10:20, 10:20] = True
    copies, weights = np.zeros((COUNT, *crop, 3), np.float16), np.zeros((COUNT, *crop), np.float16)
    return [Example(picture, hidden, ~plane, hidden, copies, weights, picture)] * count


def task_of(make, track_bytes=0, held_out=()):
    return CopyTask(TrainingConfig(method=TINY), CROP, SIZE, make, held_out, CPU, track_bytes)


def drawn(task, rng, count, batch=3, crop=CROP):
    """Which tracks each of the next batches is of."""
    clips = [task.draw(rng, batch, crop, False) for _ in range(count)]
    return [(clip.pixels[:, 0, 0, 0, 0] * 100).round().int().tolist() for clip in clips]


class TestTask:
    def test_a_resumed_training_draws_what_it_would_have_drawn(self):
        rng, whole = np.random.default_rng(5), task_of(numbered, POOL_BYTES)
        before = drawn(whole, rng, 45)
        state, random = whole.state_dict(), rng.bit_generator.state
        after = drawn(whole, rng, 20)
        made = []
        resumed = task_of(lambda number: made.append(number) or numbered(number), POOL_BYTES)
        resumed.load_state_dict(state)
        rng.bit_generator.state = random
        assert drawn(resumed, rng, 20) == after
        assert min(made) > 0, "tracks that are not used any more are not made again"
        assert len({tuple(each) for each in before + after}) > 20
        # Back in time, as after weights that diverged or another checkpoint.
        rng, late = np.random.default_rng(5), task_of(numbered, POOL_BYTES)
        drawn(late, np.random.default_rng(0), 60)
        late.load_state_dict({"drawn": 0})
        assert drawn(late, rng, 45) == before
        for task in (whole, resumed, late):
            task.close()

    def test_few_tracks_are_kept_and_few_are_made_ahead(self):
        made = []
        task = task_of(lambda number: made.append(number) or numbered(number), track_bytes=int(POOL_BYTES))
        rng, steps = np.random.default_rng(0), 20 * STEPS_PER_TRACK
        for step, numbers in enumerate(drawn(task, rng, steps)):
            newest = step // STEPS_PER_TRACK
            assert all(newest - FEWEST_TRACKS < number <= newest for number in numbers)
        task.close()
        assert sorted(made) == list(range(len(made))), "each once"
        assert len(made) <= 20 + AHEAD

    def test_closed_it_leaves_no_thread_and_can_go_on(self):
        task, rng = task_of(numbered), np.random.default_rng(0)

        def threads():
            return [thread for thread in threading.enumerate() if thread.name.startswith("tracks")]

        drawn(task, rng, 3)
        assert threads()
        task.close()
        end = time.monotonic() + 10
        while threads() and time.monotonic() < end:
            time.sleep(0.01)
        assert not threads()
        drawn(task, rng, 20)
        task.close()

    def test_on_a_gpu_it_does_not_wait_for_the_next_track(self):
        ready = threading.Event()

        def make(number):
            return numbered(number) if number == 0 or ready.wait(20) else None

        # Not on the CPU, and on every machine; its batches have no values.
        task = CopyTask(TrainingConfig(method=TINY), CROP, SIZE, make, [], torch.device("meta"))
        rng = np.random.default_rng(0)
        for _ in range(3 * STEPS_PER_TRACK):
            task.draw(rng, 2, CROP, False)
        assert not ready.is_set()
        ready.set()
        task.close()

    def test_an_error_in_making_a_track_ends_the_training(self):
        def make(number):
            raise MemoryError("no memory for a track")

        task = task_of(make)
        with pytest.raises(MemoryError, match="no memory for a track"):
            drawn(task, np.random.default_rng(0), 1)
        task.close()

    def test_smaller_crops_are_the_middle_of_the_examples(self):
        def make(number):
            (example,) = numbered(number, 1)
            pixels = np.zeros((*CROP, 3), np.float16)
            pixels[8:24, 12:28] = 0.5
            return [replace(example, pixels=pixels)]

        task = task_of(make)
        given = task.draw(np.random.default_rng(0), 2, (16, 16), False)
        assert given.pixels.shape == (2, 1, 3, 16, 16)
        assert given.planes["copies"].shape == (2, 1, 3 * COUNT, 16, 16)
        assert given.hidden.shape == given.known.shape == given.synthetic.shape == (2, 1, 1, 16, 16)
        assert (given.pixels == 0.5).all()
        task.close()

    def test_the_score_is_that_of_the_held_out_holes(self):
        task = task_of(numbered, held_out=[*numbered(10), *numbered(20, 1)])
        assert task.scored_holes == 3
        assert task.score(lambda clip: clip.pixels[:, 0] + 0.2) == pytest.approx(20, abs=0.01)
        assert task_of(numbered).score(lambda clip: clip.pixels[:, 0]) is None

    def test_steps_that_score_nothing_are_not_taken_for_the_best_loss(self):
        """Where nearly everything is a hole, many tracks in a row may hide nothing that is known."""

        def make(number):
            (example,) = numbered(number, 1)
            if number >= 8:
                return [example]
            return [replace(example, synthetic=np.zeros_like(example.hidden), known=~example.hidden)]

        config = TrainingConfig(method=TINY, batch=1, patience=0)
        warned = []
        task = task_of(make, track_bytes=int(POOL_BYTES))
        Trainer(CopyMethod(TINY), task, config, CPU).run(Budget(steps=110), hooks(warned))
        task.close()
        assert warned == []


def hooks(warned):
    return Hooks(
        report=lambda progress: None,
        warn=warned.append,
        checkpoint=lambda trainer: None,
        validated=lambda trainer: None,
        should_stop=lambda: False,
    )


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

        copies = ShotCopies(level, CopySource(np.broadcast_to(pictures, (40, 96, 160, 3)), state, Asked()), 0.5)
        found, _, hole = self.filled(copies, 20, np.zeros(COUNT + 2), invented=0)
        assert (found.hidden == hole).all()
        assert asked == []

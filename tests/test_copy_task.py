"""The task that draws the examples of copying: the same ones when resumed, bounded, in a thread of its own."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from exact_motion import SIZE

from internal_inpaint.methods.copying.config import CopyConfig
from internal_inpaint.methods.copying.method import CopyMethod
from internal_inpaint.methods.implicit.networks import NetworkConfig
from internal_inpaint.motion.candidates import COUNT
from internal_inpaint.motion.tracks import Example
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.config import TrainingConfig
from internal_inpaint.training.copy_task import AHEAD, FEWEST_TRACKS, POOL_BYTES, STEPS_PER_TRACK, CopyTask
from internal_inpaint.training.state import Hooks
from internal_inpaint.training.trainer import Trainer

CPU = torch.device("cpu")
TINY = CopyConfig(NetworkConfig("base", 0.17, shortcuts=True))
CROP = (32, 40)


def method_and_network(seed=0, **settings):
    torch.manual_seed(seed)
    method = CopyMethod(replace(TINY, **settings))
    return method, method.build()


def numbered(number, count=2, crop=CROP):
    """Examples that say which track they are of."""
    plane, picture = np.zeros(crop, bool), np.full((*crop, 3), number / 100, np.float16)
    hidden = plane.copy()
    hidden[10:20, 10:20] = True
    copies, weights = np.zeros((COUNT, *crop, 3), np.float16), np.zeros((COUNT, *crop), np.float16)
    return [Example(picture, hidden, ~plane, hidden, copies, weights, picture)] * count


def task_of(make, track_bytes=0, held_out=()):
    return CopyTask(TrainingConfig(method=TINY), CROP, SIZE, make, lambda: held_out, CPU, track_bytes)


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

"""What could be copied: hidden pixels followed to the frames that show them, corrected by the ring, and weighed."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from exact_motion import SIZE, best_copy, moving_hole, panning, pattern, shown_in, truth

from internal_inpaint.motion.camera import mapped
from internal_inpaint.motion.candidates import COUNT, astray, find_candidates
from internal_inpaint.motion.compare import compare_candidates
from internal_inpaint.motion.field import FUTURE, PAST, resized_motion
from internal_inpaint.motion.follow import LONGEST, NOWHERE, UNSAFE, follow_camera, follow_flow, shows
from internal_inpaint.pixel_state import PixelState

PAN = (2.6, -0.3)
CONTRAST = 0.5


def find(motion, state, index, **options):
    return find_candidates(motion, shown_in(state), state[index], index, **options)


def compared(pictures, motion, state, index, **options):
    found = find(motion, state, index)
    return compare_candidates(found, astray(found, motion), pictures.__getitem__, CONTRAST, **options)


def nearest_that_shows(state, index, step, by, row, column):
    """By looking at every picture: (picture, x, y), or ``None``."""
    other = index + step
    while 0 <= other < len(state):
        x, y = column + (other - index) * by[0], row + (other - index) * by[1]
        if not (0 <= x <= state.shape[2] - 1 and 0 <= y <= state.shape[1] - 1):
            return None
        if shows(state[other])[round(y), round(x)]:
            return other, x, y
        other += step
    return None


@pytest.mark.parametrize("index", [0, 3, 7])
def test_a_pixel_is_copied_from_the_nearest_frames_that_show_it(index):
    state, motion = moving_hole(8, (7, 1)), panning(8, PAN)
    found = find(motion, state, index)
    top, left = found.box[0].start, found.box[1].start
    seen = 0
    for row, column in zip(*(at[::7] for at in np.nonzero(found.hidden)), strict=True):
        for kind, step in enumerate((-1, 1, -1, 1)):
            wanted = nearest_that_shows(state, index, step, PAN, row + top, column + left)
            if wanted is None:
                assert found.frame[kind, row, column] == NOWHERE
                continue
            seen += 1
            assert found.frame[kind, row, column] == wanted[0]
            assert np.abs(found.points[kind, row, column] - wanted[1:]).max() < 0.1
    assert seen > 20
    made = compared(truth(8, PAN), motion, state, index)
    has = found.hidden & found.valid.any(axis=0)
    assert np.abs(best_copy(made) - truth(8, PAN)[index][found.box])[has].max() < 0.04


def test_positions_are_right_also_in_pictures_of_another_size():
    large = tuple(3 * side for side in SIZE)
    by = tuple(3 * each for each in PAN)
    state = moving_hole(6, (21, 3), large, (42, 18), (54, 60))
    motion, pictures = resized_motion(panning(6, PAN), large), truth(6, by, large)
    made = compared(pictures, motion, state, 2)
    has = made.found.hidden & made.found.valid.any(axis=0)
    assert has.mean() > 0.3
    assert np.abs(best_copy(made) - pictures[2][made.found.box])[has].max() < 0.05


def test_nothing_of_the_object_is_copied():
    """Its soft edge and its blur lie beside the matte, in pixels that count as known."""
    size = (1000, 60)
    by, count = (0, 40.4), 6
    state, motion = moving_hole(count, (0, 70), size, (100, 20), (150, 16)), panning(count, by, size)
    pictures, clean = truth(count, by, size), truth(count, by, size)
    margin = int(UNSAFE * size[0])
    for picture, plane in zip(pictures, state, strict=True):
        blurred = cv2.dilate(plane, np.ones((2 * margin - 3, 2 * margin - 3), np.uint8)) > 0
        picture[blurred] = 5.0  # the object, of a colour that nothing else has
    for index in range(count):
        found = find(motion, state, index)
        found = replace(found, ring=np.zeros_like(found.ring))
        copies = compare_candidates(found, astray(found, motion), pictures.__getitem__, CONTRAST)
        valid = found.valid & found.hidden
        assert valid.any()
        there = np.broadcast_to(clean[index][found.box], copies.colours.shape)
        assert np.abs(copies.colours - there)[valid].max() < 0.05


def test_points_that_leave_the_frame_are_lost_along_the_flow_and_come_back_along_the_camera():
    count, by = 5, (30.0, 0.0)
    motion = panning(count, by)
    # Out of the frame with the second picture, back again with the fourth.
    for index in (2, 3):
        motion.flow[index, FUTURE], motion.cameras[index, FUTURE, 0, 2] = (-by[0], 0), -by[0]
    points, everything = np.float32([[70, 20], [5, 20]]), np.ones(SIZE, bool)
    nothing = np.zeros(SIZE, bool)

    def shown(index):
        return everything if index == 4 else nothing

    flow = follow_flow(motion, shown, 0, FUTURE, points)
    camera = follow_camera(motion, shown, 0, FUTURE, points)
    assert flow.frame.tolist() == [NOWHERE, 4]
    assert camera.frame.tolist() == [4, 4]
    np.testing.assert_allclose(camera.points, points, atol=1e-3)


def test_a_place_behind_the_camera_is_not_in_the_picture():
    camera = np.array([[1, 0, 0], [0, 1, 0], [-0.02, 0, 1.0]])  # what is right of x = 50 is behind it
    there = mapped(camera, np.float32([[20, 10], [70, 10], [50, 10], [120, 10]]))
    np.testing.assert_allclose(there[0], [20 / 0.6, 10 / 0.6], rtol=1e-5)
    assert (np.abs(there[1:]) >= 1e5).any(axis=1).all()


class TestBlur:
    """What motion has blurred is copied only if nothing sharper is near."""

    POINTS = np.float32([[40, 20]])

    def found(self, follow, sharpnesses, shown, index=0, by=(0.0, 0.0)):
        motion = replace(panning(len(sharpnesses), by), sharpnesses=np.array(sharpnesses))
        planes = [np.full(SIZE, index in shown) for index in range(len(sharpnesses))]
        sightings = follow(motion, planes.__getitem__, index, FUTURE, self.POINTS)
        return int(sightings.frame[0]), sightings.points[0].tolist()

    @pytest.mark.parametrize("follow", [follow_flow, follow_camera])
    def test_the_first_sharp_frame_is_taken(self, follow):
        by = (0.5, 0.25)
        blurred = [1, 1, 0.5, 0.6, 0.9, 1, 1, 1]
        assert self.found(follow, blurred, range(2, 8), by=by) == (4, [42, 21])
        assert self.found(follow, [1] * 8, range(2, 8), by=by)[0] == 2
        # Nor is a blurred frame filled with anything but its neighbours.
        assert self.found(follow, [0.5, 0.5, 0.5, 0.6, 0.9, 1, 1, 1], range(2, 8), by=by)[0] == 2

    @pytest.mark.parametrize("follow", [follow_flow, follow_camera])
    def test_a_blurred_one_is_better_than_one_from_far_away_or_none(self, follow):
        by = (0.5, 0.25)
        assert self.found(follow, [1] + [0.5] * 6, range(2, 7), by=by) == (2, [41, 20.5])
        late = [1, 1] + [0.5] * 25 + [1]
        assert self.found(follow, late, range(2, 28))[0] == 2
        assert self.found(follow, late[:2] + late[20:], range(2, 10))[0] == 9

    def test_a_point_that_leaves_the_frame_was_seen_before(self):
        by = (10.0, 0.0)
        assert self.found(follow_flow, [1, 1, 0.5, 0.5, 0.5, 1, 1], range(2, 7), by=by) == (2, [60, 20])
        assert self.found(follow_camera, [1, 1, 0.5, 0.5, 0.5, 1, 1], range(2, 7), by=by) == (2, [60, 20])


def test_nothing_is_followed_across_a_cut_or_for_ever():
    motion, state = panning(6, (0, 0)), np.zeros((6, *SIZE), np.uint8)
    state[:3, 10:20, 10:20] = PixelState.HOLE
    motion.linked[2, FUTURE] = motion.linked[3, PAST] = False
    assert not find(motion, state, 1).valid.any()
    motion.linked[2, FUTURE] = True
    assert find(motion, state, 1).valid[[1, 3]].any()

    asked = []

    class Endless:
        size = SIZE

        def neighbour(self, index, direction):
            return index + 1

        def carried(self, index, direction, points):
            return points

        def camera(self, index, direction):
            return np.eye(3)

        def sharpness(self, index):
            return 1.0

    def never(index):
        asked.append(index)
        return np.zeros(SIZE, bool)

    for follow in (follow_flow, follow_camera):
        assert follow(Endless(), never, 0, FUTURE, np.zeros((1, 2), np.float32)).frame.tolist() == [NOWHERE]
        assert len(asked) == LONGEST
        asked.clear()


def test_what_is_outside_the_data_window_is_neither_filled_nor_copied():
    motion, state = panning(3, (0, 0)), np.zeros((3, *SIZE), np.uint8)
    state[1, 10:30, 10:30] = PixelState.HOLE
    state[:, :, :20] = PixelState.OUTSIDE
    state[2] = PixelState.OUTSIDE
    found = find(motion, state, 1)
    hidden = np.zeros(SIZE, bool)
    hidden[found.box] = found.hidden
    assert hidden.sum() == 20 * 10
    assert not hidden[:, :20].any()
    assert (found.frame != 2).all()
    assert not (found.ring & (state[1][found.box] != PixelState.KNOWN)).any()


def test_without_a_hole_there_are_no_candidates_and_without_candidates_no_copy():
    motion, state = panning(3, (0, 0)), np.zeros((3, *SIZE), np.uint8)
    assert find(motion, state, 1) is None
    state[:, 10:20, 10:20] = PixelState.HOLE  # a camera and a hole that stand still: no frame shows it
    made = compared(truth(3, (0, 0)), motion, state, 1)
    assert not made.found.valid.any()
    assert not made.weights.any()
    assert not best_copy(made).any()
    assert np.isfinite(made.light).all()


def test_a_change_of_light_leaves_no_seam():
    """In working space a change of exposure is an offset."""
    state, motion = moving_hole(8, (7, 1)), panning(8, PAN)
    exposure = (0.06 * np.arange(8) * np.array([[1.0], [0.5], [-1.0]])).T.astype(np.float32)
    pictures = truth(8, PAN) + exposure[:, None, None]
    made = compared(pictures, motion, state, 3)
    found = made.found
    error = np.abs(best_copy(made) - pictures[3][found.box])
    left_alone = np.abs((made.weights[..., None] * (made.colours - made.light)).sum(axis=0) - pictures[3][found.box])
    inner = cv2.erode(found.hidden.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    edge, has = found.hidden & ~inner, found.hidden & found.valid.any(axis=0)
    assert left_alone[has & edge].mean() > 0.03, "there was something to correct"
    assert error[has & edge].mean() < 0.2 * left_alone[has & edge].mean()
    assert error[has].mean() < 0.4 * left_alone[has].mean()


def test_the_ring_is_compared_only_with_what_other_frames_show_there():
    """A slow hole: what the future shows at its left edge is still hidden on the right of it."""
    state, motion = moving_hole(30, (1, 0), start=(14, 20), extent=(18, 24)), panning(30, (0, 0))
    pictures = truth(30, (0, 0))
    for picture, plane in zip(pictures, state, strict=True):
        picture[plane == PixelState.HOLE] = 0.9  # what a store has in a hole: no picture of the place
    made = compared(pictures, motion, state, 2)
    found = made.found
    rows, columns = np.mgrid[found.box]
    for kind in range(COUNT):
        for index in np.unique(found.frame[kind][found.valid[kind]]):
            there = found.points[kind][found.frame[kind] == index].round().astype(int)
            assert shown_in(state)(index)[there[:, 1], there[:, 0]].all()
    valid = made.found.valid & made.found.hidden
    assert valid.any()
    assert np.abs(made.light[valid]).max() < 0.02
    assert np.abs(made.colours - pattern(columns, rows))[valid].max() < 0.02


def test_the_ring_is_not_continued_beyond_the_frame():
    state, motion = np.zeros((2, *SIZE), np.uint8), panning(2, (-8.0, 0))
    state[0, 14:34, 10:30] = PixelState.HOLE
    found = find(motion, state, 0)
    x = found.points[..., 0][found.valid]
    assert x.min() >= 0
    assert found.valid[FUTURE][found.hidden].mean() > 0.9


def test_the_weights_are_shares_and_prefer_what_fits_and_what_is_near():
    state, motion = moving_hole(8, (7, 1)), panning(8, PAN)
    pictures = truth(8, PAN)
    made = compared(pictures, motion, state, 3)
    total = made.weights.sum(axis=0)
    any_valid = made.found.valid.any(axis=0)
    assert total.max() < 1
    assert np.median(total[any_valid]) > 0.99, "these copies are right"
    assert (total[~any_valid] == 0).all()
    assert (made.weights[made.found.valid] > 0).all()
    assert (made.weights[~made.found.valid] == 0).all()
    both = made.found.hidden & made.found.valid[PAST] & made.found.valid[FUTURE]
    distance = np.abs(made.found.frame - 3)
    nearer = both & (distance[FUTURE] < distance[PAST])
    assert nearer.any()
    assert (made.weights[FUTURE] > made.weights[PAST])[nearer].all()

    spoiled = pictures.copy()
    spoiled[4:] = spoiled[4:, ::-1]  # the future shows something else
    doubted = compared(spoiled, motion, state, 3)
    assert (doubted.weights[FUTURE] < 0.2 * made.weights[FUTURE])[both].all()
    assert (doubted.weights[PAST] > doubted.weights[FUTURE])[both].all()
    only = doubted.found.valid[FUTURE] & ~doubted.found.valid[PAST] & ~doubted.found.valid[COUNT // 2 + PAST]
    left = 1 - total[only].mean(), 1 - doubted.weights.sum(axis=0)[only].mean()
    assert left[1] > 5 * left[0], "the only candidate, too, can be worse than none"


def drifting(count=12, edge=40):
    """A scene and a hole that stand still, and a motion that is guessed to the right in the hole, and its shadow."""
    state, motion = np.zeros((count, *SIZE), np.uint8), panning(count, (0, 0))
    state[:, 14:34, 10:edge] = PixelState.HOLE
    motion.flow[:, PAST, 14:34, 10:edge, 0], motion.flow[:, FUTURE, 14:34, 10:edge, 0] = -1, 1
    return state, motion


def test_what_was_in_sight_all_the_time_does_not_come_back_to_what_is_hidden():
    state, motion = drifting()
    found = find(motion, state, 0)
    stray = astray(found, motion) * SIZE[0]
    _, columns = np.mgrid[found.box]
    seen = found.valid[FUTURE] & found.hidden
    assert seen.sum() > 100
    depth = 40 - columns  # pixels to the edge, over which every one of them drifts
    assert np.abs(stray[FUTURE] - depth)[seen].max() < 1.5
    made = compared(truth(12, (0, 0)), motion, state, 0)
    total = made.weights.sum(axis=0)
    assert total[seen & (depth == 1)].min() > 0.8
    assert total[seen & (depth >= 8)].max() < 0.05


def test_a_copy_that_is_right_comes_back_from_any_distance_and_direction():
    state, motion = moving_hole(8, (7, 1)), panning(8, PAN)
    for index in (0, 3, 7):
        found = find(motion, state, index)
        valid = found.valid & found.hidden
        assert np.abs(found.frame - index)[valid].max() > 2
        assert astray(found, motion)[valid].max() * SIZE[0] < 0.05


def test_the_nearness_of_a_view_counts_its_own_frames():
    state = np.repeat(moving_hole(8, (7, 1)), 2, axis=0)
    motion, pictures = panning(16, PAN, views=2), np.repeat(truth(8, PAN), 2, axis=0)
    made = compared(pictures, motion, state, 7, views=2)
    alone = compared(truth(8, PAN), panning(8, PAN), moving_hole(8, (7, 1)), 3)
    frame = made.found.frame[made.found.valid]
    assert (frame % 2 == 1).all(), "only pictures of its own view"
    np.testing.assert_array_equal(frame // 2, alone.found.frame[alone.found.valid])
    np.testing.assert_allclose(made.weights, alone.weights, atol=1e-6)


def test_only_what_another_search_has_found_is_searched():
    state, motion = moving_hole(8, (7, 1)), panning(8, PAN)
    whole, wanted = find(motion, state, 3), np.random.default_rng(0).random((COUNT, *SIZE)) < 0.5
    part = find(motion, state, 3, earliest=lambda box: np.where(wanted[:, *box], 0, NOWHERE))
    of_hole = wanted[:, *part.box] & part.hidden
    np.testing.assert_array_equal(part.frame[of_hole], whole.frame[of_hole])
    np.testing.assert_array_equal(part.points[of_hole], whole.points[of_hole])
    assert (part.frame[~wanted[:, *part.box] & part.hidden] == NOWHERE).all()
    assert (part.frame[of_hole] != NOWHERE).any()


def test_no_frame_before_the_earliest_is_looked_at():
    state, motion = moving_hole(12, (7, 1)), panning(12, PAN)
    whole, late = find(motion, state, 3), 5
    part = find(motion, state, 3, earliest=lambda box: np.full((COUNT, *SIZE), late)[:, *box])
    distance = np.abs(part.frame - part.index)[part.valid]
    assert len(distance)
    assert distance.min() == late
    nearer = whole.valid & part.valid & (np.abs(whole.frame - 3) < late)
    assert nearer.any()
    assert (part.frame != whole.frame)[nearer].all()


def test_the_frames_that_a_larger_search_leaves_out_show_it_nothing():
    # Slow holes, whose edges take many frames to leave: the case in which too many could be left out.
    for velocity, length in (((7, 1), 8), ((1, 0), 60)):
        state, motion = moving_hole(length, velocity), panning(length, (0.3, 0.0))
        small = find(motion, state, length // 2)
        whole = np.full((COUNT, *SIZE), NOWHERE, np.int32)
        whole[:, *small.box] = small.earliest(1)
        assert (whole > 1).any() or length < 10
        again = find(motion, state, length // 2, earliest=lambda box, whole=whole: whole[:, *box])
        np.testing.assert_array_equal(again.frame, small.frame)
        np.testing.assert_array_equal(again.points[again.valid], small.points[small.valid])


def test_a_search_within_a_box_finds_what_the_whole_search_finds_there():
    state, motion = moving_hole(8, (7, 1)), panning(8, PAN)
    box = slice(20, 30), slice(30, 44)
    part, whole = find(motion, state, 3, within=box), find(motion, state, 3)
    searched = np.zeros(SIZE, bool)
    searched[part.box] = part.hidden
    inside = np.zeros(SIZE, bool)
    inside[box] = state[3][box] == PixelState.HOLE
    np.testing.assert_array_equal(searched, inside)

    def of_frame(found):
        frame = np.full((COUNT, *SIZE), -2)
        frame[:, *found.box] = found.frame
        return frame[:, inside]

    np.testing.assert_array_equal(of_frame(part), of_frame(whole))
    assert find(motion, state, 3, within=(slice(0, 5), slice(0, 5))) is None

"""The motion of a shot, measured into files: right where it is known, none across a cut, the same after a stop."""

import cv2
import numpy as np
import pytest
import torch
from moving_shot import ground

from internal_inpaint.ingest import motion_threads
from internal_inpaint.motion.camera import mapped, resized_camera
from internal_inpaint.motion.field import FUTURE, PAST, resized_motion
from internal_inpaint.motion.measure import BLOCK, MotionSource, measure_motion
from internal_inpaint.pixel_state import PixelState

SIZE = (72, 120)
HALF = (36, 60)
PAN = np.array([-2.6, 0.75], np.float32)  # of the picture's content, per frame


@pytest.fixture(autouse=True, scope="module")
def one_opencv_thread():
    """As in a run (``threads.apply_threads``)."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


def source(pictures, state=None, views=1, key="a shot"):
    pictures = np.asarray(pictures, np.float32)
    state = np.zeros(pictures.shape[:3], np.uint8) if state is None else state
    return MotionSource(pictures.__getitem__, state.__getitem__, len(pictures), pictures.shape[1:3], views, key)


def panned(count, size=SIZE, by=PAN, seed=0):
    wide = ground(size[0] + 60, size[1] + 120, seed)
    return [
        cv2.warpAffine(wide, np.float32([[1, 0, i * by[0] - 20], [0, 1, i * by[1] - 20]]), size[::-1], flags=2)
        for i in range(count)
    ]


def turned(count, size=SIZE):
    """A camera that zooms in and rolls; also the homography from a picture to the next."""
    wide, centre = ground(size[0] + 60, size[1] + 60), (size[1] / 2, size[0] / 2)
    step = np.vstack([cv2.getRotationMatrix2D(centre, 1.5, 1.02), [0, 0, 1]])
    first = np.array([[1, 0, -30], [0, 1, -30], [0, 0, 1.0]])
    maps = [np.linalg.matrix_power(step, i) @ first for i in range(count)]
    return [cv2.warpPerspective(wide, each, size[::-1], flags=cv2.INTER_CUBIC) for each in maps], step


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def long_pan(tmp_path_factory):
    """A pan of several blocks with a hole, measured in one go: (source, folder, the fields)."""
    pictures = panned(3 * BLOCK, (40, 64), np.array([-1.5, 0.0]))
    state = np.zeros((len(pictures), 40, 64), np.uint8)
    for index, plane in enumerate(state):
        plane[10:22, index : index + 12] = PixelState.HOLE
    shot, folder = source(pictures, state), tmp_path_factory.mktemp("pan") / "motion"
    return shot, folder, measure_motion(shot, folder, [(20, 32)])


def test_a_pan_by_a_fraction_of_a_pixel_is_measured_both_ways(tmp_path):
    (field,) = measure_motion(source(panned(4)), tmp_path / "motion")
    inner = np.s_[8:-8, 12:-12]
    for direction, sign in ((FUTURE, 1), (PAST, -1)):
        for index in (1, 2):
            assert field.neighbour(index, direction) == index + sign
            error = np.linalg.norm(field.flow[index, direction][inner] - sign * PAN, axis=-1)
            assert np.median(error) < 0.2
            corners = np.float32([[0, 0], [119, 0], [0, 71], [119, 71]])
            assert np.abs(mapped(field.camera(index, direction), corners) - corners - sign * PAN).max() < 0.3
            assert field.trusted[index, direction][inner].mean() > 0.95
    assert field.neighbour(0, PAST) is None
    assert field.neighbour(3, FUTURE) is None


def test_the_camera_of_a_zoom_and_a_roll_is_a_homography(tmp_path):
    pictures, step = turned(3)
    (field,) = measure_motion(source(pictures), tmp_path / "motion")
    corners = np.float32([[0, 0], [119, 0], [0, 71], [119, 71], [60, 36]])
    assert np.abs(mapped(field.camera(1, FUTURE), corners) - mapped(step, corners)).max() < 0.4
    assert np.abs(mapped(field.camera(1, PAST), corners) - mapped(np.linalg.inv(step), corners)).max() < 0.4
    middle = np.float32([[60, 36], [30, 20]])
    assert np.abs(field.carried(1, FUTURE, middle) - mapped(step, middle)).max() < 0.3


def test_a_camera_that_stands_still_does_not_move(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [ground(*SIZE) + 0.01 * rng.standard_normal((*SIZE, 3)) for _ in range(3)]
    (field,) = measure_motion(source(pictures), tmp_path / "motion")
    assert field.linked[1].all()
    assert np.abs(field.flow[1]).max() < 0.3
    assert np.abs(field.cameras[1] - np.eye(3)).max() < 0.02


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_flat_frames_are_still_and_finite(tmp_path, value):
    (field,) = measure_motion(source(np.full((3, 32, 40, 3), value)), tmp_path / "motion")
    assert (field.flow == 0).all()
    assert np.isfinite(field.cameras).all()


def test_two_scenes_are_not_linked_across_the_cut_between_them(tmp_path):
    rng = np.random.default_rng(0)
    wide = [cv2.GaussianBlur(rng.standard_normal((180, 330, 3)), (0, 0), 2) * 2 for _ in range(2)]
    pictures = [scene[:, 5 * i : 320 + 5 * i] for scene in wide for i in range(3)]
    (field,) = measure_motion(source(pictures), tmp_path / "motion")
    assert [field.neighbour(index, FUTURE) for index in range(6)] == [1, 2, None, 4, 5, None]
    assert [field.neighbour(index, PAST) for index in range(6)] == [None, 0, 1, None, 3, 4]


def test_a_large_hole_that_jumps_is_not_taken_for_a_cut(tmp_path):
    pictures, state = panned(2, (96, 160)), np.zeros((2, 96, 160), np.uint8)
    state[0, :, :104] = state[1, :, 56:] = PixelState.HOLE
    state[:, 40:50] = PixelState.KNOWN
    (field,) = measure_motion(source(pictures, state), tmp_path / "motion")
    assert field.neighbour(0, FUTURE) == 1


def test_noise_has_no_motion_that_links_its_frames(tmp_path):
    pictures = np.random.default_rng(0).standard_normal((3, 270, 480, 3)) * 0.3
    (field,) = measure_motion(source(pictures), tmp_path / "motion")
    assert not field.linked.any()


@pytest.mark.parametrize("size", [(10, 24), (40, 7), (1, 1), (16, 16)])
def test_small_frames_and_single_ones_have_a_motion_too(tmp_path, size):
    pictures = np.random.default_rng(0).uniform(-1, 1, (3, *size, 3))
    (field,) = measure_motion(source(pictures), tmp_path / "several")
    assert np.isfinite(field.flow).all()
    (one,) = measure_motion(source(pictures[:1]), tmp_path / "one")
    assert one.neighbour(0, PAST) is None
    assert one.neighbour(0, FUTURE) is None


def test_what_a_hole_hides_is_completed_from_round_it_and_not_trusted(long_pan):
    shot, _, (field, _) = long_pan
    for index in (2, 9):
        hole = shot.state(index) == PixelState.HOLE
        assert not field.trusted[index, FUTURE][hole].any()
        assert np.abs(field.flow[index, FUTURE][hole] - [-1.5, 0]).max() < 0.4


def test_the_number_of_threads_changes_no_byte(long_pan, tmp_path):
    shot, folder, _ = long_pan
    measure_motion(shot, tmp_path / "motion", [(20, 32)], threads=2)
    assert files_of(tmp_path / "motion") == files_of(folder)


def test_stopped_or_killed_between_blocks_it_goes_on_and_ends_the_same(long_pan, tmp_path):
    shot, folder, _ = long_pan
    told, measured = [], []

    class Killed(Exception):
        pass

    def picture(index):
        measured.append(index)
        if len(measured) > BLOCK + 3:
            raise Killed
        return shot.picture(index)

    def again(picture=shot.picture, **options):
        same = MotionSource(picture, shot.state, shot.count, shot.size, shot.views, shot.key)
        return measure_motion(same, tmp_path / "motion", [(20, 32)], progress=lambda *at: told.append(at), **options)

    with pytest.raises(Killed):
        again(picture)
    assert told[-1][0] == BLOCK
    told.clear()
    again(should_stop=lambda: told[-1][0] >= 2 * BLOCK)
    assert told[0] == (BLOCK, 3 * BLOCK - 1), "the first block was kept"
    assert told[-1] == (2 * BLOCK, 3 * BLOCK - 1)
    again()
    assert files_of(tmp_path / "motion") == files_of(folder)
    measured.clear()
    again(measured.append)  # nothing is measured a second time
    assert measured == []


def _other_shot(folder):
    (folder / "motion.json").write_text((folder / "motion.json").read_text().replace("a shot", "another"))


def _no_description(folder):
    (folder / "motion.json").unlink()


def _no_json(folder):
    (folder / "motion.json").write_bytes(b"\xff{")


def _cut_off(folder):
    path = next(folder.glob("*/flow.npy"))
    path.write_bytes(path.read_bytes()[:1000])


def _rotted(folder):
    path = folder / "64x40" / "flow.npy"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff" * 3000 + data[len(data) // 2 + 3000 :])


def _other_cameras(folder):
    np.save(folder / "32x20" / "cameras.npy", np.zeros((24, 2, 3, 3)))


def _other_marks(folder):
    np.save(folder / "measured.npy", np.full(24, 255, np.uint8))


def _empty(folder):
    (folder / "measured.npy").write_bytes(b"")


def _one_is_missing(folder):
    (folder / "32x20" / "cameras.npy").unlink()


def _another_array(folder):
    np.save(folder / "64x40" / "trusted.npy", np.zeros((2, 2, 40, 64), np.uint8))


HARM = _other_shot, _no_description, _no_json, _cut_off, _rotted, _other_cameras, _other_marks, _empty
HARM += _one_is_missing, _another_array


@pytest.mark.parametrize("harm", HARM)
def test_files_of_another_shot_or_damaged_ones_are_measured_anew(long_pan, tmp_path, harm):
    shot, folder, _ = long_pan
    measure_motion(shot, tmp_path / "motion", [(20, 32)])
    harm(tmp_path / "motion")
    (field, _) = measure_motion(shot, tmp_path / "motion", [(20, 32)])
    assert files_of(tmp_path / "motion") == files_of(folder)
    assert field.linked[1:-1].all()


def test_pictures_of_one_view_are_neighbours_of_their_own_view(tmp_path):
    left, right = panned(3), panned(3, by=-PAN, seed=5)
    both = [picture for pair in zip(left, right, strict=True) for picture in pair]
    (field,) = measure_motion(source(both, views=2), tmp_path / "motion")
    assert [field.neighbour(index, FUTURE) for index in range(6)] == [2, 3, 4, 5, None, None]
    assert [field.neighbour(index, PAST) for index in range(6)] == [None, None, 0, 1, 2, 3]
    for index, by in ((0, PAN), (1, -PAN), (2, PAN), (3, -PAN)):
        assert np.abs(np.median(field.flow[index, FUTURE], axis=(0, 1)) - by).max() < 0.15


def test_smaller_sizes_carry_the_same_motion_in_their_own_pixels(tmp_path):
    pictures, step = turned(3)
    field, half, same = measure_motion(source(pictures), tmp_path / "motion", [HALF, SIZE])
    assert half.size == HALF
    assert same.size == SIZE
    points = np.float32([[20, 15], [30, 20], [41.5, 9.25]])
    assert np.abs(half.carried(1, FUTURE, points) - mapped(resized_camera(step, (0.5, 0.5)), points)).max() < 0.2
    assert np.abs(half.camera(1, FUTURE) - resized_camera(field.camera(1, FUTURE), (0.5, 0.5))).max() < 1e-9
    # A motion that is enlarged again is that of the large pictures: no offset of half a pixel.
    large, points = resized_motion(half, SIZE), points * 2 + 0.5
    assert np.abs(large.carried(1, FUTURE, points) - mapped(step, points)).max() < 0.4
    assert np.abs(large.camera(1, FUTURE) - field.camera(1, FUTURE)).max() < 1e-9


def test_the_flow_stays_on_the_disk(long_pan):
    _, _, fields = long_pan
    for field in fields:
        assert isinstance(field.flow, np.memmap)
        assert isinstance(field.trusted, np.memmap)
        assert not field.flow.flags.writeable


def test_as_many_pairs_are_measured_at_once_as_memory_allows(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert motion_threads((96, 160)) == 64
    assert 4 <= motion_threads((2160, 4096)) <= 8, "each takes a third of a gigabyte"
    assert motion_threads((20_000, 40_000)) == 1


class TestSharpness:
    def test_blurred_pictures_are_known_wherever_the_camera_looks(self, tmp_path):
        """What a picture shows may have more detail than what another shows: only what both show counts."""
        pictures = np.stack(panned(12, by=np.array([-7.0, 0.0])))
        pictures[:, :, :] *= np.linspace(0.3, 1, SIZE[1])[:, None]  # the right is richer in contrast
        for index in (4, 5, 9):
            pictures[index] = cv2.GaussianBlur(pictures[index], (0, 0), 1.5)
        (field,) = measure_motion(source(pictures), tmp_path)
        sharp = np.delete(field.sharpnesses, (4, 5, 9))
        assert max(field.sharpness(index) for index in (4, 5, 9)) < 0.8 * sharp.min()
        assert resized_motion(field, HALF).sharpness(4) == field.sharpness(4)

    def test_a_hole_says_nothing(self, tmp_path):
        pictures, state = np.stack(panned(6)), np.zeros((6, *SIZE), np.uint8)
        state[2:4, 10:60, 20:90] = PixelState.HOLE
        pictures[2:4, 10:60, 20:90] = 0
        (field,) = measure_motion(source(pictures, state), tmp_path)
        np.testing.assert_allclose(field.sharpnesses, 1, atol=0.15)

    def test_each_view_has_its_own_and_nothing_is_sharper_than_nothing(self, tmp_path):
        pictures = np.repeat(panned(5), 2, axis=0)
        pictures[4] = cv2.GaussianBlur(pictures[4], (0, 0), 1.5)
        (field,) = measure_motion(source(pictures, views=2), tmp_path / "two")
        assert field.sharpness(4) < 0.8
        assert field.sharpness(5) > 0.9
        (field,) = measure_motion(source(np.zeros((4, *SIZE, 3))), tmp_path / "flat")
        np.testing.assert_array_equal(field.sharpnesses, 1)
        (field,) = measure_motion(source(np.zeros((3, 8, 8, 3))), tmp_path / "tiny")
        np.testing.assert_array_equal(field.sharpnesses, 1)

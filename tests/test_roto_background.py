"""A matte grows over what moves against the background beside it, and over nothing else."""

import cv2
import numpy as np
import pytest
from moving_shot import ground

from internal_inpaint.roto.background import MOST, _grown, grown_over_what_differs

COUNT, SIZE = 14, (90, 150)
PAN, OBJECT = 1.5, 6.0  # pixels per frame, of the ground and of the object


@pytest.fixture(scope="module")
def scene():
    """(pictures, mattes, limbs): the object has a limb that no matte knows, and crosses a panning ground."""
    wide = ground(SIZE[0] + 20, SIZE[1] + 60)
    pictures, mattes, limbs = [], [], []
    for index in range(COUNT):
        shift = np.float32([[1, 0, -PAN * index], [0, 1, -8]])
        picture = cv2.warpAffine(wide, shift, SIZE[::-1], flags=cv2.INTER_CUBIC)
        left = round(8 + OBJECT * index)
        matte, limb = np.zeros((2, *SIZE), np.float32)
        matte[30:60, left : left + 26] = 1
        limb[60:63, left + 8 : left + 12] = 1  # below it, as far as a matte may grow
        picture[(matte > 0) | (limb > 0)] = (0.8, -0.8, 0.6)
        pictures.append(picture)
        mattes.append(matte)
        limbs.append(limb)
    return np.stack(pictures).astype(np.float16), np.stack(mattes), np.stack(limbs) > 0


def grown(folder, pictures, mattes, views=1, threads=1, **options):
    outside = np.zeros(pictures.shape[:3], bool)
    found = grown_over_what_differs(pictures, outside, mattes, views, folder / "motion", "key", threads, **options)
    return np.stack(list(found))


def test_a_limb_that_the_matte_misses_becomes_a_part_of_it(tmp_path, scene):
    pictures, mattes, limbs = scene
    found = grown(tmp_path, pictures, mattes)
    assert (found >= mattes).all()
    assert found[limbs].mean() > 0.9
    # A blurred comparison reaches a pixel beyond the limb, not more: the ground is left alone.
    around = np.stack([cv2.dilate(limb.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0 for limb in limbs])
    added = (found > mattes) & ~around
    assert added.sum() < 0.02 * (mattes > 0).sum()


def test_a_tight_matte_stays_as_it_is(tmp_path, scene):
    pictures, mattes, limbs = scene
    whole = np.maximum(mattes, limbs)
    found = grown(tmp_path, pictures, whole)
    assert (found != whole).sum() < 0.02 * (whole > 0).sum()


def test_where_the_background_itself_is_never_the_same_nothing_is_added(tmp_path, scene):
    """Water, fire, a crowd: all of it differs, which says nothing about the object."""
    _, mattes, _ = scene
    noise = np.random.default_rng(0).normal(0, 0.5, (COUNT, *SIZE, 3))
    boiling = np.stack([cv2.GaussianBlur(picture, (0, 0), 3) * 6 for picture in noise]).clip(-1, 1)
    found = grown(tmp_path, boiling.astype(np.float16), mattes)
    for before, after in zip(mattes, found, strict=True):
        assert (after > before).sum() <= MOST * (before > 0.5).sum()
    assert (found != mattes).sum() < 0.05 * (mattes > 0).sum()


def test_what_no_other_frame_shows_is_left_alone(tmp_path, scene):
    """Neither camera nor object moves: there is no background to compare with."""
    pictures, mattes, _ = scene
    still = np.repeat(pictures[:1], COUNT, 0), np.repeat(mattes[:1], COUNT, 0)
    np.testing.assert_array_equal(grown(tmp_path, *still), still[1])


def test_one_frame_and_frames_without_an_object_are_left_alone(tmp_path, scene):
    pictures, mattes, _ = scene
    np.testing.assert_array_equal(grown(tmp_path / "one", pictures[:1], mattes[:1]), mattes[:1])
    gone = mattes.copy()
    gone[5:9] = 0
    found = grown(tmp_path / "gone", pictures, gone)
    assert found[5:9].max() == 0


def test_the_result_does_not_depend_on_the_threads_nor_the_other_view(tmp_path, scene):
    pictures, mattes, _ = scene
    alone = grown(tmp_path / "alone", pictures, mattes)
    np.testing.assert_array_equal(grown(tmp_path / "threads", pictures, mattes, threads=3), alone)
    both = np.repeat(pictures, 2, 0), np.repeat(mattes, 2, 0)
    both[0][1::2] = both[0][1::2, :, ::-1]
    both[1][1::2] = both[1][1::2, :, ::-1]
    stereo = grown(tmp_path / "stereo", *both, views=2)
    np.testing.assert_array_equal(stereo[::2], alone)


def test_a_stop_while_the_motion_is_measured_gives_no_matte(tmp_path, scene):
    pictures, mattes, _ = scene
    outside = np.zeros(pictures.shape[:3], bool)
    found = grown_over_what_differs(
        pictures, outside, mattes, 1, tmp_path / "motion", "key", 1, should_stop=lambda: True
    )
    assert list(found) == []


def _a_matte_and_a_calm_surrounding():
    matte, difference = np.zeros((2, 60, 90), np.float32)
    matte[20:40, 30:60] = 1
    difference[12:48, 22:68] = 0.01
    return matte, difference * (matte == 0)


def test_only_what_touches_the_matte_is_added():
    matte, difference = _a_matte_and_a_calm_surrounding()
    difference[40:44, 40:46] = difference[12:16, 64:68] = 0.9
    found = _grown(matte, difference, contrast=0.5)
    assert found[41:43, 41:45].min() == 1
    assert found[12:16, 64:68].max() == 0


def test_more_than_a_part_of_the_object_is_never_added():
    matte, difference = _a_matte_and_a_calm_surrounding()
    difference[12:20, 26:64] = 0.9  # half of the surrounding: the calm half says that it is different
    np.testing.assert_array_equal(_grown(matte, difference, contrast=0.5), matte)
    difference[12:20, 36:64] = 0.01
    assert (_grown(matte, difference, contrast=0.5) != matte).any()

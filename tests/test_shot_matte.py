"""Mattes: noise, growing, feathering, and fitting them to the plate."""

import numpy as np
import pytest

from internal_inpaint.errors import BadInput
from internal_inpaint.shot.image import Window
from internal_inpaint.shot.matte import (
    clean_matte,
    feather_matte,
    grow_matte,
    hole_and_alpha,
    matte_is_proxy,
    place_matte,
    resample_matte,
)


def dot(size=61, at=30, value=1.0):
    matte = np.zeros((size, size), np.float32)
    matte[at, at] = value
    return matte


def distances(size=61, at=30):
    rows, columns = np.mgrid[:size, :size] - at
    return np.hypot(rows, columns)


def test_noise_becomes_exact_and_nan_is_no_matte():
    values = np.array([[-0.1, 5e-5, 0.3, 0.99995, 7.0, np.nan, np.inf]], np.float16).astype(np.float32)
    values[0, 3] = 0.99995
    np.testing.assert_array_equal(clean_matte(values), np.float32([[0, 0, values[0, 2], 1, 1, 0, 1]]))


@pytest.mark.parametrize("pixels", [1, 2, 5, 11, 20])
def test_growing_is_round_and_by_the_pixels_asked_for(pixels):
    grown = grow_matte(dot(), pixels) == 1
    assert grown[30, 30 - pixels]
    assert grown[30 + pixels, 30]
    assert not grown[30, 30 - pixels - 1]
    # An octagon lies within a tenth (and a pixel) of the circle.
    assert (distances()[grown] <= 1.1 * pixels + 1).all()
    assert grown[distances() <= 0.9 * pixels - 1].all()


def test_growing_keeps_soft_values():
    grown = grow_matte(dot(value=0.5), 4)
    assert grown.max() == np.float32(0.5)
    ramp = np.tile(np.linspace(0, 1, 21, dtype=np.float32), (5, 1))
    np.testing.assert_array_equal(grow_matte(ramp, 3)[:, :-3], ramp[:, 3:])


@pytest.mark.parametrize("pixels", [1, 4, 9])
def test_feather_lies_outside_and_ends_at_exactly_zero(pixels):
    matte = np.zeros((41, 41), np.float32)
    matte[15:26, 15:26] = 1
    feathered = feather_matte(matte, pixels)
    assert (feathered[matte == 1] == 1).all()
    row = feathered[20, 25 : 25 + pixels + 2]
    np.testing.assert_allclose(row, 1 - np.arange(pixels + 2) / (pixels + 1), atol=1e-6)
    assert row[pixels] > 0
    assert row[pixels + 1] == 0
    assert (feathered[:, : 15 - pixels] == 0).all()
    # Round the corners, too: an octagon lies within a tenth (and a pixel) of the circle.
    assert (distances()[feather_matte(dot(), pixels) > 0] <= 1.1 * pixels + 1).all()


def test_no_grow_and_no_feather_leave_the_matte_alone():
    matte = np.random.default_rng(0).random((20, 20)).astype(np.float32)
    hole, alpha = hole_and_alpha(matte, 0, 0)
    np.testing.assert_array_equal(alpha, matte)
    np.testing.assert_array_equal(hole, matte > 0)


def test_working_on_the_matte_alone_changes_nothing():
    matte = dot()
    matte[2, 55] = 0.7
    hole, alpha = hole_and_alpha(matte, 3, 4)
    np.testing.assert_array_equal(alpha, feather_matte(grow_matte(matte, 3), 4))
    np.testing.assert_array_equal(hole, grow_matte(matte, 3) > 0)
    assert (alpha[hole] > 0).all()


def test_matte_at_the_border_grows_inward_only():
    matte = np.zeros((10, 10), np.float32)
    matte[0, 0] = 1
    hole, alpha = hole_and_alpha(matte, 2, 2)
    assert hole[2, 0]
    assert not hole[9, 9]
    assert alpha[9, 9] == 0


def test_an_empty_matte_is_empty():
    hole, alpha = hole_and_alpha(np.zeros((5, 5), np.float32), 3, 3)
    assert not hole.any()
    assert not alpha.any()


def test_mattes_are_placed_by_coordinates():
    matte = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    placed = place_matte(matte, Window(-1, 4, 3, 2), Window(0, 3, 4, 3))
    np.testing.assert_array_equal(placed, [[0, 0, 0, 0], [2, 3, 0, 0], [5, 6, 0, 0]])
    assert not place_matte(matte, Window(50, 50, 3, 2), Window(0, 3, 4, 3)).any()


def test_half_resolution_mattes_land_where_they_were_drawn():
    matte = np.zeros((12, 16), np.float32)
    matte[4:8, 4:8] = 1
    full = Window(0, 0, 32, 24)
    resampled = resample_matte(matte, Window(0, 0, 16, 12), Window(0, 0, 16, 12), full, full)
    assert resampled.shape == (24, 32)
    assert (resampled[9:15, 9:15] == 1).all()
    assert resampled.sum() == pytest.approx(4 * matte.sum())
    rows, columns = np.mgrid[:24, :32]
    assert (resampled * rows).sum() / resampled.sum() == pytest.approx(11.5)
    assert (resampled * columns).sum() / resampled.sum() == pytest.approx(11.5)


def test_proxy_mattes_outside_their_data_window_are_empty():
    canvas = Window(-4, 0, 40, 24)
    matte = np.ones((12, 16), np.float32)
    resampled = resample_matte(matte, Window(0, 0, 16, 12), Window(0, 0, 16, 12), Window(0, 0, 32, 24), canvas)
    assert (resampled[:, :4] == 0).all()
    assert (resampled[:, 4:36] == 1).all()


def test_which_sizes_fit():
    plate = Window(0, 0, 2048, 1556)
    assert not matte_is_proxy(plate, plate, "m", "p")
    assert matte_is_proxy(Window(0, 0, 1024, 778), plate, "m", "p")
    for other in (Window(0, 0, 1920, 1080), Window(10, 0, 2048, 1556), Window(0, 0, 2048, 1555)):
        with pytest.raises(BadInput, match=r"matte m is .*plate p is 2048x1556"):
            matte_is_proxy(other, plate, "m", "p")

"""Resampling: pictures keep their place, masks lose nothing, mattes stay mattes."""

import numpy as np
import pytest

from internal_inpaint.resample import enlarge_bicubic, enlarge_bilinear, reduce_area, reduce_max, resize_matte

RESIZES = [
    (reduce_area, (7, 10)),
    (reduce_area, (21, 15)),
    (enlarge_bilinear, (40, 61)),
    (enlarge_bicubic, (40, 61)),
]


@pytest.mark.parametrize(("resize", "size"), RESIZES)
@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,)])
def test_a_ramp_stays_where_it_was_and_channels_stay_apart(resize, size, channels):
    y, x = (np.arange(count, dtype=np.float32) + 0.5 for count in (21, 30))
    ramp = y[:, None] / 21 + x[None, :] / 30
    planes = [ramp * (k + 1) for k in range(channels[0])] if channels else None
    image = np.stack(planes, axis=2) if channels else ramp
    result = resize(image.astype(np.float16), size)
    assert (result.shape, result.dtype) == ((*size, *channels), np.float32)
    y, x = ((np.arange(count) + 0.5) / count for count in size)
    expected = y[:, None] + x[None, :]
    inner = slice(2, -2), slice(2, -2)  # beyond the edge it is flat
    for channel in range(channels[0] if channels else 1):
        plane = result[..., channel] if channels else result
        np.testing.assert_allclose(plane[inner] / (channel + 1), expected[inner], atol=8e-3)


def test_a_reduced_pixel_is_the_mean_of_what_it_covers():
    image = np.random.default_rng(0).random((9, 10, 3), np.float32)
    halved = reduce_area(image[:8], (4, 5))
    np.testing.assert_allclose(halved, image[:8].reshape(4, 2, 5, 2, 3).mean(axis=(1, 3)), atol=1e-6)
    # 9 to 6: a new row covers one old row and half of another.
    rows = reduce_area(image, (6, 10))
    np.testing.assert_allclose(rows[1], (image[1] / 2 + image[2]) / 1.5, atol=1e-6)
    assert reduce_area(image, (9, 10)) is image


@pytest.mark.parametrize("size", [(1, 1), (7, 10), (11, 29), (20, 30), (10, 15)])
def test_no_pixel_of_a_mask_is_lost_and_none_is_added(size):
    height, width = 20, 30
    for row, column in [(0, 0), (19, 29), (7, 8), (12, 20), (13, 19)]:
        mask = np.zeros((height, width), bool)
        mask[row, column] = True
        touched = reduce_max(mask, size)
        assert touched.dtype == bool
        rows = {(row * size[0]) // height, -(-(row + 1) * size[0] // height) - 1}
        columns = {(column * size[1]) // width, -(-(column + 1) * size[1] // width) - 1}
        assert set(map(tuple, np.argwhere(touched).tolist())) == {(r, c) for r in rows for c in columns}
    values = np.random.default_rng(0).random((height, width), np.float32)
    assert reduce_max(values, size).max() == values.max()


def test_a_resized_matte_keeps_its_place_and_is_0_away_from_the_object():
    matte = np.zeros((30, 50), np.float32)
    matte[10:20, 20:30] = 1
    large = resize_matte(matte, (90, 150))
    assert large.shape == (90, 150)
    assert (large[33:57, 63:87] > 0.98).all()
    assert large.max() == 1
    large[24:66, 54:96] = 0
    assert large.max() == 0
    np.testing.assert_array_equal(resize_matte(matte, (30, 50)), matte)
    small = resize_matte(matte, (15, 25))
    assert small[5:10, 10:15].min() == 1
    assert small.sum() == 25
    for noise, clean in ((0.004, 0), (0.996, 1)):
        assert (resize_matte(np.full((30, 50), noise, np.float32), (90, 150)) == clean).all()

"""Motion: flow completed in holes, and hidden pixels followed to the frames that show them."""

import cv2
import numpy as np
from moving_shot import COUNT, shot

from internal_inpaint.motion.reprojection import NOT_OBSERVED, past_and_future, reproject
from internal_inpaint.resample import push_pull


def test_a_hidden_pixel_is_observed_where_it_went():
    truth, state, _ = shot(pan=2.6, covered=False)
    for index, past in reproject(lambda i: truth[i], state, range(COUNT)):
        observed = past.observed
        assert (past.frame[observed] < index).all()
        if index < 4:
            continue
        assert observed.mean() > 0.9
        moved = 2.6 * (index - past.frame[observed])
        assert np.median(np.abs(past.x[observed] - past.columns[observed] - moved)) < 0.5
        assert np.median(np.abs(past.y[observed] - past.rows[observed])) < 0.5
        values, expected = past.sample(truth)[observed], truth[index][past.rows, past.columns][observed]
        assert np.median(np.abs(values - expected)) < 0.04


def test_the_observations_are_the_nearest_ones_of_the_past_and_of_the_future(tmp_path):
    truth, state, _ = shot(covered=False)
    # The camera stands still, so a pixel is observed wherever the hole is not; not at the hole's very edge.
    known = (state == 0).astype(np.uint8)
    shows = np.stack([cv2.erode(plane, np.ones((3, 3), np.uint8), borderValue=1) for plane in known]) > 0
    indices = []
    for index, past, future in past_and_future(lambda i: truth[i], state, range(COUNT), tmp_path):
        indices.append(index)
        np.testing.assert_array_equal(np.stack([past.rows, past.columns]), np.nonzero(state[index] == 1))
        np.testing.assert_array_equal([past.rows, past.columns], [future.rows, future.columns])
        for found, others in ((past, range(index - 1, -1, -1)), (future, range(index + 1, COUNT))):
            nearest = np.full(len(found.rows), NOT_OBSERVED)
            for other in reversed(others):
                nearest[shows[other][found.rows, found.columns]] = other
            assert (found.frame == nearest).mean() > 0.9
            assert len(others) == 0 or np.median(found.residual) < 0.05
    assert indices == list(range(COUNT))
    assert not list(tmp_path.iterdir())


def test_the_residual_is_large_where_the_pictures_do_not_go_on(tmp_path):
    truth, state, _ = shot(covered=False)
    flickering = truth.copy()
    flickering[1::2][state[1::2] == 1] += 0.5
    for index, past in reproject(lambda i: flickering[i], state, range(COUNT)):
        assert np.isnan(past.residual).all() if index == 0 else np.median(past.residual) > 0.2


def test_flow_is_completed_smoothly_and_kept_where_it_is_trusted():
    y, x = np.mgrid[:60, :90].astype(np.float32)
    flow = np.stack([0.05 * x - 2, 0.02 * y], axis=2)
    trusted = np.ones((60, 90), bool)
    trusted[20:40, 30:60] = False
    holed = np.where(trusted[..., None], flow, 99).astype(np.float32)
    whole = push_pull(holed, trusted)
    np.testing.assert_array_equal(whole[trusted], flow[trusted])
    assert np.abs(whole - flow).max() < 0.5
    assert (push_pull(holed, np.zeros_like(trusted)) == 0).all()

"""Grain: measured on a plate, drawn for what is filled, and nothing taken for it that is none."""

import json

import cv2
import numpy as np
import pytest

from grain import (
    HEIGHT,
    LAGS,
    PAN,
    WIDTH,
    autocorrelation,
    channel_correlation,
    coarse_shot,
    drawn,
    flat,
    in_pairs,
    known,
    made_ground,
    sample_shot,
    strengths,
    unit_grain,
)
from internal_inpaint.demo import scene
from internal_inpaint.rendering.grain import RADIUS, GrainModel, add_grain, grain_field, lacking_share
from internal_inpaint.rendering.grain_model import measure_grain
from internal_inpaint.rendering.grain_pairs import PlatePicture


@pytest.fixture(scope="module")
def coarse():
    """A plate of coarse grain: its pictures without grain, its grain, its measured model."""
    pictures, clean, grain = coarse_shot()
    return clean, grain, measure_grain(in_pairs(pictures))


@pytest.fixture(scope="module")
def demo():
    return sample_shot()


def invented(shape):
    return np.ones(shape, np.float32)


def test_the_fills_grain_on_the_sample_shot_is_the_plates(demo):
    pictures, clean, grain = demo
    model = measure_grain(in_pairs(pictures))
    assert strengths(drawn(model, clean), grain, clean) == pytest.approx(1, rel=0.1)
    # The scene's own unit grain, whose correlations no strength disturbs.
    plate = np.stack([scene._grain(np.random.default_rng([9, n]), clean.shape[1:]) for n in range(4)])
    fill = np.stack([grain_field(flat(model), clean[n], n) for n in range(4)])
    for lag in LAGS[:2]:
        own, its = (np.mean([autocorrelation(one, lag) for one in many]) for many in (fill, plate))
        assert own == pytest.approx(its, rel=0.1), lag
    assert channel_correlation(fill).mean() == pytest.approx(channel_correlation(plate).mean(), rel=0.1)


def test_coarse_grain_that_is_strong_in_shadows_and_in_blue_comes_back(coarse):
    clean, grain, model = coarse
    assert strengths(drawn(model, clean), grain, clean) == pytest.approx(1, rel=0.1)
    plate, fill = unit_grain(np.random.default_rng(3), 1.2), grain_field(flat(model), clean[0], 7)
    for lag in LAGS:
        assert autocorrelation(fill, lag) == pytest.approx(autocorrelation(plate, lag), rel=0.1), lag
    assert abs(autocorrelation(fill, (0, RADIUS))) < 0.05
    assert channel_correlation(fill) == pytest.approx(channel_correlation(plate), rel=0.1)


def test_texture_does_not_add_to_the_grain():
    """Ground that is textured everywhere, by far more than its grain."""
    clean = made_ground(8, ramps=False)
    rng = np.random.default_rng(4)
    plate = known([picture + 0.01 * unit_grain(rng, 0.6) for picture in clean])
    model = measure_grain(in_pairs(plate))
    texture = np.stack(clean) - np.stack([cv2.GaussianBlur(one, (0, 0), 4) for one in clean])
    assert texture.std() > 0.05
    assert model.std_at(clean[0]).mean() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("panning", [0.0, PAN])
@pytest.mark.parametrize("ramps", [False, True])
@pytest.mark.parametrize("levels", [None, 256, 1024])
def test_clean_pictures_have_no_grain_however_textured_or_coarsely_quantised(panning, ramps, levels):
    pictures = made_ground(4, panning=panning, ramps=ramps)
    if levels:
        pictures = [np.round(picture * levels / 2) / (levels / 2) for picture in pictures]
    model = measure_grain(in_pairs(known(pictures)))
    assert model.is_none
    assert np.array_equal(add_grain(pictures[0], model, invented((HEIGHT, WIDTH)), 1), pictures[0])


def test_the_sample_shot_without_its_grain_has_none(demo):
    _, clean, _ = demo
    assert measure_grain(in_pairs(known(clean))).is_none


def test_pictures_that_cannot_tell_have_no_grain():
    assert measure_grain([]).is_none
    one = known(made_ground(2))
    assert measure_grain([(one[0], PlatePicture(one[1].pixels, np.zeros((HEIGHT, WIDTH), bool)))]).is_none
    tiny = [PlatePicture(picture.pixels[:20, :20], picture.known[:20, :20]) for picture in one]
    assert measure_grain([tuple(tiny)]).is_none


def test_what_is_hidden_or_broken_is_not_measured(coarse):
    clean, grain, model = coarse
    rng = np.random.default_rng(5)
    plate = []
    for picture, noise in zip(clean, grain, strict=True):
        spoilt, seen = picture + noise, np.ones((HEIGHT, WIDTH), bool)
        seen[40:180, 100:260] = False
        spoilt[40:180, 100:260] = rng.standard_normal((140, 160, 3))
        spoilt[10, 20:30] = np.nan
        plate.append(PlatePicture(np.float32(spoilt), seen))
    found = measure_grain(in_pairs(plate))
    np.testing.assert_allclose(found.std_at(clean[0]).mean((0, 1)), model.std_at(clean[0]).mean((0, 1)), rtol=0.1)


def test_every_frame_and_view_has_its_own_grain_and_the_same_in_every_run(coarse):
    clean, _, model = coarse
    first, again = (grain_field(model, clean[0], 1001) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    for other in (
        grain_field(model, clean[0], 1002),
        grain_field(model, clean[0], -1001),
        grain_field(model, clean[0], 1001, view=1),
        grain_field(model, clean[0], 1001, seed=1),
    ):
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.05


def test_a_part_of_a_frame_has_the_grain_of_the_whole(coarse):
    clean, _, model = coarse
    whole = grain_field(model, clean[0], 1001)
    for top, left, bottom, right in ((0, 0, 50, 60), (33, 70, 180, 201), (63, 64, 65, 128)):
        part = grain_field(model, clean[0][top:bottom, left:right], 1001, origin=(top, left))
        assert part.tobytes() == whole[top:bottom, left:right].tobytes()
    share = np.zeros((HEIGHT, WIDTH), np.float32)
    share[90:120, 30:80] = 1
    assert np.array_equal(add_grain(clean[0], model, share, 1001)[90:120, 30:80], (clean[0] + whole)[90:120, 30:80])


def test_grain_does_not_repeat_within_a_frame():
    model = flat(GrainModel.none())
    grain = grain_field(model, np.zeros((256, 256, 3), np.float32), 1)[..., 0]
    for step in (16, 32, 64, 128):
        for shifted in (np.roll(grain, step, axis=0), np.roll(grain, step, axis=1)):
            assert abs(np.corrcoef(grain.ravel(), shifted.ravel())[0, 1]) < 0.03


def test_copied_pixels_stay_as_they_are_and_mixed_ones_get_what_they_lack(coarse):
    clean, _, model = coarse
    share = np.zeros((HEIGHT, WIDTH), np.float32)
    share[:, WIDTH // 2 :] = 0.25
    result = add_grain(clean[0], model, share, 1001)
    assert result[:, : WIDTH // 2].tobytes() == clean[0][:, : WIDTH // 2].tobytes()
    whole = add_grain(clean[0], model, invented(share.shape), 1001) - clean[0]
    mixed = (result - clean[0])[:, WIDTH // 2 :]
    np.testing.assert_allclose(mixed, 0.5 * whole[:, WIDTH // 2 :], atol=1e-6)
    half = add_grain(clean[0], model, invented(share.shape), 1001, amount=0.5) - clean[0]
    np.testing.assert_allclose(half, 0.5 * whole, atol=1e-6)
    assert add_grain(clean[0], model, invented(share.shape), 1001, amount=0.0).tobytes() == clean[0].tobytes()


def test_two_copies_that_are_averaged_get_their_grain_back(coarse):
    clean, _, model = coarse
    first, second = (grain_field(model, clean[0], frame) for frame in (1, 2))
    weights = np.stack([np.full((HEIGHT, WIDTH), weight, np.float32) for weight in (0.7, 0.3)])
    averaged = clean[0] + 0.7 * first + 0.3 * second
    result = add_grain(averaged, model, lacking_share(weights), 3) - clean[0]
    assert result.std() == pytest.approx(first.std(), rel=0.05)
    assert (averaged - clean[0]).std() < 0.85 * first.std()


def test_the_lacking_share_of_weights():
    weights = np.float32([[[1, 0.999999, 0.5, 0, 0.6]], [[0, 0, 0.5, 0, 0]]])
    assert lacking_share(weights)[0] == pytest.approx([0, 0, 0.5, 1, 0.64])
    assert (lacking_share(weights)[0, :2] == 0).all(), "a plain copy stays bit for bit"
    kept = np.full_like(weights, 0.5)
    assert lacking_share(weights, kept)[0] == pytest.approx([0.5, 0.5, 0.75, 1, 0.82], abs=1e-5)


def test_a_model_survives_json(coarse):
    clean, _, model = coarse
    again = GrainModel.from_plain(json.loads(json.dumps(model.plain())))
    assert grain_field(again, clean[0], 5).tobytes() == grain_field(model, clean[0], 5).tobytes()

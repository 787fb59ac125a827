"""Grain: measured on a plate, drawn for what is filled, and nothing taken for it that is none."""

import itertools
import json

import cv2
import numpy as np
import pytest

from internal_inpaint.demo import scene
from internal_inpaint.rendering.grain import RADIUS, GrainModel, add_grain, grain_field, lacking_share
from internal_inpaint.rendering.grain_model import measure_grain
from internal_inpaint.rendering.grain_pairs import PlatePicture
from internal_inpaint.shot import WorkingSpace

HEIGHT, WIDTH = 216, 384
PAN = 1.25  # pixels a frame: the grain of a frame is never where another has it
WEIGHTS = np.float32([1.0, 0.9, 1.5])  # of the made grain, by channel
SHARED = 0.4  # correlation of its channels
LAGS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))


def made_ground(frames, textured=True, panning=PAN, ramps=True):
    """Pictures ``[H, W, 3]`` of a ground that pans: texture, and below it a smooth ramp, as a sky is."""
    rng = np.random.default_rng(1)
    size = HEIGHT * 4, WIDTH * 4 + round(panning * 4 * frames)

    def noise(sigma, channels):
        return sigma * cv2.GaussianBlur(rng.standard_normal((*size, channels), np.float32), (0, 0), sigma)

    ramp = np.linspace(-0.6, 0.5, size[1], dtype=np.float32)[None, :, None] + np.zeros((*size, 3), np.float32)
    ground = ramp.copy()
    if textured:
        ground += 0.15 * (noise(3, 1)[..., None] + 1.5 * noise(10, 1)[..., None]) + 0.05 * noise(8, 3)
        if ramps:
            ground[size[0] // 2 :] = ramp[size[0] // 2 :]
    starts = [round(panning * 4 * frame) for frame in range(frames)]
    cut = [ground[:, start : start + 4 * WIDTH] for start in starts]
    return [cv2.resize(np.clip(one, -0.9, 0.9), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for one in cut]


def unit_grain(rng, sigma):
    """Grain ``[H, W, 3]`` of standard deviation 1, ``sigma`` pixels coarse."""
    own, common = (rng.standard_normal((HEIGHT + 64, WIDTH + 64, channels), np.float32) for channels in (3, 1))
    noise = np.sqrt(1 - SHARED) * own + np.sqrt(SHARED) * common
    return (cv2.GaussianBlur(noise, (0, 0), sigma) * (2 * np.sqrt(np.pi) * sigma))[32:-32, 32:-32]


def made_std(picture):
    """The made grain's strength: stronger in the shadows, and in blue."""
    return np.float32(0.02) * WEIGHTS * np.exp(-1.2 * picture)


def known(pictures):
    return [PlatePicture(np.float32(picture), np.ones(picture.shape[:2], bool)) for picture in pictures]


def in_pairs(pictures):
    return list(zip(pictures[::2], pictures[1::2], strict=True))


def autocorrelation(grain, lag):
    """Of ``[H, W, 3]``, the mean over its channels."""
    down, right = lag
    here, there = grain[: grain.shape[0] - down, : grain.shape[1] - right], grain[down:, right:]
    return float(((here * there).mean(axis=(0, 1)) / (grain**2).mean(axis=(0, 1))).mean())


def channel_correlation(grain):
    return np.corrcoef(grain.reshape(-1, 3).T)[[0, 1, 0], [1, 2, 2]]


def assert_same_strength(fill_grain, plate_grain, picture, where=None, parts=5):
    """Within 10 %, in every channel, in each of ``parts`` equal parts of the pixels by brightness."""
    where = np.ones(picture.shape[:-1], bool) if where is None else where
    for channel in range(3):
        own = picture[where][:, channel]
        fill, plate = fill_grain[where][:, channel], plate_grain[where][:, channel]
        edges = np.quantile(own, np.linspace(0, 1, parts + 1))
        for low, high in itertools.pairwise(edges):
            here = (own >= low) & (own <= high)
            assert fill[here].std() == pytest.approx(plate[here].std(), rel=0.1), (channel, low, high)


@pytest.fixture(scope="module")
def coarse():
    """A plate of coarse grain: its clean picture, its grain, its measured model."""
    rng, clean = np.random.default_rng(2), made_ground(8)
    grain = [unit_grain(rng, 1.2) * made_std(picture) for picture in clean]
    plate = known([picture + noise for picture, noise in zip(clean, grain, strict=True)])
    return clean, grain, measure_grain(in_pairs(plate))


@pytest.fixture(scope="module")
def demo():
    """Frames of the sample shot: plate, the same without grain, both working space, and matte."""
    shot = scene.SampleScene(40, 432, 240, 8)
    frames = (5, 6, 15, 16, 25, 26, 34, 35)
    plates = [shot.render(frame) for frame in frames]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene, "_grain", lambda rng, shape: np.zeros(shape, np.float32))
        clean = [shot.render(frame).clean for frame in frames]
    everything = np.stack([plate.clean for plate in plates])
    space = WorkingSpace.for_range(everything.min(), everything.max())
    pictures = [PlatePicture(space.to_working(plate.plate), plate.matte == 0) for plate in plates]
    with_grain = np.stack([space.to_working(plate.clean) for plate in plates])
    return pictures, with_grain, np.stack([space.to_working(one) for one in clean])


def invented(shape):
    return np.ones(shape, np.float32)


def test_the_fills_grain_on_the_sample_shot_is_the_plates(demo):
    pictures, with_grain, clean = demo
    model = measure_grain(in_pairs(pictures))
    frames = range(len(clean))
    grain = np.stack([add_grain(clean[n], model, invented(clean.shape[1:3]), n) - clean[n] for n in frames])
    assert_same_strength(grain, with_grain - clean, clean)
    # The scene's own unit grain, whose correlations no strength disturbs.
    plate = np.stack([scene._grain(np.random.default_rng([9, n]), clean.shape[1:]) for n in frames])
    fill = np.stack([grain_field(flat(model), clean[n], n) for n in frames])
    for lag in LAGS[:2]:
        own, its = (np.mean([autocorrelation(one, lag) for one in many]) for many in (fill, plate))
        assert own == pytest.approx(its, rel=0.1), lag
    assert channel_correlation(fill).mean() == pytest.approx(channel_correlation(plate).mean(), rel=0.1)


def flat(model):
    """The same grain at the strength 1 everywhere."""
    return GrainModel(model.brightness, np.ones_like(model.std), model.mixing, model.kernels)


def test_coarse_grain_that_is_strong_in_shadows_and_in_blue_comes_back(coarse):
    clean, grain, model = coarse
    fill = np.stack([add_grain(one, model, invented(one.shape[:2]), n) - one for n, one in enumerate(clean)])
    assert_same_strength(fill, np.stack(grain), np.stack(clean))
    plate, drawn = unit_grain(np.random.default_rng(3), 1.2), grain_field(flat(model), clean[0], 7)
    for lag in LAGS:
        assert autocorrelation(drawn, lag) == pytest.approx(autocorrelation(plate, lag), rel=0.1), lag
    assert abs(autocorrelation(drawn, (0, RADIUS))) < 0.05
    assert channel_correlation(drawn) == pytest.approx(channel_correlation(plate), rel=0.1)


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
    _, _, clean = demo
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

"""The sample shot is what it says it is: repeatable, and with everything a real plate has."""

from __future__ import annotations

import numpy as np
import OpenImageIO as oiio
import pytest

from internal_inpaint.demo import SampleShot, make_sample_shot, score_against_truth
from internal_inpaint.demo.files import OVERSCAN, frame_path
from internal_inpaint.demo.scene import _grain, _grain_strength
from internal_inpaint.errors import BadInput

WIDTH, HEIGHT, FRAMES = 160, 96, 8


def read(pattern: str, frame: int) -> tuple[oiio.ImageSpec, np.ndarray]:
    image = oiio.ImageInput.open(str(frame_path(pattern, frame)))
    pixels = image.read_image("float")
    spec = image.spec()
    image.close()
    return spec, pixels


@pytest.fixture(scope="module")
def shot(tmp_path_factory) -> SampleShot:
    return make_sample_shot(tmp_path_factory.mktemp("shot"), FRAMES, WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def sequences(shot) -> dict[str, np.ndarray]:
    return {
        name: np.stack([read(getattr(shot, name), frame)[1] for frame in shot.frames])
        for name in ("plate", "clean", "matte")
    }


def test_every_frame_is_there_under_its_number(shot):
    assert shot.frames == tuple(range(1001, 1001 + FRAMES))
    for pattern in (shot.plate, shot.matte, shot.clean):
        assert "####" in pattern
        assert all(frame_path(pattern, frame).is_file() for frame in shot.frames)


def test_the_same_seed_gives_the_same_pixels_and_another_seed_does_not(shot, sequences, tmp_path):
    again = make_sample_shot(tmp_path / "again", FRAMES, WIDTH, HEIGHT)
    other = make_sample_shot(tmp_path / "other", FRAMES, WIDTH, HEIGHT, seed=1)
    for name in ("plate", "clean", "matte"):
        _, pixels = read(getattr(again, name), 1004)
        np.testing.assert_array_equal(pixels, sequences[name][3])
    assert not np.array_equal(read(other.clean, 1004)[1], sequences["clean"][3])


def test_plate_equals_clean_bit_for_bit_outside_the_matte(sequences):
    outside = sequences["matte"][..., 0] == 0
    np.testing.assert_array_equal(sequences["plate"][outside], sequences["clean"][outside])
    inside = sequences["matte"][..., 0] > 0.9
    difference = np.abs(sequences["plate"] - sequences["clean"])[..., :3].max(-1)
    assert (difference[inside] > 0.02).mean() > 0.7


def test_the_matte_is_soft_and_of_the_size_of_the_ball(sequences):
    matte = sequences["matte"][..., 0]
    assert matte.min() == 0
    assert matte.max() == 1
    assert ((matte > 0.05) & (matte < 0.95)).any(axis=(1, 2)).all()
    tallest = (matte > 0.5).any(axis=2).sum(axis=1).max()
    assert 0.15 * HEIGHT < tallest < 0.35 * HEIGHT


def test_most_of_the_hidden_ground_is_seen_in_other_frames(sequences):
    # In the raster, which the slow camera moves by less than the ball does.
    hidden = (sequences["matte"][..., 0] > 0.5).mean(axis=0)
    assert hidden.max() < 0.7


def test_values_leave_zero_to_one_on_both_sides(sequences):
    colour = sequences["plate"][..., :3]
    assert colour.max() > 4
    assert -0.05 < colour.min() < -0.002
    assert 0.1 < np.median(colour) < 0.5


def test_grain_changes_from_frame_to_frame_and_grows_with_the_light():
    first = _grain(np.random.default_rng(0), (64, 64, 3))
    second = _grain(np.random.default_rng(1), (64, 64, 3))
    assert first.std() == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    neighbours = np.corrcoef(first[:, :-1].ravel(), first[:, 1:].ravel())[0, 1]
    assert 0.1 < neighbours < 0.8
    dark, bright = _grain_strength(np.array([[0.0] * 3, [1.0] * 3], np.float32))
    assert (bright > 2 * dark).all()


def test_the_camera_moves_and_near_things_move_faster(sequences):
    colour = sequences["clean"][..., :3].mean(-1)
    depth = sequences["clean"][..., 3]

    def moved(rows: slice) -> int:
        first, last = colour[0, rows], colour[-1, rows]
        shifts = range(-70, 5)
        return min(shifts, key=lambda s: np.abs(first[:, 75:-5] - np.roll(last, -s, 1)[:, 75:-5]).mean())

    far, near = moved(slice(10, 30)), moved(slice(HEIGHT - 20, HEIGHT))
    assert near < far < -3
    assert depth.max() > 1.3 * depth.min()


def test_windows_layers_types_and_metadata(shot):
    for name in ("plate", "clean", "matte"):
        spec, _ = read(getattr(shot, name), 1003)
        assert (spec.x, spec.y) == (-OVERSCAN, -OVERSCAN)
        assert (spec.width, spec.height) == (WIDTH + 2 * OVERSCAN, HEIGHT + 2 * OVERSCAN)
        assert (spec.full_x, spec.full_y, spec.full_width, spec.full_height) == (0, 0, WIDTH, HEIGHT)
        assert spec.getattribute("smpte:TimeCode")[0] == 0x00004119  # 00:00:41:19 is frame 1003 at 24 a second
        assert tuple(spec.getattribute("FramesPerSecond")) == (24, 1)
        assert "camera" in spec.getattribute("camera")
    spec, _ = read(shot.plate, 1003)
    assert spec.channelnames == ("R", "G", "B", "depth.Z")
    assert [str(kind) for kind in spec.channelformats] == ["half", "half", "half", "float"]
    assert read(shot.matte, 1003)[0].channelnames == ("A",)


def test_depth_shows_the_ball_in_the_plate_only(sequences):
    nearer = sequences["plate"][..., 3] < sequences["clean"][..., 3] - 0.1
    assert nearer.any()
    assert (sequences["matte"][..., 0][nearer] > 0.5).all()


def test_the_truth_scores_perfectly_and_the_plate_badly_in_the_hole(shot):
    truth = score_against_truth(shot.clean, shot)
    assert truth == {"psnr_hole": float("inf"), "psnr_frame": float("inf")}
    paths = [frame_path(shot.plate, frame) for frame in shot.frames]
    plate = score_against_truth(paths, shot)
    assert plate["psnr_hole"] < 15 < plate["psnr_frame"]


def test_scoring_names_the_file_it_cannot_read(shot, tmp_path):
    with pytest.raises(BadInput, match=r"gone\.1001\.exr"):
        score_against_truth(tmp_path / "gone.####.exr", shot)

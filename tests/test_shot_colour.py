"""Colour: the working space is exact over the half range; OpenColorIO names and defaults."""

import numpy as np
import pytest

from internal_inpaint.errors import BadInput
from internal_inpaint.shot import Colour, WorkingSpace

ALL_HALFS = np.arange(65536, dtype=np.uint32).astype(np.uint16).view(np.float16)
FINITE_HALFS = ALL_HALFS[np.isfinite(ALL_HALFS)]
RANGES = [(0, 1), (0, 65504), (-65504, 65504), (0, 0.001), (-0.01, 20), (0.5, 0.5), (0, 0), (0.18, 0.19)]


@pytest.mark.parametrize("limits", RANGES)
def test_every_finite_half_comes_back_exactly(limits):
    space = WorkingSpace.for_range(*limits)
    linear = FINITE_HALFS.astype(np.float32)
    back = space.to_linear(space.to_working(linear))
    assert back.dtype == np.float32
    # Equal as numbers: the sign of zero is not kept.
    np.testing.assert_array_equal(back.astype(np.float16), FINITE_HALFS)


@pytest.mark.parametrize("limits", RANGES)
def test_the_shots_range_fills_the_working_range(limits):
    space = WorkingSpace.for_range(*limits)
    low, high = space.to_working(np.array(limits))
    assert -1.0 <= low <= high <= 1.0
    if limits[1] - limits[0] >= 1:
        assert low < -0.9
        assert high > 0.9


def test_the_curve_is_acescct_and_mirrored():
    space = WorkingSpace(0.0, 2.0)  # working = curve - 1
    curve = space.to_working(np.array([0.18, 1.0, 0.0, -0.18])) + 1
    np.testing.assert_allclose(curve[:3], [0.4135884, 0.5547945, 0.0729055], atol=2e-7)
    assert curve[3] == pytest.approx(2 * 0.0729055 - 0.4135884, abs=2e-7)


def test_values_outside_the_range_are_not_clipped():
    space = WorkingSpace.for_range(0, 1)
    assert space.to_working(np.float32(100)) > 1.2
    assert space.to_working(np.float32(-1)) < -1.2


def test_the_working_space_is_monotonic():
    ordered = np.unique(FINITE_HALFS.astype(np.float32))
    assert (np.diff(WorkingSpace.for_range(0, 65504).to_working(ordered).astype(np.float64)) >= 0).all()


def test_float_files_are_scene_linear_to_the_bit():
    rgb = FINITE_HALFS.astype(np.float32)[: 3 * 20000].reshape(-1, 3)
    colour = Colour(None, "float")
    assert colour.is_identity
    assert colour.to_scene_linear(rgb).tobytes() == rgb.tobytes()
    assert colour.from_scene_linear(rgb).tobytes() == rgb.tobytes()


def test_integer_files_are_srgb_and_every_code_value_comes_back():
    codes = np.repeat(np.arange(256, dtype=np.float32)[:, None] / 255, 3, axis=1)
    colour = Colour(None, "integer")
    assert "srgb" in colour.name.lower()
    linear = colour.to_scene_linear(codes)
    assert linear[128, 1] == pytest.approx(0.2158, abs=2e-3)
    np.testing.assert_array_equal(np.rint(colour.from_scene_linear(linear) * 255), codes * 255)


def test_names_roles_and_hints_are_understood():
    assert Colour("ACEScct", "float").name == "ACEScct"
    assert Colour("compositing_log", "float").name == "ACEScct"
    assert Colour("scene_linear", "integer").is_identity
    assert Colour(None, "integer", hint="ACEScct").name == "ACEScct"
    assert Colour(None, "integer", hint="no such space").name == Colour(None, "integer").name


def test_an_unknown_space_names_close_ones():
    with pytest.raises(BadInput, match=r"--colorspace acescgg is not in .*ACEScg"):
        Colour("acescgg", "float")


def test_a_broken_config_is_named(tmp_path, monkeypatch):
    path = tmp_path / "broken.ocio"
    path.write_text("not a config")
    monkeypatch.setenv("OCIO", str(path))
    with pytest.raises(BadInput, match=r"broken\.ocio .*\$OCIO"):
        Colour(None, "float")


def test_the_arrays_given_are_not_changed():
    rgb = np.full((2, 2, 3), 0.5, np.float32)
    Colour("ACEScct", "float").to_scene_linear(rgb)
    assert (rgb == 0.5).all()

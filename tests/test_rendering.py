"""Filling frames: near the hole only, in tiles, and put together with the plate in scene-linear."""

import numpy as np
import pytest
import torch

from internal_inpaint.methods.implicit.config import ImplicitConfig
from internal_inpaint.methods.implicit.method import ImplicitMethod
from internal_inpaint.methods.implicit.networks import NetworkConfig
from internal_inpaint.rendering.composite import composite
from internal_inpaint.rendering.frames import Renderer
from internal_inpaint.rendering.inference import Tile, _tiles, enlarge, fill_frame
from internal_inpaint.rendering.trained_shot import TrainedLevel, TrainedShot
from internal_inpaint.shot import WorkingSpace

SIZE = (420, 610)
METHOD = ImplicitMethod(ImplicitConfig(NetworkConfig("base", width=0.17)))
REACH = METHOD.geometry.reach


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return METHOD.build().eval()


def fill(network, frame, wanted, **options):
    """``fill_frame`` of a single frame: pixels ``[H, W, 3]`` and unknown ones ``[H, W]``."""
    pixels, unknown = frame
    return fill_frame(METHOD, network, pixels[None], unknown[None], wanted, **options)


@pytest.fixture(scope="module")
def frame():
    torch.manual_seed(1)
    unknown = torch.zeros(SIZE, dtype=torch.bool)
    unknown[190:230, 250:330] = True
    return torch.rand(*SIZE, 3) * 2 - 1, unknown


@pytest.fixture(scope="module")
def whole(network, frame):
    return fill(network, frame, torch.ones(SIZE, dtype=torch.bool), most_pixels=10**9)


def test_reach_is_what_one_output_pixel_can_see(network):
    planes = torch.rand(1, 3, 400, 400, requires_grad=True)
    mask = torch.zeros(1, 1, 400, 400)
    gradient = torch.autograd.grad(network(planes, mask)[-1][0, :, 200, 201].sum(), planes)[0]
    seen = gradient.abs().sum((0, 1)).nonzero()
    reach = max(int((seen - torch.tensor([200, 201])).abs().max()), 1)
    assert REACH - 16 <= reach <= REACH


def test_only_the_neighbourhood_of_the_hole_is_computed_and_it_equals_the_whole_frame(network, frame, whole):
    computed = []
    handle = network.register_forward_hook(lambda module, inputs, output: computed.append(inputs[0].shape))
    near = fill(network, frame, frame[1], most_pixels=10**9)
    handle.remove()
    assert torch.allclose(near[frame[1]], whole[frame[1]], atol=2e-6)
    assert computed[0][-2] * computed[0][-1] < SIZE[0] * SIZE[1]


def test_tiles_equal_the_whole_away_from_the_reach_of_their_borders(network, frame, whole):
    wanted = torch.ones(SIZE, dtype=torch.bool)
    tiled = fill(network, frame, wanted, most_pixels=430 * 430, overlap=40)
    tiles = _tiles(Tile(0, 0, *SIZE), 430 * 430, 40, METHOD.geometry)
    assert len(tiles) > 1
    inner_borders = {t.right for t, _ in tiles if t.right < SIZE[1]} | {t.left for t, _ in tiles if t.left > 0}
    away = torch.tensor([min(abs(x - b) for b in inner_borders) > REACH for x in range(SIZE[1])])
    rows = {t.bottom for t, _ in tiles if t.bottom < SIZE[0]} | {t.top for t, _ in tiles if t.top > 0}
    assert not rows, "one row of tiles here, so that columns alone decide"
    assert away.sum() > 100
    assert torch.allclose(tiled[:, away], whole[:, away], atol=2e-6)
    # And nearer to them no seam: neighbouring columns differ no more than in the whole frame.
    steps, usual = ((picture[:, 1:] - picture[:, :-1]).abs().mean((0, 2)) for picture in (tiled, whole))
    assert (steps - usual).max() < 0.3 * usual.mean()


@pytest.mark.parametrize(("height", "width"), [(2160, 4096), (1080, 700), (200, 3000), (501, 999)])
def test_tiles_cover_everything_with_weights_that_add_up_to_one(height, width):
    total = torch.zeros(height, width)
    for tile, ramp in _tiles(Tile(0, 0, height, width), 400 * 400, 64, METHOD.geometry):
        assert tile.top % 4 == 0
        assert tile.left % 4 == 0
        assert (ramp > 0).all()
        total[tile.top : tile.bottom, tile.left : tile.right] += ramp[..., 0]
    assert torch.allclose(total, torch.ones_like(total), atol=1e-5)


def test_composite_is_the_plate_bit_for_bit_where_alpha_is_zero():
    rng = np.random.default_rng(0)
    plate = rng.normal(0, 100, (40, 50, 3)).astype(np.float32)
    plate[0, 0] = [np.nan, np.inf, -0.0]
    fill = rng.random((40, 50, 3), dtype=np.float32)
    alpha = np.zeros((40, 50), np.float32)
    alpha[10:20, 10:20], alpha[20, 10:20] = 1.0, 0.25
    result = composite(plate, fill, alpha)
    outside = alpha == 0
    assert result[outside].tobytes() == plate[outside].tobytes()
    assert np.array_equal(result[10:20, 10:20], fill[10:20, 10:20])
    assert np.allclose(result[20, 10:20], 0.75 * plate[20, 10:20] + 0.25 * fill[20, 10:20])


def test_a_nan_plate_pixel_under_a_soft_matte_is_filled_not_mixed():
    plate = np.full((1, 2, 3), np.nan, np.float32)
    fill = np.full((1, 2, 3), 0.5, np.float32)
    result = composite(plate, fill, np.array([[0.3, 0.0]], np.float32))
    assert np.array_equal(result[0, 0], [0.5] * 3)
    assert np.isnan(result[0, 1]).all()


def test_a_fill_enlarged_lies_where_its_pixels_were():
    small = torch.zeros(20, 30, 3)
    small[5, 7] = 1
    large = enlarge(small, (80, 120))
    weight = large[..., 0].clamp(min=0)
    rows, columns = torch.meshgrid(torch.arange(80.0), torch.arange(120.0), indexing="ij")
    centre = float((rows * weight).sum() / weight.sum()), float((columns * weight).sum() / weight.sum())
    assert centre == pytest.approx((5.5 * 4 - 0.5, 7.5 * 4 - 0.5), abs=0.05)


def test_a_plate_larger_than_the_working_size_is_filled_everywhere_the_matte_is(network):
    rng = np.random.default_rng(2)
    plate = rng.random((150, 210, 3), dtype=np.float32)
    alpha = np.zeros((150, 210), np.float32)
    alpha[37:61, 99:140] = 1
    alpha[3, 4] = 0.01
    small, state = np.zeros((1, 75, 105, 3), np.float16), np.zeros((1, 75, 105), np.uint8)
    level = TrainedLevel(METHOD, network, small, state)
    space = WorkingSpace.for_range(10.0, 100.0)  # whatever the network says, it says more than 5
    result, filled = Renderer(TrainedShot((level,), space, alpha.shape)).render(0, plate, alpha)
    covered = alpha > 0
    assert (filled[covered] > 5).all()
    assert result[~covered].tobytes() == plate[~covered].tobytes()

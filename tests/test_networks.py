"""The paper's networks (appendix A.1): sizes, shapes, and the hand-written gradient of the gate."""

import pytest
import torch
import torch.nn.functional as F

from internal_inpaint.methods.implicit.blocks import _GatedElu
from internal_inpaint.methods.implicit.networks import KINDS, InpaintNetwork, NetworkConfig, initialise


def parameters(kind):
    return sum(p.numel() for p in InpaintNetwork(NetworkConfig(kind)).parameters())


def test_base_network_has_the_papers_size_and_the_stacked_one_twice_that():
    assert parameters("base") == 1_629_663  # 1.63 M, worked out by hand from the table
    assert parameters("stacked") == 2 * 1_629_663
    assert parameters("coarse-to-fine") > parameters("stacked")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(68, 68), (50, 131), (97, 70), (9, 5)])
def test_any_frame_size_comes_back_at_its_own_size(kind, size):
    network = InpaintNetwork(NetworkConfig(kind, width=0.2))
    outputs = network(torch.rand(2, 3, *size), torch.zeros(2, 1, *size))
    assert len(outputs) == (1 if kind == "base" else 2)
    for output in outputs:
        assert output.shape == (2, 3, *size)
        assert output.abs().max() <= 1


def test_gate_and_its_gradient_equal_the_plain_formula():
    x = torch.randn(2, 6, 5, 4, dtype=torch.double, requires_grad=True)
    features, gate = x.chunk(2, dim=1)
    assert torch.allclose(_GatedElu.apply(x), F.elu(features) * torch.sigmoid(gate))
    assert torch.autograd.gradcheck(_GatedElu.apply, (x,))


def test_second_stage_sees_known_pixels_and_the_first_guess_in_the_hole():
    torch.manual_seed(0)
    network = InpaintNetwork(NetworkConfig("stacked", width=0.2))
    seen = {}
    network.second.register_forward_hook(lambda module, inputs, output: seen.update(planes=inputs[0]))
    frame, mask = torch.rand(1, 3, 72, 72), torch.zeros(1, 1, 72, 72)
    mask[..., 20:40, 20:40] = 1
    first = network(frame * (1 - mask), mask)[0]
    hole = mask.bool().expand(1, 3, 72, 72)
    assert torch.equal(seen["planes"][:, :3][hole], first[hole])
    assert torch.equal(seen["planes"][:, :3][~hole], frame[~hole])


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_network_already_passes_its_input_on(kind):
    torch.manual_seed(0)
    network = InpaintNetwork(NetworkConfig(kind, width=0.5))
    initialise(network, "preserving")
    outputs = network(torch.rand(4, 3, 72, 72) * 2 - 1, torch.zeros(4, 1, 72, 72))
    for output in outputs:
        assert 0.05 < (output - output.mean(0)).std() < 1, "neither constant nor saturated"


def test_extra_input_planes_reach_the_network():
    network = InpaintNetwork(NetworkConfig("base", width=0.2, extra_planes=2))
    initialise(network, "preserving")
    masked, mask = torch.rand(1, 3, 72, 72), torch.zeros(1, 1, 72, 72)
    one = network(masked, mask, torch.zeros(1, 2, 72, 72))[0]
    other = network(masked, mask, torch.ones(1, 2, 72, 72))[0]
    assert not torch.equal(one, other)


def test_unknown_network_is_refused_by_name():
    with pytest.raises(ValueError, match="coarse-to-fine"):
        InpaintNetwork(NetworkConfig("coarse_to_fine"))

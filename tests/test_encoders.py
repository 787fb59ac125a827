"""Encoders: VGG-19 from both file formats and never by running a file; our own see what they should."""

import math
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_training import CPU, TINY, shot, trainer, with_method

from clips import shared_folder
from internal_inpaint.errors import BadInput
from internal_inpaint.methods.implicit.encoders import (
    ENCODERS,
    VGG_CHANNELS,
    NetworkFeatures,
    Patches,
    own_encoder,
)
from internal_inpaint.vgg19 import load_vgg19


def made_up_weights():
    generator = torch.Generator().manual_seed(1)
    weights = {}
    for index, (channels_in, channels_out) in VGG_CHANNELS.items():
        spread = (2 / (9 * channels_in)) ** 0.5
        weights[f"features.{index}.weight"] = (
            torch.randn(channels_out, channels_in, 3, 3, generator=generator) * spread
        )
        weights[f"features.{index}.bias"] = torch.zeros(channels_out)
    return weights


def as_file(weights, folder, kind):
    """The weights as torchvision publishes them (with what lies above relu3_4), old or new, or as safetensors."""
    path = folder / f"vgg19.{kind}"
    if kind == "safetensors":
        save_file(weights, path)
    else:
        more = {"features.19.weight": torch.zeros(512, 256, 3, 3), "classifier.6.bias": torch.zeros(1000)}
        torch.save({**weights, **more}, path, _use_new_zipfile_serialization=kind == "pth")
    return path


def test_both_formats_give_the_same_features_and_the_same_name(tmp_path):
    weights = made_up_weights()
    encoders = [load_vgg19(as_file(weights, tmp_path, kind), CPU) for kind in ("safetensors", "pth", "old.pth")]
    picture = torch.rand(1, 3, 24, 32) * 2 - 1
    features = [encoder(picture, torch.ones(1, 1, 24, 32)) for encoder in encoders]
    assert features[0].shape == (1, 256, 6, 8)
    assert torch.equal(features[0], features[1])
    assert torch.equal(features[0], features[2])
    assert len({encoder.name for encoder in encoders}) == 1
    weights["features.16.bias"] += 1
    assert load_vgg19(as_file(weights, tmp_path, "pth"), CPU).name != encoders[0].name


def test_it_is_vgg_up_to_relu3_4_of_a_picture_in_0_to_1(tmp_path):
    weights = made_up_weights()
    encoder = load_vgg19(as_file(weights, tmp_path, "safetensors"), CPU)
    layers = []
    for index in (0, 2, "M", 5, 7, "M", 10, 12, 14, 16):
        if index == "M":
            layers.append(torch.nn.MaxPool2d(2, 2))
            continue
        conv = torch.nn.Conv2d(*VGG_CHANNELS[index], 3, padding=1)
        conv.load_state_dict({part: weights[f"features.{index}.{part}"] for part in ("weight", "bias")})
        layers += [conv, torch.nn.ReLU()]
    picture = torch.rand(2, 3, 21, 34)  # no multiples of 4
    mean, spread = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = torch.nn.Sequential(*layers)((picture - mean) / spread)
    found = encoder(picture * 2 - 1, torch.ones(2, 1, 21, 34))
    assert torch.allclose(found, expected, atol=1e-4)


def test_the_shared_weights_tell_textures_apart():
    path = shared_folder() / "weights" / "vgg19_relu3_4.safetensors"
    if not path.is_file():
        pytest.skip(f"no VGG-19 weights at {path}")
    encoder = load_vgg19(path, CPU)
    y, x = np.mgrid[:48, :48].astype(np.float32)
    stripes, bars, moved = (np.sin(v) for v in (x, y, x + 2))
    pictures = torch.from_numpy(np.stack([stripes, bars, moved]))[:, None].expand(-1, 3, -1, -1)
    features = torch.nn.functional.normalize(encoder(pictures, torch.ones(3, 1, 48, 48)).mean((2, 3)), dim=1)
    assert features[0] @ features[2] > features[0] @ features[1] + 0.1


def broken(folder, how):
    weights = made_up_weights()
    path = folder / "weights.pth"
    if how == "not there":
        return path
    if how == "text":
        path.write_text("no weights")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "torn":
        whole = as_file(weights, folder, "pth").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "a layer missing":
        del weights["features.12.weight"]
        torch.save(weights, path)
    elif how == "another shape":
        torch.save({**weights, "features.5.weight": torch.zeros(128, 64, 5, 5)}, path)
    elif how == "not a number":
        torch.save({**weights, "features.7.bias": torch.full((128,), math.nan)}, path)
    elif how == "a list":
        torch.save(list(weights.values()), path)
    return path


@pytest.mark.parametrize(
    "how",
    ["not there", "text", "empty", "torn", "a layer missing", "another shape", "not a number", "a list"],
)
def test_a_file_that_is_none_is_refused_in_one_sentence(tmp_path, how):
    path = broken(tmp_path, how)
    with pytest.raises(BadInput) as refused:
        load_vgg19(path, CPU)
    message = str(refused.value)
    assert str(path) in message
    assert "\n" not in message
    assert "vgg19" in message
    assert len(message) < len(str(path)) + 400


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_file_that_would_run_code_is_refused_and_nothing_is_run(tmp_path, writer):
    path, trace = tmp_path / "vgg19.pth", tmp_path / "was-run"
    content = {"features.0.weight": Malicious(trace)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(BadInput):
        load_vgg19(path, CPU)
    assert not trace.exists()


def test_without_a_file_the_term_takes_an_encoder_of_our_own():
    config = with_method(TINY, ambiguity=0.1, regularise_share=1.0)
    t = trainer(config)
    assert t.recipe == config
    assert config.method.encoder in ENCODERS
    clip = t.task.draw(t.rng, 2, t.counters.crop, True)
    losses = t.method.step(t.network, clip, 1.0, t.rng)["network"]
    assert losses["ambiguity"].item() > 0


def ours(name, network):
    return own_encoder(name, *shot(), CPU) or NetworkFeatures(network)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("size", [(48, 64), (50, 67), (16, 16)])
def test_ours_give_a_vector_every_four_pixels_and_gradients_to_the_picture_alone(name, size):
    t = trainer()
    encoder = ours(name, t.network)
    picture = torch.rand(2, 3, *size, requires_grad=True)
    features = encoder(picture, torch.ones(2, 1, *size))
    assert features.shape[2:] == (size[0] // 4, size[1] // 4)
    features.square().sum().backward()
    assert picture.grad.abs().sum() > 0
    assert all(p.grad is None for p in t.network.parameters())


@pytest.mark.parametrize("name", ENCODERS)
def test_ours_do_not_see_what_is_not_known(name):
    t = trainer()
    encoder = ours(name, t.network)
    picture, known = torch.rand(1, 3, 48, 64), torch.ones(1, 1, 48, 64)
    known[..., 10:30, 20:40] = 0
    with torch.no_grad():
        assert torch.equal(encoder(picture, known), encoder(picture + (1 - known), known))


def noisy_shot():
    frames, state = shot()
    noise = torch.Generator().manual_seed(0)
    return frames.float() + 0.3 * torch.randn(frames.shape, generator=noise), torch.zeros_like(state)


def test_patches_are_white_over_the_shot_that_they_come_from():
    frames, state = noisy_shot()
    encoder = Patches(frames, state)
    for level in range(2):
        with torch.no_grad():
            responses = encoder.responses(frames.permute(0, 3, 1, 2), level)[..., 4:-4, 4:-4]
        spread = responses.transpose(0, 1).flatten(1).std(1)
        assert 0.6 < spread.min() <= spread.max() < 1.5


def test_patches_of_a_texture_are_nearer_to_another_piece_of_it_than_to_its_blur_or_a_faint_copy():
    frames, state = noisy_shot()
    encoder = Patches(frames, state)
    one, other = (torch.randn(1, 3, 48, 64, generator=torch.Generator().manual_seed(s)) * 0.3 for s in (1, 2))
    blur = torch.nn.functional.avg_pool2d(other, 5, 1, 2)
    known = torch.ones(1, 1, 48, 64)

    def distance(a, b):
        a, b = (torch.nn.functional.normalize(encoder(v, known), dim=1) for v in (a, b))
        return float(1 - (a * b).sum(1).mean())

    assert 3 * distance(one, other) < min(distance(one, blur), distance(one, 0.2 * other))


def test_a_shot_of_which_nothing_is_known_has_patches_all_the_same():
    frames, state = shot(frames=2)
    encoder = Patches(frames * 0, torch.ones_like(state))
    assert torch.isfinite(encoder(torch.rand(1, 3, 16, 16), torch.ones(1, 1, 16, 16))).all()

"""A fill's grain beside the plate's: standard deviation by channel and brightness, and correlations.

    python benchmarks/grain.py

Two shots whose grain is known: the sample shot, rendered with and without its grain, and a made shot with coarse
grain that is stronger in the shadows and in blue. The grain is measured from four pairs of neighbouring plates and
added to the pictures without grain. Strength: the fill's standard deviation as a share of the plate's, in five equal
parts of the pixels by brightness. Correlation: the fill's and the plate's, mean over the channels, by lag (rows,
columns), and between the channels.
"""

from __future__ import annotations

import itertools
from unittest import mock

import cv2
import numpy as np

from internal_inpaint.demo import scene
from internal_inpaint.rendering.grain import GrainModel, add_grain, grain_field
from internal_inpaint.rendering.grain_model import measure_grain
from internal_inpaint.rendering.grain_pairs import PlatePicture
from internal_inpaint.shot import WorkingSpace

FRAMES = (5, 6, 15, 16, 25, 26, 34, 35)  # of the sample shot, four pairs
PARTS = 5
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


def coarse_shot():
    """A plate of coarse grain, its pictures without grain, and its grain ``[N, H, W, 3]``."""
    rng, clean = np.random.default_rng(2), made_ground(8)
    grain = [unit_grain(rng, 1.2) * made_std(picture) for picture in clean]
    return (
        known([picture + noise for picture, noise in zip(clean, grain, strict=True)]),
        np.stack(clean),
        np.stack(grain),
    )


def sample_shot():
    """As ``coarse_shot``, of the sample shot; what is under its matte is not known."""
    shot = scene.SampleScene(40, 432, 240, 8)
    plates = [shot.render(frame) for frame in FRAMES]
    with mock.patch.object(scene, "_grain", lambda rng, shape: np.zeros(shape, np.float32)):
        without = [shot.render(frame).clean for frame in FRAMES]
    everything = np.stack([plate.clean for plate in plates])
    space = WorkingSpace.for_range(everything.min(), everything.max())
    pictures = [PlatePicture(space.to_working(plate.plate), plate.matte == 0) for plate in plates]
    clean = np.stack([space.to_working(picture) for picture in without])
    return pictures, clean, space.to_working(everything) - clean


def in_pairs(pictures):
    return list(zip(pictures[::2], pictures[1::2], strict=True))


def drawn(model, clean):
    """The grain ``[N, H, W, 3]`` that pictures get whose fill is invented everywhere."""
    share = np.ones(clean.shape[1:3], np.float32)
    return np.stack([add_grain(picture, model, share, n) - picture for n, picture in enumerate(clean)])


def strengths(fill, plate, clean):
    """``[3, PARTS]``: the fill's standard deviation as a share of the plate's."""
    found = np.empty((3, PARTS))
    for channel in range(3):
        edges = np.quantile(clean[..., channel], np.linspace(0, 1, PARTS + 1))
        for part, (low, high) in enumerate(itertools.pairwise(edges)):
            here = (clean[..., channel] >= low) & (clean[..., channel] <= high)
            found[channel, part] = fill[..., channel][here].std() / plate[..., channel][here].std()
    return found


def autocorrelation(grain, lag):
    """Of ``[H, W, 3]``, the mean over its channels."""
    down, right = lag
    here, there = grain[: grain.shape[0] - down, : grain.shape[1] - right], grain[down:, right:]
    return float(((here * there).mean(axis=(0, 1)) / (grain**2).mean(axis=(0, 1))).mean())


def channel_correlation(grain):
    return np.corrcoef(grain.reshape(-1, 3).T)[[0, 1, 0], [1, 2, 2]]


def flat(model):
    """The same grain at the strength 1 everywhere."""
    return GrainModel(model.brightness, np.ones_like(model.std), model.mixing, model.kernels)


def main() -> None:
    units = {
        "sample shot": lambda shape: scene._grain(np.random.default_rng(9), shape),
        "coarse grain": lambda shape: unit_grain(np.random.default_rng(3), 1.2),
    }
    correlations = [
        "| shot | " + " | ".join(f"{lag}" for lag in LAGS) + " | channels |",
        "|---" * (len(LAGS) + 2) + "|",
    ]
    print("| shot | channel | " + " | ".join(["darkest", "", "middle", "", "brightest"]) + " |\n" + "|---" * 7 + "|")
    for name, shot in {"sample shot": sample_shot, "coarse grain": coarse_shot}.items():
        pictures, clean, grain = shot()
        model = measure_grain(in_pairs(pictures))
        for channel, row in zip("RGB", strengths(drawn(model, clean), grain, clean), strict=True):
            print(f"| {name} | {channel} | " + " | ".join(f"{value:.2f}" for value in row) + " |")
        its, own = units[name](clean[0].shape), grain_field(flat(model), clean[0], 1)
        cells = [f"{autocorrelation(own, lag):.3f} / {autocorrelation(its, lag):.3f}" for lag in LAGS]
        cells.append(f"{channel_correlation(own).mean():.3f} / {channel_correlation(its).mean():.3f}")
        correlations.append(f"| {name} | " + " | ".join(cells) + " |")
    print("\n" + "\n".join(correlations))


if __name__ == "__main__":
    main()

"""What perfect offsets and a perfect light would gain: the PSNR of copies that are corrected by the truth.

    python benchmarks/headroom.py [--clips all] [--protocol object] [--every 7]

At 240x135, before anything is learned, on every seventh frame of the clips of `benchmarks/clips.py`, in the working
space, whose range is 2. An offset is the smooth part of the optical flow from the truth to a copy, up to four pixels;
light is the smooth part of their difference. What has to be estimated without the truth can hardly gain as much.
"""

from __future__ import annotations

import cv2
import numpy as np

from clips import Shot, prepare
from internal_inpaint.motion.flow import optical_flow
from internal_inpaint.resample import as_float32, push_pull
from wrong_copies import CANVAS, opened, parsed, truth_of

SMOOTH = 8.0  # pixels, the sigma of a correction
MOST = 4.0  # pixels of an offset
CORRECTIONS = {
    "as they are": (False, False),
    "light": (False, True),
    "offsets": (True, False),
    "both": (True, True),
}


def corrected(copy: np.ndarray, truth: np.ndarray, there: np.ndarray, offset: bool, light: bool) -> np.ndarray:
    """A copy ``[h, w, 3]`` with what the truth says of it; ``there`` ``[h, w]``: where it is one."""
    if offset:
        flow = _smooth(optical_flow(truth, push_pull(copy, there)), there)
        flow *= np.minimum(1, MOST / np.maximum(np.linalg.norm(flow, axis=2, keepdims=True), 1e-6))
        y, x = np.mgrid[: truth.shape[0], : truth.shape[1]].astype(np.float32)
        x, y = x + flow[..., 0], y + flow[..., 1]
        copy = cv2.remap(push_pull(copy, there), x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return copy + _smooth(truth - copy, there) if light else copy


def _smooth(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    weight = cv2.GaussianBlur(where.astype(np.float32), (0, 0), SMOOTH)[..., None]
    return cv2.GaussianBlur(np.where(where[..., None], values, 0), (0, 0), SMOOTH) / np.maximum(weight, 1e-6)


def errors(clip: Shot, every: int) -> dict[str, np.ndarray]:
    """Squared errors of the hidden pixels of the best copy, by how the candidates were corrected."""
    store, copies = opened(clip)
    found: dict[str, list[np.ndarray]] = {name: [] for name in CORRECTIONS}
    for index in range(2, len(clip.frames), every):
        candidates = copies.candidates(index)
        if candidates is None:
            continue
        box, hidden = candidates.found.box, candidates.found.hidden
        truth = truth_of(clip, store, index)[box]
        smooth = as_float32(copies.level.frames[index])[box]
        for name, corrections in CORRECTIONS.items():
            picture = (1 - candidates.weights.sum(axis=0))[..., None] * smooth
            for copy, weight in zip(candidates.colours, candidates.weights, strict=True):
                there = hidden & (weight > 0)
                if there.any():
                    picture = picture + weight[..., None] * corrected(copy, truth, there, *corrections)
            found[name].append(((picture - truth) ** 2)[hidden].mean(axis=1))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def main() -> None:
    options = parsed("Measure what perfect offsets and light of the copies would gain.")
    print("| clip | " + " | ".join(CORRECTIONS) + " |")
    print("|---" * (len(CORRECTIONS) + 1) + "|")
    for name in options.clips:
        found = errors(prepare(name, options.protocol, CANVAS[::-1]), options.every)
        decibel = (f"{10 * np.log10(4 / error.mean()):.2f}" for error in found.values())
        print(f"| {name} | " + " | ".join(decibel) + " |", flush=True)


if __name__ == "__main__":
    main()

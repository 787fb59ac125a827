"""A synthetic shot whose truth is known: textured ground, a moving camera, and a hole that crosses the frame."""

import cv2
import numpy as np

HEIGHT, WIDTH, COUNT = 72, 120, 10


def ground(height=HEIGHT, width=WIDTH, seed=0):
    """Texture at several sizes, working space, [height, width, 3]."""
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.standard_normal((height, width, 3)), (0, 0), s) * s for s in (1.0, 2.5, 6.0)]
    return np.clip(sum(layers) * 0.5, -1, 1).astype(np.float32)


def shot(pan=0.0, covered=True, grain=0.01):
    """Truth [N, H, W, 3], state [N, H, W] and where the ground is never seen [N, H, W] (static camera only).

    An object crosses the frame from left to right; where ``covered``, another one never moves.
    """
    wide = ground(HEIGHT, WIDTH + 80)
    rng = np.random.default_rng(1)
    truth, state, never = [], [], []
    for index in range(COUNT):
        shift = np.float32([[1, 0, -pan * index], [0, 1, 0]])
        picture = cv2.warpAffine(wide, shift, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
        truth.append(picture + grain * rng.standard_normal(picture.shape).astype(np.float32))
        plane = np.zeros((HEIGHT, WIDTH), np.uint8)
        plane[8:34, 4 + 9 * index : 26 + 9 * index] = 1
        still = np.zeros_like(plane, bool)
        still[42:64, 40:70] = covered
        plane[still] = 1
        state.append(plane)
        never.append(still)
    return np.stack(truth), np.stack(state), np.stack(never)

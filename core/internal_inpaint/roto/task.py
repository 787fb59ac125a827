"""One-frame roto as a training task: samples from labelled frames, and labelling of frames during the training.

The training starts with the reference frames (``sampling``). It then labels the other frames, outwards from the
reference frames. The guess for a frame is its neighbour's matte, warped along the motion. The certain pixels of the
new label are used for training. In the second round, both neighbours contribute to the guess.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from internal_inpaint.methods.base import Clip
from internal_inpaint.methods.matte.method import MatteMethod
from internal_inpaint.motion.flow import warp
from internal_inpaint.roto.config import RotoConfig
from internal_inpaint.roto.labels import Frames, Labels
from internal_inpaint.roto.sampling import MatteSampler
from internal_inpaint.roto.tracking import confidence, fragment_share, tracked
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.task import Task, Work

ROUND_SHARE = 0.1  # if one round of labelling takes more than this share of the time, there is only one round


class RotoTask(Task):
    """Finding the mattes of a shot, as a ``Task``.

    Args:
        config: the settings.
        method: computes probabilities from clips.
        frames, labels: the shot, and its mattes found so far.
        budget: for training and prediction together.
        device: device of the network.
        clock: returns seconds.

    Attributes:
        visits: number of labels made during the training, over all rounds.
        confidence: of each frame's label, for each of the two label files.
        predicted: number of frames that are in the result already (``propagate``).
        found: confidence of each frame in the result.
    """

    def __init__(
        self,
        config: RotoConfig,
        method: MatteMethod,
        frames: Frames,
        labels: Labels,
        budget: Budget,
        device: torch.device,
        clock: Callable[[], float],
    ) -> None:
        self.config, self.frames, self.labels = config, frames, labels
        self._method, self._budget, self._device, self._clock = method, budget, device, clock
        count, references = len(frames), labels.references
        self.order = _labelling_order(count, sorted(references), frames.views)
        self._place = {index: place for place, index in enumerate(self.order)}
        self.usual_area = float(np.mean([(m > 0.5).sum() for m in references.values() if (m > 0.5).any()]))
        self._fragment = fragment_share(references.values())
        self.sampler = MatteSampler(config, frames.size, self._labelled)
        self.visits, self._visit_seconds = 0, 0.0
        self.confidence = [[float(index in references) for index in range(count)] for _ in range(2)]
        self.predicted, self.found = 0, [0.0] * count

    # --- the Task interface ----------------------------------------------------------------------

    def first_sizes(self) -> tuple[int, tuple[int, int]]:
        return self.config.batch, self.sampler.crop

    def draw(self, rng: np.random.Generator, batch: int, crop: tuple[int, int], with_others: bool) -> Clip:
        references = sorted(self.labels.references)
        return self.sampler.batch(rng, references, self._trusted(), batch, crop, self._device)

    def score(self, fill: Callable[[Clip], Tensor]) -> float | None:
        return None

    def reserved_seconds(self) -> float:
        """Estimated time for the prediction of all frames and their comparison with the background."""
        return 2.2 * self._round_seconds()

    def pending(self, progress: float) -> bool:
        # At the end of the training, an unfinished first round is completed, a later one is abandoned.
        return self.visits < (len(self.order) if progress >= 1 else self._due(progress))

    def work(self, progress: float, weights: nn.Module) -> Work:
        """Label the next frame, if it is due."""
        if not self.pending(progress):
            return Work.NOTHING
        if not all(bool(torch.isfinite(parameter).all()) for parameter in weights.parameters()):
            return Work.NOTHING  # non-finite weights, which the trainer has not detected yet
        start = self._clock()
        round_, place = divmod(self.visits, len(self.order))
        index = self.order[place]
        found, confidence = self.find(weights, index, (round_ - 1) % 2 if round_ else 0, mirror=False)
        self.labels.put(index, round_ % 2, found)
        self.confidence[round_ % 2][index] = confidence
        self.visits += 1
        self._visit_seconds += self._clock() - start
        # The next round overwrites the file that this one has read.
        return Work.CHECKPOINT if self.visits % len(self.order) == 0 else Work.DONE

    def state_dict(self) -> dict:
        """The state as plain values; the labels themselves are flushed to disk."""
        self.labels.flush()
        return {
            "visits": self.visits,
            "visit_seconds": self._visit_seconds,
            "confidence": self.confidence,
            "predicted": self.predicted,
            "found": self.found,
        }

    def load_state_dict(self, state: dict) -> None:
        self.visits, self._visit_seconds = int(state["visits"]), float(state["visit_seconds"])
        self.confidence, self.found = state["confidence"], state["found"]
        self.predicted = int(state["predicted"])
        if [len(values) for values in (*self.confidence, self.found)] != [len(self.frames)] * 3:
            raise ValueError("its labels belong to another shot")

    # --- labelling -------------------------------------------------------------------------------

    def _round_seconds(self) -> float:
        """Estimated time for labelling every frame once."""
        return self._visit_seconds / max(1, self.visits) * len(self.order)

    def _due(self, progress: float) -> int:
        """Number of labels that should exist at this progress, over all rounds."""
        config, rounds = self.config, self.config.rounds
        if self._budget.seconds is not None and self._round_seconds() > ROUND_SHARE * self._budget.seconds:
            rounds = 1  # a long shot in a short time: spend the time of further rounds on training
        share = (progress - config.learn) / (config.settle - config.learn)
        return int(len(self.order) * rounds * min(1.0, max(0.0, share)))

    def _trusted(self) -> list[int]:
        visited = self.order[: min(self.visits, len(self.order))]
        return [i for i in visited if self.confidence[self._file_of(i)][i] >= self.config.trust]

    def _file_of(self, index: int) -> int:
        """The file with the newest label of a frame."""
        if index in self.labels.references or not self.visits:
            return 0
        round_, place = divmod(self.visits, len(self.order))
        if not round_:
            return 0
        return round_ % 2 if self._place[index] < place else (round_ - 1) % 2

    def _labelled(self, index: int):
        return self.labels.labelled(index, self._file_of(index))

    def _known(self, index: int) -> bool:
        return index in self.labels.references or self._place.get(index, 1 << 60) < self.visits

    def _neighbours(self, index: int) -> list[int]:
        """Neighbours with a known matte: the previous and the next frame, else other views of the same frame."""
        if known := [n for n in self.frames.neighbours(index) if self._known(n)]:
            return known
        first = index - index % self.frames.views
        return [n for n in range(first, first + self.frames.views) if n != index and self._known(n)]

    def find(self, weights: nn.Module, index: int, file: int | None, mirror: bool) -> tuple[np.ndarray, float]:
        """Probabilities ``[h, w]`` of the tracked object in one frame, and their confidence.

        Args:
            file: label file to read the neighbours' labels from; ``None``: the newest label of each.
            mirror: whether to average with the result for the mirrored frame.
        """
        frame, motion = self.frames.frame(index), self.frames.motion(index)
        neighbours = self._neighbours(index)
        files = [self._file_of(n) if file is None else file for n in neighbours]
        warped = [
            warp(self.labels.probability(n, f), self.frames.flow(index, n))
            for n, f in zip(neighbours, files, strict=True)
        ]
        expected = np.max(warped, axis=0) if warped else np.zeros(self.frames.size, np.float32)
        guess = np.mean(warped, axis=0) if (expected > 0.5).any() else None
        informed, alone = self._probabilities(weights, frame, motion, guess, mirror)
        found = tracked(0.5 * (informed + alone), expected, self.usual_area, self._fragment)
        found[self.frames.outside(index)] = 0
        least = min((self.confidence[f][n] for n, f in zip(neighbours, files, strict=True)), default=0.0)
        return found, confidence(found, alone, warped, least)

    @torch.inference_mode()
    def _probabilities(
        self, weights: nn.Module, frame: np.ndarray, motion: np.ndarray, guess: np.ndarray | None, mirror: bool
    ) -> np.ndarray:
        """``[2, h, w]`` float32: with motion and guess, and from the picture alone.

        Args:
            frame: ``[h, w, 3]`` working space. motion: ``[h, w]`` 0..1. guess: ``[h, w]`` 0..1.
        """
        zeros = np.zeros_like(motion)
        hints = np.stack([[motion, zeros if guess is None else 2 * guess - 1], [zeros, zeros]])
        picture = np.concatenate([np.stack([frame.transpose(2, 0, 1)] * 2), hints], axis=1).astype(np.float32)
        planes = torch.from_numpy(picture).to(self._device, memory_format=torch.channels_last)
        found = self._predict(weights, planes)
        if mirror:
            found = (found + self._predict(weights, planes.flip(-1)).flip(-1)) / 2
        return found[:, 0].float().cpu().numpy()

    def _predict(self, weights: nn.Module, planes: Tensor) -> Tensor:
        hints = {"motion": planes[:, None, 3:4], "guess": planes[:, None, 4:]}
        return self._method.fill(weights, Clip(planes[:, None, :3], planes=hints))


def _labelling_order(count: int, references: list[int], views: int) -> list[int]:
    """All pictures that are not references, sorted by distance in time to a reference, then same view first."""

    def distance(index: int) -> tuple[int, bool]:
        return min((abs(index // views - r // views), index % views != r % views) for r in references)

    others = [index for index in range(count) if index not in references]
    return sorted(others, key=lambda index: (*distance(index), index))

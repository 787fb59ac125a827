"""One-frame roto as a training task: samples from labelled frames, and frames labelled while the network trains.

The network learns from the reference frames (``sampling``), then walks outwards from them: each frame
is labelled with its neighbour's matte, carried along the motion, as a guess, and what is certain of it
is learned from. In the second round both neighbours give the guess.
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
from internal_inpaint.roto.tracking import confidence, tracked
from internal_inpaint.training.budget import Budget
from internal_inpaint.training.task import Work

ROUND_SHARE = 0.1  # of the time, at most, for one round of labelling where there is to be more than one


class RotoTask:
    """A shot whose mattes are to be found.

    Args:
        config: the recipe.
        method: fills clips with probabilities.
        frames, labels: the shot and what is known of its mattes.
        budget: of everything, prediction included.
        device: where the network runs.
        clock: seconds.

    Attributes:
        visits: frames labelled on the way, over all rounds.
        confidence: of each frame's newest label in the two label files.
        predicted: frames that are in the result already (``propagate``), and the confidence of each in ``found``.
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
        self.order = _outwards(count, sorted(references), frames.views)
        self._place = {index: place for place, index in enumerate(self.order)}
        self.usual_area = float(np.mean([(m > 0.5).sum() for m in references.values() if (m > 0.5).any()]))
        self.sampler = MatteSampler(config, frames.size, self._labelled)
        self.visits, self._visit_seconds = 0, 0.0
        self.confidence = [[float(index in references) for index in range(count)] for _ in range(2)]
        self.predicted, self.found = 0, [0.0] * count

    # --- what the trainer asks for ---------------------------------------------------------------

    def first_sizes(self) -> tuple[int, tuple[int, int]]:
        return self.config.batch, self.sampler.crop

    def draw(self, rng: np.random.Generator, batch: int, crop: tuple[int, int], with_others: bool) -> Clip:
        references = sorted(self.labels.references)
        return self.sampler.batch(rng, references, self._trusted(), batch, crop, self._device)

    def score(self, fill: Callable[[Clip], Tensor]) -> float | None:
        return None

    def reserved_seconds(self) -> float:
        """What the prediction of every frame takes, with some room, as far as can be told."""
        return 1.3 * self._round_seconds()

    def pending(self, progress: float) -> bool:
        # At the end of the time the first round is completed, a later one is broken off.
        return self.visits < (len(self.order) if progress >= 1 else self._due(progress))

    def work(self, progress: float, weights: nn.Module) -> Work:
        """Label the next frame of the walk, if it is due."""
        if not self.pending(progress):
            return Work.NOTHING
        if not all(bool(torch.isfinite(parameter).all()) for parameter in weights.parameters()):
            return Work.NOTHING  # the trainer has not noticed yet: broken weights must not label anything
        began = self._clock()
        turn, place = divmod(self.visits, len(self.order))
        index = self.order[place]
        found, sure = self.find(weights, index, (turn - 1) % 2 if turn else 0, mirror=False)
        self.labels.put(index, turn % 2, found)
        self.confidence[turn % 2][index] = sure
        self.visits += 1
        self._visit_seconds += self._clock() - began
        # A later round writes over the file that this one has read.
        return Work.CHECKPOINT if self.visits % len(self.order) == 0 else Work.DONE

    def state_dict(self) -> dict:
        """Plain values; the labels themselves are on the disk by then."""
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
            raise ValueError("its labels are of another shot")

    # --- the walk --------------------------------------------------------------------------------

    def _round_seconds(self) -> float:
        """What labelling every frame once takes, as far as can be told."""
        return self._visit_seconds / max(1, self.visits) * len(self.order)

    def _due(self, progress: float) -> int:
        """Frames that should have been labelled by now, over all rounds."""
        config, rounds = self.config, self.config.rounds
        if self._budget.seconds is not None and self._round_seconds() > ROUND_SHARE * self._budget.seconds:
            rounds = 1  # a long shot in a short time: what another round costs is better spent on training
        share = (progress - config.learn) / (config.settle - config.learn)
        return int(len(self.order) * rounds * min(1.0, max(0.0, share)))

    def _trusted(self) -> list[int]:
        visited = self.order[: min(self.visits, len(self.order))]
        return [i for i in visited if self.confidence[self._file_of(i)][i] >= self.config.trust]

    def _file_of(self, index: int) -> int:
        """The file with the newest label of a frame."""
        if index in self.labels.references or not self.visits:
            return 0
        turn, place = divmod(self.visits, len(self.order))
        if not turn:
            return 0
        return turn % 2 if self._place[index] < place else (turn - 1) % 2

    def _labelled(self, index: int):
        return self.labels.labelled(index, self._file_of(index))

    def _known(self, index: int) -> bool:
        return index in self.labels.references or self._place.get(index, 1 << 60) < self.visits

    def _neighbours(self, index: int) -> list[int]:
        """Pictures whose matte is known: the frames before and after, else the same frame's other views."""
        if known := [n for n in self.frames.beside(index) if self._known(n)]:
            return known
        first = index - index % self.frames.views
        return [n for n in range(first, first + self.frames.views) if n != index and self._known(n)]

    def find(self, weights: nn.Module, index: int, which: int | None, mirror: bool) -> tuple[np.ndarray, float]:
        """Probabilities of one frame ``[h, w]``, cleaned, and their confidence.

        Args:
            which: file that the neighbours' labels come from; ``None``: where each has its newest.
            mirror: look at the mirrored frame too and take the mean.
        """
        frame, motion = self.frames.frame(index), self.frames.motion(index)
        neighbours = self._neighbours(index)
        files = [self._file_of(n) if which is None else which for n in neighbours]
        brought = [
            warp(self.labels.probability(n, file), self.frames.flow(index, n))
            for n, file in zip(neighbours, files, strict=True)
        ]
        expected = np.max(brought, axis=0) if brought else np.zeros(self.frames.size, np.float32)
        guess = np.mean(brought, axis=0) if (expected > 0.5).any() else None
        informed, alone = self._probabilities(weights, frame, motion, guess, mirror)
        found = tracked(0.5 * (informed + alone), expected, self.usual_area)
        found[self.frames.outside(index)] = 0
        sure = min((self.confidence[f][n] for n, f in zip(neighbours, files, strict=True)), default=0.0)
        return found, confidence(found, alone, brought, sure)

    @torch.inference_mode()
    def _probabilities(
        self, weights: nn.Module, frame: np.ndarray, motion: np.ndarray, guess: np.ndarray | None, mirror: bool
    ) -> np.ndarray:
        """``[2, h, w]`` float32: with all that is known of a frame, and by its looks alone.

        Args:
            frame: ``[h, w, 3]`` working space. motion: ``[h, w]`` 0..1. guess: ``[h, w]`` 0..1.
        """
        nothing = np.zeros_like(motion)
        hints = np.stack([[motion, nothing if guess is None else 2 * guess - 1], [nothing, nothing]])
        picture = np.concatenate([np.stack([frame.transpose(2, 0, 1)] * 2), hints], axis=1).astype(np.float32)
        planes = torch.from_numpy(picture).to(self._device, memory_format=torch.channels_last)
        found = self._looked_at(weights, planes)
        if mirror:
            found = (found + self._looked_at(weights, planes.flip(-1)).flip(-1)) / 2
        return found[:, 0].float().cpu().numpy()

    def _looked_at(self, weights: nn.Module, planes: Tensor) -> Tensor:
        hints = {"motion": planes[:, None, 3:4], "guess": planes[:, None, 4:]}
        return self._method.fill(weights, Clip(planes[:, None, :3], planes=hints))


def _outwards(count: int, references: list[int], views: int) -> list[int]:
    """Every other picture, those nearest in time to a reference frame first, its own view before others."""

    def distance(index: int) -> tuple[int, bool]:
        return min((abs(index // views - r // views), index % views != r % views) for r in references)

    others = [index for index in range(count) if index not in references]
    return sorted(others, key=lambda index: (*distance(index), index))

"""What several methods, each with one or more seeds, said about the same test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from foldtune.errors import InputError
from foldtune.tasks.influence import influence
from foldtune.tasks.kinds import USUAL
from foldtune.tasks.metrics import METRICS, Judged
from foldtune.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Member:
    """The logits (images, classes) of one final run, and what follows from them."""

    label: str
    seed: int
    logits: np.ndarray
    run: str = ""
    trainable: int = 0

    @cached_property
    def probabilities(self) -> np.ndarray:
        """softmax(logits), (images, classes) float32."""
        shifted: np.ndarray = np.asarray(self.logits, dtype=np.float32)
        shifted = shifted - shifted.max(1, keepdims=True)
        np.exp(shifted, out=shifted)
        shifted /= shifted.sum(1, keepdims=True)
        return shifted

    @cached_property
    def predictions(self) -> np.ndarray:
        """The class with the largest logit, (images,); the first of equal ones."""
        found: np.ndarray = self.logits.argmax(1)
        return found

    @cached_property
    def confidence(self) -> np.ndarray:
        """The largest probability, (images,)."""
        found: np.ndarray = self.probabilities.max(1)
        return found


@dataclass(frozen=True, eq=False)
class Panel:
    """labels: (images,), or what another task predicts, (images, ...); runs: each method's members,
    one a seed, over these images in order; metric: what judges, empty for accuracy."""

    labels: np.ndarray
    runs: Mapping[str, Sequence[Member]]
    task: Task = USUAL
    metric: str = ""

    def __post_init__(self) -> None:
        if not self.runs or not len(self.labels):
            raise InputError(
                "an analysis needs at least one method with a final run on test images"
            )
        classes = {member.logits.shape[1:] for member in self.members}
        for member in self.members:
            if member.logits.shape[:1] != self.labels.shape[:1] or len(classes) > 1:
                raise InputError(
                    f"{member.label} (seed {member.seed}) has logits {member.logits.shape} for "
                    f"{len(self.labels)} images; all members need the same images and classes"
                )
            if not np.isfinite(member.logits).all():
                raise InputError(
                    f"{member.label} (seed {member.seed}) has logits that are no number"
                )

    @cached_property
    def members(self) -> tuple[Member, ...]:
        return tuple(member for group in self.runs.values() for member in group)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.runs)

    @cached_property
    def classes(self) -> int:
        return int(self.members[0].logits.shape[1])

    @cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """For each method (seeds, images)."""
        if self.task.usual:
            return {n: np.stack([m.predictions for m in group]) for n, group in self.runs.items()}
        return {
            name: np.stack([self.with_labels(member).answers for member in group])
            for name, group in self.runs.items()
        }

    @cached_property
    def right(self) -> dict[str, np.ndarray]:
        """For each method whether each seed is right about each image, (seeds, images) bool."""
        return {name: found == self.labels for name, found in self.predictions.items()}

    @cached_property
    def scores(self) -> dict[str, np.ndarray]:
        """For each method (seeds, images), whose mean over images is each seed's score."""
        if not self.metric:
            return self.right
        return {
            name: np.stack([influence(self.metric, self.with_labels(member)) for member in group])
            for name, group in self.runs.items()
        }

    @property
    def least(self) -> float:
        """Made-up images of a decision about `scores`, see `decide`."""
        return 0.0 if self.metric and METRICS[self.metric].error else 0.5

    def with_labels(self, member: Member) -> Judged:
        """A member's logits beside what they were to be."""
        return Judged(self.task, member.logits, self.labels)

    @cached_property
    def share_right(self) -> np.ndarray:
        """(methods, images): the share of a method's seeds that is right about an image."""
        return np.stack([found.mean(0) for found in self.right.values()]).astype(np.float32)

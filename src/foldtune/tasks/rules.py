"""Rules by which shares are turned into answers, other than the usual: thresholds, and costs.

A task with a rule is a task: everything that follows answers (metrics, confusions, recall and
precision, words) follows the rule. `parse_task` does not spell one: a study is judged by the usual
answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foldtune.tasks.kinds import MultiLabel, Ordinal, SingleLabel
from foldtune.tasks.task import Task


@dataclass(frozen=True, repr=False)
class Thresholded(MultiLabel):
    """Several labels, each answered from a probability of its own on.

    thresholds: of each label, in the order of the names; inf for one that is never answered.
    """

    thresholds: tuple[float, ...] = ()

    def answers(self, logits: np.ndarray) -> np.ndarray:
        return (self.probabilities(logits) >= np.array(self.thresholds)).astype(np.float32)

    def rule(self, names: Sequence[str]) -> dict[str, float | None]:
        """By name the threshold, ready for JSON: None for a label that is never answered."""
        pairs = zip(names, self.thresholds, strict=True)
        return {name: at if math.isfinite(at) else None for name, at in pairs}


@dataclass(frozen=True, repr=False)
class _Costed(Task):
    """The class of the least expected cost, the sum over classes of its probability times what the
    answer costs where it is true: Bayes' rule (Elkan, The Foundations of Cost-Sensitive Learning,
    IJCAI 2001, eq. 1). costs: rows true, columns answered, in the order of the names."""

    costs: tuple[tuple[float, ...], ...] = ()

    def expected_costs(self, logits: np.ndarray) -> np.ndarray:
        """(images, classes): what each answer costs, expected."""
        found: np.ndarray = self.probabilities(logits) @ np.array(self.costs, np.float64)
        return found

    def answers(self, logits: np.ndarray) -> np.ndarray:
        return np.asarray(self.expected_costs(logits).argmin(1))

    def likeliest(self, logits: np.ndarray) -> np.ndarray:
        """What would be answered without costs."""
        return super().answers(logits)

    def mean_cost(self, answers: np.ndarray, targets: np.ndarray) -> float:
        """The mean cost of answers (images,) where targets (images,) are true."""
        return float(np.array(self.costs)[targets, answers].mean())

    def describe(self, logits: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
        found = super().describe(logits, names)
        least = self.expected_costs(logits).min(1).tolist()
        return [row | {"cost": cost} for row, cost in zip(found, least, strict=True)]


@dataclass(frozen=True, repr=False)
class CostedClass(_Costed, SingleLabel):
    """One of several classes, that of the least expected cost."""


@dataclass(frozen=True, repr=False)
class CostedGrade(_Costed, Ordinal):
    """One of several grades, that of the least expected cost."""


Costed = CostedClass | CostedGrade

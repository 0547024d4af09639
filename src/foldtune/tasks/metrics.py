"""What can judge answers, by name; every value is scikit-learn's.

A metric's score is what chooses: from 0 to 1, more is better. That of an error is 1 minus the
error over the span of the labels; a value below 0 (kappa and r2 of an answer worse than a
constant one) counts as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from foldtune.errors import InputError, unknown_name
from foldtune.tasks.kinds import MultiLabel, Ordinal, Regression
from foldtune.tasks.task import Task

DEFAULT = "accuracy"  # of one label an image, as ever


@dataclass(frozen=True, eq=False)
class Judged:
    """Logits (images, outputs) beside their targets (images, ...) of a task."""

    task: Task
    logits: np.ndarray
    targets: np.ndarray

    def __post_init__(self) -> None:
        if len(self.logits) != len(self.targets) or not len(self.targets):
            raise InputError(
                f"{len(self.logits)} rows of logits for {len(self.targets)} labels; as many of "
                "both are needed, at least one"
            )
        if np.isnan(self.logits).any():
            raise InputError("logits hold nan: the model has diverged, or its input was not finite")

    @cached_property
    def answers(self) -> np.ndarray:
        return self.task.answers(self.logits)

    @cached_property
    def shares(self) -> np.ndarray:
        """Probabilities (images, names)."""
        return self.task.probabilities(self.logits)

    @cached_property
    def marks(self) -> np.ndarray:
        """(images, names) bool: which names hold."""
        if isinstance(self.task, MultiLabel):
            return self.targets > 0
        found: np.ndarray = self.targets[:, None] == np.arange(self.shares.shape[1])
        return found

    @property
    def both(self) -> np.ndarray:
        """Names that some images have and some have not: alone these have a ranking to judge."""
        held = self.marks.sum(0)
        return np.flatnonzero((held > 0) & (held < len(self.marks)))

    @property
    def span(self) -> float:
        """What errors are a share of."""
        if isinstance(self.task, Regression):
            return self.task.span
        return float(max(self.logits.shape[1], 1))


@dataclass(frozen=True)
class Metric:
    """title: its name in words; error: whether less is better; share: whether it is told in %."""

    title: str
    value: Callable[[Judged], float]
    error: bool = False
    share: bool = True

    def score(self, value: float, span: float) -> float:
        """The value as from 0 to 1, more being better."""
        return float(max(1.0 - value / span, 0.0) if self.error else max(value, 0.0))


def metric_of(name: str, task: Task) -> Metric:
    """A metric by name. Raises InputError for one that has no meaning for the task."""
    if name not in task.metrics:
        raise unknown_name(f"metric of {type(task).__name__}", name, task.metrics)
    return METRICS[name]


def values(judged: Judged) -> Iterator[tuple[str, float]]:
    """Every metric that has a meaning for the task and for these labels, by name."""
    alike = {"auroc", "map"} if "auroc" in judged.task.metrics and not len(judged.both) else set()
    few = {"r2"} if len(judged.targets) < 2 else set()
    for name in judged.task.metrics:
        if name in alike or name in few:
            continue
        yield name, METRICS[name].value(judged)


def score_of(name: str, judged: Judged) -> float:
    """The score of a metric by name."""
    found = metric_of(name, judged.task)
    return found.score(found.value(judged), judged.span)


# -- private: each as scikit-learn has it --------------------------------------------------------


def _accuracy(it: Judged) -> float:
    return float((it.answers == it.targets).mean())


def _balanced_accuracy(it: Judged) -> float:
    """The mean over the classes that occur of the share of their images that are right."""
    right, places = (it.answers == it.targets).astype(np.float64), it.targets.astype(np.int64)
    counts = np.bincount(places)
    return float((np.bincount(places, right)[counts > 0] / counts[counts > 0]).mean())


def _f1(average: str) -> Callable[[Judged], float]:
    def value(it: Judged) -> float:
        from sklearn.metrics import f1_score

        return float(f1_score(it.targets, it.answers, average=average, zero_division=0))

    return value


def _kappa(it: Judged) -> float:
    from sklearn.metrics import cohen_kappa_score

    if len(np.unique(np.concatenate([it.targets, it.answers]))) < 2:
        return 1.0  # all is one class and said to be: 0 / 0 there
    weights = "quadratic" if isinstance(it.task, Ordinal) else None
    names = np.arange(it.shares.shape[1])
    return float(cohen_kappa_score(it.targets, it.answers, labels=names, weights=weights))


def _mean_over_names(value: Callable[..., float]) -> Callable[[Judged], float]:
    """The mean over names of a value of one name's shares."""

    def mean(it: Judged) -> float:
        if not len(it.both):
            raise InputError(
                "every image has the same labels here, so there is no ranking to judge; choose by "
                f"another metric: {', '.join(it.task.metrics)}"
            )
        return float(np.mean([value(it.marks[:, k], it.shares[:, k]) for k in it.both]))

    return mean


def _auroc(marks: np.ndarray, shares: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(marks, shares))


def _precision(marks: np.ndarray, shares: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(marks, shares))


def _off(it: Judged) -> np.ndarray:
    found: np.ndarray = it.answers.astype(np.float64) - it.targets
    return found


def _r2(it: Judged) -> float:
    from sklearn.metrics import r2_score

    if len(it.targets) < 2:
        raise InputError("r2 needs two images or more")
    return float(r2_score(it.targets, it.answers))


METRICS = {
    "accuracy": Metric("accuracy", _accuracy),
    "balanced_accuracy": Metric("balanced accuracy", _balanced_accuracy),
    "macro_f1": Metric("macro F1", _f1("macro")),
    "micro_f1": Metric("micro F1", _f1("micro")),
    "kappa": Metric("kappa", _kappa),
    "auroc": Metric("AUROC", _mean_over_names(_auroc)),
    "map": Metric("mean average precision", _mean_over_names(_precision)),
    "hamming": Metric("share of right labels", lambda it: float((it.answers == it.targets).mean())),
    "exact": Metric("share of images with all labels right",
                    lambda it: float((it.answers == it.targets).all(1).mean())),
    "mae": Metric("mean absolute error", lambda it: float(np.abs(_off(it)).mean()), True, False),
    "rmse": Metric("root mean squared error",
                   lambda it: float(np.sqrt((_off(it) ** 2).mean())), True, False),
    "r2": Metric("R squared", _r2),
}  # fmt: skip

"""The kinds of task: one of several classes, several labels, grades, a number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from foldtune.errors import InputError
from foldtune.tasks.task import Task, foreign, number_of, places, sigmoid

_CUT = 0.5  # probability from which on a label, or a higher grade, is answered


@dataclass(frozen=True, repr=False)
class SingleLabel(Task):
    """One of several classes: softmax. Target: its place, (images,) int64."""

    metrics = ("accuracy", "balanced_accuracy", "macro_f1", "kappa", "auroc", "map")
    classed = True

    @property
    def usual(self) -> bool:
        return self == USUAL

    def outputs(self, texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(texts)

    def targets(self, texts: Sequence[str], labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
        if tuple(texts) == tuple(names):
            return labels
        return np.asarray(places(texts, names)[labels])

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        shifted = np.asarray(logits, np.float64)
        shifted = np.exp(shifted - shifted.max(1, keepdims=True))
        found: np.ndarray = shifted / shifted.sum(1, keepdims=True)
        return found

    def answers(self, logits: np.ndarray) -> np.ndarray:
        return np.asarray(np.asarray(logits).argmax(1))

    def scores(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return np.asarray(self.answers(logits) == targets, np.float64)

    def describe(self, logits: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
        shares = self.probabilities(logits)
        best = self.answers(logits).tolist()
        return [
            {"class": names[k], "probability": float(row[k])}
            for k, row in zip(best, shares, strict=True)
        ]


@dataclass(frozen=True, repr=False)
class MultiLabel(Task):
    """Any number of labels an image: a sigmoid each. Target: (images, labels) float32 of 0 and 1.

    separator: what parts the labels of one image in its text; the empty text is no label.
    """

    separator: str = "|"
    metrics = ("map", "macro_f1", "micro_f1", "auroc", "hamming", "exact")

    def outputs(self, texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(sorted({name for text in texts for name in self.parts(text)}))

    def parts(self, text: str) -> list[str]:
        """The labels of a text."""
        return [part for piece in text.split(self.separator) if (part := piece.strip())]

    def targets(self, texts: Sequence[str], labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
        place = {name: k for k, name in enumerate(names)}
        table = np.zeros((len(texts), len(names)), np.float32)
        for row, text in enumerate(texts):
            for part in self.parts(text):
                if part not in place:
                    raise foreign(part, names)
                table[row, place[part]] = 1.0
        return np.asarray(table[labels])

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        return sigmoid(logits)

    def answers(self, logits: np.ndarray) -> np.ndarray:
        return (self.probabilities(logits) >= _CUT).astype(np.float32)

    def scores(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        found: np.ndarray = (self.answers(logits) == targets).mean(1, dtype=np.float64)
        return found

    def describe(self, logits: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
        found = []
        for row, share in zip(self.answers(logits), self.probabilities(logits), strict=True):
            held = [name for name, one in zip(names, row.tolist(), strict=True) if one]
            each = dict(zip(names, share.tolist(), strict=True))
            found.append({"labels": held, "probabilities": each})
        return found


@dataclass(frozen=True, repr=False)
class Ordinal(Task):
    """One of several grades in order, by CORN (Shi, Cao and Raschka, Pattern Analysis and
    Applications 2023): output k is the chance of being above grade k given above grade k - 1.

    Target: the grade's place, (images,) int64; one output fewer than grades. levels: the grades in
    order, where they are no numbers.
    """

    levels: tuple[str, ...] = ()
    metrics = ("mae", "kappa", "accuracy", "balanced_accuracy", "macro_f1")
    classed = True

    def outputs(self, texts: Sequence[str]) -> tuple[str, ...]:
        if self.levels:
            places(texts, self.levels)
            return self.levels
        numbers = [number_of(text) for text in texts]
        if None not in numbers:
            pairs = sorted((float(text), text) for text in texts)
            return tuple(text for _, text in pairs)
        if list(texts) != sorted(texts):  # the source states their order
            return tuple(texts)
        raise InputError(
            f"the grades {', '.join(texts[:5])} are no numbers, so their order is not known; say "
            f"it: --task \"Ordinal(levels=('{texts[0]}', ...))\""
        )

    def targets(self, texts: Sequence[str], labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
        return np.asarray(places(texts, names)[labels])

    def logits(self, names: int) -> int:
        return names - 1

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        above = np.cumprod(sigmoid(logits), axis=1)
        edges = np.ones((len(above), 1)), np.zeros((len(above), 1))
        found: np.ndarray = -np.diff(np.concatenate([edges[0], above, edges[1]], axis=1), axis=1)
        return found

    def answers(self, logits: np.ndarray) -> np.ndarray:
        found: np.ndarray = (np.cumprod(sigmoid(logits), axis=1) > _CUT).sum(1).astype(np.int64)
        return found

    def scores(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        off = np.abs(self.answers(logits) - targets) / max(np.asarray(logits).shape[1], 1)
        found: np.ndarray = 1.0 - off
        return found

    def describe(self, logits: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
        shares = self.probabilities(logits)
        return [
            {"class": names[k], "probability": float(row[k])}
            for k, row in zip(self.answers(logits).tolist(), shares, strict=True)
        ]


@dataclass(frozen=True, repr=False)
class Regression(Task):
    """A number. Target: (images,) float32. The output is (number - mean) / std of the training
    images, so that rates of learning mean the same whatever the unit.

    span: between the least and the largest training label; errors are told as shares of it where a
    share is needed.
    """

    mean: float = 0.0
    std: float = 1.0
    span: float = 1.0
    metrics = ("mae", "rmse", "r2")

    def __post_init__(self) -> None:
        for name in ("mean", "std", "span"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or (name != "mean" and value <= 0):
                raise InputError(f"Regression: {name}={value!r} is no usable number")

    def outputs(self, texts: Sequence[str]) -> tuple[str, ...]:
        return ("value",)

    def targets(self, texts: Sequence[str], labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
        numbers = [number_of(text) for text in texts]
        if None in numbers:
            raise InputError(
                f"the label {texts[numbers.index(None)]!r} is no number, and Regression() predicts "
                "one; correct it, or say another --task"
            )
        found: np.ndarray = np.array(numbers, np.float32)[labels]
        return found

    def for_targets(self, targets: np.ndarray) -> Task:
        numbers = np.asarray(targets, np.float64)
        spread, span = float(numbers.std()), float(np.ptp(numbers)) if len(numbers) else 0.0
        if not span:
            raise InputError("all training labels are one number, so there is nothing to learn")
        # Rounded: they are written into headers and identities.
        told = (float(f"{value:.6g}") for value in (numbers.mean(), spread, span))
        return replace(self, **dict(zip(("mean", "std", "span"), told, strict=True)))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        return self.answers(logits)[:, None]

    def answers(self, logits: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.asarray(logits, np.float64)[:, 0] * self.std + self.mean
        return found

    def scores(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        off = np.abs(self.answers(logits) - targets) / self.span
        found: np.ndarray = np.maximum(1.0 - off, 0.0)
        return found

    def describe(self, logits: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
        return [{"value": float(value)} for value in self.answers(logits)]


TASKS: Mapping[str, type[Task]] = {
    cls.__name__: cls for cls in (SingleLabel, MultiLabel, Ordinal, Regression)
}


USUAL = SingleLabel()

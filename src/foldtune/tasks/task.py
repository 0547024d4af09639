"""A task: what a label says, what the classifier's outputs mean, and what is answered.

Sources give every image one text as its label; the distinct texts are the "classes" of a listing.
A task reads them: as classes, as several labels with a separator, as grades, as numbers. So
whatever a source can hold, it holds for every task, and stores, caches and identities are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from foldtune.errors import InputError

SEPARATORS = ("|", ";", ",")


@dataclass(frozen=True, repr=False)
class Task:
    """Base of the tasks. `repr` rebuilds one, as of a method; `parse_task` reads it.

    metrics: what can judge, the first by default. classed: whether an answer is one of few classes.
    """

    metrics: ClassVar[tuple[str, ...]] = ()
    classed: ClassVar[bool] = False

    def outputs(self, texts: Sequence[str]) -> tuple[str, ...]:
        """The names of what is predicted, from the distinct texts of labels."""
        raise NotImplementedError

    def targets(self, texts: Sequence[str], labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """What is to be predicted, (images, ...). labels: (images,), places in `texts`; names:
        `outputs`, of these images or of those that a model was trained on."""
        raise NotImplementedError

    def logits(self, names: int) -> int:
        """How many outputs the classifier has for so many names."""
        return names

    def for_targets(self, targets: np.ndarray) -> Task:
        """The same, with what training must know of its own targets."""
        return self

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Of logits (images, outputs) what each name's share is; of numbers the numbers."""
        raise NotImplementedError

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """What is predicted, in the form of `targets`."""
        raise NotImplementedError

    def scores(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """How right each image's answer is, (images,), from 0 to 1."""
        raise NotImplementedError

    def describe(self, logits: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
        """Each image's answer in words, ready for JSON."""
        raise NotImplementedError

    @property
    def usual(self) -> bool:
        """Whether nothing was said: one label an image."""
        return False

    def __repr__(self) -> str:
        shown = (
            f"{f.name}={getattr(self, f.name)!r}"
            for f in fields(self)
            if getattr(self, f.name) != f.default
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) in float64, without overflow."""
    from scipy.special import expit

    found: np.ndarray = expit(np.asarray(logits, np.float64))
    return found


def number_of(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def places(texts: Sequence[str], names: Sequence[str]) -> np.ndarray:
    place = {name: k for k, name in enumerate(names)}
    for text in texts:
        if text not in place:
            raise foreign(text, names)
    return np.array([place[text] for text in texts], np.int64)


def foreign(text: str, names: Sequence[str]) -> InputError:
    known = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return InputError(f"the label {text!r} is none of the {len(names)} known ones: {known}")

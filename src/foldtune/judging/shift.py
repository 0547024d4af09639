"""Judging a model on images of another kind than it was trained on: domains, subsets, corruptions.

A `Target` is a set of images with labels in the tuning's own classes. Where a shifted set holds
some of these classes only (the 200 of ImageNet-R or -A), the others are ruled out: their logits
are minus infinity.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from foldtune.augment.corruptions import corrupt
from foldtune.data import ImageData
from foldtune.errors import InputError
from foldtune.judging.accuracy import accuracy
from foldtune.judging.calibration import calibration
from foldtune.judging.predict import predict_logits
from foldtune.training.batches import Prepare


@dataclass(frozen=True, eq=False)
class Target:
    """Images to judge on. rows: of pixels; labels: of each row, in the tuning's classes; present:
    the classes that can occur, sorted, or None for all; corruption: name and severity; trained_on:
    how many more there were, which are left out since the model was trained on them."""

    name: str
    pixels: np.ndarray = field(repr=False)
    rows: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    present: tuple[int, ...] | None = None
    corruption: tuple[str, int] | None = None
    seed: int = 0
    trained_on: int = 0

    def among(self, present: tuple[int, ...] | None) -> Target:
        """The images of these classes only, the other classes ruled out: what a figure on a subset
        of the classes is fairly compared with. Raises InputError where none is left."""
        if present is None:
            return self
        kept = np.isin(self.labels, present)
        if not kept.any():
            raise InputError(f"{self.name} has no image of the {len(present)} classes in question")
        return replace(self, rows=self.rows[kept], labels=self.labels[kept], present=present)

    def corrupt(self, name: str, severity: int, seed: int = 0) -> Target:
        """The same images, corrupted as they are read."""
        told = f"{name}:{severity}"
        return replace(self, name=told, corruption=(name, severity), seed=seed)


def target_of(
    name: str,
    data: ImageData,
    rows: np.ndarray,
    classes: Sequence[str],
    mapping: Mapping[str, str] | None = None,
) -> Target:
    """The rows of `data`, labelled by the tuning's `classes`.

    mapping: from the data's class names to the tuning's; to an empty name for classes whose images
    are left out. A class that is not in it is found by its own name, whatever its case, `_` or `-`.
    Raises InputError for a class without a counterpart, and where no image is left.
    """
    places = _places(data.classes, classes, mapping or {}, name)
    labels = places[data.labels[rows]]
    kept = labels >= 0
    if not kept.any():
        raise InputError(f"no image of {name} is left: the mapping leaves out all of its classes")
    present = tuple(np.unique(places[places >= 0]).tolist())
    whole = len(present) == len(classes)
    return Target(name, data.pixels, rows[kept], labels[kept], None if whole else present)


def judge(model: nn.Module, target: Target, prepare: Prepare) -> dict[str, float]:
    """Accuracy and calibration of the model on the target; `top1` first."""
    logits = logits_on(model, target, prepare)
    labels = torch.from_numpy(target.labels)
    return dict(accuracy(logits, labels)) | dict(calibration(logits, labels))


def top1(model: nn.Module, target: Target, prepare: Prepare) -> float:
    """The share of images that are right."""
    right = logits_on(model, target, prepare).argmax(1).numpy() == target.labels
    return float(right.mean())


def logits_on(model: nn.Module, target: Target, prepare: Prepare) -> Tensor:
    """The logits (rows, classes), minus infinity at classes that cannot occur."""
    if target.corruption is not None:
        prepare = _corrupting(prepare, *target.corruption, target.seed)
    logits = predict_logits(model, target.pixels, target.rows, prepare)
    return logits if target.present is None else ruled_out(logits, target.present)


def ruled_out(logits: Tensor, present: Sequence[int]) -> Tensor:
    """The same logits, minus infinity at every class that is not present."""
    kept = torch.zeros(logits.shape[1], dtype=torch.bool)
    kept[list(present)] = True
    return logits.masked_fill(~kept, -torch.inf)


def _corrupting(prepare: Prepare, name: str, severity: int, seed: int) -> Prepare:
    def corrupt_and_prepare(batch: Tensor, generator: torch.Generator | None) -> Tensor:
        return prepare(corrupt(batch, name, severity, seed), generator)

    return corrupt_and_prepare


def _places(
    theirs: Sequence[str], ours: Sequence[str], mapping: Mapping[str, str], name: str
) -> np.ndarray:
    """For each of their classes the index of ours, -1 to leave its images out."""
    index = {_plain(c): i for i, c in enumerate(ours)}
    wanted = {_plain(k): v for k, v in mapping.items()}
    places = []
    for own in theirs:
        told = wanted.get(_plain(own), own)
        place = index.get(_plain(told)) if told else -1
        if place is None:
            source = f"class {own!r} of {name}"
            if told != own:
                source += f" is mapped to {told!r}, which"
            raise InputError(
                f"{source} is none of the tuning's {len(ours)} classes ({', '.join(ours[:5])}, "
                "...); map it with --map FILE, a line 'their class,our class' each, nothing after "
                "the comma to leave its images out"
            )
        places.append(place)
    return np.array(places, dtype=np.int64)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().replace("_", " ").replace("-", " ").strip()

"""Labelled images, decoded and split: what everything above the data floor works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from foldtune.data.identity import as_bytes, split_hash
from foldtune.data.shots import draw_shots, refuse_too_few
from foldtune.data.tasks import refuse_shots
from foldtune.errors import unknown_name
from foldtune.tasks.kinds import USUAL
from foldtune.tasks.task import Task


@dataclass(frozen=True, eq=False, repr=False)
class ImageData:
    """Decoded images with labels and splits. The identity fixes pixels, labels and row order."""

    name: str
    pixels: np.ndarray = field(repr=False)  # (images, height, width, channels), see `Fit.depth`
    labels: np.ndarray = field(repr=False)  # (images,) int64
    classes: tuple[str, ...]
    names: tuple[str, ...] = field(repr=False)  # of the items, as their source calls them
    splits: Mapping[str, np.ndarray] = field(repr=False)  # sorted int64 rows, disjoint
    identity: str
    # (images, 32) uint8: the key of each (`image_key`), 16 bytes, and the hash of its file; of a
    # stream, what gives these rows once they are decoded.
    keys: np.ndarray = field(repr=False)
    facts: Mapping[str, Any]  # ready for JSON
    groups: tuple[str, ...] = field(default=(), repr=False)  # of the images, where they have any
    # What labels say. `classes` are the distinct texts of labels as the source has them, `labels`
    # the place of each image's among them; what is predicted are `outputs` and `targets`.
    task: Task = USUAL

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The names of what is predicted: classes, labels, grades in order, or "value"."""
        return self.task.outputs(self.classes)

    @cached_property
    def targets(self) -> np.ndarray:
        """What is to be predicted of each image, see the task."""
        return self.task.targets(self.classes, self.labels, self.outputs)

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {len(rows):,}" for name, rows in self.splits.items())
        size = "x".join(map(str, self.pixels.shape[1:3]))
        return f"ImageData({self.name}: {len(self.classes)} classes, {counts}, at {size} pixels)"

    def split(self, *names: str) -> np.ndarray:
        """The sorted rows of one split, or of several together."""
        for name in names:
            if name not in self.splits:
                raise unknown_name("split", name, self.splits)
        return np.sort(np.concatenate([np.empty(0, np.int64), *(self.splits[n] for n in names)]))

    def few_shot(self, shots: int, seed: int = 0) -> ImageData:
        """The same data with `shots` images a class in train, and at most as many in validation.

        Drawn from the given splits by `seed` and the pictures' keys, as `draw_shots` tells; the
        test split stays whole. Raises InputError where a class has fewer training images.
        """
        refuse_shots(self.task)
        splits = dict(self.splits)
        for name in ("train", "val"):
            rows = splits[name]
            keys = as_bytes(self.keys[rows][:, :16])
            if name == "train":
                refuse_too_few(rows, self.labels, keys, self.classes, shots)
            splits[name] = draw_shots(rows, self.labels, keys, self.classes, shots, seed)
        facts = {
            **self.facts,
            "counts": {name: len(rows) for name, rows in splits.items()},
            "shots": shots,
            "split_hash": split_hash(splits),
        }
        return replace(self, splits=splits, facts=facts)

    def testing_the_rest(self) -> ImageData:
        """The same data with every image in the test split that is in no other."""
        used = np.concatenate([rows for name, rows in self.splits.items() if name != "test"])
        splits = {**self.splits, "test": np.setdiff1d(np.arange(len(self.labels)), used)}
        facts = {
            **self.facts,
            "counts": {name: len(rows) for name, rows in splits.items()},
            "split_rule": f"{self.facts['split_rule']}; every other image tests",
            "split_hash": split_hash(splits),
        }
        return replace(self, splits=splits, facts=facts)

"""Which pictures a model was trained, watched and tested on, and looking others up among these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from foldtune.data.images import ImageData
from foldtune.data.splits import SPLITS

Parts = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Membership:
    """parts: of each split (images, 2) int64, sorted: a picture's key and its file's hash, the
    first 8 bytes of each; trained: the splits that training saw.

    Of a million pictures looked up among a million, 8 bytes take one for another in one of ten
    million cases.
    """

    parts: Parts
    trained: tuple[str, ...]

    @classmethod
    def of(cls, data: ImageData, trained: Sequence[str]) -> Membership:
        """The membership of data on whose splits `trained` a model is trained."""
        parts = {name: short_keys(data.keys[data.splits[name]]) for name in SPLITS}
        ordered = {name: part[np.lexsort((part[:, 1], part[:, 0]))] for name, part in parts.items()}
        return cls(ordered, tuple(trained))

    @classmethod
    def union(cls, many: Sequence[Membership]) -> Membership:
        """The membership of a model that several others are in."""
        parts = {
            name: np.unique(np.concatenate([one.parts[name] for one in many]), axis=0)
            for name in SPLITS
        }
        trained = {name for one in many for name in one.trained}
        return cls(parts, tuple(name for name in SPLITS if name in trained))

    def within(self, split: str, keys: np.ndarray) -> np.ndarray:
        """Which pictures are in a split, by their key or by their file. keys: (images, 32) uint8.

        Returns (images,) bool.
        """
        asked, part = short_keys(keys), self.parts[split]
        return np.isin(asked[:, 0], part[:, 0]) | np.isin(asked[:, 1], part[:, 1])

    def is_seen(self, keys: np.ndarray) -> np.ndarray:
        """Which pictures training saw, (images,) bool. keys: as in `within`."""
        found = np.zeros(len(keys), bool)
        for split in self.trained:
            found |= self.within(split, keys)
        return found

    def by_file_alone(self, keys: np.ndarray) -> np.ndarray:
        """Of the pictures that training saw those whose key is another now: the same file, decoded
        to other samples."""
        asked = short_keys(keys)
        same = [np.isin(asked[:, 0], self.parts[split][:, 0]) for split in self.trained]
        alone: np.ndarray = self.is_seen(keys) & ~np.any([np.zeros(len(keys), bool), *same], axis=0)
        return alone


def short_keys(keys: np.ndarray) -> np.ndarray:
    """(images, 2) int64 of (images, 32) uint8: the first 8 bytes of key and file's hash."""
    halves = np.ascontiguousarray(keys).reshape(-1, 2, 16)[:, :, :8]
    return np.ascontiguousarray(halves).view("<i8")[:, :, 0].astype(np.int64)

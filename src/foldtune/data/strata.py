"""Splits of data whose labels are no classes: each label, or each range of numbers, in proportion.

Several labels: iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML 2011), the rarest
label first. Numbers: stratified by ranges of equally many pictures. Pictures that are the same, and
those of one group, are one unit; the order of units is by the hash of (seed, keys), as ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from foldtune.data.grouping import Key
from foldtune.errors import InputError
from foldtune.files import digest

_RANGES, _EACH = 10, 10  # ranges of numbers, at most, and pictures of each, at least
_FEWEST = 3  # units, below which a split would be empty


@dataclass(frozen=True, eq=False)
class Strata:
    """What is to be spread evenly: marks (images, kinds) of 0 and 1; names: of the kinds, or none
    where the training split need not hold all; keys, groups: of each image."""

    marks: np.ndarray
    names: tuple[str, ...]
    keys: Sequence[Key]
    groups: Sequence[str]
    seed: int
    how: str

    def draw(self, rows: np.ndarray, fractions: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Sorted, disjoint rows of each split. Raises InputError where one would be empty, or
        train without a label."""
        units = self._units(rows)
        if len(units) < max(_FEWEST, len(fractions)):
            raise InputError(
                f"too few images to draw {', '.join(fractions)}: {len(units)} different ones; add "
                "images, or give the splits"
            )
        counts = np.stack([self.marks[unit].sum(0) for unit in units]).astype(np.float64)
        sizes = np.array([len(unit) for unit in units], np.float64)
        names, shares = list(fractions), np.array(list(fractions.values()))
        places = _deal(counts, sizes, shares)
        drawn = {
            name: np.sort(np.array([r for u in np.flatnonzero(places == s) for r in units[u]], int))
            for s, name in enumerate(names)
        }
        self.refuse_untrained({"train": drawn["train"], "rest": rows})
        empty = [name for name, part in drawn.items() if not len(part)]
        if empty:
            raise InputError(f"too few images to draw {empty[0]}; add some, or give the splits")
        return drawn

    def refuse_untrained(self, rows: Mapping[str, np.ndarray]) -> None:
        """Raise InputError for a label that no training image has and another split holds."""
        trained = self.marks[rows["train"]].any(0)
        for name, part in rows.items():
            lost = np.flatnonzero(self.marks[part].any(0) & ~trained)
            if self.names and len(lost):
                where = "the data" if name == "rest" else name
                raise InputError(
                    f"no training image with the label {self.names[lost[0]]}, which {where} holds; "
                    "add images to train, or remove the label"
                )

    def _units(self, rows: np.ndarray) -> list[list[int]]:
        above: dict[Key, Key] = {}

        def root(one: Key) -> Key:
            while above.setdefault(one, one) != one:
                one = above[one]
            return one

        for row in rows.tolist():
            if self.groups:
                above[root(self.keys[row])] = root(f"group {self.groups[row]}")
        units: dict[Key, list[int]] = {}
        for row in rows.tolist():
            units.setdefault(root(self.keys[row]), []).append(row)
        turn = {u: digest([self.seed, *sorted(self.keys[r] for r in m)]) for u, m in units.items()}
        return [units[unit] for unit in sorted(units, key=lambda unit: turn[unit])]


def _deal(counts: np.ndarray, sizes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The split of each unit. counts: (units, kinds); shares: of the splits."""
    wanted, room = shares[:, None] * counts.sum(0), shares * sizes.sum()
    places = np.full(len(sizes), -1)
    left = counts.sum(0)
    while (places < 0).any():
        open_units = places < 0
        kinds = np.flatnonzero(left > 0)
        if len(kinds):
            kind = int(kinds[left[kinds].argmin()])
            units = np.flatnonzero(open_units & (counts[:, kind] > 0))
        else:  # images without a label
            kind, units = -1, np.flatnonzero(open_units)
        for unit in units.tolist():
            need = wanted[:, kind] if kind >= 0 else room
            best = max(range(len(shares)), key=lambda s: (need[s], room[s], -s))
            places[unit] = best
            wanted[best] -= counts[unit]
            room[best] -= sizes[unit]
            left = left - counts[unit]
    return places


def ranges(numbers: np.ndarray, rows: int) -> np.ndarray:
    """(images, ranges) of 0 and 1: ranges of equally many numbers, at most ten."""
    many = int(np.clip(rows // _EACH, 1, _RANGES))
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, many + 1)[1:-1]))
    found: np.ndarray = np.eye(len(edges) + 1, dtype=np.int64)[np.searchsorted(edges, numbers)]
    return found

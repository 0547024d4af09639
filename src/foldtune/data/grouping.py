"""Splits that part no group: the images of one patient or one burst stay together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from foldtune.errors import InputError
from foldtune.files import digest

Key = str | bytes  # of a picture, `image_key`


def draw_by_groups(
    rows: np.ndarray,
    labels: np.ndarray,
    keys: Sequence[Key],
    groups: Sequence[str],
    classes: Sequence[str],
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, np.ndarray]:
    """Deal whole groups to splits so that each class comes near its fractions.

    Groups that share a picture count as one. Large groups first, then by the hash of (seed, keys);
    each goes to the split that lacks most of its classes, measured in shares of what the split
    should have. So the pictures and the seed alone decide. Raises InputError where a class ends up
    without a training image, or a split empty: too few groups hold it.
    """
    members = _members(rows.tolist(), keys, groups)
    names = list(fractions)
    wanted = np.array([fractions[name] for name in names])[:, None] * np.bincount(
        labels[rows], minlength=len(classes)
    )
    lacking = wanted.copy()
    drawn: dict[str, list[int]] = {name: [] for name in names}

    def turn(group: list[int]) -> tuple[int, str]:
        return -len(group), digest([seed, *sorted(keys[row] for row in group)])

    for group in sorted(members, key=turn):
        counts = np.bincount(labels[group], minlength=len(classes))
        need = ((lacking / np.maximum(wanted, 1e-9)) * counts).sum(1)
        best = int(need.argmax())
        lacking[best] -= counts
        drawn[names[best]] += group
    for name in names:
        held = set(labels[drawn[name]].tolist()) if drawn[name] else set()
        lost = sorted(set(labels[rows].tolist()) - held) if name == "train" else []
        if lost or not held:
            lack = f"{name} lacks class {classes[lost[0]]}" if lost else f"{name} would be empty"
            raise InputError(
                f"{len(members)} groups are too few to draw {', '.join(names)}: {lack}; use finer "
                "groups, or give the splits"
            )
    return {name: np.sort(np.array(part, dtype=np.int64)) for name, part in drawn.items()}


def _members(rows: Sequence[int], keys: Sequence[Key], groups: Sequence[str]) -> list[list[int]]:
    """The rows of each group, and of groups that hold one picture together."""
    above: dict[str, str] = {}

    def root(group: str) -> str:
        while above.setdefault(group, group) != group:
            group = above[group]
        return group

    first: dict[Key, str] = {}
    for row in rows:
        above[root(groups[row])] = root(first.setdefault(keys[row], groups[row]))
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(root(groups[row]), []).append(row)
    return list(found.values())


def refuse_parted(rows: Mapping[str, np.ndarray], groups: Sequence[str]) -> None:
    """Refuse given splits of which two hold images of one group."""
    if not groups:
        return
    held = {name: {groups[row] for row in part.tolist()} for name, part in rows.items()}
    for one, other in (("train", "test"), ("train", "val"), ("val", "test")):
        shared = sorted(held[one] & held[other])
        if shared:
            raise InputError(
                f"{len(shared)} groups are in {one} and in {other} ({', '.join(shared[:5])}), so "
                f"{other} is no fair judge; move each to one side, or leave the splits to be drawn"
            )

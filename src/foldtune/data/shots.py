"""Few shots: one rule for `--shots` and for subsets that are written as files of names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.data.grouping import Key
from foldtune.data.sources.listing import Listing
from foldtune.data.splits import complete_splits, in_order
from foldtune.errors import InputError


def draw_shots(
    rows: np.ndarray,
    labels: np.ndarray,
    keys: Sequence[Key],
    classes: Sequence[str],
    shots: int,
    seed: int,
) -> np.ndarray:
    """The sorted rows of `shots` different pictures a class; of a smaller class, all.

    keys: of these rows. Drawn by (seed, key) in the order in which splits are, so a larger number
    of shots holds a smaller one of the same seed, and size, names and format change nothing.
    """
    kept: list[int] = []
    for label in range(len(classes)):
        own = {keys[i]: int(rows[i]) for i in np.flatnonzero(labels[rows] == label)[::-1].tolist()}
        kept += [own[key] for key in in_order(own, seed)[:shots]]
    return np.sort(np.array(kept, np.int64))


def refuse_too_few(
    rows: np.ndarray,
    labels: np.ndarray,
    keys: Sequence[Key],
    classes: Sequence[str],
    shots: int,
) -> None:
    """Refuse shots that a class of these training rows, with their keys, does not have."""
    if shots < 1:
        raise InputError(f"shots must be at least 1, not {shots}")
    pictures = {label: set() for label in range(len(classes))}  # type: dict[int, set[Key]]
    for row, key in zip(rows.tolist(), keys, strict=True):
        pictures[int(labels[row])].add(key)
    label, poor = min(pictures.items(), key=lambda pair: (len(pair[1]), pair[0]))
    if len(poor) < shots:
        raise InputError(
            f"class {classes[label]} has {len(poor)} training images; {shots} shots need as many"
        )


def draw_subset(listing: Listing, keys: Sequence[Key], shots: int, seed: int) -> list[int]:
    """The items that `--shots` trains on, in the listing's order.

    keys: of each item. Raises InputError where a class has too few training images.
    """
    labels = np.array([item.label for item in listing.items], np.int64)
    splits, _ = complete_splits(
        [item.split for item in listing.items], labels, keys, listing.classes, seed,
        groups=listing.groups, published=listing.published,
    )  # fmt: skip
    rows = splits["train"]
    own = [keys[row] for row in rows]
    refuse_too_few(rows, labels, own, listing.classes, shots)
    return [int(row) for row in draw_shots(rows, labels, own, listing.classes, shots, seed)]


def write_subset(
    listing: Listing, keys: Sequence[Key], shots: int, seed: int, out: Path
) -> dict[str, Any]:
    """Write the names of a subset, one a line with the label behind, for `index=` of a spec."""
    rows = draw_subset(listing, keys, shots, seed)
    lines = [f"{listing.items[row].name} {listing.items[row].label}\n" for row in rows]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    return {"images": len(rows), "classes": len(listing.classes), "seed": seed, "out": str(out)}

"""Few-shot subsets as files of names: drawn from a listing alone, without reading an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foldtune.data.identity import digest
from foldtune.data.listing import Listing
from foldtune.errors import InputError


def draw_subset(listing: Listing, shots: int, seed: int) -> list[int]:
    """The rows of `shots` training images a class, in order; items without a split count as such.

    Within a class images are ordered by the hash of (seed, name), so a larger number of shots
    holds a smaller one of the same seed. Raises InputError where a class has too few.
    """
    if shots < 1:
        raise InputError(f"shots must be at least 1, not {shots}")
    by_class: dict[int, list[int]] = {label: [] for label in range(len(listing.classes))}
    for row, item in enumerate(listing.items):
        if item.split in (None, "train"):
            by_class[item.label].append(row)
    rows = []
    for label, members in by_class.items():
        if len(members) < shots:
            raise InputError(
                f"class {listing.classes[label]} has {len(members)} training images; {shots} shots "
                "need as many"
            )
        rows += sorted(members, key=lambda row: digest([seed, listing.items[row].name]))[:shots]
    return sorted(rows)


def write_subset(listing: Listing, shots: int, seed: int, out: Path) -> dict[str, Any]:
    """Write the names of a subset, one a line with the label behind, for `index=` of a spec."""
    rows = draw_subset(listing, shots, seed)
    lines = [f"{listing.items[row].name} {listing.items[row].label}\n" for row in rows]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    return {"images": len(rows), "classes": len(listing.classes), "seed": seed, "out": str(out)}

"""What every set and path can be asked for: class names, merged classes, index files.

names=FILE       names of the classes: one a line in label order, or `class<tab>name`
map=FILE         a CSV `class,new class`: merges and renames; classes not listed are left out
index=FILE       which training items to use; val_index and test_index likewise
draw=N           which row of an index file of several drawings, from 0
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from foldtune.data.sources.listing import Item, Listing
from foldtune.data.sources.spec import Spec
from foldtune.errors import InputError

COMMON = ("names", "map", "index", "val_index", "test_index", "draw")


def apply_options(listing: Listing, spec: Spec) -> Listing:
    """The listing with the common options of a spec applied: indices, then map, then names."""
    files = {split: spec.file(key) for key, split in _INDEX.items()}
    if any(files.values()):
        listing = choose(listing, files, spec.number("draw", 0))
    mapping, names = spec.file("map"), spec.file("names")
    if mapping is not None:
        listing = map_classes(listing, mapping)
    if names is not None:
        listing = name_classes(listing, names)
    return listing


_INDEX = {"index": "train", "val_index": "val", "test_index": "test"}


def keep(listing: Listing, rows: Sequence[int], items: Sequence[Item] | None = None) -> Listing:
    """Some rows of a listing, as they are or as `items`."""
    return replace(
        listing,
        items=tuple(items if items is not None else (listing.items[row] for row in rows)),
        stamps=tuple(listing.stamps[row] for row in rows) if listing.stamps else (),
        groups=tuple(listing.groups[row] for row in rows) if listing.groups else (),
    )


def choose(listing: Listing, files: dict[str, Path | None], draw: int = 0) -> Listing:
    """The items that index files name; splits without a file stay, less what the files took.

    A .npy holds positions in the training items (those without a split count as such), one row per
    drawing or one for all; a text file holds positions or names, one a line, a label behind a
    name being ignored. `test_index` counts in the test items. So a file of validation rows can be
    cut from the same training items as the file of training rows.
    """
    chosen: dict[int, str] = {}
    for split, file in files.items():
        if file is None:
            continue
        pool = [
            row for row, item in enumerate(listing.items)
            if (item.split or "train") == ("test" if split == "test" else "train")
        ]  # fmt: skip
        for row in _rows(listing, pool, file, draw):
            if chosen.setdefault(row, split) != split:
                raise InputError(
                    f"{file} names {listing.items[row].name}, which the file of {chosen[row]} "
                    "names, too: an image belongs to one split"
                )
    for row, item in enumerate(listing.items):
        split = item.split or "train"
        if files.get(split) is None:
            chosen.setdefault(row, split)
    rows = sorted(chosen)
    items = [replace(listing.items[row], split=chosen[row]) for row in rows]
    return keep(listing, rows, items)


def _rows(listing: Listing, pool: Sequence[int], file: Path, draw: int) -> list[int]:
    if file.suffix.lower() == ".npy":
        return _positions(_read_npy(file, draw), pool, file)
    lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
    if all(line.isdecimal() for line in lines):
        return _positions(np.array([int(line) for line in lines], np.int64), pool, file)
    where = {listing.items[row].name: row for row in pool}
    rows = []
    for number, line in enumerate(lines, 1):
        row = where.get(line, where.get(line.rsplit(None, 1)[0]))
        if row is None:
            raise InputError(f"{file}: line {number} names {line!r}, which is not in the data")
        rows.append(row)
    return rows


def _read_npy(file: Path, draw: int) -> np.ndarray:
    try:
        indices: np.ndarray = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file} is not a whole .npy of numbers ({error})") from error
    if indices.dtype.kind not in "iu" or indices.ndim not in (1, 2):
        raise InputError(
            f"{file} holds {indices.dtype} of shape {indices.shape}; expected whole numbers, "
            "(images,) or (drawings, images)"
        )
    if indices.ndim == 1:
        return indices
    if draw >= len(indices):
        raise InputError(f"{file} holds drawings 0 to {len(indices) - 1}, not draw={draw}")
    drawn: np.ndarray = indices[draw]
    return drawn


def _positions(indices: np.ndarray, pool: Sequence[int], file: Path) -> list[int]:
    if not len(indices):
        raise InputError(f"{file} names no image")
    if indices.min() < 0 or indices.max() >= len(pool):
        raise InputError(
            f"{file} reaches from {indices.min()} to {indices.max()}, but there are {len(pool)} "
            "images, counted from 0"
        )
    if len(np.unique(indices)) != len(indices):
        raise InputError(f"{file} names an image twice; remove the repetition")
    return [pool[i] for i in indices.tolist()]


def map_classes(listing: Listing, file: Path) -> Listing:
    """Merge and rename classes by a CSV of (class, new class)."""
    rows = [row for row in csv.reader(file.read_text("utf-8-sig").splitlines()) if any(row)]
    bad = next((row for row in rows if len(row) != 2), None)
    if bad is not None:
        raise InputError(f"{file}: {','.join(bad)!r} is not `class,new class`")
    wanted = {old.strip(): new.strip() for old, new in rows}
    if not set(wanted) & set(listing.classes):
        raise InputError(
            f"{file} lists none of the classes {', '.join(listing.classes[:5])}, ...; its first "
            f"column must hold them, but holds {', '.join(list(wanted)[:5])}"
        )
    classes = tuple(sorted({wanted[name] for name in listing.classes if name in wanted}))
    index = {name: label for label, name in enumerate(classes)}
    of = {i: index[wanted[n]] for i, n in enumerate(listing.classes) if n in wanted}
    rows_kept = [row for row, item in enumerate(listing.items) if item.label in of]
    items = [replace(listing.items[r], label=of[listing.items[r].label]) for r in rows_kept]
    return replace(keep(listing, rows_kept, items), classes=classes)


def name_classes(listing: Listing, file: Path) -> Listing:
    """Give classes the names of a file; labels and their order stay."""
    lines = [line for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
    pairs = dict(line.split("\t", 1) for line in lines if "\t" in line)
    if pairs:
        names = [pairs.get(name, name).split(",")[0].strip() for name in listing.classes]
    elif len(lines) == len(listing.classes):
        names = [line.strip() for line in lines]
    else:
        raise InputError(
            f"{file} has {len(lines)} names for {len(listing.classes)} classes; give one a line, "
            "or lines of class, tab, name"
        )
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    # Two synsets may share a word (crane the bird, crane the machine): keep them apart.
    told = zip(names, listing.classes, strict=True)
    names = [name if seen[name] == 1 else f"{name} ({old})" for name, old in told]
    return replace(listing, classes=tuple(names))

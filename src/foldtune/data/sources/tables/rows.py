"""A CSV, JSONL or parquet table of images: `path` or the bytes, `label`, perhaps `split`, `group`.

Paths are relative to the table's folder. Bytes: a parquet column `image` or `bytes` (binary, or a
struct with `bytes` as Hugging Face writes it), or a JSONL field `bytes` in base64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from foldtune.data.sources.listing import Item, Listing
from foldtune.data.sources.readers import FileReader
from foldtune.data.sources.tables.beside import found_names
from foldtune.data.sources.tables.cells import BYTES, read_cells
from foldtune.data.sources.tables.columns import Cells
from foldtune.data.sources.trees import file_stamp
from foldtune.data.splits import SPLITS, split_name
from foldtune.errors import InputError
from foldtune.tasks.kinds import MultiLabel
from foldtune.tasks.recognition import recognise


def read_table(path: Path, group: str | None = None) -> Listing:
    """List the images of a table.

    Labels that are all numbers are sorted as numbers, others by name. A split is train, val
    (valid, validation) or test, for every row or for none. group: the column of what drawn splits
    must not part, by default `group` where there is one. A CSV may be separated by comma,
    semicolon or tab, with or without a byte order mark. `<table>.classes.txt` beside it states
    the classes in order, also such as have no image. Labels may be lists, or a column of 0 and 1
    each: several an image; or numbers to predict.
    """
    cells = read_cells(path, group)
    labels = cells.columns["label"]
    if not labels:
        raise InputError(f"{path} has a header but no row; give one row an image")
    stated = _stated_classes(path, labels)
    task, doubt = (MultiLabel(), "") if cells.several else recognise(labels)
    several = isinstance(task, MultiLabel)  # where no label is one answer
    for name, column in cells.columns.items():
        for row, cell in enumerate(column):
            if not cell and (name == "path" or (name == "label" and not several)):
                raise InputError(f"{path}: row {row + 1} has no {name}; fill it in or remove it")
    _check_groups(path, cells.columns.get("group", []))
    present = set(labels)
    classes = stated or tuple(name for name in cells.classes if name in present)
    classes = classes or sorted_labels(present)
    index = {name: label for label, name in enumerate(classes)}
    splits = _splits(path, cells.columns.get("split"), len(labels))
    names = _names(path, cells, len(labels))
    items = tuple(map(Item, names, (index[label] for label in labels), splits))
    groups = tuple(cells.columns.get("group", ()))
    groups = groups if any(groups) else ()
    fixed = stated is not None
    root = path.parent.resolve()
    if cells.open is not None:
        stamps = (f"{path.name} {file_stamp(path)}",) * len(items)
        return Listing(
            items, classes, cells.open, stamps, str(root), groups=groups, published=fixed,
            task=task, doubt="" if fixed else doubt,
        )  # fmt: skip
    stamps = tuple(file_stamp(root / item.name) for item in items)
    return Listing(
        items, classes, FileReader(str(root)), stamps, str(root), groups=groups, published=fixed,
        task=task, doubt="" if fixed else doubt,
    )  # fmt: skip


def _check_groups(path: Path, groups: Sequence[str]) -> None:
    """A column of groups is full or empty."""
    if any(groups) and not all(groups):
        row = list(groups).index("")
        raise InputError(f"{path}: row {row + 1} has no group; fill it in, or empty the column")


def _names(path: Path, cells: Cells, rows: int) -> list[str]:
    if cells.open is not None:
        return [f"{BYTES}{row}" for row in range(rows)]
    return found_names(path, [file.replace("\\", "/") for file in cells.columns["path"]])


def _stated_classes(path: Path, labels: Sequence[str]) -> tuple[str, ...] | None:
    """The classes in order, where `<table>.classes.txt` beside a table states them, one a line."""
    file = path.with_suffix(".classes.txt")
    if not file.is_file():
        return None
    classes = tuple(line for line in file.read_text("utf-8-sig").splitlines() if line)
    odd = sorted(set(labels) - {*classes, ""})
    if odd:
        raise InputError(f"{path} holds the label {odd[0]!r}, which {file.name} does not list")
    return classes


def sorted_labels(labels: set[str]) -> tuple[str, ...]:
    """Labels in order: as numbers where all are, else by name."""
    try:
        numbers = {label: float(label) for label in labels}
    except ValueError:
        return tuple(sorted(labels))
    # 'nan' and 'inf' are read as numbers, but are words.
    by_number = all(map(math.isfinite, numbers.values()))
    return tuple(sorted(labels, key=lambda n: (numbers[n], n) if by_number else (0.0, n)))


def _splits(path: Path, cells: Sequence[str] | None, rows: int) -> list[str | None]:
    if cells is None or not any(cells):
        return [None] * rows
    splits = [split_name(cell) for cell in cells]
    if None in splits:
        row = splits.index(None)
        raise InputError(
            f"{path}: row {row + 1} has the split {cells[row]!r}; expected one of "
            f"{', '.join(SPLITS)} in every row, or no split at all"
        )
    return splits

"""A CSV or parquet table of images: columns `path`, `label` and, if wished, `split`."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foldtune.data.layout import Item
from foldtune.data.sources import FileReader, Listing, file_stamp
from foldtune.data.splits import SPLITS, split_name
from foldtune.errors import InputError

_COLUMNS = ("path", "label", "split")


def read_table(path: Path) -> Listing:
    """List the images of a table.

    Paths are relative to the table's folder. Labels that are all numbers are sorted as numbers,
    others by name. A split is train, val (valid, validation) or test, for every row or for none.
    A CSV may be separated by comma, semicolon or tab, with or without a byte order mark.
    """
    parquet = path.suffix.lower() in (".parquet", ".pq")
    columns = _read_parquet(path) if parquet else _read_csv(path)
    files, labels = columns["path"], columns["label"]
    if not files:
        raise InputError(f"{path} has a header but no row; give one row an image")
    for name, cells in (("path", files), ("label", labels)):
        for row, cell in enumerate(cells):
            if not cell:
                raise InputError(f"{path}: row {row + 1} has no {name}; fill it in or remove it")
    classes = _sorted_labels(set(labels))
    if len(classes) < 2:
        raise InputError(
            f"{path} holds one label only, {classes[0]!r}; a classifier needs at least two"
        )
    index = {name: label for label, name in enumerate(classes)}
    names = [file.replace("\\", "/") for file in files]
    splits = _splits(path, columns.get("split"), len(files))
    items = tuple(map(Item, names, (index[label] for label in labels), splits))
    root = path.parent.resolve()
    stamps = tuple(file_stamp(root / name) for name in names)
    return Listing(items, classes, FileReader(str(root)), stamps, str(root))


def _read_csv(path: Path) -> dict[str, list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            separator = max(",;\t", key=header.count)
            rows = [row for row in csv.reader(file, delimiter=separator) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a readable CSV ({error}); save it as UTF-8") from error
    if not rows:
        raise InputError(f"{path} is empty; expected a header path,label and one row an image")
    where = _find_columns(path, rows[0])
    for number, row in enumerate(rows[1:], 1):
        if len(row) < len(rows[0]):
            raise InputError(
                f"{path}: row {number} has {len(row)} cells, the header {len(rows[0])}; complete it"
            )
    return {name: [row[place].strip() for row in rows[1:]] for name, place in where.items()}


def _read_parquet(path: Path) -> dict[str, list[str]]:
    import pyarrow
    from pyarrow import parquet

    try:
        names = parquet.read_schema(path).names
        where = _find_columns(path, names)
        table = parquet.read_table(path, columns=[names[place] for place in where.values()])
    except (OSError, pyarrow.ArrowException) as error:
        text = str(error).splitlines()[0]
        raise InputError(
            f"{path} is not a readable parquet file ({text}); write it again"
        ) from error
    cells = {name: table[names[place]].to_pylist() for name, place in where.items()}
    return {name: [_text(cell) for cell in column] for name, column in cells.items()}


def _text(cell: Any) -> str:
    """A cell as text. A column of whole numbers with a gap comes as floats: 3.0 is the label 3."""
    if cell is None or cell != cell:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def _find_columns(path: Path, header: Sequence[str]) -> Mapping[str, int]:
    """Where the known columns are; upper case and blanks around a name do not matter."""
    names = [name.strip().casefold() for name in header]
    missing = [name for name in _COLUMNS[:2] if name not in names]
    if missing:
        raise InputError(
            f"{path} has no column {' and no column '.join(missing)}; its columns are: "
            f"{', '.join(header)}; rename yours to path, label and, if wished, split"
        )
    return {name: names.index(name) for name in _COLUMNS if name in names}


def _sorted_labels(labels: set[str]) -> tuple[str, ...]:
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

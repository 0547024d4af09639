"""The cells of a CSV, JSONL or parquet file, as text, and a reader of images kept in it."""

from __future__ import annotations

import base64
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldtune import gate
from foldtune.data.sources.tables.columns import Cells, Columns
from foldtune.data.sources.tables.exports import read_export
from foldtune.errors import InputError, NotInstalled

BYTES = "row "  # what the names of images inside a table begin with
_IMAGES = ("image", "bytes")


def read_cells(path: Path, group: str | None) -> Cells:
    """Read the columns of a table; group: the name of the column of groups, if not `group`."""
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return _parquet(path, group)
    if suffix == ".json":
        if group is not None:
            raise InputError(
                f"{path} has no column {group} to group by; it is an annotation tool's"
            )
        return read_export(path)
    return _jsonl(path, group) if suffix in (".jsonl", ".ndjson") else _csv(path, group)


def _csv(path: Path, group: str | None) -> Cells:
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

    def column(place: int) -> list[Any]:
        return [row[place].strip() for row in rows[1:]]

    for number, row in enumerate(rows[1:], 1):
        if len(row) < len(rows[0]):
            raise InputError(
                f"{path}: row {number} has {len(row)} cells, the header {len(rows[0])}; complete it"
            )
    return Columns.find(path, rows[0], column, group, False).cells(path, column)


def _jsonl(path: Path, group: str | None) -> Cells:
    """A JSON object a line. Fields of the first row count as the columns."""
    rows: list[dict[str, Any]] = []
    places: list[tuple[int, int]] = []
    with path.open("rb") as file:
        at = 0
        for number, line in enumerate(file, 1):
            if line.strip():
                rows.append(_object(path, number, line))
                places.append((at, len(line)))
            at += len(line)
    if not rows:
        raise InputError(f'{path} is empty; expected {{"path": ..., "label": ...}} a line')
    inside = next((name for name in _IMAGES if name in rows[0] and "path" not in rows[0]), None)
    header = list(rows[0])

    def column(place: int) -> list[Any]:
        return [row.get(header[place]) for row in rows]

    reader = JsonlReader(str(path.resolve()), inside, places) if inside else None
    found = Columns.find(path, header, column, group, inside is not None)
    return found.cells(path, column, reader)


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    row = gate.parse(line, f"{path}: line {number}")
    if not isinstance(row, dict):
        raise InputError(f"{path}: line {number} is no JSON object; expected {{...}} a line")
    return row


def _parquet(path: Path, group: str | None) -> Cells:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise NotInstalled(str(path), "pyarrow", "parquet") from None
    try:
        schema = parquet.read_schema(path)
        names = schema.names
        inside = next((name for name in _IMAGES if name in names and "path" not in names), None)

        def column(place: int) -> list[Any]:
            cells: list[Any] = parquet.read_table(path, columns=[names[place]])[0].to_pylist()
            return cells

        found = Columns.find(path, names, column, group, inside is not None)
        reader = ParquetReader(str(path.resolve()), inside) if inside else None
        if found.hot:
            return found.cells(path, column, reader)
        classes = _class_label(schema.metadata, names[found.where["label"]])
        return found.cells(
            path, column, reader, classes, lambda cell: _class_name(path, cell, classes)
        )
    except (OSError, pyarrow.ArrowException) as error:
        text = str(error).splitlines()[0]
        raise InputError(
            f"{path} is not a readable parquet file ({text}); write it again"
        ) from error


def _class_label(metadata: Mapping[bytes, bytes] | None, column: str) -> tuple[str, ...]:
    """The names of a `ClassLabel`, as Hugging Face's datasets write them into the schema."""
    try:
        told = gate.parse((metadata or {})[b"huggingface"], "the schema")
        feature = told["info"]["features"][column]
        while isinstance(feature, list) or (isinstance(feature, dict) and "feature" in feature):
            feature = feature[0] if isinstance(feature, list) else feature["feature"]
        names = feature["names"] if feature.get("_type") == "ClassLabel" else ()
        return tuple(map(str, names))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError):
        return ()


def _class_name(path: Path, cell: Any, classes: Sequence[str]) -> Any:
    if not classes or not isinstance(cell, int):
        return cell
    if not 0 <= cell < len(classes):
        raise InputError(
            f"{path} holds the label {cell} and names {len(classes)} classes; unlabelled?"
        )
    return classes[cell]


def has_labels(path: Path) -> bool:
    """Whether a table has a column of labels. Raises InputError where it cannot be read."""
    try:
        read_cells(path, None)
    except InputError as error:
        if "no column label" in str(error):
            return False
        raise
    return True


@dataclass(frozen=True)
class JsonlReader:
    """Reads base64 images out of the lines of a JSONL file."""

    path: str
    field: str
    places: Sequence[tuple[int, int]]  # offset and bytes of each row's line

    def __call__(self, name: str) -> bytes:
        at, size = self.places[int(name.removeprefix(BYTES))]
        with open(self.path, "rb") as file:
            file.seek(at)
            row = gate.parse(file.read(size), self.path, largest=max(size, gate.LARGEST))
            return base64.b64decode(row[self.field])


class ParquetReader:
    """Reads images out of a parquet column, keeping the row group that was read last."""

    def __init__(self, path: str, column: str) -> None:
        self.path, self.column = path, column
        self._file: Any = None
        self._starts: list[int] = []
        self._group: tuple[int, Any] = (-1, None)

    def __call__(self, name: str) -> bytes:
        from bisect import bisect_right

        from pyarrow import parquet

        if self._file is None:
            self._file = parquet.ParquetFile(self.path)
            count = 0
            for number in range(self._file.num_row_groups):
                self._starts.append(count)
                count += self._file.metadata.row_group(number).num_rows
        row = int(name.removeprefix(BYTES))
        number = bisect_right(self._starts, row) - 1
        if self._group[0] != number:
            column = self._file.read_row_group(number, columns=[self.column])[self.column]
            self._group = (number, column)
        cell = self._group[1][row - self._starts[number]].as_py()
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(data, bytes):
            raise ValueError(f"column {self.column} holds no bytes")
        return data

    def __getstate__(self) -> dict[str, Any]:
        clean = ParquetReader(self.path, self.column)
        return vars(clean)

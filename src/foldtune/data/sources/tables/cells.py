"""The cells of a CSV, JSONL or parquet file, as text, and a reader of images kept in it."""

from __future__ import annotations

import base64
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldtune import gate
from foldtune.data.sources.listing import Reader
from foldtune.data.sources.tables.exports import read_export
from foldtune.errors import InputError, NotInstalled

BYTES = "row "  # what the names of images inside a table begin with
_KNOWN = ("path", "label", "split", "group")
# What tables of others call these columns; taken where the usual name is not there.
_ALSO = {
    "path": ("file_name", "filename", "image_path", "id_code", "image_id"),
    "label": ("class", "class_name", "category"),
}
_IMAGES = ("image", "bytes")


@dataclass(frozen=True)
class Cells:
    """The known columns; and, where the images are in the table, what reads one by its name."""

    columns: Mapping[str, list[str]]
    open: Reader | None = None
    classes: tuple[str, ...] = ()  # in their order, where the table's format states it


def read_cells(path: Path, group: str | None) -> Cells:
    """Read the columns of a table; group: the name of the column of groups, if not `group`."""
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return _parquet(path, group)
    if suffix == ".json":
        columns, classes = read_export(path)
        if group is not None:
            raise InputError(
                f"{path} has no column {group} to group by; it is an annotation tool's"
            )
        return Cells(columns, classes=classes)
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
    where = _find_columns(path, rows[0], group)
    for number, row in enumerate(rows[1:], 1):
        if len(row) < len(rows[0]):
            raise InputError(
                f"{path}: row {number} has {len(row)} cells, the header {len(rows[0])}; complete it"
            )
    return Cells({n: [row[place].strip() for row in rows[1:]] for n, place in where.items()})


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
    where = _find_columns(path, list(rows[0]), group, inside is not None)
    fields = {name: list(rows[0])[place] for name, place in where.items()}
    columns = {
        name: [_cell(path, name, row.get(key)) for row in rows] for name, key in fields.items()
    }
    return Cells(columns, JsonlReader(str(path.resolve()), inside, places) if inside else None)


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
        where = _find_columns(path, names, group, inside is not None)
        table = parquet.read_table(path, columns=[names[place] for place in where.values()])
    except (OSError, pyarrow.ArrowException) as error:
        text = str(error).splitlines()[0]
        raise InputError(
            f"{path} is not a readable parquet file ({text}); write it again"
        ) from error
    cells = {name: table[names[place]].to_pylist() for name, place in where.items()}
    classes = _class_label(schema.metadata, names[where["label"]])
    if classes:
        cells["label"] = [_named(path, cell, classes) for cell in cells["label"]]
    columns = {name: [_cell(path, name, cell) for cell in col] for name, col in cells.items()}
    return Cells(columns, ParquetReader(str(path.resolve()), inside) if inside else None, classes)


def _class_label(metadata: Mapping[bytes, bytes] | None, column: str) -> tuple[str, ...]:
    """The names of a `ClassLabel`, as Hugging Face's datasets write them into the schema."""
    try:
        told = gate.parse((metadata or {})[b"huggingface"], "the schema")
        feature = told["info"]["features"][column]
        names = feature["names"] if feature.get("_type") == "ClassLabel" else ()
        return tuple(map(str, names))
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return ()


def _named(path: Path, cell: Any, classes: Sequence[str]) -> Any:
    if not isinstance(cell, int):
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


def _cell(path: Path, name: str, cell: Any) -> str:
    """A cell as text; several labels in one are refused."""
    if isinstance(cell, list | tuple) and len(cell) == 1:
        cell = cell[0]
    if isinstance(cell, list | tuple | dict):
        raise InputError(
            f"{path} holds {str(cell)[:40]} as {name}; expected one text or number (several labels "
            "an image are no classification into classes)"
        )
    return _text(cell)


def _text(cell: Any) -> str:
    """A cell as text. A column of whole numbers with a gap comes as floats: 3.0 is the label 3."""
    if cell is None or cell != cell:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def _usual(names: list[str]) -> list[str]:
    """Names of columns, those of others made the usual ones where there is one such."""
    for usual, others in _ALSO.items():
        found = [name for name in others if name in names]
        if usual not in names and len(found) == 1:
            names = [usual if name == found[0] else name for name in names]
    return names


def _find_columns(
    path: Path, header: Sequence[str], group: str | None, inside: bool = False
) -> Mapping[str, int]:
    """Where the known columns are; upper case and blanks around a name do not matter."""
    names = [name.strip().casefold() for name in header]
    names = _usual(names)
    wanted = ("label",) if inside else ("path", "label")
    missing = [name for name in wanted if name not in names]
    if missing:
        raise InputError(
            f"{path} has no column {' and no column '.join(missing)}; its columns are: "
            f"{', '.join(header)}; rename yours to path, label and, if wished, split"
        )
    if group is not None and group.casefold() not in names:
        raise InputError(f"{path} has no column {group} to group by; it has: {', '.join(header)}")
    found = {name: names.index(name) for name in _KNOWN if name in names}
    if inside:
        found.pop("path", None)
    return found if group is None else {**found, "group": names.index(group.casefold())}

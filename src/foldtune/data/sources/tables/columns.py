"""Which columns of a table are the known ones, and their cells as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldtune.data.sources.listing import Reader
from foldtune.errors import InputError
from foldtune.tasks.recognition import joined_labels

_KNOWN = ("path", "label", "split", "group")
# What tables of others call these columns; taken where the usual name is not there.
_ALSO = {
    "path": ("file_name", "filename", "image_path", "id_code", "image_id"),
    "label": ("class", "class_name", "category"),
}
_HELD = frozenset(("1", "true"))  # of a column of 0 and 1, which is a label
_HOT = frozenset(("0", "false")) | _HELD

Column = Callable[[int], list[Any]]  # the cells of the column at a place of the header


@dataclass(frozen=True)
class Cells:
    """The known columns; and, where the images are in the table, what reads one by its name."""

    columns: Mapping[str, list[str]]
    open: Reader | None = None
    classes: tuple[str, ...] = ()  # in their order, where the table's format states it
    several: bool = False  # whether an image may have several labels, then joined in a text


@dataclass(frozen=True)
class Columns:
    """where: the place of each known column; hot: of those that are a label each, in a table
    without a column of labels."""

    header: Sequence[str]
    where: Mapping[str, int]
    hot: tuple[int, ...]

    @classmethod
    def find(
        cls, path: Path, header: Sequence[str], column: Column, group: str | None, inside: bool
    ) -> Columns:
        """Upper case and blanks around a name do not matter. inside: the table holds the images."""
        names = _usual([name.strip().casefold() for name in header])
        known = {*_KNOWN, *((group.casefold(),) if group else ())}
        hot = () if "label" in names else _hot(names, known, column, inside)
        wanted = ("label",) if inside else ("path", "label")
        missing = [n for n in wanted if n not in names and not (n == "label" and hot)]
        if missing:
            raise InputError(
                f"{path} has no column {' and no column '.join(missing)}; its columns are: "
                f"{', '.join(header)}; rename yours to path, label and, if wished, split"
            )
        if group is not None and group.casefold() not in names:
            raise InputError(
                f"{path} has no column {group} to group by; it has: {', '.join(header)}"
            )
        found = {name: names.index(name) for name in _KNOWN if name in names}
        if inside:
            found.pop("path", None)
        if group is not None:
            found["group"] = names.index(group.casefold())
        return cls(header, found, hot)

    def cells(
        self, path: Path, column: Column, reader: Reader | None = None,
        classes: tuple[str, ...] = (), named: Callable[[Any], Any] = lambda cell: cell,
    ) -> Cells:  # fmt: skip
        """The cells as text. named: the name of a label that is a number."""
        found = {n: [_cell(path, n, c) for c in column(p)]
                 for n, p in self.where.items() if n != "label"}  # fmt: skip
        if self.hot:
            rows = zip(*(column(place) for place in self.hot), strict=True)
            names = [self.header[place].strip() for place in self.hot]
            held = [[n for n, c in zip(names, row, strict=True) if _text(c).lower() in _HELD]
                    for row in rows]  # fmt: skip
            found["label"] = [joined_labels(one) for one in held]
            return Cells(found, reader, several=True)
        labels = column(self.where["label"])
        several = any(isinstance(cell, list | tuple) and len(cell) != 1 for cell in labels)
        if several:
            cells = [_of_marks(cell) for cell in labels] if _are_marks(labels) else labels
            found["label"] = [_join_labels(path, cell, named) for cell in cells]
            return Cells(found, reader, several=True)
        found["label"] = [_cell(path, "label", _one(cell, named)) for cell in labels]
        return Cells(found, reader, classes)


def _hot(names: Sequence[str], known: set[str], column: Column, inside: bool) -> tuple[int, ...]:
    """The columns but for the known ones, where these are two or more and hold 0 and 1 alone."""
    rest = [
        place for place, name in enumerate(names)
        if name not in known and not (inside and name in ("image", "bytes"))
    ]  # fmt: skip
    # Text first: a column of long texts is no label, and is not looked through.
    if len(rest) < 2 or not all(_HOT.issuperset(_marks(column(place))) for place in rest):
        return ()
    return tuple(rest)


def _are_marks(cells: Sequence[Any]) -> bool:
    """Whether lists are a 0 or a 1 for each of all labels, and not the labels: one holds a number
    twice, which no list of labels does."""
    lists = [cell for cell in cells if isinstance(cell, list | tuple)]
    same = len(lists) == len(cells) and len({len(cell) for cell in lists}) == 1
    return (
        same
        and all(type(one) is int and one in (0, 1) for cell in lists for one in cell)
        and any(len(set(cell)) < len(cell) for cell in lists)
    )


def _of_marks(cell: Sequence[int]) -> list[int]:
    """The places of the ones."""
    return [place for place, one in enumerate(cell) if one]


def _marks(cells: Sequence[Any]) -> set[str]:
    return {"" if isinstance(c, list | tuple | dict) else _text(c).lower() for c in cells}


def _join_labels(path: Path, cell: Any, named: Callable[[Any], Any]) -> str:
    """A list of labels as one text."""
    each = list(cell) if isinstance(cell, list | tuple) else [] if cell is None else [cell]
    return joined_labels([_cell(path, "label", named(one)) for one in each])


def _one(cell: Any, named: Callable[[Any], Any]) -> Any:
    return named(cell[0] if isinstance(cell, list | tuple) and len(cell) == 1 else cell)


def _cell(path: Path, name: str, cell: Any) -> str:
    """A cell as text; what is no single text or number is refused."""
    if isinstance(cell, list | tuple) and len(cell) == 1:
        cell = cell[0]
    if isinstance(cell, list | tuple | dict):
        raise InputError(
            f"{path} holds {str(cell)[:40]} as {name}; expected one text or number"
            + (", or a list of them for an image of several labels" if name == "label" else "")
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

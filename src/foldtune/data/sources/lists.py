"""Text lists of images: `path label` a line, as research repositories keep their splits."""

from __future__ import annotations

from collections.abc import Sequence

from foldtune.data.sources.listing import Item
from foldtune.errors import InputError


def read_list(text: str, where: str) -> list[tuple[str, int]]:
    """The (path, label) of each line; the label is behind the last blank, so paths may hold some.

    Raises InputError with the number of the line that is none.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        path, _, label = line.strip().rpartition(" ")
        if not path or not label.isdecimal():
            raise InputError(
                f"{where}: line {number} is {line.strip()!r}; expected a path, a blank and a label"
            )
        rows.append((path.strip().replace("\\", "/"), int(label)))
    if not rows:
        raise InputError(f"{where} is empty; expected `path label` a line")
    return rows


def in_range(rows: Sequence[tuple[str, int]], classes: int, where: str) -> None:
    """Refuse a label beyond the classes."""
    for number, (path, label) in enumerate(rows, 1):
        if not 0 <= label < classes:
            raise InputError(
                f"{where}: image {number} ({path}) has the label {label}, but the labels are 0 to "
                f"{classes - 1}; the list belongs to another set, or counts from 1"
            )


def as_items(rows: Sequence[tuple[str, int]], split: str) -> list[Item]:
    return [Item(path, label, split) for path, label in rows]

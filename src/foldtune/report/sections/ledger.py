"""What the data's folder held and the study did not take, and how more than 8 bits were read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from foldtune.data.sources.ledger import cure
from foldtune.report.material import Material
from foldtune.report.section import Section, Table

_SHOWN = 50  # lines of the table
# What is told of single files, and what becomes of it.
_FILES = {
    "missing": "no such file",
    "not_regular": "no regular file",
    "unreadable": "cannot be read",
    "empty_files": "empty",
    "metadata": "metadata that says nothing of classes",
    "twice": "several files of one name, the last is read",
}


def section(study: Material) -> Section | None:
    told = study.asked.get("ledger")
    rows = list(_rows(told)) if isinstance(told, dict) else []
    words = list(_range(told.get("range"))) if isinstance(told, dict) else []
    if not rows and not words:
        return None
    table = Table("What was not taken of the data", ("what", "where", "why"), tuple(rows[:_SHOWN]),
                  ("what", "where", "why"))  # fmt: skip
    if len(rows) > _SHOWN:
        words.append(f"{len(rows) - _SHOWN} more lines are in study.json.")
    tables = (table,) if rows else ()
    return Section("ledger", "Not taken from the data", tuple(words), tables=tables)


def _rows(told: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for suffix, classes in _items(told.get("not_read")):
        for name, count in _items(classes):
            yield f"{count} {suffix} files", f"class {name}", f"not read: {cure(suffix)}"
    for name in _names(told.get("empty")):
        yield "an empty folder", f"class {name}", "nothing in it"
    for kind, why in _FILES.items():
        found = told.get(kind)
        for name in _names(found):
            reason = found.get(name) if isinstance(found, dict) else None
            yield "a file", name, why if reason in (None, why) else f"{why}: {reason}"


def _range(told: Any) -> Iterator[str]:
    if not isinstance(told, dict) or "images" not in told:
        return
    taken = told.get("read_as")
    numbers = taken if isinstance(taken, list) else []
    ends = " to ".join(f"{end:g}" for end in numbers if isinstance(end, int | float))
    yield (
        f"{told['images']} images have more than 8 bits, with values from {told.get('lowest')} to "
        f"{told.get('highest')}; they are read by {ends or 'the full range of their file'}."
    )


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _names(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list | dict) else []

"""The format of `study.json`: what was asked of a study, and the hashes of files of no single run.

Beside what was asked (a `Description`) it holds `format`, `sealed` and `checksum`, the hash of all
the rest. A description of an earlier foldtune has none of them and is read as it is.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from foldtune import gate
from foldtune.analysis.row import Description
from foldtune.errors import InputError
from foldtune.files import digest, hash_of
from foldtune.study.results.artefacts import CURE, Altered, hashes, set_aside
from foldtune.study.results.rowfile import finite, replace

NAME = "study.json"
# Files of a study that are only ever added to, beside its rows.
GROWING = ("optuna.journal",)
_FORMAT = 2
_OWN = ("format", "sealed", "checksum")


_NAMES = gate.nullable(gate.list_of(gate.text(), 1 << 20))
_COUNT = gate.nullable(gate.integer(0, 1 << 50))
_ASKED = gate.fields(
    {},
    {
        **dict.fromkeys(("classes", "methods", "data_warnings"), _NAMES),
        **dict.fromkeys(("trials", "seeds", "workers"), _COUNT),
        "images": gate.nullable(gate.mapping_of(gate.anything, 100)),
        "ledger": gate.nullable(gate.mapping_of(gate.anything, 100)),
        "alike": gate.nullable(gate.list_of(gate.list_of(gate.integer(0, 1 << 50)))),
        "ties": gate.nullable(gate.text(100)),
        "left_out": gate.nullable(gate.mapping_of(gate.text(), 1000)),
        "protocol": gate.nullable(gate.mapping_of(gate.anything, 1000)),
        "command": gate.nullable(gate.text(1 << 20)),
        "task": gate.nullable(gate.text(1 << 20)),
        "metric": gate.nullable(gate.text(1000)),
    },
)
_HASH, _LENGTH = gate.text(64), gate.integer(0, 1 << 50)


def _end(value: Any) -> None:
    if not isinstance(value, list) or len(value) != 2:
        raise gate.Unfit("a length and a hash", value)
    _LENGTH(value[0])
    _HASH(value[1])


def _inside(value: Any) -> None:
    """Files that `check --repair` renames: of the study's own folder, whoever wrote their names."""
    for name in value:
        if Path(name).name != name or not name.isprintable():
            raise gate.Unfit("names of files in the folder", name)


def _both(*checks: gate.Check) -> gate.Check:
    return lambda value: [check(value) for check in checks]


_SEALED = gate.fields(
    {
        "files": _both(gate.mapping_of(_HASH, 1000), _inside),
        "rows": _COUNT,
        "ends": _both(gate.mapping_of(_end, 100), _inside),
    }
)
_SEALS = ("files", "rows", "ends")


@dataclass(frozen=True)
class Sealed:
    """files: by name the hash of each file of the study; rows: how many were stored when it was
    complete, None while it is not; ends: of files that only grow how long they were then, and the
    hash of as much."""

    files: Mapping[str, str] = field(default_factory=dict)
    rows: int | None = None
    ends: Mapping[str, tuple[int, str]] = field(default_factory=dict)


def read_description(folder: Path) -> tuple[Description, Sealed | None]:
    """What a study's folder says was asked, and what is sealed; see `decode`."""
    path = folder / NAME
    return decode(path.read_bytes(), path) if path.exists() else ({}, Sealed())


def described_or_set_aside(folder: Path) -> tuple[Description, Sealed | None]:
    """As `read_description`. A description that is damaged is set aside, and told of: what it
    guards, rows say too, and what was asked is about to be written anew."""
    try:
        return read_description(folder)
    except Altered as error:
        aside = set_aside(folder / NAME)
        warnings.warn(f"{error} (set aside as {aside.name})", RuntimeWarning, stacklevel=4)
        return {}, None


def describe(
    folder: Path, description: Description, files: Sequence[str], rows: int | None
) -> None:
    """Write study.json: what was asked, with the hashes of `files` beside those that it had. rows:
    how many there are where the study is complete; then the length of files that grow is kept, too.
    """
    before = described_or_set_aside(folder)[1] or Sealed()
    ends = {}
    if rows is not None:
        grown = [folder / name for name in GROWING if (folder / name).is_file()]
        ends = {path.name: (path.stat().st_size, hash_of(path)) for path in grown}
    sealed = Sealed({**before.files, **hashes(folder, files)}, rows, ends)
    replace(folder / NAME, encode(description, sealed))


def encode(description: Description, sealed: Sealed) -> bytes:
    """The bytes of study.json."""
    told = finite({**description, "format": _FORMAT, "sealed": asdict(sealed)})
    return (json.dumps({**told, "checksum": _checksum(told)}, indent=2) + "\n").encode()


def decode(data: bytes, path: Path) -> tuple[Description, Sealed | None]:
    """What was asked, and what is sealed: None in a description of an earlier foldtune.

    Raises Altered where it is not as it was written, and InputError where it never was one.
    """
    try:
        found = gate.parse(data, path)
    except InputError as error:
        raise Altered(
            f"{error}; restore it, or delete it and compare again: the finished runs are in "
            "rows.jsonl and stay"
        ) from None
    if not isinstance(found, dict):
        raise Altered(f"{path} holds {type(found).__name__}, not an object; delete it")
    if not any(name in found for name in _OWN):
        return gate.check_value(found, _ASKED, path), None
    checksum = found.pop("checksum", None)
    if checksum != _checksum(found):
        raise Altered(
            f"{path} is not as it was written: it was altered or damaged; "
            f"{CURE.format(study=path.parent)}"
        )
    if found.pop("format", None) != _FORMAT:
        raise InputError(f"{path} was written by a later foldtune; use that one")
    sealed = gate.check_value(found.pop("sealed", None), _SEALED, f"{path}: sealed")
    return gate.check_value(found, _ASKED, path), Sealed(**{name: sealed[name] for name in _SEALS})


def _checksum(told: Mapping[str, Any]) -> str:
    return digest([json.dumps(told, sort_keys=True)])

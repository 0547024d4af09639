"""Whether files are as they were written: of a study, a tuning, or a saved ensemble."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from foldtune.core.tuningfile import TuningFile
from foldtune.core.tuningfile import is_sealed as tuning_is_sealed
from foldtune.errors import InputError
from foldtune.study.conclusion import MERGED
from foldtune.study.mend import broken_rows
from foldtune.study.results.artefacts import (
    PAGE,
    Altered,
    State,
    of_rows,
    of_study,
    page_state,
    set_aside,
)
from foldtune.study.results.description import NAME as DESCRIPTION
from foldtune.study.results.description import Sealed, read_description
from foldtune.study.results.pictures import MEMBERSHIP, NAMES
from foldtune.study.results.rowfile import ROWS, scan
from foldtune.study.results.rowgate import countable
from foldtune.study.results.store import Store
from foldtune.tunings.ensemble import ENSEMBLE, is_ensemble, open_ensemble

_BAD = ("altered", "missing")


@dataclass(frozen=True)
class Found:
    """A file and how it stands; aside: where it was moved to."""

    file: str
    state: State
    aside: str | None = None


@dataclass(frozen=True)
class Checked:
    """What was looked at: a study, a tuning or an ensemble, and each of its files."""

    kind: Literal["study", "tuning", "ensemble"]
    files: tuple[Found, ...]

    def count(self, state: State) -> int:
        return sum(found.state == state for found in self.files)

    @property
    def sound(self) -> bool:
        return not any(found.state in _BAD for found in self.files)


def check(path: Path, *, repair: bool = False) -> Checked:
    """Read every file once and compare it with its hash.

    repair: of a study, move what was altered aside and take out the rows that rest on it, so that
    `compare` computes both again. Raises InputError where the path is none of the three, for a
    tuning or an ensemble that is not as it was written, and for repair of one: there is no other
    copy.
    """
    path = Path(path)
    if any((path / name).exists() for name in (DESCRIPTION, ROWS)):
        return _study(path, repair)
    if repair:
        raise InputError(f"{path} is no study, so nothing here can be computed again; copy it anew")
    if is_ensemble(path):
        ensemble = open_ensemble(path)
        members = (Found(tuning.name, "sound") for tuning in ensemble.tunings)
        described_in = Found(ENSEMBLE, "sound" if ensemble.sealed else "unbound")
        return Checked("ensemble", (described_in, *members))
    TuningFile(path)
    return Checked("tuning", (Found(path.name, "sound" if tuning_is_sealed(path) else "unbound"),))


def _study(folder: Path, repair: bool) -> Checked:
    found = list(_looked_at(folder))
    if repair:
        return Checked("study", tuple(_repair(folder, found)))
    return Checked("study", tuple(Found(name, state) for name, state in found))


def _looked_at(folder: Path) -> Iterator[tuple[str, State]]:
    """Every file that the study has written for good, and how it stands."""
    try:
        asked, sealed = read_description(folder)
        yield DESCRIPTION, "sound" if sealed is not None and asked else "unbound"
    except Altered:
        sealed = None
        yield DESCRIPTION, "altered"
    yield ROWS, _rows(folder, sealed)
    store = Store(folder)
    rows = [countable(row, folder) for row in store.rows()]
    for _, artefact in of_rows(folder, rows):
        yield str(artefact.path.relative_to(folder)), artefact.state
    known = sealed or Sealed()
    for name in dict.fromkeys((NAMES, MEMBERSHIP, MERGED, *known.files)):
        artefact = of_study(folder, known.files, name)
        if name in known.files or artefact.path.exists():
            yield name, artefact.state
    for name, (length, wanted) in known.ends.items():
        yield name, _end(folder / name, length, wanted)
    if (folder / PAGE).exists():
        yield PAGE, page_state(folder / PAGE, sealed is not None)


def _rows(folder: Path, sealed: Sealed | None) -> State:
    found = scan(folder / ROWS)
    if found.damaged:
        return "altered"
    lost = sealed is not None and len(found.lines) < (sealed.rows or 0)
    return "altered" if lost else "sound"


def _end(path: Path, length: int, wanted: str) -> State:
    if not path.is_file():
        return "missing"
    with path.open("rb") as file:
        same = hashlib.sha256(file.read(length)).hexdigest() == wanted
    return "sound" if same else "altered"


def _repair(folder: Path, found: list[tuple[str, State]]) -> Iterator[Found]:
    """Move aside what was altered; of rows the damaged lines, and those that rest on such files."""
    with Store(folder) as store:  # which has moved damaged lines to rows.corrupt.jsonl
        rows = [countable(row, folder) for row in store.rows()]
        store.forget(list(broken_rows(folder, rows)))
        for name, state in found:
            aside = None
            if state == "altered":
                aside = "rows.corrupt.jsonl" if name == ROWS else set_aside(folder / name).name
            yield Found(name, state, aside)

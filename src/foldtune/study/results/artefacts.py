"""The files that a study's figures rest on: each bound by a hash, and opened through here.

A row keeps the SHA-256 of what its run left in its folder. `study.json` keeps those of the files
that are of no single run. A file that is not the one its hash was taken of is named and refused,
never read; `compare` sets it aside and computes it again (study/mend.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from foldtune.analysis.row import Row
from foldtune.errors import InputError
from foldtune.files import hash_of

RUNS, PAGE = "runs", "report.html"
LOGITS, VALIDATION = "logits.safetensors", "validation.safetensors"
TUNING, TRACEBACK = "tuning.safetensors", "error.txt"
# What a run may leave for good, in its folder.
OF_A_RUN = (LOGITS, VALIDATION, TUNING, TRACEBACK)

_SEAL = b"<!-- sha256 %s -->\n"
_NO_HASH = b"0" * 64

State = Literal["sound", "altered", "missing", "unbound"]
CURE = "foldtune check {study} tells all, and compare computes it again"


class Altered(InputError):
    """A file is not the one that was written: nothing may be read out of it."""


@dataclass(frozen=True)
class Artefact:
    """A file and the hash that it must have; None where it was written by an earlier foldtune,
    which kept none."""

    path: Path
    hash: str | None

    @property
    def state(self) -> State:
        if not self.path.is_file():
            return "missing"
        if self.hash is None:
            return "unbound"
        return "sound" if hash_of(self.path) == self.hash else "altered"

    def open_checked(self, study: Path) -> Path:
        """The path, checked. Raises Altered where the file is another than was written, InputError
        where it is not there."""
        state = self.state
        if state == "missing":
            raise InputError(f"{self.path} is missing: the run's file was moved or deleted")
        if state == "altered":
            raise Altered(
                f"{self.path} is not the file that was stored: it was altered, damaged or "
                f"exchanged; {CURE.format(study=study)}"
            )
        return self.path


def hashes(folder: Path, names: Iterable[str] = OF_A_RUN) -> dict[str, str]:
    """By name the hash of each of these files that is in the folder."""
    return {name: hash_of(folder / name) for name in names if (folder / name).is_file()}


def of_run(study: Path, row: Row, name: str) -> Artefact:
    """A file that the row's run left. A file whose row, though it binds its files, knows none of
    that name, is another's: no hash fits it."""
    kept = row.get("files")
    return Artefact(study / RUNS / row["run"] / name, None if kept is None else kept.get(name, ""))


def is_kept(study: Path, row: Row, name: str) -> bool:
    """Whether the run left a file of that name, and it is still there."""
    return name in row.get("files", (name,)) and of_run(study, row, name).path.exists()


def of_rows(study: Path, rows: Iterable[Row]) -> Iterator[tuple[Row, Artefact]]:
    """Every file that rows are bound to, and beside them every file that lies where a run's would:
    of a row that binds its files one that it does not name is another's."""
    for row in rows:
        bound = row.get("files")
        # A failed run leaves what it had come to, until it is tried again.
        anothers = bound is None or not row["verdict"].startswith("failed")
        for name in OF_A_RUN:  # and no other name, which a stranger's row might lead astray with
            artefact = of_run(study, row, name)
            if name in (bound or ()) or (anothers and artefact.path.exists()):
                yield row, artefact


def of_study(study: Path, sealed: Mapping[str, str], name: str) -> Artefact:
    """A file of the study itself, such as its merged model."""
    return Artefact(study / name, sealed.get(name))


def seal_page(page: bytes) -> bytes:
    """A page of HTML with the hash of all of it as its last line."""
    return page + _SEAL % hashlib.sha256(page).hexdigest().encode()


def page_state(path: Path, sealed: bool) -> State:
    """Whether a page is as it was written. sealed: the study is of a foldtune that seals pages."""
    page = path.read_bytes()
    body = page[: -len(_SEAL % _NO_HASH)]
    if page == seal_page(body):
        return "sound"
    return "altered" if sealed or page[len(body) :].startswith(_SEAL[:8]) else "unbound"


def unbound_line(rows: Iterable[Row]) -> str | None:
    """What is said of rows that an earlier foldtune stored; None where there are none."""
    old = sum("files" not in row and not row["verdict"].startswith("failed") for row in rows)
    if not old:
        return None
    return (
        f"{old} runs were stored by an earlier foldtune, which bound no files to its rows: whether "
        "their logits and tunings are those of the rows cannot be verified"
    )


def warn_of_unbound(rows: Iterable[Row]) -> None:
    """Warn, in one line, of rows that an earlier foldtune stored, where there are any."""
    if (line := unbound_line(rows)) is not None:
        warnings.warn(line, RuntimeWarning, stacklevel=3)


def discard(folder: Path, names: Iterable[str] = OF_A_RUN) -> None:
    """Remove these files of a run, those that are there."""
    for name in names:
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a file, so that nothing reads it and nothing of it is lost; its new path."""
    for number in range(1, 10_000):
        aside = path.with_name(f"{path.name}.altered{number if number > 1 else ''}")
        if not aside.exists():
            path.replace(aside)
            return aside
    raise InputError(f"{path.parent} is full of files that were set aside; clear it")

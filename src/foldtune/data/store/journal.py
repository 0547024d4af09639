"""What a build has decoded so far, so that a killed one is taken up where it was.

A line of JSON a chunk, written after its pixels. A line that is cut off ends the reading, and what
a line tells is believed only where the pixels in the file have the hash that it names: so neither a
kill at any byte nor a machine that loses power can bring a wrong pixel into the store.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from foldtune import gate
from foldtune.data.identity import image_hash
from foldtune.data.pictures.intensity import Span
from foldtune.data.store.workers import Job, Rows

_NAME = "journal.jsonl"
_FIELDS = ("first", "hashes", "marks", "prints", "broken", "spans")
_LINE = gate.fields({
    "first": gate.integer(0, 1 << 40), "hashes": gate.list_of(gate.text(64)),
    "marks": gate.text(gate.LARGEST), "prints": gate.list_of(gate.integer(0, (1 << 64) - 1)),
    "broken": gate.mapping_of(gate.text()),
    "spans": gate.mapping_of(gate.list_of(gate.anything, 4)),
})  # fmt: skip


def adopt(entry: Path, abandoned: Path, request: str) -> None:
    """Make what a killed build of this request left our own; of two that try, one succeeds."""
    with contextlib.suppress(OSError):
        if (abandoned / "entry" / request).exists() and not entry.exists():
            os.rename(abandoned / "entry", entry)


class Journal:
    """The journal of a build in its folder, under the name of its request."""

    def __init__(self, entry: Path, request: str) -> None:
        self.folder, self._sign, self._path = entry, entry / request, entry / _NAME
        self._sign.touch()

    def read_done(self, job: Job) -> dict[int, Rows]:
        """The chunks, by their first row, whose pixels are in the job's file."""
        found: dict[int, Rows] = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            for rows in _read(self._path):
                if _is_there(job, rows):
                    found[rows.first] = rows
        self._path.unlink(missing_ok=True)  # a line that was cut off must not swallow the next
        for rows in found.values():
            self.add(rows)
        return found

    def add(self, rows: Rows) -> None:
        with self._path.open("a") as file:
            told = vars(rows) | {"spans": {row: s.json() for row, s in rows.spans.items()}}
            file.write(json.dumps(told) + "\n")

    def remove(self) -> None:
        """Leave the folder as it is published."""
        self._path.unlink(missing_ok=True)
        self._sign.unlink(missing_ok=True)


def _read(path: Path) -> Iterator[Rows]:
    with path.open() as file:
        for line in file:
            told = gate.check_value(gate.parse(line, path), _LINE, path)
            told = {name: told[name] for name in _FIELDS}
            told["broken"] = {int(row): why for row, why in told["broken"].items()}
            told["spans"] = {int(row): Span.read(one) for row, one in told["spans"].items()}
            yield Rows(**told)


def _is_there(job: Job, rows: Rows) -> bool:
    with job.file.open("rb") as file:
        file.seek(rows.first * job.fit.row_bytes)
        read = (file.read(job.fit.row_bytes) for _ in rows.hashes)
        return all(image_hash(row) == known for row, known in zip(read, rows.hashes, strict=True))

"""The rows of a study: an append-only file that survives a kill at any byte.

A row is there once `add` has returned, and never half there. A torn last line is passed over by
readers and cut by the owner before the next write; a line damaged later is named in a warning, and
the owner moves it to `rows.corrupt.jsonl`, byte for byte.
"""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from foldtune.analysis.row import Description, Row
from foldtune.errors import InputError
from foldtune.files import sync_folder
from foldtune.study.results.artefacts import CURE, Altered
from foldtune.study.results.description import (
    Sealed,
    describe,
    described_or_set_aside,
    read_description,
)
from foldtune.study.results.lock import FolderLock
from foldtune.study.results.rowfile import (
    ROWS,
    Scan,
    encode,
    line_of,
    parse_row,
    replace,
    scan,
    set_aside,
    unwritable,
)

# What must not change between two calls on one study: its rows would not be comparable.
_FIXED = {
    "data_identity": "data",
    "backbone": "backbone",
    "backbone_hash": "weights and transform of the backbone",
}


class Store:
    """The rows and the description of one study folder.

    Reading needs no lock and shows the rows as they were on opening. The first `add`, or `claim`,
    makes this store the folder's owner until `close`; a second owner is refused.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._path = self.folder / ROWS
        self._lock: FolderLock | None = None
        self._file = -1
        self._dirty = False  # a failed write may have left a torn tail
        self._lines: dict[str, memoryview] = {}
        self._open_ended = False
        self._take(scan(self._path))

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, run: object) -> bool:
        return run in self._lines

    def __enter__(self) -> Store:
        return self.claim()

    def __exit__(self, *error: object) -> None:
        self.close()

    def rows(self) -> list[Row]:
        """Every row, in the order of adding."""
        return [parse_row(line, self._path) for line in self._lines.values()]

    def runs(self) -> list[str]:
        """The hashes of all runs, in the order of adding; no row is parsed."""
        return list(self._lines)

    def find(self, run: str) -> Row | None:
        line = self._lines.get(run)
        return None if line is None else parse_row(line, self._path)

    def contains(self, run: str) -> bool:
        return run in self._lines

    def claim(self) -> Store:
        """Become the owner: lock the folder, mend the file, read what others have added."""
        if self._lock is not None and self._lock.held:
            return self
        self.close()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.folder)
            self._mend()
        except OSError as error:
            self.close()
            raise unwritable(self.folder, error) from None
        return self

    def close(self) -> None:
        """Give the folder back; the rows stay readable."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def add(self, row: Row) -> None:
        """Append one row and wait until the disk has it. A number that is not finite becomes null.

        Raises InputError where the run is stored already, or the disk has no room: then the file
        is as it was before.
        """
        body = encode(row)
        run = str(row["run"])
        self.claim()
        if self._dirty:
            self._mend()
        if run in self._lines:
            raise InputError(f"run {run} is already stored in {self._path}; look with find() first")
        start = b"\n" if self._open_ended else b""
        self._append(start + line_of(body))
        self._open_ended = False
        self._lines[run] = memoryview(body)

    def forget(self, runs: Collection[str]) -> None:
        """Take these rows out of the file, in one step: their runs are to be run again."""
        self.claim()
        if not any(run in self._lines for run in runs):
            return
        kept = [line_of(bytes(body)) for run, body in self._lines.items() if run not in runs]
        replace(self._path, b"".join(kept))
        self._mend()

    def description(self) -> Description:
        """What was asked of this study (study.json); empty where nothing was written yet.

        Raises Altered where it is not as it was written.
        """
        return read_description(self.folder)[0]

    def read_seal(self) -> Sealed | None:
        """What study.json says of the study's own files; None where an earlier foldtune wrote it.

        Raises Altered as `description` does, and where rows that were stored are missing.
        """
        found = read_description(self.folder)[1]
        if found is not None and len(self) < (found.rows or 0):
            raise Altered(
                f"{self._path} has lost rows: {len(self)} are whole of the {found.rows} that were "
                f"stored; {CURE.format(study=self.folder)}"
            )
        return found

    def write_description(
        self, description: Description, files: Sequence[str] = (), *, complete: bool = False
    ) -> None:
        """Store what was asked, and the hashes of those of the study's own files that were just
        written. Another backbone or other data than the study's is refused.

        complete: seal the number of rows and the length of files that grow, too.
        """
        self.refuse_other(description)
        describe(self.folder, description, files, rows=len(self) if complete else None)

    def refuse_other(self, description: Description) -> None:
        """Raise InputError where the study is of another backbone or other data."""
        self.claim()
        stored: Mapping[str, Any] = described_or_set_aside(self.folder)[0] or self._first()
        for key, noun in _FIXED.items():
            before, now = stored.get(key), description.get(key)
            if before is not None and now is not None and before != now:
                raise InputError(
                    f"{self.folder} is a study of {noun} {before!r}, this call has {noun} {now!r}; "
                    "rows of both cannot be compared: name another folder, or delete this one"
                )

    def _first(self) -> Mapping[str, Any]:
        return next((parse_row(line, self._path) for line in self._lines.values()), {})

    def _take(self, found: Scan) -> None:
        self._lines, self._open_ended = found.lines, found.open_ended
        if found.damaged:
            _warn_damaged(self._path, list(found.damaged))

    def _append(self, line: bytes) -> None:
        """One write, one fsync; where the disk refuses, the file is cut back to where it was."""
        end = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except OSError as error:
            self._dirty = True
            os.ftruncate(self._file, end)
            self._dirty = False
            raise unwritable(self.folder, error) from None
        except BaseException:
            # An interrupt while the disk was waited for: readers may have seen the row, whole. It
            # is never taken back, and a torn one is cut before the next write.
            self._dirty = True
            raise

    def _mend(self) -> None:
        """Cut a torn tail, set damaged lines aside, and open the file for appending."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        found = scan(self._path)
        if found.damaged:
            set_aside(self._path, found.damaged.values())
            found = scan(self._path)
        self._take(found)
        fresh = not self._path.exists()
        binary = getattr(os, "O_BINARY", 0)  # else Windows writes \r\n
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | binary, 0o644)
        if os.fstat(self._file).st_size > found.end:
            os.ftruncate(self._file, found.end)
            os.fsync(self._file)
        if fresh:
            sync_folder(self.folder)
        self._dirty = False


def _warn_damaged(path: Path, numbers: list[int]) -> None:
    named = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
    warnings.warn(
        f"{path}: damaged after writing, line {named}; passed over, and moved to "
        "rows.corrupt.jsonl at the next write. Their runs will be computed again.",
        RuntimeWarning,
        stacklevel=3,
    )

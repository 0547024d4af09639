"""The files of a stream, and the processes that fill them: see stream.py."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.data.identity import image_hash
from foldtune.data.store.workers import Worker
from foldtune.errors import InputError
from foldtune.files import HASH

DECODED, BROKEN = 1, 2
_STEP = 8  # rows a decoder takes at a time when nobody waits
_PATIENCE = 0.5  # seconds between looks whether a decoder died
_UNSYNCED = 5.0  # seconds of decoding that a loss of power may cost


class Rows:
    """The rows of a stream's files.

    state: of each row, as this process knows it; the file says the same once the row is on disk.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int, int]) -> None:
        self.folder, count, width = folder, shape[0], 3 * HASH
        folder.mkdir(parents=True, exist_ok=True)
        row = shape[1] * shape[2] * shape[3]
        for name, size in (("pixels", row), ("state", 1), ("marks", width)):
            file = folder / f"{name}.raw"
            with file.open("ab") as opened:
                if opened.tell() != count * size:
                    os.truncate(file, count * size)
        self.pixels = np.memmap(folder / "pixels.raw", np.uint8, "r", shape=shape)
        self.marks = np.memmap(folder / "marks.raw", np.uint8, "r+", shape=(count, width))
        self._told = np.memmap(folder / "state.raw", np.uint8, "r+", shape=(count,))
        self.state = np.where(self._told == DECODED, DECODED, 0).astype(np.uint8)
        self._checked = np.zeros(count, bool)
        self._waiting: list[int] = []
        self._synced = time.monotonic()
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path) -> Rows:
        """The rows of a stream that is there. Raises ValueError where its files do not fit."""
        count = (folder / "state.raw").stat().st_size
        row, rest = divmod((folder / "pixels.raw").stat().st_size, max(count, 1))
        side = math.isqrt(row // 3)
        if not count or rest or 3 * side * side != row:
            raise ValueError(f"{folder} holds {row} bytes a row")
        return cls(folder, (count, side, side, 3))

    def look(self, rows: np.ndarray) -> None:
        """Take over what another process says it has decoded."""
        rows = rows[self.state[rows] == 0]
        self.state[rows[self._told[rows] == DECODED]] = DECODED

    def note(self, row: int, told: bytes | str) -> None:
        """Take a row that was just decoded: its marks, or why it is broken."""
        if isinstance(told, str):
            self.state[row] = BROKEN  # here alone: it may be repaired
            return
        self.marks[row] = np.frombuffer(told, np.uint8)
        self.state[row] = DECODED
        self._waiting.append(row)

    def doubtful(self, rows: np.ndarray, *, forget: bool = True) -> bool:
        """Whether a decoded row here has other pixels than its mark says; then it is forgotten."""
        found = False
        for row in rows[~self._checked[rows]].tolist():
            same = bytes.fromhex(image_hash(self.pixels[row])) == self.marks[row, :HASH].tobytes()
            self._checked[row] = same
            if not same and forget:
                self.state[row] = self._told[row] = 0
            found |= not same
        return found

    def sync(self, now: bool = False) -> None:
        """Bring what was decoded to the disk, and only then call it so in the file."""
        with self._lock:
            if not self._waiting or not (now or time.monotonic() - self._synced > _UNSYNCED):
                return
            rows = list(self._waiting)
            try:
                with (self.folder / "pixels.raw").open("rb") as file:
                    os.fsync(file.fileno())  # what other processes wrote, too
                self.marks.flush()
                self._told[rows] = DECODED
                self._told.flush()
            except OSError as error:
                raise InputError(
                    f"cannot keep the decoded images in {self.folder}: {error.strerror or error}; "
                    "give a folder on a sound disk (cache)"
                ) from error
            del self._waiting[: len(rows)]
            self._synced = time.monotonic()


class Crew:
    """Processes that decode rows: first those that somebody waits for, then those expected."""

    def __init__(self, job: Any, names: Sequence[str], rows: Rows, workers: int) -> None:
        self.job, self.names, self.rows, self.workers = job, names, rows, workers
        self.why: dict[int, str] = {}
        self._urgent: deque[int] = deque()
        self._order, self._at = np.arange(len(names)), 0
        self._busy: set[int] = set()
        self._change = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._failure: Exception | None = None
        self._stopped = False

    def expect(self, rows: np.ndarray) -> None:
        with self._change:
            rest = np.setdiff1d(np.arange(len(self.names)), rows)
            self._order, self._at = np.concatenate([rows, rest]), 0
        self._start()

    def wait(self, rows: np.ndarray) -> None:
        """Until these rows are decoded or known to be broken."""
        if not len(rows):
            return
        with self._change:
            self.rows.look(rows)
            self._urgent.extend(rows.tolist())
        self._start()
        with self._change:
            while not self.rows.state[rows].all():
                if self._failure is not None:
                    raise self._failure
                if self._stopped:
                    raise InputError("the streamed data was closed while images were asked for")
                self._change.wait(_PATIENCE)
                self._start()  # the last decoder may have ended as these rows were forgotten

    def stop(self) -> None:
        with self._change:
            self._stopped = True
        for thread in self._threads:
            thread.join()
        self.rows.sync(now=True)

    def _start(self) -> None:
        """Begin, or begin again where a row was forgotten after all had been decoded."""
        with self._change:
            alive = any(thread.is_alive() for thread in self._threads)
            if alive or self._stopped or self.rows.state.all():
                return
            self._threads = [
                threading.Thread(target=self._feed, daemon=True) for _ in range(self.workers)
            ]
            for thread in self._threads:
                thread.start()

    def _feed(self) -> None:
        """One thread feeds one process until all rows are decoded."""
        try:
            with Worker(self.job) as worker:
                while rows := self._next():
                    self._note_rows(rows, worker.rows((rows, [self.names[row] for row in rows])))
                    self.rows.sync()
            self.rows.sync(now=True)
        except Exception as error:
            with self._change:
                self._failure = error
                self._change.notify_all()

    def _next(self) -> list[int]:
        """The rows to decode now: one that is waited for, or some of those expected; else none."""
        with self._change:
            rows: list[int] = []
            if self._stopped:
                return rows
            while self._urgent and not rows:
                rows += self._open(self._urgent.popleft())
            urgent = bool(rows)
            while not urgent and len(rows) < _STEP and self._at < len(self._order):
                rows += self._open(int(self._order[self._at]))
                self._at += 1
            self._busy.update(rows)
            return rows

    def _open(self, row: int) -> list[int]:
        """The row, if nobody has decoded it or is about to."""
        if row in self._busy:
            return []
        self.rows.look(np.array([row]))
        return [] if self.rows.state[row] else [row]

    def _note_rows(self, rows: Sequence[int], told: Sequence[bytes | str]) -> None:
        with self._change:
            for row, line in zip(rows, told, strict=True):
                self.rows.note(row, line)
                if isinstance(line, str):
                    self.why[row] = line
            self._busy.difference_update(rows)
            self._change.notify_all()

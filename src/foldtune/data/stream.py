"""Training on images while they are still being decoded, for sets of ImageNet's size.

    <cache>/streams/<request>/pixels.raw   rows of (size, size, 3) uint8 in the listing's order
    <cache>/streams/<request>/state.raw    a byte a row: 0 not decoded yet, 1 decoded, 2 broken

Rows that are asked for are decoded first; between, the decoders go on in the order in which rows
are expected, into the file and not into memory, so nothing piles up when training is slower. What
is decoded stays: a second epoch, or another run, reads no image file again.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foldtune.data.decode import Fit, read_image, strict
from foldtune.data.listing import Listing
from foldtune.data.workers import Worker, cores
from foldtune.errors import InputError

DECODED, BROKEN = 1, 2
_STEP = 8  # rows a decoder takes at a time when nobody waits
_PATIENCE = 0.5  # seconds between looks whether a decoder died


@dataclass(frozen=True)
class ScatterJob:
    """Where images come from, how they are fitted, and the file that takes them at any row."""

    open: Callable[[str], bytes]
    fit: Fit
    file: Path

    def rows(self, rows: Sequence[int], names: Sequence[str]) -> list[str]:
        """Decode images into their rows; '' for each, or in a few words why it is broken."""
        told = []
        with self.file.open("r+b") as file, strict():
            for row, name in zip(rows, names, strict=True):
                image = read_image(self.open, name, self.fit)
                told.append(image if isinstance(image, str) else "")
                if not isinstance(image, str):
                    file.seek(row * self.fit.row_bytes)
                    file.write(np.ascontiguousarray(image).data)
        return told


class StreamedPixels:
    """Pixels that look like an array (images, size, size, 3) and are decoded when asked for.

    `pixels[rows]` waits for these rows only. `expect(rows)` says in which order rows will be asked
    for. Raises InputError, by name, for an image that cannot be decoded.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, listing: Listing, fit: Fit, folder: Path, workers: int | None) -> None:
        count = len(listing.items)
        self.shape = (count, fit.size, fit.size, 3)
        self._names = [item.name for item in listing.items]
        folder.mkdir(parents=True, exist_ok=True)
        for file, size in (("pixels.raw", count * fit.row_bytes), ("state.raw", count)):
            with (folder / file).open("ab") as opened:
                if opened.tell() != size:
                    os.truncate(folder / file, size)
        self._pixels = np.memmap(folder / "pixels.raw", np.uint8, "r", shape=self.shape)
        self._state = np.memmap(folder / "state.raw", np.uint8, "r+", shape=(count,))
        with contextlib.suppress(OSError):
            os.utime(folder / "state.raw")  # when it was used last, for `data cache --limit`
        job = ScatterJob(listing.open, fit, folder / "pixels.raw")
        self._crew = _Crew(job, self._names, self._state, workers or cores())
        weakref.finalize(self, self._crew.stop)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        return self._pixels.nbytes

    def decoded(self) -> int:
        """How many rows are decoded, or known to be broken."""
        return int(np.count_nonzero(self._state))

    def expect(self, rows: np.ndarray) -> None:
        """Decode in this order from now on, where nobody waits."""
        self._crew.expect(np.asarray(rows))

    def __getitem__(self, rows: object) -> np.ndarray:
        wanted = np.arange(len(self))[rows]  # type: ignore[call-overload]
        places = np.atleast_1d(wanted)
        self._crew.wait(places[self._state[places] == 0])
        bad = places[self._state[places] == BROKEN]
        if len(bad):
            name = self._names[int(bad[0])]
            why = self._crew.why.get(int(bad[0]), "broken when it was first read")
            raise InputError(
                f"{name} cannot be read ({why}); repair or remove it: a streamed set cannot leave "
                "images out, since nobody knows them before they are read"
            )
        return self._pixels[wanted]

    def close(self) -> None:
        """Stop decoding; what is decoded stays."""
        self._crew.stop()


class _Crew:
    """Processes that decode rows: first those that somebody waits for, then those expected."""

    def __init__(
        self, job: ScatterJob, names: Sequence[str], state: np.ndarray, workers: int
    ) -> None:
        self.job, self.names, self.state, self.workers = job, names, state, workers
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
            self._urgent.extend(rows.tolist())
        self._start()
        with self._change:
            while not self.state[rows].all():
                if self._failure is not None:
                    raise self._failure
                if self._stopped:
                    raise InputError("the streamed data was closed while images were asked for")
                self._change.wait(_PATIENCE)

    def stop(self) -> None:
        with self._change:
            self._stopped = True
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        if self._threads or self._stopped or self.state.all():
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
                    self._done(rows, worker.rows((rows, [self.names[row] for row in rows])))
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
        return [] if self.state[row] or row in self._busy else [row]

    def _done(self, rows: Sequence[int], told: Sequence[str]) -> None:
        with self._change:
            for row, why in zip(rows, told, strict=True):
                self.state[row] = BROKEN if why else DECODED
                if why:
                    self.why[row] = why
            self._busy.difference_update(rows)
            self._change.notify_all()


def stream_folder(cache: Path, request: str) -> Path:
    """Where the decoded rows of a listing lie."""
    return cache / "streams" / request


def forget_broken(folder: Path) -> None:
    """Let broken images be tried again: they may have been repaired."""
    with contextlib.suppress(FileNotFoundError):
        state = np.memmap(folder / "state.raw", np.uint8, "r+")
        state[state == BROKEN] = 0

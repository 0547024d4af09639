"""Decode many images into one file of rows, in several processes.

Processes and not threads: on two cores two threads took 1.59 s for what one did in 1.75 s, two
processes 0.96 s with their start (960 JPEGs of 224 px, Pillow 13). Own processes and not a
multiprocessing pool: a spawned pool runs the caller's script again in every worker, which fails
where the script has no `if __name__ == "__main__"` and costs seconds where it imports torch; and
these end by themselves when their parent is killed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.data.identity import MARK, NO_MARK, pack
from foldtune.data.pictures.intensity import Span
from foldtune.data.pictures.opening import strict
from foldtune.data.store.decode import Fit, read_image
from foldtune.data.store.duplicates import difference_hashes
from foldtune.errors import InputError
from foldtune.processes import cores

Progress = Callable[[int, int], None]
Chunk = tuple[int, Sequence[str]]  # the first row, and the names of the items
_WORTH = 1.0  # seconds of work from which on processes, 0.2 s of work each to start, pay
_CHUNK_BYTES = 4 << 20
_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from foldtune.data.store.workers import serve; serve()"
)


@dataclass(frozen=True)
class Rows:
    """What became of consecutive images: the hashes of each, '' where broken; and why, by row."""

    first: int
    hashes: list[str]  # of the pixels
    marks: str  # packed: key and file's hash of each, `Decoded.mark`; NO_MARK where broken
    prints: list[int]  # difference hashes, for near duplicates
    broken: dict[int, str]
    spans: dict[int, Span] = field(default_factory=dict)  # of those of more than 8 bits


@dataclass(frozen=True)
class Job:
    """Where images come from, how they are fitted, and the file that takes one row for each."""

    open: Callable[[str], bytes]
    fit: Fit
    file: Path

    def rows(self, first: int, names: Sequence[str]) -> Rows:
        """Decode images and write them from row `first` on; the row of a broken one is zero."""
        pixels = np.zeros((len(names), *self.fit.shape), self.fit.depth)
        hashes, marks, broken = [""] * len(names), [NO_MARK] * len(names), dict[int, str]()
        spans: dict[int, Span] = {}
        with strict(self.fit.max_pixels):
            for i, name in enumerate(names):
                image = read_image(self.open, name, self.fit)
                if isinstance(image, str):
                    broken[first + i] = image
                else:
                    pixels[i] = image.pixels
                    hashes[i], marks[i] = image.hash, image.mark
                    if image.span is not None:
                        spans[first + i] = image.span
        # Written, not mapped: on a full disk a write raises, a mapping kills the process.
        with self.file.open("r+b") as file:
            file.seek(first * self.fit.row_bytes)
            file.write(pixels.data)
        return Rows(first, hashes, pack(marks), difference_hashes(pixels), broken, spans)


def decode_all(
    job: Job,
    names: Sequence[str],
    workers: int | None,
    progress: Progress | None,
    *,
    done: Mapping[int, Rows] | None = None,
    note: Callable[[Rows], None] = lambda rows: None,
) -> Rows:
    """Decode every image into its row; return the rows' hashes, and why rows are broken.

    workers: processes, where 1 means none but this; None means one a core where that pays. done:
    by their first row, chunks that a killed call decoded; note: told each chunk that is decoded.
    """
    step = max(1, min(32, _CHUNK_BYTES // job.fit.row_bytes))
    chunks = [(at, names[at : at + step]) for at in range(0, len(names), step)]
    kept = [done[at] for at, some in chunks if done and at in done
            and len(done[at].hashes) == len(some)]  # fmt: skip
    known, spans = {rows.first for rows in kept}, dict[int, Span]()
    results = _decode_chunks(job, [chunk for chunk in chunks if chunk[0] not in known], workers)
    hashes, prints = [""] * len(names), [0] * len(names)
    marks = bytearray(MARK * len(names))
    broken: dict[int, str] = {}
    count = 0
    with contextlib.closing(results):  # an interrupted run must not leave processes at work
        for rows in itertools.chain(kept, results):
            if rows.first not in known:
                note(rows)
            span = slice(rows.first, rows.first + len(rows.hashes))
            hashes[span], prints[span] = rows.hashes, rows.prints
            marks[MARK * span.start : MARK * span.stop] = bytes.fromhex(rows.marks)
            broken |= rows.broken
            spans |= rows.spans
            count += len(rows.hashes)
            if progress is not None:
                progress(count, len(names))
    return Rows(0, hashes, marks.hex(), prints, dict(sorted(broken.items())), spans)


def _decode_chunks(job: Job, chunks: Sequence[Chunk], workers: int | None) -> Generator[Rows]:
    if workers == 1 or not chunks:
        return _in_process(job, chunks)
    return _as_it_pays(job, chunks) if workers is None else _in_processes(job, chunks, workers)


def _as_it_pays(job: Job, chunks: Sequence[Chunk]) -> Generator[Rows]:
    """Decode the first chunk here, and by its pace the others here or in processes."""
    begun = time.perf_counter()
    first = job.rows(*chunks[0])
    pace = time.perf_counter() - begun
    yield first
    rest, count = chunks[1:], cores()
    if count > 1 and sys.executable and pace * len(rest) > _WORTH:
        yield from _in_processes(job, rest, count)
    else:
        yield from _in_process(job, rest)


def _in_process(job: Job, chunks: Sequence[Chunk]) -> Generator[Rows]:
    for chunk in chunks:
        yield job.rows(*chunk)


def _in_processes(job: Job, chunks: Sequence[Chunk], workers: int) -> Generator[Rows]:
    """Each chunk's rows as they come; one thread feeds one process."""
    waiting: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
    done: queue.SimpleQueue[Rows | Exception] = queue.SimpleQueue()
    stop = threading.Event()
    for chunk in chunks:
        waiting.put(chunk)

    def feed() -> None:
        try:
            with Worker(job) as worker:
                while not stop.is_set():
                    done.put(worker.rows(waiting.get_nowait()))
        except queue.Empty:
            return
        except Exception as error:
            done.put(error)

    threads = [threading.Thread(target=feed, daemon=True) for _ in range(min(workers, len(chunks)))]
    for thread in threads:
        thread.start()
    try:
        for _ in chunks:
            result = done.get()
            if isinstance(result, Exception):
                raise result
            yield result
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class Worker:
    """A process that decodes: requests go to its input and answers come from its output."""

    def __init__(self, job: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._send(sys.path, job)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()

    def rows(self, chunk: tuple[Any, Sequence[str]]) -> Any:
        assert self.process.stdout is not None
        self._send(chunk)
        try:
            answer = pickle.load(self.process.stdout)
        except (EOFError, pickle.UnpicklingError) as error:
            names = chunk[1]
            raise InputError(
                f"a decoding process died (exit code {self.process.wait()}) between "
                f"{names[0]} and {names[-1]}; look for a damaged image there, or for too little "
                "memory; workers=1 decodes without further processes"
            ) from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _send(self, *values: Any) -> None:
        assert self.process.stdin is not None
        try:
            for value in values:
                pickle.dump(value, self.process.stdin)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it died: reading its answer will tell


def serve() -> None:
    """Be a worker: read the job, answer chunk after chunk, end when the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not reach the answers
    job = pickle.load(requests)
    while True:
        try:
            chunk = pickle.load(requests)
        except (EOFError, pickle.UnpicklingError):  # closed, or the parent died as it wrote
            return
        try:
            answer: Any = job.rows(*chunk)
        except Exception as error:
            answer = error
        try:
            pickle.dump(answer, answers)
            answers.flush()
        except BrokenPipeError:
            os._exit(1)  # the parent was killed; nobody is left to tell

"""Decode images ahead of who takes them: in several processes, in order, in bounded memory.

For images that are looked at once and not kept: nothing is written, and no hash is made.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from foldtune.data.pictures.opening import strict
from foldtune.data.store.decode import Fit, read_pixels
from foldtune.data.store.workers import Worker
from foldtune.processes import cores

_WORTH = 1.0  # seconds of work from which on processes pay
_CHUNK_BYTES = 4 << 20
_AHEAD = 4  # chunks a process that wait to be taken


@dataclass(frozen=True, eq=False)
class Pixels:
    """Consecutive images. first: the place of the first one; pixels: (images, height, width,
    channels) of the fit's depth, zero where broken; broken: why, by place among these."""

    first: int
    pixels: np.ndarray
    broken: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PixelJob:
    """Where images come from and how they are fitted."""

    open: Callable[[str], bytes]
    fit: Fit

    def rows(self, first: int, names: Sequence[str]) -> Pixels:
        found = Pixels(first, np.zeros((len(names), *self.fit.shape), self.fit.depth))
        with strict(self.fit.max_pixels):
            for place, name in enumerate(names):
                image = read_pixels(self.open, name, self.fit)
                if isinstance(image, str):
                    found.broken[place] = image
                else:
                    found.pixels[place] = image
        return found


def decoded_ahead(
    names: Sequence[str], open: Callable[[str], bytes], fit: Fit, workers: int | None = None
) -> Generator[Pixels]:
    """The images in their order, some at a time. open: from a name to the file's bytes, picklable.

    workers: processes, where 1 means none but this; None means one a core where that pays.
    """
    step = max(1, min(64, _CHUNK_BYTES // fit.row_bytes))
    chunks = [(at, names[at : at + step]) for at in range(0, len(names), step)]
    job, count = PixelJob(open, fit), workers or cores()
    rest = iter(chunks)
    if workers is None:
        for chunk in itertools.islice(rest, 1):
            begun = time.perf_counter()
            found = job.rows(*chunk)
            work = (time.perf_counter() - begun) * (len(chunks) - 1)
            count = count if work > _WORTH else 1
            yield found
    if count == 1:
        yield from (job.rows(*chunk) for chunk in rest)
        return
    with contextlib.closing(_in_processes(job, rest, count)) as results:
        yield from results


def _in_processes(
    job: PixelJob, chunks: Iterable[tuple[int, Sequence[str]]], count: int
) -> Generator[Pixels]:
    free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    waiting: deque[Future[Pixels]] = deque()
    source = iter(chunks)

    def ask(chunk: tuple[int, Sequence[str]]) -> Pixels:
        worker = free.get()
        try:
            found: Pixels = worker.rows(chunk)
            return found
        finally:
            free.put(worker)

    with contextlib.ExitStack() as stack:
        for _ in range(count):
            free.put(stack.enter_context(Worker(job)))
        pool = ThreadPoolExecutor(count)
        stack.callback(pool.shutdown, cancel_futures=True)
        for chunk in itertools.islice(source, _AHEAD * count):
            waiting.append(pool.submit(ask, chunk))
        while waiting:
            found = waiting.popleft().result()
            for chunk in itertools.islice(source, 1):
                waiting.append(pool.submit(ask, chunk))
            yield found

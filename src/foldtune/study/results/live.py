"""A table of a running study on a terminal, drawn again from its folder."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from foldtune.console import duration, plain
from foldtune.errors import InputError
from foldtune.study.results.status import Status, Tally

if TYPE_CHECKING:
    from rich.console import Group

_EVERY = 1.0  # seconds between two looks
_SHARE = 50  # looking takes at most one part in this many of the time


@contextmanager
def live(folder: Path) -> Iterator[None]:
    """Show the study's table on standard error while the block runs; nothing beyond a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.live import Live

    tally, stop = Tally(folder), threading.Event()
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as screen:

        def watch() -> None:
            pause = 0.1
            while not stop.wait(pause):
                started = time.perf_counter()
                # Before the first row there is no study to show, and a folder can vanish.
                with contextlib.suppress(InputError, OSError):
                    screen.update(draw_table(tally.status()), refresh=True)
                pause = max(_EVERY, _SHARE * (time.perf_counter() - started))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()


def draw_table(status: Status) -> Group:
    """The study as a table: one line a method, and what is under way below."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    # On a narrow terminal a long name is folded, so that every number is seen whole.
    table.add_column("method", overflow="fold")
    for column in ("trials", "finals", "best", "images/s"):
        table.add_column(column, justify="right", no_wrap=True)
    for entry in status.methods:
        best = "-" if entry.best is None else f"{entry.best:.1%}"
        pace = "-" if entry.images_per_second is None else f"{entry.images_per_second:,.0f}"
        trials = _of(entry.trials_done, entry.trials)
        table.add_row(
            Text(plain(entry.label)), trials, _of(entry.finals_done, entry.finals), best, pace
        )
    # Not the table's caption, which would be broken at the table's own width.
    return Group(table, Text(summary(status), style="dim"))


def summary(status: Status) -> str:
    """One line: runs done, epochs of those under way, time left."""
    parts = [f"{_of(status.done, status.planned)} runs"]
    if status.under_way:
        epochs = ", ".join(f"{run.epoch}/{run.epochs}" for run in status.under_way[:8])
        parts.append(f"{len(status.under_way)} under way (epochs {epochs})")
    if lost := sum(entry.failed for entry in status.methods):
        parts.append(f"{lost} failed (--retry-failed runs them again)")
    if status.seconds_left is not None and status.go_on is not None:
        parts.append(f"about {duration(status.seconds_left)} left")
    return ", ".join(parts)


def _of(done: int, planned: int | None) -> str:
    return f"{done}" if planned is None else f"{done}/{planned}"

"""The progress line: images per second and time left, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, int, float | None], None]


@contextmanager
def progress_line(label: str | None, done: int, total: int) -> Iterator[Advance]:
    """Yield `advance(images, epoch, loss)`, which moves a line on stderr by that many images.

    done, total: images of the whole run. Without a label, or where stderr is not a terminal,
    nothing is written and rich is not imported.
    """
    if label is None or not sys.stderr.isatty():
        yield lambda images, epoch, loss: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("epoch {task.fields[epoch]}  loss {task.fields[loss]}"),
        TextColumn("{task.fields[speed]} images/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, completed=done, epoch=0, loss="-", speed="-")

        def advance(images: int, epoch: int, loss: float | None) -> None:
            pace = bar.tasks[task].speed
            speed = "-" if pace is None else f"{pace:.0f}"
            shown = "-" if loss is None else f"{loss:.4f}"
            bar.update(task, advance=images, epoch=epoch, speed=speed, loss=shown)

        yield advance

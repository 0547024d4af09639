"""How the command line prints: tables for people, one JSON value for machines.

Of several processes that train together only the first prints.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from foldtune.processes import first

if TYPE_CHECKING:
    from rich.console import RenderableType


def emit(value: Any) -> None:
    """One JSON value on standard output."""
    if first():
        print(json.dumps(value, indent=2, ensure_ascii=False))


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], title: str = "") -> None:
    """Rows as a table; numbers to the right."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    rows = list(rows)
    for column in columns:
        numbers = all(isinstance(row.get(column), int | float) for row in rows)
        drawn.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(_cell(row.get(column))) for column in columns))
    show(drawn)


def show(drawn: RenderableType) -> None:
    """A table on standard output."""
    from rich.console import Console

    # Beyond a terminal the table is not cut to 80 columns: a pipe has no width.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(drawn)


def facts(pairs: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    width = max(map(len, pairs))
    if not first():
        return
    for name, value in pairs.items():
        print(f"{name:<{width}}  {_cell(value)}")


def say(line: str) -> None:
    """A line of progress, on standard error."""
    if first():
        # In one write: `print` makes two where Python does not buffer, and Ctrl-C between them
        # would put the next line behind this one.
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 12 min, 3.5 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"

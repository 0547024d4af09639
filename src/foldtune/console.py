"""How the command line prints: tables for people, one JSON value for machines.

Of several processes that train together only the first prints. Names of classes and files are
whatever their owner wrote: what a terminal would obey and not show is printed as an escape.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from foldtune.processes import first

# C0 but tab and line break, C1, marks of direction, separators of lines, and surrogates.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff]"
)

if TYPE_CHECKING:
    from rich.console import RenderableType


def emit(value: Any) -> None:
    """One JSON value on standard output."""
    if first():
        print(plain(json.dumps(value, indent=2, ensure_ascii=False), r"\u{:04x}"))


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], title: str = "") -> None:
    """Rows as a table; numbers to the right."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=plain(title) or None, title_justify="left", box=None, pad_edge=False)
    rows = list(rows)
    for column in columns:
        numbers = all(isinstance(row.get(column), int | float) for row in rows)
        drawn.add_column(
            Text(plain(column)), justify="right" if numbers else "left", overflow="fold"
        )
    for row in rows:
        drawn.add_row(*(Text(_cell(row.get(column))) for column in columns))
    show(drawn)


def show(drawn: RenderableType) -> None:
    """A table on standard output."""
    from rich.console import Console

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would end the process with 1

    # Beyond a terminal the table is not cut to 80 columns: a pipe has no width.
    console = _Console() if sys.stdout.isatty() else _Console(width=200)
    console.print(drawn)


def facts(pairs: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    width = max(map(len, pairs))
    if not first():
        return
    for name, value in pairs.items():
        print(f"{plain(str(name)):<{width}}  {_cell(value)}")


def write(text: str) -> None:
    """A line on standard output."""
    if first():
        print(plain(text))


def plain(text: str, escape: str = r"\x{:02x}") -> str:
    r"""The text with escapes for what moves a cursor, turns the direction of writing, or is no text
    (the lone surrogates of a file name that is no UTF-8); line breaks and tabs stay.

    >>> print(plain("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    return _OBEYED.sub(lambda found: _escape(ord(found[0]), escape), text)


def _escape(code: int, escape: str) -> str:
    return escape.format(code) if code < 0x100 else f"\\u{code:04x}"


def say(line: str) -> None:
    """A line of progress, on standard error."""
    if first():
        # In one write: `print` makes two where Python does not buffer, and Ctrl-C between them
        # would put the next line behind this one.
        sys.stderr.write(f"{plain(line)}\n")
        sys.stderr.flush()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(str(name))} {_cell(one)}" for name, one in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value)) or "-"
    return f"{value:.4g}" if isinstance(value, float) else plain(str(value))


def percent(share: float | None) -> str:
    """A share as people say it; a dash for none.

    >>> percent(0.875), percent(None)
    ('87.5 %', '–')
    """
    return "–" if share is None else f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> [duration(seconds) for seconds in (45, 720, 12600)]
    ['45 s', '12 min', '3.5 h']
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"

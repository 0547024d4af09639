"""What verbs return to a notebook: plain lists and dicts that draw themselves as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from foldtune.errors import InputError

_MOST = 50  # rows that a notebook draws
_STYLE = "text-align:left;padding:0.15em 0.8em 0.15em 0"


class Table(list[dict[str, Any]]):
    """A list of rows, each a dict."""

    def __repr__(self) -> str:
        return text_table(self)

    def _repr_html_(self) -> str:
        return html_table(self)

    def to_pandas(self) -> Any:
        """The rows as a DataFrame. Raises InputError without pandas."""
        return frame(self)


class Facts(dict[str, Any]):
    """Names and values; what is nested is there, and not drawn."""

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {_cell(value)}" for name, value in self._flat().items())

    def _repr_html_(self) -> str:
        rows = [{"": name, "value": _cell(value)} for name, value in self._flat().items()]
        return html_table(rows)

    def to_pandas(self) -> Any:
        """Names and values as a DataFrame of one row. Raises InputError without pandas."""
        return frame([self._flat()])

    def _flat(self) -> dict[str, Any]:
        return {k: v for k, v in self.items() if not isinstance(v, Mapping | list | tuple)}


def frame(rows: Iterable[Mapping[str, Any]]) -> Any:
    """A pandas DataFrame of the rows."""
    try:
        import pandas
    except ImportError:
        raise InputError("to_pandas() needs the package pandas: pip install pandas") from None
    return pandas.DataFrame([dict(row) for row in rows])


def text_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows in columns, as many as a screen holds."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows[:_MOST]]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
             for line in [names, *cells]]  # fmt: skip
    more = [f"... {len(rows) - _MOST} more"] if len(rows) > _MOST else []
    return "\n".join([*lines, *more])


def html_table(rows: Sequence[Mapping[str, Any]], marked: int | None = None) -> str:
    """Rows as HTML, escaped. marked: the row that is drawn bold."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f'<th style="{_STYLE}">{escape(name)}</th>' for name in names)
    body = []
    for place, row in enumerate(rows[:_MOST]):
        style = f"{_STYLE};font-weight:600" if place == marked else _STYLE
        cells = "".join(f'<td style="{style}">{escape(_cell(row.get(n)))}</td>' for n in names)
        body.append(f"<tr>{cells}</tr>")
    more = f"<p>{len(rows) - _MOST} more</p>" if len(rows) > _MOST else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{more}"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)

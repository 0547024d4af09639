"""Figures as text: for the tables of the page, and for a spreadsheet."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_FORMULA = tuple("=+-@\t\r")


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Comma-separated, with no cell that a spreadsheet would run as a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for cells in rows:
        writer.writerow(
            f"'{cell}" if isinstance(cell, str) and cell[:1] in _FORMULA else cell for cell in cells
        )
    return text.getvalue()


def points(estimate: Mapping[str, Any] | None, signed: bool = False) -> str:
    """A share with its interval, in percent: 87.1 (85.0 to 89.2)."""
    if estimate is None or estimate["value"] is None:
        return "–"
    form = "{:+.1f}" if signed else "{:.1f}"
    value = form.format(100 * estimate["value"])
    if estimate["low"] is None:
        return value
    low, high = (form.format(100 * estimate[key]) for key in ("low", "high"))
    return f"{value} ({low} to {high})"


def plain(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def chance(p: float) -> str:
    """A p-value, rounded down, so that what is below 0.05 does not read as 0.050."""
    return "< 0.001" if p < 0.001 else f"{math.floor(1000 * p) / 1000:.3f}"

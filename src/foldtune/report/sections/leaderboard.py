"""The leaderboard, with its intervals drawn on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from foldtune.analysis.row import Standing
from foldtune.report.cells import as_csv
from foldtune.report.material import Material
from foldtune.report.section import Section

_COLUMNS = (
    *("label", "method", "winner", "val_accuracy", "val_best_accuracy", "val_best_epoch"),
    *("val_start_accuracy", "below_start"),
    *("test_accuracy", "low", "high", "interval", "seeds", "test_images"),
    *("against", "may_be_best", "rank_low", "rank_high"),
    *("trainable", "head", "total", "mergeable", "trials", "diverged", "seconds"),
)


def section(study: Material) -> Section:
    board = study.board
    cells = [[entry.get(column) for column in _COLUMNS] for entry in board]
    context = {
        "board": board,
        "palette": study.palette,
        "strip": _strip(board),
        "csv": "data:text/csv;charset=utf-8," + quote(as_csv(_COLUMNS, cells)),
    }
    return Section("leaderboard", "Leaderboard", template="leaderboard.html", context=context)


def _strip(board: Sequence[Standing]) -> dict[str, Any]:
    """The common scale of the intervals drawn in the table: from `start` over `width`."""
    ends = [end for e in board for end in (e["low"], e["high"]) if end is not None]
    start, end = (min(ends), max(ends)) if ends else (0.0, 1.0)
    return {"start": start, "width": max(end - start, 1e-9), "drawn": bool(ends)}

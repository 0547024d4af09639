"""Every run of the study, as it was stored."""

from __future__ import annotations

from typing import Any

from foldtune.analysis.leaderboard import is_finished
from foldtune.analysis.row import Row
from foldtune.report.material import Material
from foldtune.report.section import Section

_LISTED = 2000  # runs in the page's table; rows.jsonl has all
_RUN = ("seed", "val_accuracy", "val_best_accuracy", "val_best_epoch", "test_accuracy", "seconds")


def section(study: Material) -> Section:
    context = {"runs": [_run(row) for row in study.rows[:_LISTED]], "total": len(study.rows)}
    return Section("runs", "All runs", template="runs.html", context=context)


def _run(row: Row) -> dict[str, Any]:
    recipe = row.get("recipe") or {}
    values = {key: f"{v:.3g}" if isinstance(v, float) else str(v) for key, v in recipe.items()}
    settings = ", ".join(f"{key} {value}" for key, value in values.items())
    return {**dict.fromkeys(_RUN), **row, "settings": settings, "finished": is_finished(row)}

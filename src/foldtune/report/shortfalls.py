"""What went worse than it should in a study, in sentences: computed from its rows, plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from foldtune.report.words import percent

Row = dict[str, Any]


def shortfalls(board: Sequence[Row]) -> list[str]:
    """One sentence a kind, none where there is nothing of it."""
    return [*_below_start(board)]


def warning(entry: Row) -> str:
    """What is to be known of a method before its figures are read, in a few words."""
    if not entry.get("below_start"):
        return ""
    return f"below its own start ({percent(entry['val_start_accuracy'])})"


def _below_start(board: Sequence[Row]) -> list[str]:
    below = [entry for entry in board if entry.get("below_start")]
    if not below:
        return []
    told = "; ".join(
        f"{e['label']} {percent(e['val_accuracy'])} after {percent(e['val_start_accuracy'])}"
        for e in below
    )
    return [
        "Training made worse what it started from, by the validation accuracy of the chosen "
        f"configuration: {told}. Smaller learning rates, another start or fewer epochs may help."
    ]

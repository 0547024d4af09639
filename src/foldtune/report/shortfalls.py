"""What went worse than it should in a study, in sentences: computed from its rows, plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from foldtune.report.words import count, percent

Row = dict[str, Any]


def shortfalls(board: Sequence[Row], asked: Row) -> list[str]:
    """Sentences about what ended below its start, failed, or was left out; none where nothing was.

    asked: the study's description.
    """
    return [*_below_start(board), *_failed(board), *_left_out(asked)]


def warning(entry: Row) -> str:
    """What is to be known of a method before its figures are read, in a few words."""
    said = []
    if entry.get("below_start"):
        said.append(f"below its own start ({percent(entry['val_start_accuracy'])})")
    if entry.get("failed"):
        said.append(f"{count(entry['failed'], 'run')} failed")
    return ", ".join(said)


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


def _failed(board: Sequence[Row]) -> list[str]:
    """A sentence a method: its first reason stands for all."""
    return [
        f"{count(entry['failed'], 'run')} of {entry['label']} {entry['failure']}"
        + ("" if entry["failure"].endswith(".") else ".")
        for entry in board
        if entry.get("failed")
    ]


def _left_out(asked: Row) -> list[str]:
    absent = asked.get("left_out")
    if not isinstance(absent, dict):
        return []
    return [f"{label} was left out: {reason}." for label, reason in absent.items()]

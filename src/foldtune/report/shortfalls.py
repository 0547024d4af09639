"""What went worse than it should in a study, in sentences: computed from its rows, plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from foldtune.analysis.row import Description, Row, Standing
from foldtune.report.words import count, percent


def shortfalls(board: Sequence[Standing], asked: Description) -> list[str]:
    """Sentences about what ended below its start, failed, or was left out; none where nothing was.

    asked: the study's description.
    """
    return [*_below_start(board), *_failure_sentences(board), *_left_out(asked)]


def warning(entry: Row | Standing) -> str:
    """What is to be known of a method before its figures are read, in a few words."""
    said = []
    if entry.get("below_start"):
        said.append(f"below its own start ({percent(entry['val_start_accuracy'])})")
    if runs := cast(Standing, entry).get("failed"):  # of a run its verdict says so
        said.append(f"{count(runs, 'run')} failed")
    return ", ".join(said)


def _below_start(board: Sequence[Standing]) -> list[str]:
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


def _failure_sentences(board: Sequence[Standing]) -> list[str]:
    """A sentence a method: its first reason stands for all."""
    return [
        f"{count(entry['failed'], 'run')} of {entry['label']} {reason}"
        + ("" if reason.endswith(".") else ".")
        for entry in board
        if (reason := entry.get("failure"))
    ]


def _left_out(asked: Description) -> list[str]:
    absent = asked.get("left_out")
    if not isinstance(absent, dict):
        return []
    return [f"{label} was left out: {reason}." for label, reason in absent.items()]

"""A study's stored predictions, brought into the form that the analyses take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.analysis.panel import Member, Panel
from foldtune.analysis.ranking import chosen_runs, leaderboard
from foldtune.errors import InputError
from foldtune.study.logits import LOGITS, VALIDATION, read_logits
from foldtune.study.store import Store

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Predictions:
    """panel: test logits of every tested final run of each method's chosen configuration; board:
    the leaderboard; order: these methods, best on validation first; validation: where the chosen
    trials kept their logits, those of each method, over the labels."""

    panel: Panel
    board: list[Row]
    order: tuple[str, ...]
    validation: dict[str, Member]
    validation_labels: np.ndarray | None


def read_predictions(folder: Path) -> Predictions:
    """Read a study. Raises InputError where it has no tested run, or runs on different images."""
    store = Store(folder)
    rows, ties = store.rows(), store.description().get("ties") or "small"
    by_label: dict[str, list[Row]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row)
    found = {label: chosen_runs(group, ties) for label, group in by_label.items()}
    tested = {label: finals for label, (_, finals) in found.items() if finals}
    if not tested:
        raise InputError(
            f"{folder} has no final run with test logits; run foldtune compare ... --out {folder}"
        )
    board = leaderboard(rows, ties)
    trials = [found[label][0] for label in tested]
    validation, labels = _validation(folder, trials)
    return Predictions(_panel(folder, tested), board, _order(board, tested), validation, labels)


def _panel(folder: Path, tested: dict[str, list[Row]]) -> Panel:
    labels = images = None
    runs: dict[str, list[Member]] = {}
    for label, finals in tested.items():
        for row in finals:
            stored = read_logits(folder / "runs" / row["run"] / LOGITS)
            if images is not None and not np.array_equal(images, stored.rows):
                raise InputError(
                    f"{folder}: run {row['run']} of {label} was tested on other images than the "
                    "runs before it; analyse studies of one test split"
                )
            images, labels = stored.rows, stored.labels
            member = Member(label, row["seed"], stored.logits, row["run"], row["trainable"])
            runs.setdefault(label, []).append(member)
    assert labels is not None  # `tested` is not empty
    return Panel(labels, runs)


def _validation(folder: Path, trials: Sequence[Row]) -> tuple[dict[str, Member], np.ndarray | None]:
    """Those of every method, or none: a choice among some of the methods would not be one."""
    found: dict[str, Member] = {}
    labels = None
    for row in trials:
        path = folder / "runs" / row["run"] / VALIDATION
        if row["stage"] != "trial" or not path.exists():
            return {}, None
        stored = read_logits(path)
        labels = stored.labels
        found[row["label"]] = Member(row["label"], row["seed"], stored.logits, row["run"])
    return found, labels


def _order(board: list[Row], tested: dict[str, list[Row]]) -> tuple[str, ...]:
    """As the winner is chosen: validation accuracy, then fewer parameters, then the name. A study
    without trials has no such order: then it is the alphabet's."""
    here = [entry for entry in board if entry["label"] in tested]
    here.sort(key=lambda e: (-(e["val_accuracy"] or 0.0), e["trainable"], e["label"]))
    return tuple(entry["label"] for entry in here)

"""Which trial is chosen: the best on validation at its last epoch, ties by a stated rule."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from foldtune.analysis.row import Row
from foldtune.errors import unknown_name
from foldtune.training.curve import epochs_trained

# Each rule orders the trials of equal accuracy; what comes first is chosen. `order`: the place of
# a trial in its search, from 0.
TIES: dict[str, Callable[[Row, int], tuple[Any, ...]]] = {
    # Fewer trainable parameters, then the smaller learning rate and decay, then the earlier trial.
    "small": lambda row, order: (row["trainable"], *_rates(row), order),
    # The smaller validation loss, which is finer than an accuracy; then as `small`.
    "loss": lambda row, order: (_loss(row), *TIES["small"](row, order)),
    # The smaller learning rate, then the earlier trial (Jia et al., ECCV 2022).
    "lr": lambda row, order: (*_rates(row)[:1], order),
    # The last of the grid (the unifying study's code: a stable sort, its last entry).
    "last": lambda row, order: (-order,),
}


def rank_trials(trials: Sequence[Row], ties: str = "small") -> list[int]:
    """Places of the finished trials, best last-epoch validation accuracy first, ties by rule."""
    if ties not in TIES:
        raise unknown_name("rule for ties", ties, TIES)
    able = [
        (-row["val_accuracy"], TIES[ties](row, place), place)
        for place, row in enumerate(trials)
        if row["verdict"] == "finished" and row.get("val_accuracy") is not None
    ]
    return [place for *_, place in sorted(able)]


def in_order(trials: Iterable[Row]) -> list[Row]:
    """Trials as their search numbered them; those without a number as they were stored."""
    return sorted(trials, key=lambda row: row.get("trial") or 0)


def best_after(trials: Iterable[Row]) -> list[float | None]:
    """The best validation accuracy after 1, 2, ... trials; None until one has finished."""
    best: float | None = None
    found: list[float | None] = []
    for row in in_order(trials):
        value = row.get("val_accuracy") if row["verdict"] == "finished" else None
        if value is not None and (best is None or value > best):
            best = value
        found.append(best)
    return found


def configurations(rows: Iterable[Row]) -> int:
    """How many different configurations were tried, one on several rungs counted once."""
    told = set()
    for row in rows:
        recipe = dict(row.get("recipe") or {})
        # A rung changes these two only.
        recipe.pop("epochs", None), recipe.pop("warmup_epochs", None)
        # As JSON: a row from the store has lists where a fresh one has tuples.
        told.add((row["method"], json.dumps(recipe, sort_keys=True)))
    return len(told)


def spent_epochs(rows: Iterable[Row]) -> int:
    """Epochs trained, those of diverged runs included."""
    return sum(epochs_trained(row.get("curve") or ()) for row in rows)


def means(values: Mapping[str, float], groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Two averages over tasks that publications both call the mean; they differ by a point or two.

    values: a figure a task; groups: the tasks of each group. `mean_of_tasks` counts every task
    once, `mean_of_groups` every group once; `groups` holds each group's mean. None where a task
    has no figure: a mean over other tasks could not be compared.
    """

    def mean(names: Iterable[Any], table: Mapping[Any, float | None]) -> float | None:
        found = [table.get(name) for name in names]
        if not found or any(value is None for value in found):
            return None
        return sum(value for value in found if value is not None) / len(found)

    tasks = [task for members in groups.values() for task in members]
    each = {name: mean(members, values) for name, members in groups.items()}
    return {
        "mean_of_tasks": mean(tasks, values),
        "mean_of_groups": mean(each, each),
        "groups": each,
        "tasks": len(tasks),
    }


def _loss(row: Row) -> float:
    found = row.get("val_loss")
    return math.inf if found is None else found


def _rates(row: Row) -> tuple[float, float]:
    recipe = row.get("recipe") or {}
    return recipe.get("lr", 0.0), recipe.get("weight_decay", 0.0)

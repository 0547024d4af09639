"""What the unifying study published for VTAB-1K: chosen values, and accuracies to compare with."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from foldtune.analysis.selection import means
from foldtune.errors import unknown
from foldtune.study.protocols.tasks import PLACE, names, recognised, vtab_tasks


def published_values(method: str, task: str) -> tuple[Mapping[str, Any], ...]:
    """The hyper-parameters that the study chose for a method (our class's name) on a task.

    None for a method that it did not run. What has no name here (the Xavier flag of Convpass) is
    left out. Raises InputError for a task that is not VTAB's.
    """
    named = recognised(task, vtab_tasks())
    if named is None:
        raise unknown("task of the published values", task, vtab_tasks())
    ours, settings = names()["methods"], names()["settings"]
    for row in _table("vtab_best_hparams"):
        if row["task"] == named and ours[row["method"]] == method:
            chosen = json.loads(row["best_tune"])
            return ({settings[k]: _plain(k, v) for k, v in chosen.items() if k in settings},)
    return ()


def published_accuracies() -> list[dict[str, Any]]:
    """Last-epoch test accuracies in percent, one seed: a row a method, with both means.

    `mean_of_tasks` and `mean_of_groups` are recomputed here from the tasks.
    """
    groups = names()["vtab"]
    found = []
    for row in _table("vtab_last_epoch"):
        values = {task: float(row[task]) for task in vtab_tasks()}
        found.append(
            {"method": names()["methods"][row["method"]], **means(values, groups)} | values
        )
    return sorted(found, key=lambda row: -row["mean_of_tasks"])


def _plain(name: str, value: Any) -> Any:
    """Scales are written 1 and 10 in places where they are numbers like 0.1."""
    return float(value) if name.endswith("_scaler") else value


@cache
def _rows(stem: str) -> tuple[Mapping[str, str], ...]:
    return tuple(csv.DictReader((PLACE / f"{stem}.csv").read_text(encoding="utf-8").splitlines()))


def _table(stem: str) -> Iterator[Mapping[str, str]]:
    return iter(_rows(stem))

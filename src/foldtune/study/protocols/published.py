"""What the unifying study published for VTAB-1K: chosen values, and accuracies to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foldtune.analysis.selection import means
from foldtune.analysis.tasks.reference import TASKS, best_settings, vtab
from foldtune.errors import unknown_name
from foldtune.study.protocols.tasks import recognise, vtab_tasks


def published_values(method: str, task: str) -> tuple[Mapping[str, Any], ...]:
    """The hyper-parameters that the study chose for a method (our class's name) on a task.

    None for a method that it did not run. What has no name here (the Xavier flag of Convpass) is
    left out. Raises InputError for a task that is not VTAB's.
    """
    named = recognise(task, vtab_tasks())
    if named is None:
        raise unknown_name("task of the published values", task, vtab_tasks())
    found = best_settings().get((named, method))
    if found is None:
        return ()
    # Scales are written 1 and 10 in places where they are numbers like 0.1.
    return ({name: float(v) if name == "scale" else v for name, v in found.items()},)


def published_accuracies() -> list[dict[str, Any]]:
    """Last-epoch test accuracies in percent, one seed: a row a method, with both means.

    `mean_of_tasks` and `mean_of_groups` are recomputed here from the tasks.
    """
    groups = {group: tuple(tasks) for group, tasks in TASKS.items()}
    table = vtab()
    found = []
    for method, row in zip(table.methods, table.values.tolist(), strict=True):
        values = dict(zip(table.tasks, row, strict=True))
        found.append({"method": method, **means(values, groups), **values})
    return sorted(found, key=lambda row: -row["mean_of_tasks"])

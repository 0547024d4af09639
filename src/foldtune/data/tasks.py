"""How data of a task is split and shown: what the data floor must know of labels that are texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foldtune.data.grouping import Key
from foldtune.data.sources.listing import Listing
from foldtune.data.strata import Strata, ranges
from foldtune.errors import InputError
from foldtune.tasks.kinds import MultiLabel
from foldtune.tasks.parsing import parse_task
from foldtune.tasks.recognition import settled_task
from foldtune.tasks.task import Task


def task_of(listing: Listing, asked: Task | str | None, where: str) -> Task:
    """The task of a listing: as asked, perhaps in words, else as its labels say."""
    task = parse_task(asked) if isinstance(asked, str) else asked
    return settled_task(task, listing.task, listing.doubt, where)


def strata_of(
    task: Task,
    texts: Sequence[str],
    labels: np.ndarray,
    keys: Sequence[Key],
    groups: Sequence[str],
    seed: int | None,
) -> Strata | None:
    """What splits of these images are to spread evenly; None where that is classes."""
    if task.classed:
        return None
    names = task.outputs(texts)
    targets = task.targets(texts, labels, names)
    several = isinstance(task, MultiLabel)
    marks = targets.astype(np.int64) if several else ranges(targets, len(labels))
    how = "stratified by label" if several else "stratified by range"
    if groups:
        how = f"by groups, nearly {how}"
    return Strata(marks, names if several else (), keys, groups, seed or 0, how)


def settled_for(
    task: Task, texts: Sequence[str], labels: np.ndarray, splits: Mapping[str, np.ndarray]
) -> Task:
    """The task with what training must know of its labels; as it is where nothing is trained on."""
    rows = splits["train"]
    if not len(rows):
        return task
    return task.for_targets(task.targets(texts, labels, task.outputs(texts))[rows])


def refuse_shots(task: Task) -> None:
    """Raise InputError where images cannot be counted a class."""
    if not task.classed:
        raise InputError(
            f"--shots counts images a class, and {type(task).__name__} has none; give fewer images"
        )


def task_facts(task: Task) -> dict[str, Any]:
    """What is told of data that is not one class an image."""
    return {} if task.usual else {"task": repr(task)}

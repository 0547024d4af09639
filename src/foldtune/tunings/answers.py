"""What a tuning of any task answers and how it is judged: one class, several labels, a number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from foldtune.analysis.decision import decide
from foldtune.analysis.judgement.classes import per_class
from foldtune.analysis.judgement.confusion import confusion, largest
from foldtune.analysis.judgement.unsure import left_out
from foldtune.analysis.panel import Member, Panel
from foldtune.data import ImageData
from foldtune.errors import InputError
from foldtune.tasks.kinds import MultiLabel, Regression, SingleLabel
from foldtune.tasks.metrics import Judged, values
from foldtune.tasks.parsing import parse_task
from foldtune.tasks.rules import Costed, Thresholded
from foldtune.tasks.task import Task
from foldtune.tunings.judging import Chosen, honest_names

_MOVED = 1e-3  # of the span, from which on a number counts as another


def task_of(header: Mapping[str, Any]) -> Task:
    """The task that a tuning was made for."""
    return parse_task(header["task"]) if header.get("task") else SingleLabel()


def refuse_unless_classes(header: Mapping[str, Any], what: str) -> None:
    """Raise InputError where something that has a meaning for one class an image alone is asked of
    a tuning of another task."""
    task = task_of(header)
    if not isinstance(task, SingleLabel):
        raise InputError(
            f"{what} has a meaning for one class an image alone, and the tuning is of {task!r}; "
            "judge it with foldtune eval"
        )


def answer_rows(
    paths: Sequence[Path], logits: Tensor, classes: Sequence[str], task: Task
) -> Iterator[dict[str, Any]]:
    """Each path with its answer."""
    for path, told in zip(paths, task.describe(logits.numpy(), classes), strict=True):
        yield {"image": str(path), **told}


def count_changed(before: Tensor, after: Tensor, task: Task) -> int:
    """How many images are answered otherwise. before, after: logits (images, outputs)."""
    return unlike(task.answers(before.numpy()), task.answers(after.numpy()), task)


def unlike(one: np.ndarray, other: np.ndarray, task: Task) -> int:
    """How many answers differ; numbers, by more than a thousandth of their span."""
    if isinstance(task, Regression):
        return int((np.abs(one - other) > _MOVED * task.span).sum())
    apart = one != other
    return int((apart.any(1) if apart.ndim > 1 else apart).sum())


def judgement(
    logits: Tensor, targets: np.ndarray, classes: Sequence[str], task: Task, chosen: Chosen
) -> dict[str, Any]:
    """What one figure hides, as the page has it: by class or label images, recall and precision
    with intervals over images; the largest confusions; accuracy without the least sure; of a rule
    by costs what answers cost. Of numbers the interval of their mean error."""
    panel = Panel(targets, {"": [Member("", 0, logits.numpy())]}, task)
    if isinstance(task, Regression):
        off = np.abs(panel.with_labels(panel.members[0]).answers - targets)[None]
        most = max(float(off.max()), 1e-12)
        found = None
        if len(targets) > 1:
            found = decide({"": off / most}, proportions=False, least=0.0)
        bounds = [None, None] if found is None else [most * found.low[0], most * found.high[0]]
        told: dict[str, Any] = {"mae": {"value": float(off.mean()), "low": bounds[0],
                                        "high": bounds[1]}}  # fmt: skip
        return honest_names({"judgement": told}, chosen)
    told = {"classes": per_class(panel, "", classes)}
    if isinstance(task, Thresholded):
        told["thresholds"] = task.rule(classes)
    if isinstance(task, Costed):
        answers, likeliest = task.answers(logits.numpy()), task.likeliest(logits.numpy())
        told["cost"] = {
            "mean": task.mean_cost(answers, targets),
            "mean_of_likeliest": task.mean_cost(likeliest, targets),
            "accuracy": float((answers == targets).mean()),
        }
    if not isinstance(task, MultiLabel):
        told["confusions"] = largest(confusion(panel, ""), classes)
        told["left_out"] = left_out(panel, "")
    return honest_names({"judgement": told}, chosen)


def task_figures(
    logits: Tensor, data: ImageData, chosen: Chosen, classes: Sequence[str], task: Task
) -> dict[str, Any]:
    """The figures of chosen rows for a task that is not one class an image. classes: the names that
    the tuning predicts. Raises InputError for a label that is none of them."""
    targets = task.targets(data.classes, data.labels[chosen.rows], classes)
    metrics = honest_names(dict(values(Judged(task, logits.numpy(), targets))), chosen)
    about = {"split": chosen.split, "images": len(targets), "trained_on": chosen.trained_on}
    return about | metrics | judgement(logits, targets, classes, task, chosen)

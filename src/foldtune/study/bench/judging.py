"""What validation and the test split say of logits, by the task and the metric of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from foldtune.analysis.row import Tested
from foldtune.judging.accuracy import accuracy
from foldtune.judging.calibration import calibration
from foldtune.tasks.kinds import SingleLabel
from foldtune.tasks.metrics import DEFAULT, Judged, metric_of, score_of, values
from foldtune.tasks.task import Task
from foldtune.training.optim.objective import objective
from foldtune.training.recipe import Recipe


def score_and_loss(
    logits: Tensor, targets: np.ndarray, task: Task | None = None, metric: str = ""
) -> dict[str, float]:
    """What validation adds to an entry of the curve: the score that chooses, and the loss.

    logits: (rows, outputs); targets: (rows, ...). The score is that of `metric`, by default
    accuracy, whatever its key is called; the loss is the task's own, without remedies.
    """
    truth = torch.from_numpy(targets)
    if task is None or isinstance(task, SingleLabel):
        loss = torch.nn.functional.cross_entropy(logits.double(), truth)
    else:
        truth = truth.double() if truth.dtype.is_floating_point else truth
        loss = objective(task, Recipe(), targets)(logits.double(), truth)
    if not metric:
        right = (logits.argmax(1) == truth).double()
        return {"val_accuracy": right.mean().item(), "val_loss": loss.item()}
    found = score_of(metric, Judged(task or SingleLabel(), logits.numpy(), targets))
    return {"val_accuracy": found, "val_loss": loss.item()}


def judge_test(logits: Tensor, targets: np.ndarray, task: Task, metric: str) -> Tested:
    """What a row tells of the test split: the score, and in `test` all other figures."""
    told: dict[str, Any] = {}
    if isinstance(task, SingleLabel):
        truth = torch.from_numpy(targets)
        told = dict(accuracy(logits, truth)) | dict(calibration(logits, truth))
        if not metric:
            return {"test_accuracy": told.pop("top1"), "test": told}
    it = Judged(task, logits.numpy(), targets)
    told |= dict(values(it))
    return {"test_accuracy": score_of(metric, it), "test": told}


def chosen_metric(task: Task, select: str | None) -> str:
    """The name for runs: empty for accuracy of one label an image. Raises InputError for a metric
    without meaning for the task."""
    name = select or (DEFAULT if isinstance(task, SingleLabel) else task.metrics[0])
    metric_of(name, task)
    return "" if isinstance(task, SingleLabel) and name == DEFAULT else name

"""What a written model gives, by its task: names of its outputs, shares, answers, and how right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from foldtune.analysis.decision import PSEUDO, decide
from foldtune.analysis.spread import wilson
from foldtune.core.attachment import Attachment
from foldtune.tasks.kinds import MultiLabel, Ordinal, Regression, SingleLabel
from foldtune.tasks.task import Task

_SURE = 1.959964  # of 95 %


def fold_unit(model: nn.Module, head: Sequence[str], task: Task) -> Task:
    """Let a model of numbers give them in the labels' own unit: mean and std join its classifier.

    head: paths of its classifiers. Gives the task as it is from then on; of others the model stays
    as it is.
    """
    if not isinstance(task, Regression):
        return task
    with torch.no_grad():
        for path in head:
            layer = model.get_submodule(path)
            weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
            weight.copy_(weight.double() * task.std)
            bias.copy_(bias.double() * task.std + task.mean)
    return Regression(span=task.span)


def in_unit(attachment: Attachment, task: Task) -> Task:
    """The same for a tuning on its backbone."""
    return fold_unit(attachment.model, attachment.head, task)


def output_names(task: Task, classes: Sequence[str]) -> list[str]:
    """The names of a model's outputs: its classes or labels, the grades above which, the number."""
    if isinstance(task, Ordinal):
        return [f"above {name}" for name in classes[:-1]]
    return list(classes)


class Shares(nn.Module):
    """From outputs of a task (batch, outputs) to the share of each name; of numbers, the numbers.

    Its answers are those of `Task.probabilities`, computed inside of a graph.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, outputs: Tensor) -> Tensor:
        if isinstance(self.task, SingleLabel):
            return outputs.softmax(1)
        if isinstance(self.task, MultiLabel):
            return outputs.sigmoid()
        if isinstance(self.task, Regression):
            return outputs
        above = [torch.ones_like(outputs[:, :1])]  # runtimes know no product along an axis
        for column in outputs.sigmoid().split(1, dim=1):
            above.append(above[-1] * column)
        reached = torch.cat(above, dim=1)
        return reached - torch.cat([*above[1:], torch.zeros_like(above[0])], dim=1)


def answers(found: Tensor, task: Task, shares: bool) -> np.ndarray:
    """What is answered, in the form of targets. found: outputs, or what `Shares` makes of them."""
    if not shares or isinstance(task, Regression):
        return task.answers(found.numpy())
    if isinstance(task, SingleLabel):
        return found.argmax(1).numpy()
    if isinstance(task, MultiLabel):
        return (found.numpy() >= 0.5).astype(np.float32)
    return np.asarray((1.0 - found.double().cumsum(1).numpy()[:, :-1] > 0.5).sum(1))


class Figure(NamedTuple):
    """A figure over images with its 95 % interval."""

    value: float
    low: float
    high: float


def figure_name(task: Task) -> str:
    """What `figure` is called: every task has one that an answer alone gives."""
    if isinstance(task, SingleLabel):
        return "accuracy"
    return "labels right" if isinstance(task, MultiLabel) else "mean absolute error"


def figure(found: np.ndarray, targets: np.ndarray, task: Task, grades: int = 2) -> Figure:
    """How right answers are: a share of images, of their labels, or the mean error in grades or in
    the labels' unit. grades: how many there are, of grades."""
    if isinstance(task, SingleLabel):
        value = float((found == targets).mean())
        low, high = (float(end) for end in wilson(value, len(targets), _SURE))
        return Figure(value, low, high)
    if isinstance(task, MultiLabel):
        each, span = (found == targets).mean(1), 1.0
    else:
        each = np.abs(found.astype(np.float64) - targets)
        span = max(float(each.max()), 1e-12) if isinstance(task, Regression) else grades - 1.0
    value = float(each.mean())
    if len(each) < 2:
        return Figure(value, 0.0, max(span, value))
    # That nothing was wrong here does not say that nothing ever is: scores are given a made-up
    # image, but for errors that are far from both ends.
    least = 0.0 if isinstance(task, Regression) else PSEUDO
    known = decide({"": each[None] / span}, proportions=False, least=least)
    return Figure(value, span * known.low[0], span * known.high[0])


def told_figure(value: float, task: Task) -> str:
    """In per cent where it is a share."""
    share = isinstance(task, SingleLabel | MultiLabel)
    return f"{value:.2%}" if share else f"{value:.4g}"

"""The losses of an epoch, and the stop when one is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from foldtune.training.optim.optimizer import trainable
from foldtune.training.optim.schedule import learning_rate, warmup_steps
from foldtune.training.recipe import Recipe

_LOOK_EVERY = 50


class Diverged(Exception):
    """Training has left the finite numbers; the loop turns it into a verdict."""

    def __init__(self, what: str, step: int) -> None:
        super().__init__(what)
        self.step = step  # of its epoch, from 1

    def verdict(self, recipe: Recipe, epoch: int, steps_per_epoch: int) -> str:
        """What an outcome says: where it was, and what to try."""
        total, warmup = recipe.epochs * steps_per_epoch, warmup_steps(recipe, steps_per_epoch)
        lr = learning_rate((epoch - 1) * steps_per_epoch + self.step - 1, total, warmup, recipe)
        advice = "try a lower lr"
        if recipe.clip_norm is None:
            advice += ", or clip_norm=1.0"
        if recipe.precision == "fp16":
            advice += ", or bf16 or fp32"
        return f"diverged: {self} at epoch {epoch}, step {self.step}, lr {lr:.3g}; {advice}"


def look_every(device: torch.device, processes: int = 1) -> int:
    """Steps between two looks at the losses: 1 where looking is free and stops before the step that
    would spoil the weights, more where it makes the host wait."""
    return 1 if device.type == "cpu" and processes == 1 else _LOOK_EVERY


class Losses:
    """Collects the loss of each step without waiting for the device at every step.

    They are read every `every` steps, see `look_every`. `reduce` averages over processes, so that
    all of them stop at the same step.
    """

    def __init__(self, every: int, reduce: Callable[[Tensor], Tensor]) -> None:
        self._every, self._reduce = every, reduce
        self._waiting: list[Tensor] = []
        self._read: list[float] = []
        self._images: list[int] = []

    def add(self, loss: Tensor, images: int) -> None:
        """Take a step's mean loss over `images`; raises Diverged when one read is not finite."""
        self._waiting.append(loss.detach())
        self._images.append(images)
        if len(self._waiting) >= self._every:
            self._look()

    @property
    def last(self) -> float | None:
        """The last loss that was read, None before the first."""
        return self._read[-1] if self._read else None

    def mean(self) -> float:
        """The mean over all images of the epoch so far; raises Diverged like `add`."""
        self._look()
        pairs = zip(self._read, self._images, strict=True)
        return math.fsum(loss * images for loss, images in pairs) / sum(self._images)

    def _look(self) -> None:
        if not self._waiting:
            return
        values = self._reduce(torch.stack(self._waiting).float()).tolist()
        self._waiting.clear()
        for value in values:
            self._read.append(value)
            if not math.isfinite(value):
                raise Diverged(f"loss is {value}", len(self._read))


def check_finite(model: nn.Module, step: int) -> None:
    """Raise Diverged where a trainable parameter is not finite: the last step shows in no loss."""
    parameters = trainable(model)
    finite = torch.stack([torch.isfinite(p).all() for p in parameters.values()]).tolist()
    for name, good in zip(parameters, finite, strict=True):
        if not good:
            raise Diverged(f"parameter {name} is not finite", step)

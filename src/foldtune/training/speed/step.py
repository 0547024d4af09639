"""One step of the optimizer on one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from foldtune.training.optim.average import Average
from foldtune.training.speed.passes import Passes

# Given the mean loss of a batch, before the step that it leads to.
See = Callable[[Tensor], None]


class Step:
    """Gradients of a batch, and the step of the optimizer that they make.

    optimizer: torch's, or Accelerate's around it. clip_norm: the largest norm of the whole
    gradient, None for any. average: what takes in the weights after each step.
    """

    def __init__(
        self,
        passes: Passes,
        optimizer: Any,
        parameters: list[nn.Parameter],
        clip_norm: float | None,
        average: Average | None,
    ) -> None:
        self.passes, self.optimizer, self.parameters = passes, optimizer, parameters
        self.clip_norm, self.average = clip_norm, average

    def __call__(self, images: Tensor, targets: Tensor, lr: float, see: See) -> None:
        """One step at this rate; none where `see` raises."""
        see(self.passes.gradients(images, targets, self.optimizer.zero_grad))
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["rate"]
        self.update()

    def update(self) -> None:
        """The step that the gradients make, at the rates of the groups."""
        if self.clip_norm is not None:
            self.passes.at.accelerator.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()

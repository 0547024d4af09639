"""A training step beside a forward pass of the same batch, timed in turn."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from foldtune.core.attachment import Attachment
from foldtune.errors import InputError
from foldtune.judging.cost import wait
from foldtune.training.host import host_logits, lend_model
from foldtune.training.optim.optimizer import build_optimizer
from foldtune.training.recipe import Recipe


@dataclass(frozen=True)
class StepTime:
    """Ratios of step to forward over the rounds, on the clock and of processor time, and median
    seconds of each on the clock. Processor time knows nothing of what other machines take from
    this one's cores, but counts threads that wait for each other, and no GPU."""

    ratios: tuple[float, ...]
    processor_ratios: tuple[float, ...]
    forward_seconds: float
    step_seconds: float

    @property
    def median(self) -> float:
        """The median ratio; 2.0 is the floor for a method that trains below the first block."""
        return statistics.median(self.ratios)


def step_over_forward(attachment: Attachment, images: Tensor, rounds: int) -> StepTime:
    """Time a step (zero_grad, forward in train mode, loss, backward, AdamW) and, in the same round,
    a forward pass without gradients of a plain copy of the model.

    images: (batch, 3, height, width). The step is the default recipe's: no drop path, whatever the
    host was built with. The attached model and its tensors come back as they were.
    """
    if rounds < 1:
        raise InputError(f"rounds must be at least 1, not {rounds}")
    with attachment.paused() as model:
        plain = copy.deepcopy(model).eval()
    tuned = copy.deepcopy(attachment.model).train()
    labels = (torch.arange(len(images)) % attachment.num_classes).to(images.device)
    recipe = Recipe(lr=1e-5)
    optimizer = build_optimizer(tuned, recipe)

    def forward() -> None:
        with torch.no_grad():
            plain(images)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(host_logits(tuned(images)), labels).backward()
        optimizer.step()

    with lend_model(tuned, recipe, images.device):  # as in `train`
        for warm_up in (forward, step):
            warm_up()
        pairs = [(_time(forward, images), _time(step, images)) for _ in range(rounds)]
    clock, processor = ([(f[at], s[at]) for f, s in pairs] for at in (0, 1))
    return StepTime(
        tuple(s / f for f, s in clock),
        tuple(s / f for f, s in processor),
        statistics.median(f for f, _ in clock),
        statistics.median(s for _, s in clock),
    )


def _time(call: Callable[[], None], images: Tensor) -> tuple[float, float]:
    """Seconds on the clock and of the processors."""
    wait(images.device)
    clock, processor = time.perf_counter(), time.process_time()
    call()
    wait(images.device)
    return time.perf_counter() - clock, time.process_time() - processor

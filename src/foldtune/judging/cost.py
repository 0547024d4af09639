"""What a forward pass costs."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

from foldtune.core.structure.probe import eval_mode
from foldtune.errors import InputError

_WARMUP = 2  # passes before the first that counts: allocation, kernel choice


def latency(model: nn.Module, example: Tensor, repeats: int = 10) -> float:
    """The median seconds of one forward pass on the example batch, in eval mode without gradients.

    example: (batch, 3, height, width), on the model's device; a GPU is waited for at every pass.
    """
    if repeats < 1:
        raise InputError(f"repeats={repeats} is not allowed; at least 1")
    seconds = []
    with torch.no_grad(), eval_mode(model):
        for turn in range(_WARMUP + repeats):
            wait(example.device)
            start = time.perf_counter()
            model(example)
            wait(example.device)
            if turn >= _WARMUP:
                seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def peak_memory(model: nn.Module, example: Tensor) -> int | None:
    """The most bytes a forward pass holds on the GPU, the model included; None on other devices."""
    if example.device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(example.device)
    with torch.no_grad(), eval_mode(model):
        model(example)
    return torch.cuda.max_memory_allocated(example.device)


def wait(device: torch.device) -> None:
    """Wait until a GPU has done what was asked of it; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

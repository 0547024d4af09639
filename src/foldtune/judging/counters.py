"""What a training step costs by counting: floating-point operations and activations kept.

Counted on real passes of one and of two images: the difference is what each image costs, at any
batch, and the rest is what a step costs whatever the batch (folded weights). So a large model is
counted in seconds and without the memory of a training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from foldtune.core.compute.kept import kept_bytes
from foldtune.errors import InputError
from foldtune.training.host import host_logits
from foldtune.training.speed.narrow import computed_in


@dataclass(frozen=True)
class Counts:
    """Per image: floating-point operations (a multiply-add is two) of the forward and the backward
    pass, and bytes that autograd keeps between them, each storage once, parameters left out.
    step_flops, step_bytes: the same for what does not grow with the batch."""

    forward_flops: int
    backward_flops: int
    saved_bytes: int
    step_flops: int
    step_bytes: int

    @property
    def step_over_forward(self) -> float:
        """(Forward + backward) / forward, in operations of one image."""
        return (self.forward_flops + self.backward_flops) / self.forward_flops

    def of_step(self, batch: int) -> tuple[int, int]:
        """Operations of a step of `batch` images, and the bytes that it keeps."""
        each = self.forward_flops + self.backward_flops
        return batch * each + self.step_flops, batch * self.saved_bytes + self.step_bytes


def count(model: nn.Module, example: Tensor, precision: str = "fp32") -> Counts:
    """Count a training step of the model as it stands: what is trainable decides the backward.

    example: (2 or more, 3, height, width), on the model's device. The model's modes and gradients
    are left alone; dropout and drop path are off, since they change no count. precision: the
    recipe's, which decides what is kept. Raises InputError where nothing is trainable.
    """
    if example.shape[0] < 2:
        raise InputError(f"counting needs two images, not {example.shape[0]}")
    with computed_in(model, precision, example.device):
        one, two = _pass(model, example[:1]), _pass(model, example[:2])
    forward, backward, saved = (b - a for a, b in zip(one, two, strict=True))
    fixed = sum(one[:2]) - forward - backward
    return Counts(forward, backward, saved, fixed, one[2] - saved)


def _pass(model: nn.Module, images: Tensor) -> tuple[int, int, int]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise InputError(f"{type(model).__name__} has nothing that trains; attach a method first")
    was = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        with kept_bytes(model) as kept, counting() as forward:
            loss = F.cross_entropy(
                host_logits(model(images)),
                torch.zeros(len(images), dtype=torch.long).to(images.device),
            )
        saved = sum(kept.values())
        with counting() as backward:
            torch.autograd.grad(loss, parameters, allow_unused=True)
    finally:
        for module, mode in was:
            module.training = mode
    return forward.get_total_flops(), backward.get_total_flops(), saved


def counting() -> FlopCounterMode:
    """A counter that knows the CPU's fused attention as well (torch 2.13 does not)."""
    aten = torch.ops.aten
    mapping: dict[Any, Any] = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    return FlopCounterMode(display=False, custom_mapping=mapping)


def _attention(q: Any, k: Any, v: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    operations: int = sdpa_flop_count(q, k, v)
    return operations


def _attention_backward(grad: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    operations: int = sdpa_backward_flop_count(grad, q, k, v)
    return operations

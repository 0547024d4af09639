"""A tuned model to do something to, and what a situation compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from foldtune.core.attach import attach
from foldtune.core.attachment import Attachment
from foldtune.core.method import Method
from foldtune.core.structure.probe import first_tensor

CLOSE = 1e-10  # in float64, as the contract has it
Situation = Callable[[Method, nn.Module, Tensor], None]


def attach_and_move(method: Method, model: nn.Module, x: Tensor, by: float = 0.05) -> Attachment:
    """Attached, with every trainable tensor moved, in eval mode."""
    attachment = attach(model, method, example=x, seed=0)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in attachment.parameters():
            p.add_(torch.randn(p.shape, generator=generator).to(p) * by)
    model.eval()
    return attachment


def output(model: Any, x: Tensor) -> Tensor:
    """The first tensor that the model gives."""
    found = first_tensor(model(x))
    assert found is not None
    return found


def near(a: Tensor, b: Tensor, within: float = CLOSE) -> None:
    """Raise AssertionError where two tensors differ."""
    apart = float((a - b).detach().abs().max())
    assert apart <= within, f"{apart:.1e} apart"


def gradients(attachment: Attachment, x: Tensor, model: Any = None) -> list[Tensor]:
    """Of every trainable tensor, through `model` (or the attachment's own)."""
    loss = output(model or attachment.model, x).square().sum()
    return list(torch.autograd.grad(loss, attachment.parameters()))

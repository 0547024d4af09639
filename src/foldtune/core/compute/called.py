"""Called Linear and Conv2d layers, whose output is one known function of what they store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.compute.folding import stored_tensor


def plain(module: nn.Module, x: Tensor) -> Tensor:
    """What the host computes from its stored tensors."""
    w = stored_tensor(module, "weight")
    assert w is not None
    return product(module, x, w, stored_tensor(module, "bias"))


def product(module: nn.Module, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    if isinstance(module, nn.Linear):
        return F.linear(x, w, b)
    assert isinstance(module, nn.Conv2d)
    return module._conv_forward(x, w, b)


def frozen_linear(layer: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor | None] | None:
    """The stored weight and bias where `layer` is a plain, frozen nn.Linear, else None: for a
    `call` that has a cheaper way through those than through its output."""
    # Asked by attributes: dynamo of torch 2.6 knows no type of a partial.
    if getattr(layer, "func", None) is not plain:
        return None
    module = layer.args[0]  # type: ignore[attr-defined]
    w, b = stored_tensor(module, "weight"), stored_tensor(module, "bias")
    assert w is not None
    if type(w) not in (Tensor, nn.Parameter):  # quantised: only its own product reads it
        return None
    if not isinstance(module, nn.Linear) or w.requires_grad or (b is not None and b.requires_grad):
        return None
    return w, b


def is_plain_class(host: Any) -> bool:
    """Whether a call of this class is exactly `plain`; subclasses with a forward of their own
    (timm's Conv2dSame) are folded instead."""
    return host.forward in (nn.Linear.forward, nn.Conv2d.forward)

"""One forward pass that records which module was called with what, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Call:
    """The first call of one module: its first input and output tensor, and whether it is a norm."""

    inputs: Tensor
    output: Tensor
    norm: bool

    @property
    def keeps_shape(self) -> bool:
        return self.inputs.shape == self.output.shape


def probe(model: nn.Module, example: Tensor) -> dict[str, Call]:
    """Calls of one forward pass in eval mode, keyed by module path in order of entry.

    Leaves no trace: hooks are removed and every module's train mode is as before.
    """
    order: dict[str, None] = {}
    calls: dict[str, Call] = {}
    handles = []
    modes = [(m, m.training) for m in model.modules()]

    def enter(path: str) -> Any:
        return lambda _module, _args: order.setdefault(path)

    def leave(path: str) -> Any:
        def record(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            given = first_tensor([*args, *kwargs.values()])
            made = first_tensor(output)
            if path not in calls and given is not None and made is not None:
                calls[path] = Call(given, made, "norm" in type(module).__name__.lower())

        return record

    try:
        for path, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(enter(path)))
            handles.append(module.register_forward_hook(leave(path), with_kwargs=True))
        model.eval()
        with torch.no_grad():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    return {path: calls[path] for path in order if path in calls}


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor of a tensor, sequence or mapping (models return all three)."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return next((t for v in value if (t := first_tensor(v)) is not None), None)
    return None

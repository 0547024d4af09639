"""One forward pass that records which module was called with what, in order."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from foldtune.core.tensors import check_finite, is_sharded
from foldtune.errors import InputError


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

    Leaves no trace: hooks are removed, every module's train mode and torch's generators are as
    before. Raises InputError where the host cannot run on `example`, or gives what is not finite.
    """
    order: dict[str, None] = {}
    calls: dict[str, Call] = {}
    handles = []
    devices = [example.device] if example.is_cuda else []  # all of them would cost a warning

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
        with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices):
            outputs = all_tensors(model(example))
    except Exception as error:
        raise InputError(
            f"{type(model).__name__} does not run on the example of shape "
            f"{tuple(example.shape)}: {error}; give attach(..., example=images) that fit"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    if not all(bool(torch.isfinite(t).all()) for t in outputs if not t.is_meta):
        name = type(model).__name__
        weights = {n: t for n, t in model.state_dict().items() if not is_sharded(t)}
        check_finite(weights, f"the weights of {name}", "load them again")
        check_finite({"output": outputs[0]}, f"{name} on the example", "give other images or dtype")
    return {path: calls[path] for path in order if path in calls}


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, every module is in eval mode; after, each is in the mode that it was in."""
    # The flags themselves: a `train` of the host's own may do more than set them.
    modes = [(m, m.training) for m in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def without_trace(model: nn.Module) -> Iterator[None]:
    """After, every buffer holds what it held, and torch's generators stand where they stood."""
    kept = [(b, b.detach().clone()) for b in model.buffers()]
    devices = {b.device for b, _ in kept if b.is_cuda}  # all of them would cost a warning
    devices |= {p.device for p in model.parameters() if p.is_cuda}
    try:
        with torch.random.fork_rng(list(devices)):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor of a tensor, sequence, mapping or dataclass (models return all four)."""
    return next(iter(all_tensors(value)), None)


def all_tensors(value: Any) -> list[Tensor]:
    """The tensors of a tensor, sequence, mapping or dataclass, in its order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    return [t for v in value for t in all_tensors(v)] if isinstance(value, list | tuple) else []

"""One forward pass that records which module was called with what, in order."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from foldtune.core.tensors import check_finite, is_sharded
from foldtune.errors import InputError

# What multiplies one tensor of features with another: the mark of attention in any host.
PRODUCTS = {
    torch.matmul, torch.bmm, torch.baddbmm, torch.einsum, torch.Tensor.matmul,
    torch.Tensor.__matmul__, torch.Tensor.bmm, torch.Tensor.baddbmm,
    F.scaled_dot_product_attention,
}  # fmt: skip


@dataclass(frozen=True)
class Product:
    """A product of features with features. at: calls entered before it; size: its elements."""

    at: int
    size: int


@dataclass(frozen=True)
class Call:
    """The first call of one module: its first input and output tensor, and whether it is a norm.

    keeps_shape: its output has the shape of one of its inputs. at: calls entered before it.
    products: those that its own forward makes, not its children's.
    """

    inputs: Tensor
    output: Tensor
    norm: bool
    keeps_shape: bool
    at: int = 0
    products: tuple[Product, ...] = ()


def probe(model: nn.Module, example: Tensor) -> dict[str, Call]:
    """Calls of one forward pass in eval mode, keyed by module path in order of entry.

    Leaves no trace: hooks are removed, every module's train mode and torch's generators are as
    before. Raises InputError where the host cannot run on `example`, or gives what is not finite.
    """
    recorder = _Recorder(len(example))
    handles = []
    devices = [example.device] if example.is_cuda else []  # all of them would cost a warning
    try:
        for path, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(recorder.enter(path)))
            handles.append(module.register_forward_hook(recorder.leave(path), with_kwargs=True))
        with eval_mode(model), torch.no_grad(), torch.random.fork_rng(devices), recorder:
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
    return {path: recorder.calls[path] for path in recorder.order if path in recorder.calls}


class _Recorder(TorchFunctionMode):
    """Keeps the first call of every module, and which module multiplies features."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.order: dict[str, int] = {}
        self.calls: dict[str, Call] = {}
        self._batch = batch
        self._inside: list[str] = []
        self._products: dict[str, list[Product]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in PRODUCTS and self._inside and isinstance(made, Tensor):
            given = [t for a in args for t in (a if isinstance(a, list | tuple) else [a])]
            if sum(self._features(t) for t in given) > 1:
                found = self._products.setdefault(self._inside[-1], [])
                found.append(Product(len(self.order), made.numel()))
        return made

    def _features(self, value: Any) -> bool:
        """Whether the value goes with the images of the batch, as no weight does."""
        stored = isinstance(value, nn.Parameter) or not isinstance(value, Tensor)
        return not stored and value.ndim > 2 and len(value) % self._batch == 0

    def enter(self, path: str) -> Any:
        def record(_module: nn.Module, _args: Any) -> None:
            self.order.setdefault(path, len(self.order))
            self._inside.append(path)

        return record

    def leave(self, path: str) -> Any:
        def record(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            self._inside.pop()
            given = first_tensor([*args, *kwargs.values()])
            made = first_tensor(output)
            if path not in self.calls and given is not None and made is not None:
                norm = "norm" in type(module).__name__.lower()
                products = tuple(self._products.get(path, ()))
                kept = any(
                    isinstance(a, Tensor) and a.shape == made.shape
                    for a in (given, *args, *kwargs.values())
                )
                self.calls[path] = Call(given, made, norm, kept, self.order[path], products)

        return record


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
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

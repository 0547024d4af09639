"""What a computed module makes of its stored tensors: folded by its deltas, at its strength."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from foldtune.core.tensors import whole

if TYPE_CHECKING:
    from foldtune.core.compute.delta import Delta

# Attributes of a computed module, besides those of its host class.
DELTAS = "_foldtune_deltas"
STRENGTH = "_foldtune_strength"
START = "_foldtune_start"
# Attribute of a generated class: the host class beneath it.
HOST = "_foldtune_host"


def effective(
    module: nn.Module, weight: str = "weight", bias: str | None = "bias"
) -> tuple[Tensor, Tensor | None]:
    """The pair that a computed module reads: stored tensors, folded, at its strength."""
    return _blend(module, weight, bias, module.__dict__[DELTAS], lambda t: t)


def folded_in_double(
    module: nn.Module, weight: str = "weight", bias: str | None = "bias"
) -> tuple[Tensor, Tensor | None]:
    """As `effective`, computed in float64 and rounded once to the stored dtype: for merging."""
    # On the CPU: the same bits whatever device trained, and Apple's devices have no float64.
    with torch.no_grad():
        deltas = [_in_double(delta) for delta in module.__dict__[DELTAS]]
        w, b = _blend(module, weight, bias, deltas, lambda t: whole(t).cpu().double())
    kept = stored_tensor(module, weight)
    assert kept is not None
    return w.to(kept.device, kept.dtype), None if b is None else b.to(kept.device, kept.dtype)


def _in_double(delta: Delta) -> Delta:
    """A copy in float64 on the CPU, of sharded tensors as well."""
    own = (*delta.parameters(), *delta.buffers())
    whole_ones = {id(t): whole(t.detach()).cpu() for t in own}
    twins = {i: t.double() if t.is_floating_point() else t for i, t in whole_ones.items()}
    held = {id(p) for p in delta.parameters()}
    return copy.deepcopy(delta, {i: nn.Parameter(t) if i in held else t for i, t in twins.items()})


def _blend(
    module: nn.Module,
    weight: str,
    bias: str | None,
    deltas: Sequence[Delta],
    cast: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor | None]:
    alpha, start = module.__dict__[STRENGTH], module.__dict__[START]
    at_end = {
        n: cast(t) for n in (weight, bias) if n and (t := stored_tensor(module, n)) is not None
    }
    new_w, new_b = at_end[weight], at_end.get(bias or "")
    if alpha == 1.0:
        return _fold(new_w, new_b, deltas)
    # Each factor moves by itself, as DiffFit's gains and biases do in the study: first the stored
    # tensor between its start and its trained value, then what the deltas make of it.
    at = at_end | {n: torch.lerp(cast(t), at_end[n], alpha) for n, t in start.items()}
    old_w, old_b = at[weight], at.get(bias or "")
    if alpha == 0.0:
        return old_w, old_b
    new_w, new_b = _fold(old_w, old_b, deltas)
    if new_b is not None:
        new_b = torch.lerp(torch.zeros_like(new_b) if old_b is None else old_b, new_b, alpha)
    return torch.lerp(old_w, new_w, alpha), new_b


def _fold(w: Tensor, b: Tensor | None, deltas: Sequence[Delta]) -> tuple[Tensor, Tensor | None]:
    for delta in deltas:
        w, b = delta.fold(w, b)
    return w, b


def stored_tensor(module: nn.Module, name: str) -> Tensor | None:
    """A stored tensor, window or not; what pruning or a parametrization put in its place."""
    if name in module._parameters:
        return module._parameters[name]
    if name in module.__dict__:
        tensor: Tensor = module.__dict__[name]
        return tensor
    own = _property(type(module), name)
    if own is not None:
        found: Tensor = own.__get__(module)
        return found
    raise AttributeError(f"{type(module).__name__} has no stored {name}")


def _property(cls: type, name: str) -> property | None:
    """The attribute `name` of a class that stands upon the generated one, if any."""
    for c in cls.__mro__:
        if HOST in vars(c):
            return None
        if name in vars(c):
            found: property = vars(c)[name]
            return found
    return None

"""Stored tensors that read as computed ones: the only metaprogramming of the house.

`compute(module, deltas)` swaps the class of one module instance for a generated subclass whose
`weight` and `bias` are properties. They return the stored tensors folded through the deltas, while
the stored tensors stay in `_parameters` under their own names. So every base key survives, code
that reads `module.weight` itself (timm's EVA-02, BEiT and SwinV2, `nn.MultiheadAttention`) sees the
change, and undoing is putting the class back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Attributes of a computed module, besides those of its host class.
_DELTAS = "_foldtune_deltas"
_STRENGTH = "_foldtune_strength"


class Delta(nn.Module):
    """A change of one site's stored tensors, as a function of them.

    `fold(weight, bias)` returns the changed pair. A delta may also define `call(x, layer)`, which
    gives the same output for a *called* Linear or Conv2d without building the changed weight, so
    that no gradient of weight size is ever computed; `layer(x)` is the output below this delta.
    """

    # False lets a reader of `bias` alone skip the folding of the weight.
    moves_bias: bool = True
    call: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor] | None = None

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The changed weight and bias; shapes as stored, bias may be None."""
        raise NotImplementedError(f"{type(self).__name__} defines no fold(weight, bias)")


def compute(
    module: nn.Module, deltas: Sequence[Delta], weight: str = "weight", bias: str | None = "bias"
) -> None:
    """Make `module` read its tensors through `deltas`, the first applied innermost.

    With no deltas the module only keeps its running statistics frozen, if it has any.
    """
    if hasattr(module, _DELTAS):
        raise ValueError(f"this {type(module).__name__} is computed already; release it first")
    module.__dict__[_DELTAS] = list(deltas)
    module.__dict__[_STRENGTH] = 1.0
    host: Any = type(module)
    module.__class__ = _computed_class(host, weight, bias)
    if has_statistics(module):
        module.training = False


def release(module: nn.Module) -> None:
    """Undo `compute`: the host class is back and the stored tensors read as they are."""
    module.__class__ = type(module).__mro__[1]
    del module.__dict__[_DELTAS], module.__dict__[_STRENGTH]


def set_strength(module: nn.Module, alpha: float) -> None:
    """Move a computed module to the point `alpha` between stored (0) and folded (1) tensors."""
    module.__dict__[_STRENGTH] = alpha


def effective(
    module: nn.Module, weight: str = "weight", bias: str | None = "bias"
) -> tuple[Tensor, Tensor | None]:
    """The pair that a computed module reads: stored tensors, folded, at its strength."""
    w, b = module._parameters[weight], module._parameters.get(bias) if bias else None
    assert w is not None
    return _blend(w, b, module.__dict__[_DELTAS], module.__dict__[_STRENGTH])


def folded_in_double(
    module: nn.Module, weight: str = "weight", bias: str | None = "bias"
) -> tuple[Tensor, Tensor | None]:
    """As `effective`, computed in float64 and rounded once to the stored dtype: for merging."""
    w, b = module._parameters[weight], module._parameters.get(bias) if bias else None
    assert w is not None
    deltas = [_as_double(d) for d in module.__dict__[_DELTAS]]
    with torch.no_grad():
        new_w, new_b = _blend(
            w.double(), None if b is None else b.double(), deltas, module.__dict__[_STRENGTH]
        )
    return new_w.to(w.dtype), None if new_b is None else new_b.to(w.dtype)


def _as_double(delta: Delta) -> Delta:
    import copy

    return copy.deepcopy(delta).double()


def _blend(
    w: Tensor, b: Tensor | None, deltas: Sequence[Delta], alpha: float
) -> tuple[Tensor, Tensor | None]:
    if alpha == 0.0 or not deltas:
        return w, b
    new_w, new_b = w, b
    for delta in deltas:
        new_w, new_b = delta.fold(new_w, new_b)
    if alpha == 1.0 or new_b is None:
        return (new_w if alpha == 1.0 else torch.lerp(w, new_w, alpha)), new_b
    old_b = torch.zeros_like(new_b) if b is None else b
    return torch.lerp(w, new_w, alpha), torch.lerp(old_b, new_b, alpha)


def has_statistics(module: nn.Module) -> bool:
    """Whether the module keeps running statistics (a BatchNorm)."""
    return module._buffers.get("running_mean") is not None


def _plain(module: nn.Module, x: Tensor) -> Tensor:
    """What the host computes from its stored tensors, for the classes `_calls` admits."""
    w, b = module._parameters["weight"], module._parameters["bias"]
    assert w is not None
    if isinstance(module, nn.Linear):
        return F.linear(x, w, b)
    assert isinstance(module, nn.Conv2d)
    return module._conv_forward(x, w, b)


def _calls(host: Any) -> bool:
    """Whether a call of this class is exactly `_plain`; subclasses with a forward of their own
    (timm's Conv2dSame) are folded instead."""
    return host.forward in (nn.Linear.forward, nn.Conv2d.forward)


@functools.cache
def _computed_class(host: Any, weight: str, bias: str | None) -> type[nn.Module]:
    def read_weight(self: nn.Module) -> Tensor:
        return effective(self, weight, bias)[0]

    def read_bias(self: nn.Module) -> Tensor | None:
        if not any(delta.moves_bias for delta in self.__dict__[_DELTAS]):
            return self._parameters[bias] if bias else None
        return effective(self, weight, bias)[1]

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        deltas = self.__dict__[_DELTAS]
        if self.__dict__[_STRENGTH] != 1.0 or any(d.call is None for d in deltas):
            return host.forward(self, x)
        layer: Callable[[Tensor], Tensor] = functools.partial(_plain, self)
        for delta in deltas:
            layer = functools.partial(delta.call, layer=layer)
        return layer(x)

    def train(self: nn.Module, mode: bool = True) -> nn.Module:
        return host.train(self, mode and not has_statistics(self))

    def reduce(self: nn.Module, _protocol: Any) -> tuple[Any, ...]:
        return _rebuild, (host, weight, bias), self.__dict__

    namespace: dict[str, Any] = {
        weight: property(read_weight),
        "train": train,
        "__reduce_ex__": reduce,
        "__module__": host.__module__,
        "__qualname__": host.__qualname__,
        "__doc__": host.__doc__,
    }
    if bias:
        namespace[bias] = property(read_bias)
    if _calls(host):
        namespace["forward"] = forward
    return type(host)(host.__name__, (host,), namespace)


def _rebuild(host: Any, weight: str, bias: str | None) -> nn.Module:
    cls = _computed_class(host, weight, bias)
    return cls.__new__(cls)

"""Stored tensors that read as computed ones: the only metaprogramming of the house.

`compute(module, deltas)` swaps the class of one module instance for a generated subclass whose
`weight` and `bias` are properties. They return the stored tensors folded through the deltas, while
the stored tensors stay in `_parameters` under their own names. So every base key survives, code
that reads `module.weight` itself (timm's EVA-02, BEiT and SwinV2, `nn.MultiheadAttention`) sees the
change, and undoing is putting the class back.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Attributes of a computed module, besides those of its host class.
_DELTAS = "_foldtune_deltas"
_STRENGTH = "_foldtune_strength"
_START = "_foldtune_start"
_FROZEN = "_foldtune_frozen"
_MODE = "_foldtune_mode"


class Delta(nn.Module):
    """A change of one site's stored tensors, as a function of them.

    `fold(weight, bias)` returns the changed pair. A delta may also define `call(x, layer)`, which
    gives the same output for a *called* Linear or Conv2d without building the changed weight, so
    that no gradient of weight size is ever computed; `layer(x)` is the output below this delta.
    """

    # False lets a reader of `bias` alone skip the folding of the weight.
    moves_bias: bool = True
    # False where the host writes over what the layer returns, so that no gradient may need it.
    lean: bool = True
    call: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor] | None = None

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The changed weight and bias; shapes as stored, bias may be None."""
        raise NotImplementedError(f"{type(self).__name__} defines no fold(weight, bias)")


def compute(
    module: nn.Module,
    deltas: Sequence[Delta],
    weight: str | None = "weight",
    bias: str | None = "bias",
    moves: bool = False,
) -> None:
    """Make `module` read its tensors through `deltas`, the first applied innermost.

    Running statistics, if it has any, stay frozen unless they may move; `freeze_statistics` does
    nothing else.
    """
    if hasattr(module, _DELTAS):
        raise ValueError(f"this {type(module).__name__} is computed already; release it first")
    host: Any = type(module)
    module.__class__ = _computed_class(host, weight, bias)
    frozen = has_statistics(module) and not moves
    added = {_DELTAS: list(deltas), _STRENGTH: 1.0, _START: {}, _FROZEN: frozen}
    module.__dict__.update(added | {_MODE: module.training})
    if frozen:
        module.training = False


def freeze_statistics(module: nn.Module) -> None:
    """Keep the running statistics of `module` as they are, whatever `train()` says."""
    compute(module, [], None, None)


def release(module: nn.Module) -> None:
    """Undo `compute`: the host class is back, in the mode last asked for, and the stored tensors
    read as they are."""
    module.__class__ = type(module).__mro__[1]
    if module.__dict__[_FROZEN]:
        module.training = module.__dict__[_MODE]
    for name in (_DELTAS, _STRENGTH, _START, _FROZEN, _MODE):
        del module.__dict__[name]


def set_strength(
    module: nn.Module, alpha: float, start: Mapping[str, Tensor] | None = None
) -> None:
    """Move a computed module to the point `alpha` between its start (0) and folded (1) tensors.

    start: the values at 0, by name, of stored tensors that have been trained themselves.
    """
    module.__dict__[_STRENGTH] = alpha
    module.__dict__[_START] = dict(start or {})


def is_computed(module: nn.Module) -> bool:
    """Whether the module reads its tensors through deltas, or keeps its statistics frozen."""
    return _DELTAS in module.__dict__


def uses_calls(module: nn.Module) -> bool:
    """Whether a computed module takes its deltas' `call`, when it is called at full strength."""
    deltas = module.__dict__[_DELTAS]
    return _calls(type(module).__mro__[1]) and all(d.call is not None for d in deltas)


def effective(
    module: nn.Module, weight: str = "weight", bias: str | None = "bias"
) -> tuple[Tensor, Tensor | None]:
    """The pair that a computed module reads: stored tensors, folded, at its strength."""
    return _blend(module, weight, bias, module.__dict__[_DELTAS], lambda t: t)


def folded_in_double(
    module: nn.Module, weight: str = "weight", bias: str | None = "bias"
) -> tuple[Tensor, Tensor | None]:
    """As `effective`, computed in float64 and rounded once to the stored dtype: for merging."""
    # On the CPU: the same bits whatever device trained, and Apple's devices have no float64.
    deltas = [copy.deepcopy(d).cpu().double() for d in module.__dict__[_DELTAS]]
    with torch.no_grad():
        w, b = _blend(module, weight, bias, deltas, lambda t: t.cpu().double())
    stored = module._parameters[weight]
    assert stored is not None
    return w.to(stored), None if b is None else b.to(stored)


def _blend(
    module: nn.Module,
    weight: str,
    bias: str | None,
    deltas: Sequence[Delta],
    cast: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor | None]:
    alpha, start = module.__dict__[_STRENGTH], module.__dict__[_START]
    stored = {n: cast(t) for n in (weight, bias) if n and (t := module._parameters[n]) is not None}
    new_w, new_b = stored[weight], stored.get(bias or "")
    if alpha == 1.0:
        return _folded(new_w, new_b, deltas)
    # Each factor moves by itself, as DiffFit's gains and biases do in the study: first the stored
    # tensor between its start and its trained value, then what the deltas make of it.
    at = stored | {n: torch.lerp(cast(t), stored[n], alpha) for n, t in start.items()}
    old_w, old_b = at[weight], at.get(bias or "")
    if alpha == 0.0:
        return old_w, old_b
    new_w, new_b = _folded(old_w, old_b, deltas)
    if new_b is not None:
        new_b = torch.lerp(torch.zeros_like(new_b) if old_b is None else old_b, new_b, alpha)
    return torch.lerp(old_w, new_w, alpha), new_b


def _folded(w: Tensor, b: Tensor | None, deltas: Sequence[Delta]) -> tuple[Tensor, Tensor | None]:
    for delta in deltas:
        w, b = delta.fold(w, b)
    return w, b


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


def frozen_linear(layer: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor | None] | None:
    """The stored weight and bias where `layer` is a plain, frozen nn.Linear, else None: for a
    `call` that has a cheaper way through those than through its output."""
    if not (isinstance(layer, functools.partial) and layer.func is _plain):
        return None
    module = layer.args[0]
    w, b = module._parameters["weight"], module._parameters["bias"]
    if not isinstance(module, nn.Linear) or w.requires_grad or (b is not None and b.requires_grad):
        return None
    return w, b


def _calls(host: Any) -> bool:
    """Whether a call of this class is exactly `_plain`; subclasses with a forward of their own
    (timm's Conv2dSame) are folded instead."""
    return host.forward in (nn.Linear.forward, nn.Conv2d.forward)


@functools.cache
def _computed_class(host: Any, weight: str | None, bias: str | None) -> type[nn.Module]:
    def read_weight(self: nn.Module) -> Tensor:
        assert weight is not None
        return effective(self, weight, bias)[0]

    def read_bias(self: nn.Module) -> Tensor | None:
        assert weight is not None
        moved = any(delta.moves_bias for delta in self.__dict__[_DELTAS])
        if not moved and bias not in self.__dict__[_START]:
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
        self.__dict__[_MODE] = mode
        return host.train(self, mode and not self.__dict__[_FROZEN])

    def reduce(self: nn.Module, _protocol: Any) -> tuple[Any, ...]:
        return _rebuild, (host, weight, bias), self.__dict__

    namespace: dict[str, Any] = {
        "train": train,
        "__reduce_ex__": reduce,
        "__module__": host.__module__,
        "__qualname__": host.__qualname__,
        "__doc__": host.__doc__,
    }
    if weight:
        namespace[weight] = property(read_weight)
    if weight and bias:
        namespace[bias] = property(read_bias)
    if weight and _calls(host):
        namespace["forward"] = forward
    return type(host)(host.__name__, (host,), namespace)


def _rebuild(host: Any, weight: str | None, bias: str | None) -> nn.Module:
    cls = _computed_class(host, weight, bias)
    return cls.__new__(cls)

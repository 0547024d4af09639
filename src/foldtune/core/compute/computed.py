"""Stored tensors that the host's own forward pass reads as computed ones: the house's only
metaprogramming.

`compute(module, deltas)` swaps the class of one module instance for a generated subclass of it.
The stored tensors stay in `_parameters`, and `module.weight` is the stored parameter for everybody,
at all times, with one exception: while a module that reads it runs its own `forward`, in that
thread, a read gives the stored tensors folded through the deltas. The module itself is such a
reader (a norm, timm's StdConv); others are found by watching the forward pass (`watching`): the
attentions of EVA-02, BEiT and SwinV2 and `nn.MultiheadAttention` read their projections, which are
never called. `let_read` swaps a reader's class in the same way. A called nn.Linear or nn.Conv2d
needs neither: its `forward` takes the deltas' `call`. Undoing is putting the class back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from foldtune.core.compute.called import is_plain_class, plain, product
from foldtune.core.compute.delta import Delta
from foldtune.core.compute.folding import DELTAS, HOST, START, STRENGTH, effective, stored_tensor
from foldtune.core.compute.readers import OPENS, Window, opening, reads_folded
from foldtune.errors import InputError

# Attributes of a computed module, besides those of `folding`.
_FROZEN = "_foldtune_frozen"
_MODE = "_foldtune_mode"
_WINDOW = "_foldtune_window"
_READ = "_foldtune_read"


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
    if hasattr(module, DELTAS):
        raise ValueError(f"this {type(module).__name__} is computed already; release it first")
    host: Any = type(module)
    module.__class__ = _computed_class(host, weight, bias)
    frozen = has_statistics(module) and not moves
    window = Window()
    added = {DELTAS: list(deltas), STRENGTH: 1.0, START: {}, _FROZEN: frozen}
    added |= {_WINDOW: window, _READ: not is_plain_class(host), OPENS: (window,) if weight else ()}
    module.__dict__.update(added | {_MODE: module.training})
    if frozen:
        module.training = False


def freeze_statistics(module: nn.Module) -> None:
    """Keep the running statistics of `module` as they are, whatever `train()` says."""
    compute(module, [], None, None)


def release(module: nn.Module) -> None:
    """Undo `compute` and `let_read`: the host class is back, in the mode last asked for."""
    module.__class__ = _without(type(module))
    if module.__dict__.get(_FROZEN):
        module.training = module.__dict__[_MODE]
    for name in (DELTAS, STRENGTH, START, _FROZEN, _MODE, _WINDOW, _READ, OPENS):
        module.__dict__.pop(name, None)


def let_read(reader: nn.Module, read: nn.Module) -> None:
    """Let the forward of `reader` read the folded tensors of the computed module `read`."""
    if OPENS not in reader.__dict__:
        host: Any = type(reader)
        reader.__class__ = _computed_class(host, None, None)
        reader.__dict__.update({_FROZEN: False, _MODE: reader.training, OPENS: ()})
    reader.__dict__[OPENS] += (read.__dict__[_WINDOW],)
    read.__dict__[_READ] = True


def set_strength(
    module: nn.Module, alpha: float, start: Mapping[str, Tensor] | None = None
) -> None:
    """Move a computed module to the point `alpha` between its start (0) and folded (1) tensors.

    start: the values at 0, by name, of stored tensors that have been trained themselves.
    """
    module.__dict__[STRENGTH] = alpha
    module.__dict__[START] = dict(start or {})


def is_computed(module: nn.Module) -> bool:
    """Whether the module reads its tensors through deltas, or keeps its statistics frozen."""
    return DELTAS in module.__dict__


def keeps_statistics(module: nn.Module) -> bool:
    """Whether the running statistics of the module stay as they are, in training too."""
    return bool(module.__dict__.get(_FROZEN))


def uses_calls(module: nn.Module) -> bool:
    """Whether a computed module takes its deltas' `call`, when it is called at full strength."""
    deltas = module.__dict__[DELTAS]
    return is_plain_class(host_class(module)) and all(d.call is not None for d in deltas)


def host_class(module: nn.Module) -> type[nn.Module]:
    """The host's own class of a module, computed or not."""
    return _without(type(module))


def has_statistics(module: nn.Module) -> bool:
    """Whether the module keeps running statistics (a BatchNorm)."""
    return module._buffers.get("running_mean") is not None


def _without(cls: Any) -> Any:
    """`cls` without the generated class: others (FSDP2, parametrizations) may stand upon it."""
    if HOST in vars(cls):
        return vars(cls)[HOST]
    if not any(HOST in vars(c) for c in cls.__mro__):
        return cls
    bases = tuple(_without(base) for base in cls.__bases__)
    body = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}
    return type(cls)(cls.__name__, bases, body)


@functools.cache
def _computed_class(host: Any, weight: str | None, bias: str | None) -> type[nn.Module]:
    def train(self: nn.Module, mode: bool = True) -> nn.Module:
        self.__dict__[_MODE] = mode
        return host.train(self, mode and not self.__dict__[_FROZEN])

    def reduce(self: nn.Module, _protocol: Any) -> tuple[Any, ...]:
        return _rebuild, (host, weight, bias), self.__dict__

    namespace: dict[str, Any] = {
        HOST: host,
        "train": train,
        "forward": _calling if weight and is_plain_class(host) else opening(host.forward),
        "__reduce_ex__": reduce,
        "__module__": host.__module__,
        "__qualname__": host.__qualname__,
        "__doc__": host.__doc__,
    }
    if weight:
        namespace |= _attributes(weight, bias) | {"__delattr__": _deletion(host, (weight, bias))}
    return type(host)(host.__name__, (host,), namespace)


def _calling(self: nn.Module, x: Tensor) -> Tensor:
    """The forward of a called Linear or Conv2d: what is stored, through the deltas' `call`."""
    deltas = self.__dict__[DELTAS]
    if self.__dict__[STRENGTH] == 0.0 and not self.__dict__[START]:
        return plain(self, x)
    if self.__dict__[STRENGTH] != 1.0 or any(d.call is None for d in deltas):
        return product(self, x, *effective(self))
    layer: Callable[[Tensor], Tensor] = functools.partial(plain, self)
    for delta in deltas:
        layer = functools.partial(delta.call, layer=layer)
    return layer(x)


def _attributes(weight: str, bias: str | None) -> dict[str, property]:
    """The properties of the stored tensors: themselves, but folded for a reader of the host's."""

    def fold_weight(self: nn.Module) -> Tensor:
        return effective(self, weight, bias)[0]

    def fold_bias(self: nn.Module) -> Tensor | None:
        assert bias is not None
        moved = any(delta.moves_bias for delta in self.__dict__[DELTAS])
        if not moved and bias not in self.__dict__[START]:
            return stored_tensor(self, bias)
        return effective(self, weight, bias)[1]

    def attribute(name: str, fold: Callable[[nn.Module], Tensor | None]) -> property:
        def read(self: nn.Module) -> Tensor | None:
            return (
                fold(self)
                if reads_folded(self, self.__dict__[_WINDOW])
                else stored_tensor(self, name)
            )

        # Where nn.Module comes here, it is past its parameters: pruning keeps a plain tensor.
        def write(self: nn.Module, value: Tensor) -> None:
            self.__dict__[name] = value

        def delete(self: nn.Module) -> None:
            del self.__dict__[name]

        return property(read, write, delete)

    made = {weight: attribute(weight, fold_weight)}
    return made | ({bias: attribute(bias, fold_bias)} if bias else {})


def _deletion(host: Any, kept: tuple[str | None, ...]) -> Callable[[nn.Module, str], None]:
    """Refuses to part with a stored parameter that is read: torch's parametrizations do, and would
    then hand the host's forward a tensor that no delta has seen. A called layer takes theirs."""

    def delete(self: nn.Module, name: str) -> None:
        if name in kept and name in self._parameters and self.__dict__[_READ]:
            raise InputError(
                f"{name} of a {host.__name__} cannot be parametrized or removed while a method is "
                "attached, whose change of it would be lost; detach() or merge() first"
            )
        host.__delattr__(self, name)

    return delete


def _rebuild(host: Any, weight: str | None, bias: str | None) -> nn.Module:
    cls = _computed_class(host, weight, bias)
    return cls.__new__(cls)

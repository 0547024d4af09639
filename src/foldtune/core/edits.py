"""Changes of one site that can undo themselves: Reweight, Rewire, Train.

An edit is a description; `attach` installs it. Reweight and Train leave the host's graph alone and
so can be merged; Rewire adds a side network around a called module and cannot, unless its adapter
is small enough to stay in the merged model.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from foldtune.core.compute.delta import Delta
from foldtune.core.structure.sites import Site
from foldtune.errors import InputError


class _Sources(threading.local):
    """What sources were called with, in this thread, until the module of their adapter returns.

    Not on the adapter: two threads may serve one model. A pass that was cut short (an error,
    checkpointing's early stop) leaves its tensor here until the source is called again.
    """

    given: tuple[tuple[nn.Module, Tensor, bool], ...] = ()  # and whether gradients were on


_sources = _Sources()
_PARTED = (
    "a reentrant checkpoint stands around what a side network reads, but not around where it joins "
    "(AdaptFormer): its gradient would be wrong; use checkpoint(..., use_reentrant=False)"
)


class Adapter(nn.Module):
    """A side network around one called module.

    `enter(x)` changes what the module is given; `leave(x, y)` changes what it returns, x being the
    input of the source (by default the module's own). Both must be the identity where not wanted.
    """

    # False for one that changes the number of tokens (prompts): there is nothing half-way between
    # two numbers of tokens, and a host may not take another number.
    keeps_shape: bool = True
    # True for one that is shown what its source returns (`on_source_output`), not what it is given.
    sees_output: bool = False
    # True for one so small that merging leaves it standing: a scale and shift where no stored
    # tensor can take it.
    survives_merge: bool = False

    # In a pass through torch.compile: what the source was called with. Of the adapter, since dynamo
    # loses what is written to a threading.local where source and module are not of one graph. So
    # two threads must not call one model whose blocks are compiled by themselves.
    _compiled_source: Tensor | None = None

    def __init__(self) -> None:
        super().__init__()
        self._strength = 1.0

    def __getstate__(self) -> dict[str, Any]:
        # What a compiled pass that was cut short left is no leaf, and so cannot be copied.
        return {key: v for key, v in self.__dict__.items() if key != "_compiled_source"}

    def enter(self, x: Tensor) -> Tensor:
        """The module's input, changed; of the same shape as x if `keeps_shape`."""
        return x

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        """The module's output, changed; x: the source's input, y: the module's output."""
        return y

    # Bound methods serve as hooks: they survive deepcopy, pickle, compile and export, and a
    # deepcopy of the host binds them to the copied adapter.
    def on_source(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = _first_tensor(args, kwargs)
        if torch.compiler.is_compiling():
            self._compiled_source = x
            return
        others = tuple(pair for pair in _sources.given if pair[0] is not self)
        _sources.given = (*others, (self, x, torch.is_grad_enabled()))

    def on_source_output(self, _module: nn.Module, _args: Any, output: Any) -> None:
        """Called with what the source returned."""

    def on_enter(
        self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if self._strength == 0.0:
            return None
        x = _first_tensor(args, kwargs)
        changed = self.enter(x)
        if changed is x:
            return None
        y = self._towards(x, changed)
        return tuple(y if a is x else a for a in args), {
            k: y if a is x else a for k, a in kwargs.items()
        }

    def on_leave(
        self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        x = self._source_of(_first_tensor(args, kwargs))
        if self._strength == 0.0:
            return None
        y = output if isinstance(output, Tensor) else output[0]
        changed = self._towards(y, self.leave(x, y))
        return changed if isinstance(output, Tensor) else _with_first(output, changed)

    def _source_of(self, own: Tensor) -> Tensor:
        """What the source was called with in this pass, forgotten with that; without one, `own`."""
        if self._compiled_source is not None:
            own, self._compiled_source = self._compiled_source, None
        if torch.compiler.is_compiling():
            return own
        for adapter, seen, with_gradients in _sources.given:
            if adapter is self:
                own = seen
                if torch.is_grad_enabled() and not with_gradients:
                    raise InputError(_PARTED)
        if _sources.given:
            _sources.given = tuple(pair for pair in _sources.given if pair[0] is not self)
        return own

    def _towards(self, plain: Tensor, changed: Tensor) -> Tensor:
        if self._strength == 1.0 or plain.shape != changed.shape:
            return changed
        return torch.lerp(plain, changed, self._strength)


@contextlib.contextmanager
def sources_kept() -> Iterator[None]:
    """Inside, layers may be called by themselves, out of turn: what side networks were given in the
    forward pass that goes on is theirs again after."""
    before = _sources.given
    try:
        yield
    finally:
        _sources.given = before


def _first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The first tensor that a module is called with, by position or by name."""
    return next(a for a in (*args, *kwargs.values()) if isinstance(a, Tensor))


def _with_first(output: Any, changed: Tensor) -> Any:
    rest = (changed, *output[1:])
    return type(output)(*rest) if hasattr(output, "_fields") else type(output)(rest)


@dataclass(frozen=True)
class Reweight:
    """The stored tensors of `site` are computed by `delta` from what is stored."""

    site: Site
    delta: Delta


@dataclass(frozen=True)
class Rewire:
    """`adapter` stands around the called module of `site`.

    source: where `leave` reads its x, when it is not the module's own input (AdaptFormer reads
    the residual stream before norm2 and is joined at the block's output).
    """

    site: Site
    adapter: Adapter
    source: Site | None = None


@dataclass(frozen=True)
class Train:
    """Base parameters, by full name, that train in place (buffers: that may move with them)."""

    names: tuple[str, ...]


Edit = Reweight | Rewire | Train

"""Blocks of which only the input is kept, computed again for the gradient: memory for time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from foldtune.errors import InputError
from foldtune.training.speed.blocks import repeated_blocks


@contextmanager
def recomputed_blocks(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Inside, every repeated block keeps what it is given and nothing else; random draws repeat.

    Raises InputError where nothing repeats.
    """
    if not wanted:
        yield
        return
    blocks = repeated_blocks(model)
    if not blocks:
        raise InputError(
            f"recompute: {type(model).__name__} repeats no block whose input could be kept in "
            "place of what it computes; use a smaller batch_size"
        )
    # A compiled block stays whole inside: a compiler that meets the recomputation on its way gives
    # up on blocks of computed tensors, since their reading is noted in this thread.
    compiled: list[Any] = [b for b in blocks if b._compiled_call_impl is not None]
    calls = [block._compiled_call_impl for block in compiled]
    plain = [b for b in blocks if b._compiled_call_impl is None]
    for block, call in zip(compiled, calls, strict=True):
        block._compiled_call_impl = functools.partial(_recomputing, call)
    for block in plain:
        host: Any = type(block)
        block.__class__ = _recomputing_class(host)
    try:
        yield
    finally:
        for block in plain:
            block.__class__ = type(block).__mro__[1]
        for block, call in zip(compiled, calls, strict=True):
            block._compiled_call_impl = call


def _recomputing(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return call(*args, **kwargs)
    return checkpoint(call, *args, use_reentrant=False, **kwargs)


@functools.cache
def _recomputing_class(host: Any) -> Any:
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return _recomputing(functools.partial(host.forward, self), *args, **kwargs)

    body = {"forward": forward, "__module__": host.__module__}
    return type(host)(host.__name__, (host,), body)

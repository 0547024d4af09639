"""Blocks of which only the input is kept, computed again for the gradient: memory for time."""

from __future__ import annotations

import functools
from collections.abc import Iterator
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
    for block in blocks:
        host: Any = type(block)
        block.__class__ = _recomputing_class(host)
    try:
        yield
    finally:
        for block in blocks:
            block.__class__ = type(block).__mro__[1]


@functools.cache
def _recomputing_class(host: Any) -> Any:
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return host.forward(self, *args, **kwargs)
        return checkpoint(
            functools.partial(host.forward, self), *args, use_reentrant=False, **kwargs
        )

    body = {"forward": forward, "__module__": host.__module__}
    return type(host)(host.__name__, (host,), body)

"""Through torch.compile block by block: one graph for all blocks alike, kept for later trainings.

A whole network compiled is as many copies of its block, made anew for every run. A block compiled
by itself is made once: its weights are the graph's inputs, so the same graph serves its neighbours,
the next run of a study, and every method that leaves it as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from foldtune.core.compute.computed import host_class

# Graphs that dynamo may keep of one function (8 by itself): a block has one for each method, stage,
# size of batch, and mode, and what a study made must not be thrown away by its later runs.
_GRAPHS = 256
_LAYERS = (nn.Linear, nn.Conv2d)


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """The units that the model repeats, in order: numbered children of two layers or more, of a
    class that occurs twice or more, which hold no such unit. None where nothing repeats."""
    found = {
        path: module
        for path, module in model.named_modules()
        if path.rpartition(".")[2].isdigit()
        and not isinstance(module, (nn.Sequential, nn.ModuleList))
        and sum(isinstance(m, _LAYERS) for m in module.modules()) > 1
    }
    inner = {p: m for p, m in found.items() if not any(q.startswith(f"{p}.") for q in found)}
    often = Counter(host_class(m) for m in inner.values())
    return [m for m in inner.values() if often[host_class(m)] > 1]


@contextmanager
def compiled_blocks(model: nn.Module) -> Iterator[bool]:
    """The model's blocks compiled in place, with static shapes, for the time of one training;
    False, and nothing is done, where nothing repeats. The graphs outlive it. Inside another one
    it does nothing."""
    blocks = repeated_blocks(model)
    if not blocks or are_compiled(model):
        yield bool(blocks)
        return
    for block in blocks:
        block.compile(dynamic=False)
    try:
        with many_graphs():
            yield True
    finally:
        for block in blocks:
            block._compiled_call_impl = None


def are_compiled(model: nn.Module) -> bool:
    """Whether a part of the model runs compiled in place."""
    return any(getattr(m, "_compiled_call_impl", None) is not None for m in model.modules())


@contextmanager
def many_graphs() -> Iterator[None]:
    """Inside, dynamo keeps more graphs of a function than eight; the caller's limit comes back."""
    config: Any = torch._dynamo.config
    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    with config.patch({name: max(getattr(config, name), _GRAPHS)}):
        yield


@contextmanager
def eager(wanted: bool) -> Iterator[None]:
    """Inside, what is compiled runs as it is written, if wanted: for a batch of another size, whose
    graph would be used once an epoch."""
    if not wanted:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield

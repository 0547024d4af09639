"""Folding a method into the stored tensors; what none can absorb stays beside them, if small."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from foldtune.core.compute.folding import folded_in_double
from foldtune.core.edits import Adapter, Edit, Rewire
from foldtune.core.method import Method
from foldtune.core.structure.sites import Site
from foldtune.core.tensors import check_finite, write
from foldtune.errors import InputError

# Where a merged model keeps an adapter that survives merging, if it has one.
RETAINED = "foldtune_retained"


def obstacle(edits: Iterable[Edit]) -> Rewire | None:
    """The first edit that no stored tensor can absorb, and that does not stay either."""
    return next((e for e in _rewires(edits) if not e.adapter.survives_merge), None)


def check_mergeable(method: Method, edits: Iterable[Edit], quantised: str | None) -> None:
    """Raise InputError, naming the edit in the way, for a method that does not merge."""
    if (first := obstacle(edits)) is not None:
        raise InputError(
            f"{method!r} cannot be merged: {type(first.adapter).__name__} at {first.site.path} is "
            "a side network that no stored tensor can absorb. Save it as a tuning, or use a method "
            "that merges (SSF, LoRA, BitFit, LayerNorm, Full)"
        )
    if quantised is not None:
        raise InputError(
            f"{method!r} cannot be merged: {quantised} is quantised, and what is stored there "
            "takes no other values. Load the tuning on the backbone as it was, and merge there"
        )


def surviving(edits: Iterable[Edit], container: nn.Module) -> dict[str, Adapter]:
    """The adapters that stay in a merged model, by their names in the attachment's container."""
    names = {m: n for n, m in container.named_children()}
    return {names[e.adapter]: e.adapter for e in _rewires(edits) if e.adapter.survives_merge}


def retained_names(adapters: Mapping[str, Adapter]) -> tuple[str, ...]:
    """Full names, in the merged model, of the tensors of adapters that stay."""
    return tuple(
        f"{RETAINED}.{name}.{n}"
        for name, adapter in adapters.items()
        for n, _ in adapter.named_parameters()
    )


def retain(model: nn.Module, adapters: Mapping[str, Adapter]) -> None:
    """Make adapters the model's own modules."""
    if adapters and not hasattr(model, RETAINED):
        model.add_module(RETAINED, nn.Module())
    for name, adapter in adapters.items():
        model.get_submodule(RETAINED).add_module(name, adapter)


Folded = tuple[nn.Module, str, Tensor]


def fold_all(computed: Iterable[tuple[nn.Module, Site]], method: Method) -> list[Folded]:
    """What merging writes: module, name and value of every computed tensor, in float64, rounded
    once. Raises InputError, with nothing written, where one is not finite in the stored dtype."""
    made: list[Folded] = []
    for module, site in computed:
        assert site.weight is not None
        weight, bias = folded_in_double(module, site.weight, site.bias)
        pairs = {site.weight: weight} | (
            {site.bias: bias} if site.bias and bias is not None else {}
        )
        check_finite(
            {f"{site.path}.{n}": t for n, t in pairs.items()},
            f"{method!r} cannot be merged",
            f"nothing was written. A training that diverged, or {weight.dtype} is too narrow",
        )
        made += [(module, n, t) for n, t in pairs.items()]
    return made


def write_folded(made: Iterable[Folded]) -> None:
    """Write computed tensors over stored ones, all or none; create a bias that the host lacks."""
    before: list[tuple[nn.Module, str, Tensor | None]] = []
    try:
        for module, name, value in made:
            old = module._parameters[name]
            before.append((module, name, None if old is None else old.detach().clone()))
            if old is None:
                module._parameters[name] = nn.Parameter(value)
            else:
                write(old, value)
    except BaseException:  # an interrupt, or memory that cannot be written
        _write_back(before)
        raise


@torch.no_grad()
def _write_back(before: Iterable[tuple[nn.Module, str, Tensor | None]]) -> None:
    for module, name, value in before:
        stored = module._parameters[name]
        if value is None or stored is None:
            module._parameters[name] = None
            continue
        with contextlib.suppress(RuntimeError):  # the one that could not be written, still cannot
            stored.copy_(value)


def _rewires(edits: Iterable[Edit]) -> Iterable[Rewire]:
    return (edit for edit in edits if isinstance(edit, Rewire))

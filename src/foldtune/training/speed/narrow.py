"""What is frozen, kept in bfloat16 for the time of a training or a prediction.

Under autocast alone every frozen weight is float32 and cast anew at each use, and what it is added
to (position embeddings, the outputs of norms) makes the stream between blocks float32. Kept in
bfloat16, nothing is cast, and the stream is half as large. What trains, its optimizer, and the sums
of its gradients stay float32; so do norms that train and statistics of BatchNorms. The originals
lie aside and come back to the bit, so that a tuning, a merge and a file are made of them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from foldtune.core.compute.computed import is_computed

KEPT = "bf16-kept"  # the precision that asks for it
# What autocast computes in at a precision; at the others there is none.
HALVES = {"bf16": torch.bfloat16, KEPT: torch.bfloat16, "fp16": torch.float16}


@contextmanager
def computed_in(model: nn.Module, precision: str, device: torch.device) -> Iterator[None]:
    """Forward passes of the model at this precision inside, as a training's."""
    half = HALVES.get(precision)
    with torch.autocast(device.type, half, half is not None), narrow(model, precision):
        yield


@contextmanager
def narrow(model: nn.Module, precision: str) -> Iterator[None]:
    """The model's frozen tensors in bfloat16 inside, where the precision is `bf16-kept`; they are
    what they were after. Its logits are those of autocast within bfloat16's rounding."""
    if precision != KEPT:
        yield
        return
    kept = _frozen_parameters(model)
    before = [t.data for t in kept]
    norms = [m for m in model.modules() if _is_frozen_norm(m)]
    try:
        for tensor in kept:
            tensor.data = tensor.data.to(torch.bfloat16)
        for norm in norms:
            host: Any = type(norm)
            norm.__class__ = _narrow_class(host)
        yield
    finally:
        for norm in norms:
            norm.__class__ = type(norm).__mro__[1]
        for tensor, own in zip(kept, before, strict=True):
            tensor.data = own


def _frozen_parameters(model: nn.Module) -> list[Tensor]:
    """The frozen float32 parameters, each once, but those of norms that are computed in float32."""
    found: dict[int, Tensor] = {}
    for module in model.modules():
        if _is_norm(module) and not _is_frozen_norm(module):
            continue
        for parameter in module.parameters(recurse=False):
            if not parameter.requires_grad and parameter.dtype == torch.float32:
                found[id(parameter)] = parameter
    return list(found.values())


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, (nn.LayerNorm, nn.GroupNorm, _NormBase))


def _is_frozen_norm(module: nn.Module) -> bool:
    """A layer norm that is as the host has it: autocast would compute it in float32."""
    own = list(module.parameters(recurse=False))
    as_it_is = not is_computed(module) and not _is_narrow(module)
    return isinstance(module, nn.LayerNorm) and as_it_is and not any(p.requires_grad for p in own)


def _is_narrow(module: nn.Module) -> bool:
    return "_foldtune_narrow" in vars(type(module))


@functools.cache
def _narrow_class(host: Any) -> Any:
    """`host`, a layer norm, that stays in the precision of its weights under autocast; sums within
    torch's kernel are float32. One class for all: a compiler takes their blocks for alike."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            found: Tensor = host.forward(self, x.to(torch.bfloat16))
        return found

    body = {"forward": forward, "_foldtune_narrow": True, "__module__": host.__module__}
    return type(host)(host.__name__, (host,), body)

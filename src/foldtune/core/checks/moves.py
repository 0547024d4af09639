"""How far an output goes when one trainable tensor moves, and how far it should."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from foldtune.core.checks.carriers import is_quantised
from foldtune.core.compute.called import is_plain_class
from foldtune.core.compute.computed import host_class
from foldtune.core.compute.folding import effective
from foldtune.core.edits import Reweight, Rewire
from foldtune.core.structure.probe import first_tensor
from foldtune.core.tensors import relative_distance, root_mean_square

# A layer's output follows its weight: it may move less than the weight by this factor, no further.
# An activation of its own may be saturated in nearly all units (lite0's last, on small images).
_FOLLOWS = {torch.float64: 5e-4, torch.float32: 5e-4}
_FOLLOWS_IN_HALF = 5e-3
_SMALL = 2e-2  # an output that moves by more needs no closer look
# By how much a `call` may differ from what the folded weight gives.
AGREES = {torch.float64: 1e-6, torch.float32: 1e-2}
AGREES_IN_HALF = 0.2
_Pair = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Claim:
    """One edit, and the module whose output shows it: its own, or the reader of its tensors."""

    edit: Reweight | Rewire
    tensors: nn.Module
    shown_by: nn.Module


def moved_too_little(
    claim: Claim, layer: nn.Module, p: Tensor, generator: torch.Generator, before: Tensor,
    given: tuple[Any, Any],
) -> float | None:  # fmt: skip
    """None where moving p by its own size has the effect that it should, else how little it has."""
    kept = p.clone()
    # Each element by a factor of its own: a cosine attention cancels a common one.
    p.mul_(1.0 + 2.0 * _draw(p, generator))
    after = output_of(claim, *given)
    moved = relative_distance(after, before)
    plain = claim.edit.site.called and is_plain_class(host_class(layer))
    least = _SMALL
    if moved < _SMALL or not plain:
        stands = _folded_pair(claim, layer)
        p.copy_(kept)
        claimed, moved = _compare(claim, _folded_pair(claim, layer), stands, before, after)
        least = _least(claim, claimed, before.dtype)
        # A few large features may hide what moves in all others.
        if not claim.edit.site.called or claimed is None:
            moved = max(moved, least * _share_changed(before, after))
    p.copy_(kept)
    return moved if moved <= least else None


def away(start: Tensor, generator: torch.Generator, attempt: int) -> Tensor:
    """A step off the start, where some tensors hide others; from the second attempt on a far one,
    since every unit of a small bottleneck of a side network may be dead on the example."""
    step = (_draw(start, generator) - 0.5) * (root_mean_square(start) or 0.1)
    return step if not attempt else 6.0 * step - start


def _least(claim: Claim, claimed: float | None, dtype: torch.dtype) -> float:
    """The relative change of the output that is more than rounding; below 0: any will do."""
    if claimed == 0.0:  # a gain on weights that are zero promises nothing
        return -1.0
    if claimed is not None and claim.edit.site.called:
        return _FOLLOWS.get(dtype, _FOLLOWS_IN_HALF) * claimed
    # In half precision rounding hides what a whole block or attention would show.
    return 10 * torch.finfo(dtype).eps if dtype in AGREES else -1.0


def _compare(
    claim: Claim, stood: _Pair | None, stands: _Pair | None, before: Tensor, after: Tensor
) -> tuple[float | None, float]:
    """How far the folded weight moved over itself (the bias, where it moves alone, over the
    output), None for a side network; and how far the output did, without what the bias adds."""
    if stood is None or stands is None:
        return None, relative_distance(after, before)
    (w, b), (w2, b2) = stood, stands
    weight_moved = relative_distance(w2, w)
    if b is None or b2 is None or not claim.edit.site.called:
        return weight_moved or (1.0 if b2 is not b else 0.0), relative_distance(after, before)
    if not weight_moved:
        return root_mean_square(b2 - b) / (root_mean_square(before) or 1.0), relative_distance(
            after, before
        )
    shape = [1] * before.ndim
    shape[1 if claim.edit.site.layout == "maps" else -1] = -1
    return weight_moved, relative_distance(after - (b2 - b).view(shape), before)


def _share_changed(before: Tensor, after: Tensor) -> float:
    """Share of elements that moved by more than rounding, over a thousandth."""
    if before.dtype not in AGREES:
        return 0.0
    rounding = 10 * torch.finfo(before.dtype).eps * before.abs()
    return 1e3 * float(((after - before).abs() > rounding).float().mean())


def _draw(p: Tensor, generator: torch.Generator) -> Tensor:
    """Between 0 and 1, of the shape of p."""
    return torch.rand(p.shape, generator=generator).to(p)


def output_of(claim: Claim, args: Any, kwargs: Any) -> Tensor:
    found = first_tensor(claim.shown_by(*args, **kwargs))
    assert found is not None
    return found


def _folded_pair(claim: Claim, layer: nn.Module) -> _Pair | None:
    """The folded pair; None where there is none: of a side network, of a quantised layer."""
    site = claim.edit.site
    if isinstance(claim.edit, Rewire) or site.weight is None or is_quantised(layer, site.weight):
        return None
    return effective(layer, site.weight, site.bias)

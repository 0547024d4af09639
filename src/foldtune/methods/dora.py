"""DoRA: LoRA for the direction of each row of a matrix, and a vector for its length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foldtune.core.compute.delta import Delta
from foldtune.core.edits import Edit, Reweight
from foldtune.core.method import Method
from foldtune.core.structure.sites import Site
from foldtune.core.tensors import is_plain
from foldtune.errors import InputError
from foldtune.methods.low_rank import LowRank, low_rank
from foldtune.methods.places import none_found, sites_for


class DirectedLowRank(Delta):
    """W' = diag(m / |W + scale B A|) (W + scale B A), |.| the norm of each row, held constant in
    the gradient.

    m: (out,), the row norms of the stored W. No `call`: the norms need the whole matrix.
    """

    moves_bias = False

    def __init__(self, weight: Tensor, low: LowRank) -> None:
        super().__init__()
        self.low = low
        self.m = nn.Parameter(_row_norms(weight).clone())

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        moved, bias = self.low.fold(weight, bias)
        # A row of zeros, as pruned and dead channels have, stays one: its length is 0, not 0 / 0.
        gain = self.m / _row_norms(moved).clamp_min(torch.finfo(moved.dtype).tiny)
        return moved * gain.view(-1, *[1] * (moved.ndim - 1)), bias


def _row_norms(weight: Tensor) -> Tensor:
    return weight.detach().flatten(1).norm(dim=1)


@dataclass(frozen=True, repr=False)
class DoRA(Method):
    """LoRA for the direction of each row, and a vector of lengths: W' = m (W + B A) / |W + B A|.

    A, B, `alpha` and `targets` as for LoRA; m: (out,), the row norms of W, so it starts as the
    identity. 4 L D rank + 3 L D parameters on a fused qkv (rank 8 on ViT-B/16: 322,560). Merges
    exactly. Costs more in training than LoRA: the matrix is built at every step, and its full
    gradient with it. Source: Liu et al., ICML 2024, eq. 5; |.| is held constant in the gradient, as
    in their section 4.3. When to use it: where LoRA at a small rank falls short of full tuning.
    Differs from the paper: no dropout, which is no function of the weight.
    """

    rank: int = 8
    alpha: float | None = None
    targets: tuple[str, ...] = ()

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        scale = 1.0 if self.alpha is None else self.alpha / self.rank
        edits = [
            Reweight(s, self._delta(model, s, scale))
            for s in sites_for(model, sites, self.targets)
            if s.weight
        ]
        if not edits:
            raise none_found("DoRA", model, sites, self.targets)
        return edits

    def _delta(self, model: nn.Module, site: Site, scale: float) -> Delta:
        stored: Tensor = getattr(model.get_submodule(site.path), site.weight or "")
        if not is_plain(stored):
            raise InputError(
                f"{self!r} cannot stand at {site.path}: its weight is quantised, and DoRA needs "
                "the whole matrix; take LoRA"
            )
        return DirectedLowRank(stored, low_rank(model, site, self.rank, scale, 0.0, "DoRA"))

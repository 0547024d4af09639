"""ARC: one projection for all blocks, recombined by a small vector in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.compute.delta import Delta
from foldtune.core.compute.lowrank import add_product
from foldtune.core.edits import Edit, Reweight
from foldtune.core.method import Method
from foldtune.core.structure.sites import Site, select, stored_matrix
from foldtune.methods.refusal import NoPlace


class Recombination(Delta):
    """f(h + P^T diag(c) P h + b): W' = W (I + P^T diag(c) P), bias' = bias + W b.

    P: (rank, in), the same Parameter in all blocks; c: (rank,) and b: (in,), zero, the same for
    layers that read the same h. b is None where no layer behind can take a bias.
    """

    def __init__(
        self, P: nn.Parameter, c: nn.Parameter, b: nn.Parameter | None, dropout: float, conv: bool
    ) -> None:
        super().__init__()
        self.P, self.c, self.b = P, c, b
        self.dropout = dropout
        self.conv = conv
        self.moves_bias = b is not None

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        W = weight.flatten(1)
        if self.b is not None:
            bias = W @ self.b if bias is None else bias + W @ self.b
        return weight + ((W @ self.P.T * self.c) @ self.P).view_as(weight), bias

    def call(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        up = (self.P * self.c[:, None]).T
        if self.conv:
            low = F.conv2d(x, self.P[..., None, None])
            low = F.dropout(low, self.dropout, self.training)
            return layer(x + F.conv2d(low, up[..., None, None], self.b))
        low = F.dropout(F.linear(x, self.P), self.dropout, self.training)
        return layer(add_product(x, low, up, self.b))


@dataclass(frozen=True, repr=False)
class ARC(Method):
    """A projection shared by all blocks in front of attention and of MLP: h <- h + P^T c P h + b.

    h: the normed input of qkv and of fc1, (B, N, D). P: (rank, D) Xavier-uniform, one for attention
    and one for MLP (on Swin and ConvNeXt one for each width); per block c: (rank,) and b: (D,),
    zero, so it starts as the identity. 2 D rank + 2 L (rank + D) parameters (rank 50 on ViT-B/16:
    96,432). Dropout acts on P h. Merges exactly, having no non-linearity:
    W' = W (I + P^T diag(c) P), bias' = bias + W b. Source: Dong et al., NeurIPS 2023. When to use
    it: many tasks to store and a rank too high for an adapter in each block. Differs from the
    paper's code: c starts at zero in front of the MLP as well, where it draws it at random; b is
    left out where the layer behind has no bias to take it, so that the merged model has the plain
    one's keys (the qkv of EVA-02, BEiT, SwinV2, DINOv3); `add_bias=True` keeps it where a bias can
    be created (DINOv3).
    """

    rank: int = 50
    dropout: float = 0.1
    add_bias: bool = False

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        chosen = select(sites, "attn.in", "mlp.up")
        if not chosen:
            host = type(model).__name__
            raise NoPlace(f"ARC needs attention or an MLP; {host} has neither", model, sites)
        together: dict[tuple[str, int, int], list[tuple[Site, Tensor]]] = {}
        for site in (s.with_bias() for s in chosen) if self.add_bias else chosen:
            weight = stored_matrix(model, site, "ARC")
            key = (site.role, weight.shape[1], site.depth)
            together.setdefault(key, []).append((site, weight))
        projections: dict[tuple[str, int], nn.Parameter] = {}
        edits: list[Edit] = []
        for (role, width, _), group in together.items():
            if (role, width) not in projections:
                P = nn.Parameter(nn.init.xavier_uniform_(torch.empty(self.rank, width)))
                projections[role, width] = P
            c = nn.Parameter(torch.zeros(self.rank))
            has_bias = all(site.bias is not None for site, _ in group)
            b = nn.Parameter(torch.zeros(width)) if has_bias else None
            for site, weight in group:
                delta = Recombination(
                    projections[role, width], c, b, self.dropout, weight.ndim == 4
                )
                edits.append(Reweight(site, delta))
        return edits

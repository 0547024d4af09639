"""Pfeiffer: one bottleneck behind every MLP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from foldtune.core.edits import Edit, Rewire
from foldtune.core.method import Method
from foldtune.core.structure.sites import Site, select
from foldtune.methods.bottleneck import Sequential
from foldtune.methods.refusal import NoPlace


@dataclass(frozen=True, repr=False)
class Pfeiffer(Method):
    """One bottleneck behind every MLP: z <- z + s A(z), A(z) = W_up ReLU(W_down z + b) + b_up.

    z = MLP(LN x), (B, N, D). down: (rank, D) Xavier-uniform, up: (D, rank) and both biases zero, so
    it starts as the identity. L (2 D rank + rank + D) parameters (rank 8 on ViT-B/16: 156,768).
    Dropout acts on the bottleneck. Not mergeable (ReLU): two small products per block at
    inference. Source: Pfeiffer et al., EACL 2021; in this form Mai et al., CVPR 2025. When to use
    it: half the cost of Houlsby, mostly as good; rank 8 with few images, 64 with many. Differs
    from the study's code, which passes layer scale and drop path twice (before and behind the
    adapter): here it stands inside the branch and they act once, on z + s A(z). Differs from the
    paper: the norm beside the adapter stays frozen (add LayerNorm()).
    """

    rank: int = 8
    scale: float = 1.0
    dropout: float = 0.1

    space: ClassVar = {**Method.space, "scale": (0.1, 1.0, 10.0)}

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        mlps = select(sites, "mlp")
        if not mlps:
            reason = (
                f"Pfeiffer needs blocks with an MLP; {type(model).__name__} has none that is "
                "called as one module"
            )
            raise NoPlace(reason, model, sites)
        return [
            Rewire(s, Sequential(s.channels, self.rank, self.dropout, self.scale, s.layout))
            for s in mlps
        ]

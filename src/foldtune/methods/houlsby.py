"""Houlsby: a bottleneck behind every attention and every MLP."""

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
class Houlsby(Method):
    """A bottleneck behind attention and behind the MLP: z <- z + s A(z).

    A(z) = W_up ReLU(W_down z + b_down) + b_up on each branch's output z, (B, N, D). down: (rank, D)
    Xavier-uniform, up: (D, rank) and both biases zero, so it starts as the identity.
    2 L (2 D rank + rank + D) parameters (rank 8 on ViT-B/16: 313,536). Dropout acts on the
    bottleneck. Not mergeable (ReLU): four small products per block at inference. Source: Houlsby
    et al., ICML 2019, fig. 2. When to use it: the first choice among adapters with many images;
    rank up to 256 there. Differs from the paper: up starts at zero, not near it, and the norms
    stay frozen (add LayerNorm()). Layer scale and drop path of the host act once, on z + s A(z).
    """

    rank: int = 8
    scale: float = 1.0
    dropout: float = 0.1

    space: ClassVar = {**Method.space, "scale": (0.1, 1.0, 10.0)}

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        # A token mixer hands over (batch, channels, tokens): a bottleneck would mix tokens.
        attentions = [s for s in select(sites, "attn") if s.layout != "turned"]
        mlps = select(sites, "mlp")
        if not attentions or not mlps:
            missing = "MLP" if attentions else "attention"
            reason = (
                f"Houlsby needs blocks of attention and MLP; {type(model).__name__} has no "
                f"{missing} that is called as one module"
            )
            raise NoPlace(reason, model, sites)
        return [
            Rewire(s, Sequential(s.channels, self.rank, self.dropout, self.scale, s.layout))
            for s in (*attentions, *mlps)
        ]

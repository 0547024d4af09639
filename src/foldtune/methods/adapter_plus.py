"""Adapter+: a bottleneck behind every block, with a learned scale per channel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.edits import Edit, Rewire
from foldtune.core.method import Method
from foldtune.core.structure.sites import Site, select
from foldtune.methods.bottleneck import Bottleneck
from foldtune.methods.refusal import NoPlace


class ScaledBottleneck(Bottleneck):
    """y + scale * DropPath(A(y)), scale per channel, behind a whole block.

    scale: (channels,), ones; down and up: normal, std 0.01, cut at two deviations.
    """

    def __init__(self, channels: int, rank: int, drop_path: float, layout: str) -> None:
        super().__init__(channels, rank, 0.0)
        self.scale = nn.Parameter(torch.ones(channels))
        for matrix in (self.down.weight, self.up.weight):
            nn.init.trunc_normal_(matrix, std=0.01, a=-0.02, b=0.02)
        self.drop_path = drop_path
        self.maps = layout == "maps"

    def activation(self, low: Tensor) -> Tensor:
        return F.gelu(low)

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        added = self.update(y, self.maps)
        if self.training and self.drop_path:
            kept = added.new_empty(added.shape[0], *[1] * (added.ndim - 1)).bernoulli_(
                1.0 - self.drop_path
            )
            added = added * kept / (1.0 - self.drop_path)
        added = self.scale * added
        return y + (added.permute(0, 3, 1, 2) if self.maps else added)


@dataclass(frozen=True, repr=False)
class AdapterPlus(Method):
    """A bottleneck behind every block: x <- x + gamma * A(x).

    A(x) = W_up GELU(W_down x + b_down) + b_up; x: the block's output, (B, N, D). gamma: (D,) ones;
    down: (rank, D) and up: (D, rank) normal with std 0.01, cut at 0.02; biases zero: it starts next
    to the identity, not on it.
    L (2 D rank + rank + 2 D) parameters (ViT-B/16: rank 8 165,984, rank 16 313,536). drop_path
    skips A for whole images while training. Not mergeable (GELU): two small products per block at
    inference. Source: Steitz and Roth, CVPR 2024 (Adapters Strike Back). When to use
    it: the adapter that needs least tuning, one setting for all data; also on ResNets, since it
    asks for nothing but blocks. Differs from the paper: nothing; hosts beyond ViT are our
    extension.
    """

    rank: int = 8
    drop_path: float = 0.1

    starts_as_identity: ClassVar[bool] = False
    space: ClassVar = {**Method.space, "rank": (8, 16, 32)}

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        blocks = select(sites, "block")
        if not blocks:
            reason = f"AdapterPlus stands behind blocks; {type(model).__name__} repeats none"
            raise NoPlace(reason, model, sites)
        return [
            Rewire(s, ScaledBottleneck(s.channels, self.rank, self.drop_path, s.layout))
            for s in blocks
        ]

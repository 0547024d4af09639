"""DiffFit: a gain on every branch; biases and norms train."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foldtune.core.compute.delta import Delta
from foldtune.core.edits import Edit, Reweight, Train
from foldtune.core.method import Method
from foldtune.core.structure.names import bias_names, norm_names
from foldtune.core.structure.sites import Site, select
from foldtune.methods.refusal import NoPlace


class Gain(Delta):
    """W' = diag(gamma) W, b' = gamma * b. gamma: (out,), ones; maps: the output is (B, C, H, W)."""

    def __init__(self, channels: int, maps: bool) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.maps = maps

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        weight = weight * self.gamma.view(-1, *[1] * (weight.ndim - 1))
        return weight, None if bias is None else bias * self.gamma

    def call(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        return layer(x) * (self.gamma.view(-1, 1, 1) if self.maps else self.gamma)


@dataclass(frozen=True, repr=False)
class DiffFit(Method):
    """A gain per channel on every branch, and all biases and norms train.

    x <- x + gamma1 * Attn(LN x), x <- x + gamma2 * MLP(LN x); gamma: (D,), ones, placed on the
    branch's last projection, which layer scale and drop path follow. Trains every bias, the weight
    and bias of every norm, and the gains: BitFit + (2 L + 1) D + 2 L D parameters (ViT-B/16:
    140,544). Starts as the identity; merges exactly: the rows of attn.out and mlp.down times gamma.
    No cost at inference. Source: Xie et al., ICCV 2023; for recognition as in Mai et al.,
    CVPR 2025. When to use it: few images, as a sturdier BitFit. Differs from the paper: SwinV2
    norms each branch, and there the gain stands before that norm; ConvNeXt has one branch per
    block, and so one gain; Mixer's token mixing, whose rows are tokens, has none.
    """

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        # A token mixer's last projection has tokens as rows: no channel to scale.
        ends = [s for s in select(sites, "attn.out", "mlp.down") if s.layout != "turned"]
        if not any(s.role == "mlp.down" for s in ends):
            host = type(model).__name__
            reason = f"DiffFit needs blocks with an MLP, whose output it scales; {host} has none"
            raise NoPlace(reason, model, sites)
        names = dict.fromkeys((*bias_names(model), *norm_names(model)))
        gains = [Reweight(s, Gain(s.channels, s.layout == "maps")) for s in ends]
        return [*gains, Train(tuple(names))]

"""Consolidator: a grouped layer beside every matrix of a block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from foldtune.core.compute.delta import Delta
from foldtune.core.edits import Edit, Reweight
from foldtune.core.method import Method
from foldtune.core.structure.roles import moves_positions
from foldtune.core.structure.sites import Site, select, stored_matrix
from foldtune.methods.refusal import NoPlace


class Grouped(Delta):
    """W' = W + G, G block-diagonal in `groups` blocks, its rows interleaved if `shuffle`.

    G is kept as `blocks`: (groups, out / groups, in / groups), zero.
    """

    def __init__(self, shape: Sequence[int], groups: int, shuffle: bool, drop_path: float) -> None:
        super().__init__()
        out_size, in_size = shape[:2]
        self.blocks = nn.Parameter(torch.zeros(groups, out_size // groups, in_size // groups))
        self.shuffle = shuffle
        self.drop_path = drop_path
        self.conv = len(shape) == 4

    moves_bias = False

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        rows = torch.block_diag(*self.blocks)
        if self.shuffle:
            rows = rows.unflatten(0, (len(self.blocks), -1)).transpose(0, 1).flatten(0, 1)
        return weight + rows.view_as(weight), bias

    def call(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        rows = x.permute(0, 2, 3, 1) if self.conv else x
        parts = rows.unflatten(-1, (len(self.blocks), -1))
        # As one product per group: a sum over all groups at once would be a dense layer.
        made = torch.einsum("...gi,goi->...go", parts, self.blocks)
        made = (made.transpose(-1, -2) if self.shuffle else made).flatten(-2)
        if self.training and self.drop_path:
            shape = (made.shape[0], *[1] * (made.ndim - 1))
            kept = made.new_empty(shape).bernoulli_(1.0 - self.drop_path)
            made = made * kept / (1.0 - self.drop_path)
        return layer(x) + (made.permute(0, 3, 1, 2) if self.conv else made)


class FoldedGrouped(Grouped):
    """The same where G cannot run on the layer's input: a 1x1 convolution that strides or pads."""

    call = None  # type: ignore[assignment]


@dataclass(frozen=True, repr=False)
class Consolidator(Method):
    """A grouped linear layer beside every matrix of a block: y <- y + G x, G block-diagonal.

    G: `groups` blocks of (out / groups, in / groups), zero, so it starts as the identity, beside
    qkv, proj, fc1 and fc2. 12 L D^2 / groups parameters (groups 384 on ViT-B/16: 221,184). Where
    `groups` does not divide both sizes of a matrix, their greatest common divisor with it is
    taken. `shuffle` interleaves the groups' outputs (channel c of group g becomes g + c groups),
    so that the next layer's groups mix them. drop_path skips G x for whole images (on
    Swin: windows) while training.
    Merges exactly: W' = W + G. Source: Hao et al., ICLR 2023. When to use it: where a low rank is
    too few and a whole matrix too many. Differs from the paper: G starts at zero, not near it, and
    has no bias of its own (add BitFit()).
    """

    groups: int = 384
    shuffle: bool = False
    drop_path: float = 0.0

    space: ClassVar = {**Method.space, "groups": (96, 192, 384)}

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        edits: list[Edit] = []
        for site in select(sites, "attn.in", "attn.out", "mlp.up", "mlp.down"):
            shape = stored_matrix(model, site, "Consolidator").shape
            groups = math.gcd(self.groups, *shape[:2])
            module = model.get_submodule(site.path)
            kind = FoldedGrouped if moves_positions(module) else Grouped
            edits.append(Reweight(site, kind(shape, groups, self.shuffle, self.drop_path)))
        if not edits:
            host = type(model).__name__
            raise NoPlace(
                f"Consolidator needs attention or an MLP; {host} has neither", model, sites
            )
        return edits

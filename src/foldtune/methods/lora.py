"""LoRA: a low-rank update of the attention projections."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.computed import Delta
from foldtune.core.edits import Edit, Reweight
from foldtune.core.method import Method
from foldtune.core.sites import Site, select
from foldtune.errors import InputError


class LowRank(Delta):
    """W' = W + scale * B A. A: (rank, in); B: (out, rank); W: (out, in), or (out, in, 1, 1).

    Dropout acts on the update's input, so it exists only where the layer is called.
    """

    moves_bias = False

    def __init__(self, shape: Sequence[int], rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        out_size, in_size = shape[:2]
        self.lora_A = nn.Parameter(torch.empty(rank, in_size))
        self.lora_B = nn.Parameter(torch.zeros(out_size, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scale = scale
        self.dropout = dropout
        self.pointwise = len(shape) == 4

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return weight + self.scale * (self.lora_B @ self.lora_A).view_as(weight), bias

    def call(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        y = layer(x)
        x = F.dropout(x, self.dropout, self.training)
        if self.pointwise:
            low = F.conv2d(F.conv2d(x, self.lora_A[..., None, None]), self.lora_B[..., None, None])
        else:
            low = F.linear(F.linear(x, self.lora_A), self.lora_B)
        return y + (low if self.scale == 1.0 else self.scale * low)


@dataclass(frozen=True, repr=False)
class LoRA(Method):
    """Low-rank adaptation: W' = W + (alpha / rank) B A, on the projections into attention.

    A: (rank, in) kaiming-uniform (a = sqrt 5), B: (out, rank) zero, no bias. On a fused qkv one A
    is shared by q, k and v (4 L D rank parameters; rank 8 on ViT-B/16: 294,912). `alpha=None` means
    no scaling, as in vision studies; HF PEFT scales by alpha / rank. `dropout` acts on the
    update's input while training, where the layer is called. Starts as the identity; merges
    exactly. Source: Hu et al., ICLR 2022, eq. 3; the shared form as in NOAH (Zhang et al., 2022)
    and Mai et al., CVPR 2025. When to use it: a dependable choice at every data size; rank 4 to
    32, more for far domains. targets: roles or exact site paths of `foldtune sites`.
    """

    rank: int = 8
    alpha: float | None = None
    targets: tuple[str, ...] = ("attn.in",)
    dropout: float = 0.0

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        chosen = select(sites, *self.targets)
        if not chosen:
            roles = ", ".join(sorted({s.role for s in sites}))
            raise InputError(
                f"LoRA finds none of its targets {', '.join(self.targets)} in "
                f"{type(model).__name__}, which has the roles {roles}; give "
                "targets=('mlp.up', 'mlp.down') or exact paths of `foldtune sites`"
            )
        scale = 1.0 if self.alpha is None else self.alpha / self.rank
        edits: list[Edit] = []
        for site in chosen:
            weight = model.get_submodule(site.path)._parameters.get(site.weight or "")
            if weight is None or weight.shape[2:].numel() != 1 or weight.ndim < 2:
                raise InputError(f"LoRA needs a matrix; {site.path} ({site.role}) stores none")
            edits.append(Reweight(site, LowRank(weight.shape, self.rank, scale, self.dropout)))
        return edits

"""LoRA: a low-rank update of the attention projections, or of convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.compute.called import frozen_linear
from foldtune.core.compute.delta import Delta
from foldtune.core.compute.lowrank import add_product, folded_linear, worth_folding
from foldtune.core.edits import Edit, Reweight
from foldtune.core.method import LogRange, Method
from foldtune.core.structure.qkv import order_of, untold
from foldtune.core.structure.roles import moves_positions
from foldtune.core.structure.sites import Site, stored_matrix
from foldtune.errors import InputError
from foldtune.methods.places import none_found, sites_for


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
        if self.pointwise:
            low = F.conv2d(self.dropped(x), self.lora_A[..., None, None])
            added = F.conv2d(low, self.lora_B[..., None, None])
            return torch.add(layer(x), added, alpha=self.scale)
        return _added(x, layer, [self], self.lora_B)

    def dropped(self, x: Tensor) -> Tensor:
        """The update's input, after dropout."""
        return F.dropout(x, self.dropout, self.training)


class SplitLowRank(Delta):
    """A LowRank of its own for q, k or v of a fused qkv, W: (3 in, in), whose rows are letters."""

    moves_bias = False

    def __init__(self, pairs: Mapping[str, LowRank], letters: str | None = None) -> None:
        super().__init__()
        self.order: Tensor | None
        self.register_buffer("order", order_of(letters), persistent=False)
        self.letters = tuple(pairs)
        self.dropout = next(iter(pairs.values())).dropout
        for letter, pair in pairs.items():
            self.add_module(letter, pair)

    def pairs(self) -> Iterable[tuple[str, LowRank]]:
        """The letters out of qkv, each with its update."""
        return zip(self.letters, self.children(), strict=True)  # type: ignore[arg-type]

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if self.order is not None:
            own = dict(self.pairs())
            down = torch.cat([own[c].lora_A for c in "qkv" if c in own])
            return weight + own[self.letters[0]].scale * (self._up() @ down), bias
        thirds = dict(zip("qkv", weight.chunk(3), strict=True))
        for letter, pair in self.pairs():
            thirds[letter] = pair.fold(thirds[letter], None)[0]
        return torch.cat(list(thirds.values())), bias

    def call(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        own = dict(self.pairs())
        return _added(x, layer, [own[c] for c in "qkv" if c in own], self._up())

    def _up(self) -> Tensor:
        """(3 in, rank of all): each B in the rows of its letter, in the columns of its A."""
        own = dict(self.pairs())
        none = own[self.letters[0]].lora_B[:, :0]
        up = torch.block_diag(*(own[c].lora_B if c in own else none for c in "qkv"))
        return up if self.order is None else up[self.order]


class FoldedLowRank(LowRank):
    """The same where A cannot run on the layer's input: a 1x1 convolution that strides or pads."""

    call = None  # type: ignore[assignment]


class KernelLowRank(LowRank):
    """The same for a kernel, (out, in / groups, height, width): B A over its rows, as flattened.

    A: (rank, in / groups, height, width), a convolution of `rank` channels that goes as the host's
    does, and B: (out, rank) a 1x1 one on top. In `groups` A is the same for all. The rank is no
    higher than one at which A and B have fewer elements than the kernel.
    """

    def __init__(self, module: nn.Conv2d, rank: int, scale: float, dropout: float) -> None:
        out_size, *kernel = module.weight.shape
        columns = math.prod(kernel)
        fewer = max(1, (out_size * columns - 1) // (out_size + columns))
        super().__init__((out_size, columns), min(rank, fewer), scale, dropout)
        self.lora_A = nn.Parameter(self.lora_A.detach().view(-1, *kernel))
        self.geometry = (module.stride, module.padding, module.dilation)

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        update = self.lora_B @ self.lora_A.flatten(1)
        return weight + self.scale * update.view_as(weight), bias

    def call(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        stride, padding, dilation = self.geometry
        low = F.conv2d(self.dropped(x), self.lora_A, None, stride, padding, dilation)
        added = F.conv2d(low, self.lora_B[..., None, None])
        return torch.add(layer(x), added, alpha=self.scale)


class FoldedKernelLowRank(KernelLowRank):
    """The same where no convolution of A alone computes it: groups, and padding but with zeros."""

    call = None  # type: ignore[assignment]


def low_rank(
    model: nn.Module, site: Site, rank: int, scale: float, dropout: float, method: str = "LoRA"
) -> LowRank:
    """The low-rank update that fits the layer of `site`: a Linear or any Conv2d."""
    module = model.get_submodule(site.path)
    if isinstance(module, nn.Conv2d) and module.weight.shape[2:].numel() > 1:
        plain = module.groups == 1 and module.padding_mode == "zeros"
        kernel = KernelLowRank if plain else FoldedKernelLowRank
        return kernel(module, rank, scale, dropout)
    weight = stored_matrix(model, site, method)
    folded = moves_positions(module) or getattr(module, "groups", 1) != 1
    return (FoldedLowRank if folded else LowRank)(weight.shape, rank, scale, dropout)


@dataclass(frozen=True, repr=False)
class LoRA(Method):
    """Low-rank adaptation: W' = W + (alpha / rank) B A, on the projections into attention.

    A: (rank, in) kaiming-uniform (a = sqrt 5), B: (out, rank) zero, no bias. On a fused qkv one A
    is shared by q, k and v (4 L D rank parameters; rank 8 on ViT-B/16: 294,912). `separate="qv"`
    gives q and v an A and a B each and leaves k alone, as the paper has it: 4 L D rank as well;
    which rows they are is found by what attention multiplies (TinyViT stores them head by head).
    Where q, k and v are layers of their own, name their paths in `targets` instead. `alpha=None`
    means no scaling, as in vision studies; HF PEFT scales by alpha / rank. `dropout` acts on the
    update's input while training, where the layer is called. Starts as the identity; merges
    exactly. Source: Hu et al., ICLR 2022, eq. 3; the shared form as in NOAH (Zhang et al., 2022)
    and Mai et al., CVPR 2025. When to use it: a dependable choice at every data size; rank 4 to
    32, more for far domains. targets: roles or exact site paths of `foldtune sites`; by default
    "attn.in", and on hosts without attention every convolution and MLP layer of the blocks but
    those of gates of channels (a kernel is the matrix of its flattened rows, as in HF PEFT; in
    groups A is shared).
    """

    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "lr": LogRange(3e-4, 1e-2),  # at 3e-2 it collapses on long schedules, see docs/findings.md
        "rank": (4, 8, 16),
    }

    rank: int = 8
    alpha: float | None = None
    targets: tuple[str, ...] = ()
    dropout: float = 0.0
    separate: str = ""  # letters out of qkv; none: one A for all rows

    def __post_init__(self) -> None:
        super().__post_init__()
        if not set(self.separate) <= set("qkv"):
            raise InputError(f"LoRA: separate takes letters of 'qkv', not {self.separate!r}")

    @property
    def tells_qkv_apart(self) -> bool:  # type: ignore[override]
        return bool(self.separate)

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        chosen = sites_for(model, sites, self.targets or (("attn.in",) if self.separate else ()))
        # nn.MultiheadAttention is two sites of one path: the whole, and the weight that it stores.
        stored = {s.path for s in chosen if s.weight}
        chosen = tuple(s for s in chosen if s.weight or s.path not in stored)
        if not chosen:
            raise none_found("LoRA", model, sites, self.targets)
        return [Reweight(site, self._delta(model, site)) for site in chosen]

    def _delta(self, model: nn.Module, site: Site) -> Delta:
        scale = 1.0 if self.alpha is None else self.alpha / self.rank
        if not self.separate:
            return low_rank(model, site, self.rank, scale, self.dropout)
        weight = stored_matrix(model, site, "LoRA")
        rows, columns = weight.shape[:2]
        if rows != 3 * columns or site.role != "attn.in":
            raise InputError(
                f"LoRA(separate={self.separate!r}) needs q, k, v in one matrix (3 D, D); "
                f"{site.path} ({site.role}) stores ({rows}, {columns}). Name the paths of the "
                "separate layers in targets=(...) and leave `separate` out"
            )
        if site.letters == "":
            raise InputError(untold(f"LoRA(separate={self.separate!r})", site))
        pair = (columns, columns)
        pairs = {c: LowRank(pair, self.rank, scale, self.dropout) for c in self.separate}
        return SplitLowRank(pairs, site.letters)


def _added(
    x: Tensor, layer: Callable[[Tensor], Tensor], pairs: Sequence[LowRank], up: Tensor
) -> Tensor:
    """layer(x) + scale up (A Drop(x) of each pair, side by side)."""
    scale, stored = pairs[0].scale, frozen_linear(layer)
    drops = pairs[0].training and pairs[0].dropout
    if stored and not drops and worth_folding(x, stored[0], pairs[0].lora_A, up):
        return folded_linear(x, *stored, torch.cat([p.lora_A for p in pairs]), up, scale)
    low = torch.cat([F.linear(p.dropped(x), p.lora_A) for p in pairs], -1)
    return add_product(layer(x), low, up, scale=scale)

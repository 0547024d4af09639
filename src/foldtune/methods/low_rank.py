"""Low-rank updates of stored matrices and kernels, which LoRA and DoRA share; no method itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.compute.called import frozen_linear
from foldtune.core.compute.delta import Delta
from foldtune.core.compute.lowrank import add_product, folded_linear, worth_folding
from foldtune.core.structure.qkv import order_of
from foldtune.core.structure.roles import moves_positions
from foldtune.core.structure.sites import Site, stored_matrix
from foldtune.core.tensors import is_plain
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
        self.rate_times: Mapping[str, float] = {}
        self.pointwise = len(shape) == 4

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return weight + self.scale * (self.lora_B @ self.lora_A).view_as(weight), bias

    def call(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        if self.pointwise:
            low = F.conv2d(self.drop(x), self.lora_A[..., None, None])
            added = F.conv2d(low, self.lora_B[..., None, None])
            return torch.add(layer(x), added, alpha=self.scale)
        return _add_pairs(x, layer, [self], self.lora_B)

    def drop(self, x: Tensor) -> Tensor:
        """The update's input, after dropout."""
        return F.dropout(x, self.dropout, self.training)


class StartedLowRank(LowRank):
    """W' = W + scale (B A - B_0 A_0), where A and B start at A_0 and B_0, factors of W itself.

    The difference is zero at the start, so W is kept to the bit; A_0 and B_0 are frozen and saved
    beside A and B, since another processor may decompose W in another way.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float, dropout: float, start: str) -> None:
        super().__init__(weight.shape, rank, scale, dropout)
        down, up = factors(weight.detach().flatten(1), rank, scale, start)
        self.lora_A, self.lora_B = nn.Parameter(down), nn.Parameter(up)
        self.start_A = nn.Parameter(down.clone(), requires_grad=False)
        self.start_B = nn.Parameter(up.clone(), requires_grad=False)

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        moved = self.lora_B @ self.lora_A - self.start_B @ self.start_A
        return weight + self.scale * moved.view_as(weight), bias

    def call(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        low = torch.cat([F.linear(self.drop(x), self.lora_A), F.linear(x, self.start_A)], -1)
        up = torch.cat([self.lora_B, -self.start_B], 1)
        return add_product(layer(x), low, up, scale=self.scale)


class FoldedStartedLowRank(StartedLowRank):
    """The same for convolutions, which take the changed kernel."""

    call = None  # type: ignore[assignment]


STARTS = ("zero", "pissa", "olora")


def factors(weight: Tensor, rank: int, scale: float, start: str) -> tuple[Tensor, Tensor]:
    """A_0 (rank, in) and B_0 (out, rank) out of W: (out, in), whose product counts `scale` times.

    "pissa": the principal part of W, its square root on either side (Meng et al., NeurIPS 2024,
    eq. 2 and 3). "olora": the first columns of Q and rows of R of W = Q R (Büyükakyüz, 2024).
    """
    rank = min(rank, *weight.shape)
    if weight.is_meta:
        return weight.new_empty(rank, weight.shape[1]), weight.new_empty(len(weight), rank)
    exact = weight if weight.dtype == torch.float64 else weight.float()  # no halves in LAPACK
    if start == "olora":
        q, r = torch.linalg.qr(exact)
        return r[:rank].to(weight.dtype), q[:, :rank].to(weight.dtype)
    u, s, v = torch.linalg.svd(exact, full_matrices=False)
    root = (s[:rank] / scale).sqrt()
    return (root[:, None] * v[:rank]).to(weight.dtype), (u[:, :rank] * root).to(weight.dtype)


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
        return _add_pairs(x, layer, [own[c] for c in "qkv" if c in own], self._up())

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
        low = F.conv2d(self.drop(x), self.lora_A, None, stride, padding, dilation)
        added = F.conv2d(low, self.lora_B[..., None, None])
        return torch.add(layer(x), added, alpha=self.scale)


class FoldedKernelLowRank(KernelLowRank):
    """The same where no convolution of A alone computes it: groups, and padding but with zeros."""

    call = None  # type: ignore[assignment]


def start_from_weight(
    model: nn.Module, site: Site, rank: int, scale: float, dropout: float, start: str
) -> StartedLowRank:
    """The update that starts at factors of the stored matrix of `site`."""
    module = model.get_submodule(site.path)
    weight = getattr(module, site.weight or "")
    if not is_plain(weight) or weight.ndim < 2 or getattr(module, "groups", 1) != 1:
        raise InputError(
            f"LoRA(start={start!r}) takes factors of a matrix; {site.path} ({site.role}) stores "
            "none of plain numbers. Name other targets, or leave `start` out"
        )
    kind = FoldedStartedLowRank if weight.ndim > 2 else StartedLowRank
    return kind(weight, rank, scale, dropout, start)


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


def _add_pairs(
    x: Tensor, layer: Callable[[Tensor], Tensor], pairs: Sequence[LowRank], up: Tensor
) -> Tensor:
    """layer(x) + scale up (A Drop(x) of each pair, side by side)."""
    scale, stored = pairs[0].scale, frozen_linear(layer)
    drops = pairs[0].training and pairs[0].dropout
    if stored and not drops and worth_folding(x, stored[0], pairs[0].lora_A, up):
        return folded_linear(x, *stored, torch.cat([p.lora_A for p in pairs]), up, scale)
    low = torch.cat([F.linear(p.drop(x), p.lora_A) for p in pairs], -1)
    return add_product(layer(x), low, up, scale=scale)

"""RepAdapter: a linear bottleneck in front of attention and MLP, folded away afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.compute.delta import Delta
from foldtune.core.compute.lowrank import add_product
from foldtune.core.edits import Edit, Reweight
from foldtune.core.method import Method
from foldtune.core.structure.blocks import in_gate
from foldtune.core.structure.sites import Site, select, stored_matrix
from foldtune.errors import InputError
from foldtune.methods.refusal import NoPlace


class LinearBottleneck(nn.Module):
    """A: (rank, in); B: (in, rank), block-diagonal in `groups` blocks, kept as (in, rank / groups).

    The constants a: (rank,) and b: (in,) are absent where no layer behind can take a bias.
    """

    def __init__(self, width: int, rank: int, groups: int, constants: bool) -> None:
        super().__init__()
        self.A = nn.Parameter(nn.init.xavier_uniform_(torch.empty(rank, width)))
        self.B = nn.Parameter(torch.zeros(width, rank // groups))
        self.a = nn.Parameter(torch.zeros(rank)) if constants else None
        self.b = nn.Parameter(torch.zeros(width)) if constants else None
        self.groups = groups

    def dense_B(self) -> Tensor:
        return torch.block_diag(*self.B.chunk(self.groups))


class InputBottleneck(Delta):
    """f(h + s (B (A h + a) + b)): W' = W (I + s B A), bias' = bias + s W (B a + b)."""

    def __init__(self, inner: LinearBottleneck, scale: float, dropout: float, conv: bool) -> None:
        super().__init__()
        self.inner = inner  # one module for all layers that read the same h
        self.scale = scale
        self.dropout = dropout
        self.conv = conv
        self.moves_bias = inner.a is not None

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        # A kernel's positions each see the changed channels: (out, in, height, width) as rows.
        W = weight.movedim(1, -1)
        WB = W @ self.inner.dense_B()
        if self.inner.a is not None and self.inner.b is not None:
            moved = self.scale * (WB @ self.inner.a + W @ self.inner.b).view(len(W), -1).sum(1)
            bias = moved if bias is None else bias + moved
        return weight + self.scale * (WB @ self.inner.A).movedim(-1, 1), bias

    def call(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        A, a, B, b = self.inner.A, self.inner.a, self.inner.dense_B(), self.inner.b
        if self.conv:
            low = F.dropout(F.conv2d(x, A[..., None, None], a), self.dropout, self.training)
            return layer(torch.add(x, F.conv2d(low, B[..., None, None], b), alpha=self.scale))
        low = F.dropout(F.linear(x, A, a), self.dropout, self.training)
        return layer(add_product(x, low, B, b, self.scale))


_USUAL = ("attn.in", "mlp.up")


@dataclass(frozen=True, repr=False)
class RepAdapter(Method):
    """A linear bottleneck in front of attention and MLP: h <- h + s (B (A h + a) + b).

    h: the normed input of qkv and of fc1, (B, N, D). A: (rank, D) Xavier-uniform; B: (D, rank) in
    `groups` diagonal blocks, a and b zero, so it starts as the identity.
    2 L (D rank + rank + D rank / groups + D) parameters (rank 8, groups 2 on ViT-B/16: 239,808).
    Dropout acts on the bottleneck. Merges exactly, having no non-linearity:
    W' = W (I + s B A), bias' = bias + s W (B a + b). Layers that read the same h (q, k and v as
    three layers, both halves of SwiGLU) share one bottleneck. Source: Luo et al., 2023 (Towards
    Efficient Visual Adaption via Structural Re-parameterization). When to use it: an adapter's
    shape at no inference cost. Differs from the paper: a and b are left out where the layer behind
    has no bias to take them, so that the merged model has the plain one's keys (the qkv of EVA-02,
    BEiT, SwinV2, DINOv3); `add_bias=True` keeps them where a bias can be created (DINOv3). A
    depth-wise or grouped convolution cannot absorb it, so on ConvNeXt it stands before the MLP
    only. targets: roles or paths; by default "attn.in" and "mlp.up", and where there is neither all
    convolutions of the blocks without groups, without a and b where they pad.
    """

    rank: int = 8
    groups: int = 2
    scale: float = 1.0
    dropout: float = 0.1
    targets: tuple[str, ...] = ()
    add_bias: bool = False

    space: ClassVar = {**Method.space, "scale": (0.1, 0.5, 1.0, 5.0, 10.0)}

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        chosen = self._sites(model, sites)
        if not chosen:
            wanted = ", ".join(self.targets or _USUAL)
            host = type(model).__name__
            reason = f"RepAdapter finds none of its targets {wanted} in {host}"
            raise NoPlace(reason, model, sites)
        together: dict[tuple[int, str, int], list[tuple[Site, Tensor]]] = {}
        for site in (s.with_bias() for s in chosen) if self.add_bias else chosen:
            weight = _input_matrix(model, site)
            key = (site.depth, site.role if site.role != "conv" else site.path, weight.shape[1])
            together.setdefault(key, []).append((site, weight))
        edits: list[Edit] = []
        for (_, _, width), group in together.items():
            if self.rank % self.groups or width % self.groups:
                raise InputError(
                    f"RepAdapter: groups={self.groups} must divide the rank {self.rank} and the "
                    f"width {width} of {group[0][0].path}"
                )
            padded = any(_pads(model, site) for site, _ in group)
            constants = not padded and all(site.bias is not None for site, _ in group)
            inner = LinearBottleneck(width, self.rank, self.groups, constants)
            for site, weight in group:
                delta = InputBottleneck(inner, self.scale, self.dropout, weight.ndim == 4)
                edits.append(Reweight(site, delta))
        return edits

    def _sites(self, model: nn.Module, sites: Sequence[Site]) -> tuple[Site, ...]:
        usual = select(sites, *(self.targets or _USUAL))
        if usual or self.targets:
            return usual
        convs = (s for s in select(sites, "conv") if not in_gate(model, s.path))
        modules = ((s, model.get_submodule(s.path)) for s in convs)
        return tuple(
            s
            for s, m in modules
            if isinstance(m, nn.Conv2d) and m.groups == 1 and m.in_channels % self.groups == 0
        )


def _input_matrix(model: nn.Module, site: Site) -> Tensor:
    """The stored weight, (out, in) or (out, in, height, width), of a layer that sees all inputs."""
    module = model.get_submodule(site.path)
    if isinstance(module, nn.Conv2d) and module.groups == 1:
        return module.weight
    return stored_matrix(model, site, "RepAdapter")


def _pads(model: nn.Module, site: Site) -> bool:
    """Whether zeros stand beside what the layer reads, to which no constant was added."""
    module = model.get_submodule(site.path)
    return isinstance(module, nn.Conv2d) and set(module.kernel_size) != {1}

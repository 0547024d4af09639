"""FacT: one low-rank decomposition of all the matrices of a ViT together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.compute.delta import Delta
from foldtune.core.compute.lean import recompute
from foldtune.core.edits import Edit, Reweight
from foldtune.core.method import Method
from foldtune.core.structure.sites import Site, select, stored_matrix
from foldtune.methods.refusal import NoPlace


class Factors(Delta):
    """W' = W + s (I_a x V) S (I_b x U) for W: (a D, b D), cut into a b squares of D x D.

    U: (rank, D) and V: (D, rank), the same Parameters everywhere; S: (a rank, b rank) by `core()`.
    """

    moves_bias = False

    def __init__(
        self, outer: tuple[nn.Parameter, nn.Parameter], scale: float, dropout: float
    ) -> None:
        super().__init__()
        self.U, self.V = outer
        self.scale = scale
        self.dropout = dropout

    def core(self) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} defines no core()")

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        rank = len(self.U)
        S = self.core().unflatten(1, (-1, rank)).unflatten(0, (-1, rank))
        added = torch.einsum("dr,arbs,sc->adbc", self.V, S, self.U)
        return weight + self.scale * added.reshape(weight.shape), bias

    def call(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        # Four small products whose results, kept, outweigh what full fine-tuning keeps.
        return layer(x) + recompute(self._update, x)

    def _update(self, x: Tensor) -> Tensor:
        rank, width = self.U.shape
        low = F.linear(F.linear(x.unflatten(-1, (-1, width)), self.U).flatten(-2), self.core())
        low = F.dropout(low, self.dropout, self.training)
        return self.scale * F.linear(low.unflatten(-1, (-1, rank)), self.V).flatten(-2)


class TrainFactors(Factors):
    """Tensor-train: S is this site's own matrix, drawn as nn.Linear draws."""

    def __init__(
        self,
        outer: tuple[nn.Parameter, nn.Parameter],
        shape: tuple[int, int],
        scale: float,
        dropout: float,
    ) -> None:
        super().__init__(outer, scale, dropout)
        self.S = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_uniform_(self.S, a=math.sqrt(5))

    def core(self) -> Tensor:
        return self.S


class TuckerFactors(Factors):
    """Tucker: S consists of this site's slices of T = C x P, T: (rank, rank, slices).

    C: (rank, rank, rank) and P: (rank, all slices) are the same Parameters everywhere. wide: the
    squares stand side by side (fc2), else one below the other. mixed: see FacTTK.interleave.
    """

    def __init__(
        self,
        outer: tuple[nn.Parameter, nn.Parameter],
        inner: Sequence[nn.Parameter],
        scale: float,
        dropout: float,
        *,
        slices: slice,
        wide: bool,
        mixed: bool,
    ) -> None:
        super().__init__(outer, scale, dropout)
        self.C, self.P = inner
        self.slices = slices
        self.wide = wide
        self.mixed = mixed

    def core(self) -> Tensor:
        T = self.C @ self.P[:, self.slices]
        if self.mixed:
            return T.flatten(1) if self.wide else T.flatten(1).T
        return T.permute(1, 2, 0).flatten(1) if self.wide else T.permute(2, 1, 0).flatten(0, 1)


@dataclass(frozen=True, repr=False)
class FacTTT(Method):
    """All D x D squares of a ViT as one tensor in tensor-train form: dW = s V S U.

    Squares: q, k, v, the projection out of attention, and four each of fc1 and fc2. U: (rank, D)
    as nn.Linear draws and V: (D, rank) zero, shared by all; S: (rank, rank) per square, so it
    starts as the identity. 2 D rank + 12 L rank^2 parameters (ViT-B/16: rank 4 8,448, 8 21,504, 16
    61,440). Dropout acts in front of V. Merges exactly. Source: Jie and Deng, AAAI 2023 (FacT).
    When to use it: many tasks to store; ranks 4 to 16. Needs one width D throughout: Swin,
    ConvNeXt, SwiGLU and token mixers are refused. Differs from the paper: nothing.
    """

    rank: int = 16
    scale: float = 1.0
    dropout: float = 0.1

    space: ClassVar = {**Method.space, "scale": (0.01, 0.1, 1.0, 10.0)}

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        squares = _squares(self, model, sites)
        outer = _outer(squares, self.rank)
        edits: list[Edit] = []
        for site, down, across in squares:
            shape = (down * self.rank, across * self.rank)
            edits.append(Reweight(site, TrainFactors(outer, shape, self.scale, self.dropout)))
        return edits


@dataclass(frozen=True, repr=False)
class FacTTK(Method):
    """All D x D squares of a ViT as one tensor in Tucker form: dW = s V (C x p)^T U.

    Squares as for FacTTT; p: (rank,), the square's column of P: (rank, 12 L); C: (rank, rank,
    rank), both Xavier-uniform; U: (rank, D) as nn.Linear draws and V: (D, rank) zero, so it starts
    as the identity. 2 D rank + 12 L rank + rank^3 parameters (ViT-B/16: rank 8 13,952, 32 86,528).
    Dropout acts in front of V. Merges exactly. Source: Jie and Deng, AAAI 2023 (FacT). When to use
    it: as FacTTT, at ranks 16 to 64. `interleave=True` cuts the slices of fc1 and fc2 as the
    authors' code does: C x P, (rank, rank, 4), is read row by row as (rank, 4 rank), which mixes
    slices and ranks, and is not transposed for fc2. The default is the formula. Hosts as FacTTT.
    """

    rank: int = 32
    scale: float = 1.0
    dropout: float = 0.1
    interleave: bool = False

    space: ClassVar = {**Method.space, "scale": (0.01, 0.1, 1.0, 10.0)}

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        squares = _squares(self, model, sites)
        outer = _outer(squares, self.rank)
        total = sum(down * across for _, down, across in squares)
        inner = [
            nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape)))
            for shape in ((self.rank,) * 3, (self.rank, total))
        ]
        edits: list[Edit] = []
        start = 0
        for site, down, across in squares:
            delta = TuckerFactors(
                outer, inner, self.scale, self.dropout,
                slices=slice(start, start + down * across),
                wide=across > 1,
                mixed=self.interleave and site.role.startswith("mlp"),
            )  # fmt: skip
            edits.append(Reweight(site, delta))
            start += down * across
        return edits


def _outer(
    squares: Sequence[tuple[Site, int, int]], rank: int
) -> tuple[nn.Parameter, nn.Parameter]:
    site, down, _ = squares[0]
    width = site.channels // down
    U, V = nn.Parameter(torch.empty(rank, width)), nn.Parameter(torch.zeros(width, rank))
    nn.init.kaiming_uniform_(U, a=math.sqrt(5))
    return U, V


def _squares(
    method: Method, model: nn.Module, sites: Sequence[Site]
) -> list[tuple[Site, int, int]]:
    """The sites with their number of squares down and across; or the refusal with its reason."""
    name, host = type(method).__name__, type(model).__name__
    widths = sorted({s.channels for s in select(sites, "block")})
    if not widths:
        raise NoPlace(f"{name} needs blocks of one width; {host} repeats none", model, sites)
    if len(widths) > 1:
        reason = f"{name} needs one width throughout; the blocks of {host} have {widths}"
        raise NoPlace(reason, model, sites)
    found: list[tuple[Site, int, int]] = []
    for site in select(sites, "attn.in", "attn.out", "mlp.up", "mlp.down"):
        rows, columns = stored_matrix(model, site, name).shape[:2]
        if rows % widths[0] or columns % widths[0] or widths[0] not in (rows, columns):
            reason = (
                f"{name} cuts matrices into squares of the width {widths[0]}; {site.path} of "
                f"{host} is ({rows}, {columns})"
            )
            raise NoPlace(reason, model, sites)
        found.append((site, rows // widths[0], columns // widths[0]))
    if not found:
        raise NoPlace(f"{name} finds neither attention nor MLP in {host}", model, sites)
    return found

"""VeRA: frozen random projections, trained by one vector on either side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.compute.delta import Delta
from foldtune.core.edits import Edit, Reweight
from foldtune.core.method import Method
from foldtune.core.structure.sites import Site, select, stored_matrix
from foldtune.errors import InputError


class ScaledProjections(Delta):
    """W' = W + diag(b) B diag(d) A. W: (out, in); A: (rank, in), B: (out, rank), frozen;
    d: (rank,), b: (out,), trained."""

    moves_bias = False

    def __init__(self, A: Tensor, B: Tensor) -> None:
        super().__init__()
        # Not persistent: they are drawn again from the seed, so a tuning holds d and b alone.
        self.register_buffer("A", A, persistent=False)
        self.register_buffer("B", B, persistent=False)
        self.d = nn.Parameter(torch.full((A.shape[0],), 0.1))
        self.b = nn.Parameter(torch.zeros(B.shape[0]))

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return weight + self.b[:, None] * (self.B @ (self.d[:, None] * self.A)), bias

    def call(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        return layer(x) + self.b * F.linear(self.d * F.linear(x, self.A), self.B)


@dataclass(frozen=True, repr=False)
class PlainVeRA(Method):
    """Frozen random A and B, trained gains between and after them: W' = W + diag(b) B diag(d) A.

    A: (rank, in) and B: (out, rank) are kaiming-uniform from `seed` and the same for all layers of
    a shape; d: (rank,) starts at 0.1, b: (out,) at zero, so it starts as the identity. Merges
    exactly. L (3 D + rank) parameters on a fused qkv (rank 256 on ViT-B/16: 30,720). Source:
    Kopiczko et al., ICLR 2024, eq. 2. When to use it: hundreds of tasks to store. Differs from the
    paper: one A for q, k and v where they are one matrix. (foldtune's own VeRA takes its layers
    from HF PEFT.) targets: roles or exact site paths.
    """

    rank: int = 256
    targets: tuple[str, ...] = ("attn.in",)
    seed: int = 0

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        shapes = {
            s: stored_matrix(model, s, "PlainVeRA").shape for s in select(sites, *self.targets)
        }
        strange = next((s.path for s, shape in shapes.items() if len(shape) != 2), None)
        if strange or not shapes:
            raise InputError(
                f"PlainVeRA needs Linear layers among its targets {', '.join(self.targets)}; "
                f"{type(model).__name__} has {strange or 'none'}. Give targets=('mlp.up',)"
            )
        frozen = {shape: self._draw(*shape) for shape in set(shapes.values())}
        return [Reweight(s, ScaledProjections(*frozen[shape])) for s, shape in shapes.items()]

    def _draw(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        A, B = torch.empty(self.rank, columns), torch.empty(rows, self.rank)
        for matrix in (A, B):
            nn.init.kaiming_uniform_(matrix, generator=generator)
        return A, B

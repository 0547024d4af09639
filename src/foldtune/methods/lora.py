"""LoRA: a low-rank update of the attention projections, or of convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from foldtune.core.compute.delta import Delta
from foldtune.core.edits import Edit, Reweight
from foldtune.core.method import LogRange, Method
from foldtune.core.structure.qkv import untold
from foldtune.core.structure.sites import Site, stored_matrix
from foldtune.errors import InputError
from foldtune.methods.low_rank import LowRank, SplitLowRank, low_rank
from foldtune.methods.places import none_found, sites_for


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

"""LoRA: a low-rank update of the attention projections, or of convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from foldtune.core.compute.delta import Delta
from foldtune.core.edits import Edit, Reweight
from foldtune.core.method import LogRange, Method
from foldtune.core.structure.qkv import untold
from foldtune.core.structure.sites import Site, select, stored_matrix
from foldtune.errors import InputError, unknown_name
from foldtune.methods.low_rank import STARTS, LowRank, SplitLowRank, low_rank, start_from_weight
from foldtune.methods.places import none_found, sites_for


@dataclass(frozen=True, repr=False)
class LoRA(Method):
    """Low-rank adaptation: W' = W + (alpha / rank) B A, on the projections into attention.

    A: (rank, in) kaiming-uniform (a = sqrt 5), B: (out, rank) zero, no bias. On a fused qkv one A
    is shared by q, k and v (4 L D rank parameters; rank 8 on ViT-B/16: 294,912). `separate="qv"`
    gives q and v an A and a B each and leaves k alone, as the paper has it: 4 L D rank as well;
    which rows they are is found by what attention multiplies (TinyViT stores them head by head).
    Where q, k and v are layers of their own, name their paths in `targets` instead. `alpha=None`
    means no scaling, as in vision studies; HF PEFT scales by alpha / rank, or by alpha / sqrt(rank)
    with `scaling="root"` (rsLoRA: Kalajdzievski, 2023). `dropout` acts on the update's input while
    training, where the layer is called. `rate_ratio`: B's learning rate over A's (LoRA+: Hayou et
    al., ICML 2024, who take 16). `start`: "pissa" or "olora" have A and B start at factors of W and
    train the difference to these, so that W stays as it is (Meng et al., NeurIPS 2024; Büyükakyüz,
    2024). `ranks`, `alphas`: of some roles or paths, (("mlp.up", 4),), a path before its role.
    Starts as the identity; merges exactly. Source: Hu et al., ICLR 2022, eq. 3; the shared form as
    in NOAH (Zhang et al., 2022) and Mai et al., CVPR 2025. When to use it: a dependable choice at
    every data size; rank 4 to 32, more for far domains. targets: roles or exact site paths of
    `foldtune sites`; by default "attn.in", and on hosts without attention every convolution and MLP
    layer of the blocks but those of gates of channels (a kernel is the matrix of its flattened
    rows, as in HF PEFT; in groups A is shared).
    """

    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "lr": LogRange(3e-4, 1e-2),  # at 3e-2 it collapses on long schedules, see docs/findings.md
        "rank": (4, 8, 16),
    }

    later: ClassVar[tuple[str, ...]] = ("scaling", "rate_ratio", "start", "ranks", "alphas")

    rank: int = 8
    alpha: float | None = None
    targets: tuple[str, ...] = ()
    dropout: float = 0.0
    separate: str = ""  # letters out of qkv; none: one A for all rows
    scaling: Literal["rank", "root"] = "rank"  # what alpha is divided by
    rate_ratio: float = 1.0
    start: Literal["zero", "pissa", "olora"] = "zero"
    ranks: tuple[tuple[str, int], ...] = ()
    alphas: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not set(self.separate) <= set("qkv"):
            raise InputError(f"LoRA: separate takes letters of 'qkv', not {self.separate!r}")
        if self.scaling not in ("rank", "root"):
            raise unknown_name("scaling of LoRA", self.scaling, ("rank", "root"))
        if self.start not in STARTS:
            raise unknown_name("start of LoRA", self.start, STARTS)
        if self.separate and self.start != "zero":
            raise InputError(
                f"LoRA(separate={self.separate!r}) starts at zero; start={self.start!r} takes "
                "factors of a whole matrix. Leave one of the two out"
            )
        scales = [a for a in (self.alpha, *dict(self.alphas).values()) if a is not None]
        if self.start != "zero" and any(a <= 0.0 for a in scales):
            raise InputError(f"LoRA(start={self.start!r}) needs alphas above 0")
        if self.rate_ratio <= 0.0:
            raise InputError(f"LoRA: rate_ratio must be above 0, not {self.rate_ratio}")
        wrong = next((r for _, r in self.ranks if r < 1), None)
        if wrong is not None:
            raise InputError(f"LoRA: ranks must be at least 1, not {wrong}")

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
        for name in (*dict(self.ranks), *dict(self.alphas)):
            select(sites, name)  # a wrong name is told
        return [Reweight(site, self._delta(model, site)) for site in chosen]

    def _delta(self, model: nn.Module, site: Site) -> Delta:
        rank = _own(self.ranks, site, self.rank)
        alpha = _own(self.alphas, site, self.alpha)
        scale = 1.0 if alpha is None else alpha / (rank**0.5 if self.scaling == "root" else rank)
        if self.start != "zero":
            return self._with_rates(
                start_from_weight(model, site, rank, scale, self.dropout, self.start)
            )
        if not self.separate:
            return self._with_rates(low_rank(model, site, rank, scale, self.dropout))
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
        pairs = {
            c: self._with_rates(LowRank(pair, rank, scale, self.dropout)) for c in self.separate
        }
        return SplitLowRank(pairs, site.letters)

    def _with_rates(self, delta: LowRank) -> LowRank:
        if self.rate_ratio != 1.0:
            delta.rate_times = {"lora_B": self.rate_ratio}
        return delta


def _own(pairs: Sequence[tuple[str, Any]], site: Site, default: Any) -> Any:
    """What is said of the site's path, else of its role, else the default."""
    said = dict(pairs)
    return said.get(site.path, said.get(site.role, default))

"""Attentive probe: the classifier sees what learned queries find among the last block's tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.edits import Adapter, Edit, Rewire
from foldtune.core.method import LogRange, Method
from foldtune.core.structure.sites import Site, select
from foldtune.errors import InputError, unknown_name
from foldtune.methods.refusal import NoPlace

FORMS = ("efficient", "plain")


class AttentivePool(Adapter):
    """y + gain * concat_j sum_n softmax_n(q_j . k_n) v_nj, the same for every position.

    y: the block's output, as tokens, a grid or maps; h: its positions normalised, (B, N, D). v: h
    through (D, D), cut into as many parts as there are queries. Efficient: k is h and every query
    is (D,); plain: k is h through (D, D), cut alike, and a query is (D / queries,).
    """

    survives_merge = True

    def __init__(self, channels: int, queries: int, form: str, layout: str) -> None:
        super().__init__()
        self.count = next(n for n in range(min(queries, channels), 0, -1) if channels % n == 0)
        width = channels if form == "efficient" else channels // self.count
        self.query = nn.Parameter(nn.init.trunc_normal_(torch.empty(self.count, width), std=0.02))
        if form == "plain":
            self.key = nn.Parameter(nn.init.xavier_uniform_(torch.empty(channels, channels)))
        self.value = nn.Parameter(torch.eye(channels))
        self.gain = nn.Parameter(torch.zeros(channels))
        self.maps = layout == "maps"

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        last = y.movedim(1, -1) if self.maps else y
        h = F.layer_norm(last.flatten(1, -2), last.shape[-1:])
        found = self.gain * self._pool(h)
        found = found[(slice(None), *[None] * (last.ndim - 2))]
        return y + (found.movedim(-1, 1) if self.maps else found)

    def _pool(self, h: Tensor) -> Tensor:
        """(B, D) out of (B, N, D)."""
        if hasattr(self, "key"):
            keys = F.linear(h, self.key).unflatten(-1, (self.count, -1))
            scores = torch.einsum("bnqc,qc->bqn", keys, self.query)
        else:
            scores = F.linear(h, self.query).mT
        weights = (scores / self.query.shape[1] ** 0.5).softmax(-1)
        values = F.linear(h, self.value).unflatten(-1, (self.count, -1))
        return torch.einsum("bqn,bnqc->bqc", weights, values).flatten(1)


@dataclass(frozen=True, repr=False)
class AttentiveProbe(Method):
    """Learned queries attend over the last block's tokens, and what they find is added to them.

    The backbone stays frozen, and its features are cached; a fair baseline for backbones whose
    pooled feature was never trained (MAE, DINO). "efficient": `queries` of D numbers meet the
    tokens themselves, values are projected, and each query has its own D / queries of them: D^2 +
    queries D + D parameters (32 on ViT-B/16: 615,168). "plain": one query cut into heads, keys
    projected, too. With any method, as a sum: `LoRA() + AttentiveProbe()`. Channels of feature maps
    at each position are tokens on convolutional networks. Stays beside a merged model. Source:
    Psomas et al., 2025 (Attention, Please!), efficient probing; the plain one as in Yu et al., 2022
    (CoCa) and El-Nouby et al., 2024 (AIM). When to use it: before saying that tuning beats
    probing. Differs from the papers: added to the host's own pooling by a gain that starts at
    zero, so it starts as the identity and the classifier where it is solved on frozen features.
    `queries` shrink to what divides the channels.
    """

    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "queries": (8, 16, 32),
    }

    queries: int = 32
    form: Literal["efficient", "plain"] = "efficient"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in FORMS:
            raise unknown_name("form of AttentiveProbe", self.form, FORMS)
        if self.queries < 1:
            raise InputError(f"AttentiveProbe: queries must be at least 1, not {self.queries}")

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        blocks = select(sites, "block")
        if not blocks:
            reason = f"AttentiveProbe stands behind the last block; {type(model).__name__} has none"
            raise NoPlace(reason, model, sites)
        last = blocks[-1]
        return [Rewire(last, AttentivePool(last.channels, self.queries, self.form, last.layout))]

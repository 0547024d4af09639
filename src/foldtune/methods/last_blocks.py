"""LastBlocks: the last blocks of the backbone train."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from foldtune.core.edits import Edit, Train
from foldtune.core.method import LogRange, Method
from foldtune.core.names import STATISTICS, running_statistics
from foldtune.core.sites import Site, select
from foldtune.errors import InputError, unknown

_PARTS = ("block", "attn", "mlp")


@dataclass(frozen=True, repr=False)
class LastBlocks(Method):
    """Every parameter of the last `count` blocks trains, or of their attention or MLP alone.

    part: "block", "attn" or "mlp". Three blocks of ViT-B/16: 21,263,616, 7,087,104 (attn) and
    14,167,296 (mlp) parameters. Starts as the identity; nothing is added, so nothing is merged.
    statistics: of BatchNorm inside, "held" as pre-trained or "moving", see Full. Source: partial
    tuning, Yosinski et al., NeurIPS 2014; for ViTs Jia et al., ECCV 2022 (Partial-k). When to use
    it: as a yardstick between the linear probe and full tuning; cheap backward passes, since the
    blocks before need none. Blocks are counted, never matched by name, so block 1 is not 10 and 11
    as well.
    """

    count: int = 1
    part: str = "block"
    statistics: str = "held"

    space: ClassVar = {**Method.space, "lr": LogRange(1e-5, 1e-2), "count": (1, 2, 4)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.part not in _PARTS:
            raise unknown("part of a block", self.part, _PARTS)
        if self.statistics not in STATISTICS:
            raise unknown("way with running statistics", self.statistics, STATISTICS)

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        depth = len(select(sites, "block"))
        if self.count > depth:
            raise InputError(f"{self!r}: {type(model).__name__} has only {depth} blocks")
        inside = tuple(
            f"{s.path}." for s in select(sites, self.part) if s.depth >= depth - self.count
        )
        held = running_statistics(model) if self.statistics == "held" else frozenset()
        names = tuple(n for n in model.state_dict() if n.startswith(inside) and n not in held)
        if not names:
            raise InputError(
                f"{self!r} finds no {self.part} in {type(model).__name__}; take 'block'"
            )
        return [Train(names)]

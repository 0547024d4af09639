"""LastBlocks: the last blocks of the backbone train."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from foldtune.core.edits import Edit, Train
from foldtune.core.method import LogRange, Method
from foldtune.core.structure.names import STATISTICS, running_statistics
from foldtune.core.structure.sites import Site, select
from foldtune.errors import InputError, unknown_name

_PARTS = ("block", "attn", "mlp", "stage")


@dataclass(frozen=True, repr=False)
class LastBlocks(Method):
    """Every parameter of the last `count` blocks trains, or of their attention or MLP alone.

    part: "block", "attn" or "mlp"; "stage" counts stages, which lower the resolution, with all that
    stands in and behind them (also where no block repeats: VGG, DenseNet). Three blocks of
    ViT-B/16: 21,263,616, 7,087,104 (attn) and 14,167,296 (mlp) parameters. Starts as the identity;
    nothing is added, so nothing is merged. statistics: of BatchNorm inside, "held" as pre-trained
    or "moving", see Full. Source: partial tuning, Yosinski et al., NeurIPS 2014; for ViTs Jia et
    al., ECCV 2022 (Partial-k). When to use
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
            raise unknown_name("part of a block", self.part, _PARTS)
        if self.statistics not in STATISTICS:
            raise unknown_name("way with running statistics", self.statistics, STATISTICS)

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        inside = tuple(f"{s.path}." for s in self._places(model, sites))
        held = running_statistics(model) if self.statistics == "held" else frozenset()
        names = tuple(n for n in model.state_dict() if n.startswith(inside) and n not in held)
        if not names:
            raise InputError(
                f"{self!r} finds no {self.part} in {type(model).__name__}; take 'block'"
            )
        return [Train(names)]

    def _places(self, model: nn.Module, sites: Sequence[Site]) -> list[Site]:
        host = type(model).__name__
        if self.part == "stage":
            stages = max(s.stage for s in sites) + 1
            if self.count > stages:
                raise InputError(f"{self!r}: {host} has only {stages} stages")
            deep = [s for s in sites if s.stage >= stages - self.count]
            return [s for s in deep if s.role != "head"]
        depth = len(select(sites, "block"))
        if self.count > depth:
            cure = "" if depth else "; take part='stage'"
            raise InputError(f"{self!r}: {host} has only {depth} blocks{cure}")
        return [s for s in select(sites, self.part) if s.depth >= depth - self.count]

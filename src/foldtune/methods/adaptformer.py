"""AdaptFormer: a bottleneck beside the MLP."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from foldtune.core.edits import Edit, Rewire
from foldtune.core.method import LogRange, Method
from foldtune.core.structure.sites import Site, select
from foldtune.methods.bottleneck import Bottleneck
from foldtune.methods.refusal import NoPlace


class ParallelBottleneck(Bottleneck):
    """y + s A(x), with x the residual stream before the MLP's norm; down is kaiming-uniform.

    layouts: of x and of y, which hold the same positions.
    """

    def __init__(
        self, channels: int, rank: int, scale: float, dropout: float, layouts: tuple[str, str]
    ) -> None:
        super().__init__(channels, rank, dropout)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        self.scale = scale
        self.x_is_map, self.y_is_map = (layout == "maps" for layout in layouts)

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        # Swin flattens its grid before the MLP and unflattens it after: only positions count.
        return self.add_update(y, x, self.scale, self.y_is_map, self.x_is_map)


@dataclass(frozen=True, repr=False)
class AdaptFormer(Method):
    """A bottleneck parallel to every MLP: x <- x + MLP(LN x) + s W_up ReLU(W_down x).

    The bottleneck reads the residual stream before the norm and is added after drop path and
    layer scale, at the block's output. On ViT L (2 D rank + rank + D) parameters (rank 64 on
    ViT-B/16: 1,189,632). Starts as the identity. Not mergeable (ReLU): two small products per
    block at inference. Source: Chen et al., NeurIPS 2022, eq. 4 and 5. When to use it: far domains
    and many images, when a little inference cost is no matter. Differs from the paper: nothing; the
    hosts beyond ViT are our extension. On ConvNeXt, whose MLP is fed by its depth-wise convolution,
    the bottleneck reads that convolution's output.
    """

    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "rank": (4, 16, 64),
        "scale": (0.05, 0.1, 0.2),
    }

    rank: int = 64
    scale: float = 0.1
    dropout: float = 0.1

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        by_path = {s.path: s for s in sites}
        blocks = {s.depth: s for s in select(sites, "block")}
        mlps = select(sites, "mlp")
        if not mlps:
            reason = (
                f"AdaptFormer needs blocks with an MLP; {type(model).__name__} has none that is "
                "called as one module"
            )
            raise NoPlace(reason, model, sites)
        edits: list[Edit] = []
        for mlp in mlps:
            source = by_path.get(mlp.feeder or "", mlp)
            # In a block of several MLPs (MaxViT) each sees positions in an order of its own, and
            # only its own output has them in the same.
            alone = sum(m.depth == mlp.depth for m in mlps) == 1
            block = blocks[mlp.depth] if alone else mlp
            layouts = (source.layout, block.layout)
            bottleneck = ParallelBottleneck(
                block.channels, self.rank, self.scale, self.dropout, layouts
            )
            edits.append(Rewire(block, bottleneck, source))
        return edits

"""Full fine-tuning: everything trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from foldtune.core.edits import Edit, Train
from foldtune.core.method import LogRange, Method
from foldtune.core.structure.names import STATISTICS, running_statistics
from foldtune.core.structure.sites import Site
from foldtune.errors import unknown_name


@dataclass(frozen=True, repr=False)
class Full(Method):
    """Every parameter of the backbone trains, position embedding and class token included.

    statistics: "held", a BatchNorm normalises by its pre-trained running mean and variance, in
    training as in evaluation; or "moving", by those of the batch, and the running ones follow, as
    a plain `model.train()` has it: for random weights, or for many images in large batches. Cost:
    all parameters, a copy of the original ones for detaching and interpolation, and a tuning as
    large as the model. When to use it: many images, far from the pre-training domain; with a
    learning rate 10 to 100 times below that of the small methods (3e-5 to 1e-3 with AdamW).
    """

    statistics: str = "held"

    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        # At 3e-3 real weights are lost. Many images want more than few: the middle, 1.7e-4, was
        # three points behind a plain loop with 1,641 images, see docs/findings.md.
        "lr": LogRange(3e-5, 1e-3, usual=3e-4),
        "weight_decay": (1e-4, 1e-2),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.statistics not in STATISTICS:
            raise unknown_name("way with running statistics", self.statistics, STATISTICS)

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        added = "foldtune."
        held = running_statistics(model) if self.statistics == "held" else frozenset()
        names = (n for n in model.state_dict() if not n.startswith(added) and n not in held)
        return [Train(tuple(names))]

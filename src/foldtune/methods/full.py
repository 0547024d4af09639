"""Full fine-tuning: everything trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from foldtune.core.edits import Edit, Train
from foldtune.core.method import LogRange, Method
from foldtune.core.sites import Site


@dataclass(frozen=True, repr=False)
class Full(Method):
    """Every parameter of the backbone trains, position embedding and class token included.

    Running statistics (BatchNorm) move too. Cost: all parameters, a copy of the original ones
    for detaching and interpolation, and a tuning as large as the model. When to use it: many
    images, far from the pre-training domain; with a learning rate 10 to 100 times below that of
    the small methods (1e-5 to 1e-3 with AdamW).
    """

    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        "lr": LogRange(1e-5, 3e-3),
        "weight_decay": (1e-4, 1e-2),
    }

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        added = "foldtune."
        return [Train(tuple(n for n in model.state_dict() if not n.startswith(added)))]

"""SHiRA and SuperTuning: a few entries of the matrix train, all others stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from foldtune.core.method import LogRange, Method
from foldtune.methods.hf_peft.held import ADAPTER, Held, HeldMethod, Shape


class DrawnEntries(Held):
    """W' = W + values at the places that PEFT drew."""

    saved = ("shira_indices",)

    def __init__(self, layer: Any, shape: Shape) -> None:
        super().__init__(layer, shape)
        self.columns = shape[1]
        rows, columns = layer.shira_indices.pop(ADAPTER)
        self.register_buffer("at", rows.long() * shape[1] + columns.long(), persistent=False)

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return _scatter(weight, self.get_buffer("at"), self.own("shira_weight")), bias

    def drawn_tensors(self) -> dict[str, Tensor]:
        at = self.get_buffer("at")
        return {"shira_indices": torch.stack((at // self.columns, at % self.columns)).int()}


class LargestEntries(Held):
    """W' = W + values at the largest entries of W."""

    saved = ("supertuning_indices",)

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        at = self.own("supertuning_indices").long()
        return _scatter(weight, at, self.own("supertuning_values")), bias


def _scatter(weight: Tensor, at: Tensor, values: Tensor) -> Tensor:
    flat = torch.scatter_add(weight.flatten(), 0, at, values)
    return flat.view_as(weight)


@dataclass(frozen=True, repr=False)
class SHiRA(HeldMethod):
    """Random entries of the matrix train: W' = W + S, S zero but in rank (in + out) places.

    As many numbers as a LoRA of that rank, at places drawn from `seed`; zero at the start, so it
    starts as the identity. Merges exactly. Tensors of HF PEFT (`SHIRA`). Source: Bhardwaj et al.,
    NeurIPS 2024 (Sparse High Rank Adapters), the variant Rand. When to use it: many adapters that
    are added up, since their places hardly meet. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "SHIRA"
    peft_options: ClassVar[Mapping[str, str]] = {"rank": "r", "seed": "random_seed"}
    delta: ClassVar[type[Held]] = DrawnEntries
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "lr": LogRange(1e-4, 1e-2),
        "rank": (8, 32),
    }

    rank: int = 32
    targets: tuple[str, ...] = ()
    seed: int = 0

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        rows, columns = shapes[0]
        rank = max(1, min(self.rank, rows * columns // (rows + columns)))
        return {"r": rank, "random_seed": self.seed}


@dataclass(frozen=True, repr=False)
class SuperTuning(HeldMethod):
    """The entries of largest magnitude train: W' = W + S, S zero but in a share of the places.

    share: of the entries, 0.01 for one in a hundred; zero at the start, so it starts as the
    identity. Merges exactly. Tensors of HF PEFT (`SUPERTUNING`). Source: Super-Tuning,
    arXiv 2607.09287, scored by magnitude. When to use it: as SHiRA, where W's largest entries
    matter most. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "SUPERTUNING"
    delta: ClassVar[type[Held]] = LargestEntries
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "lr": LogRange(1e-4, 1e-2),
        "share": (0.01, 0.05),
    }

    share: float = 0.01
    targets: tuple[str, ...] = ()

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        rows, columns = shapes[0]
        least = 1.5 / (rows * columns)  # PEFT rounds down and refuses no entry at all
        return {"sparsity": 1.0 - max(self.share, least)}

    @classmethod
    def settings_of(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"share": round(1.0 - options["sparsity"], 12)}

"""LoHa, LoKr and HiRA: updates that are no low-rank matrix though a few small ones make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from foldtune.core.method import LogRange, Method
from foldtune.methods.hf_peft.held import ADAPTER, Held, HeldMethod, Shape


class HadamardHeld(Held):
    """W' = W * (1 + the difference), element by element."""

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return weight + weight * self.layer.get_delta_weight(ADAPTER), bias


@dataclass(frozen=True, repr=False)
class LoHa(HeldMethod):
    """The element-wise product of two low-rank products: W' = W + (alpha / rank) (A B) * (C D).

    A, C: (out, rank), B, D: (rank, in), kaiming-uniform but D, which is zero, so it starts as the
    identity; the rank of the product is up to rank^2. 2 rank (in + out) parameters a layer. Merges
    exactly. Tensors of HF PEFT (`LOHA`). Source: Hyeon-Woo et al., ICLR 2022 (FedPara), prop. 1;
    as an adapter Yeh et al., ICLR 2024. When to use it: where LoRA's rank limits it. `alpha=None`
    means no scaling. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "LOHA"
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "rank": (4, 8, 16),
    }

    rank: int = 8
    alpha: float | None = None
    targets: tuple[str, ...] = ()

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        return {"r": self.rank, "alpha": self.rank if self.alpha is None else self.alpha}


@dataclass(frozen=True, repr=False)
class LoKr(HeldMethod):
    """A Kronecker product of two small matrices: W' = W + (alpha / rank) C x (A B).

    Sizes are split into the two factors nearest their root, or into `factor` and the rest; the
    larger matrix is a product of rank `rank` unless it is small. C starts at zero, so it starts as
    the identity. Merges exactly. Tensors of HF PEFT (`LOKR`). Source: Edalati et al., 2022
    (KronA); Yeh et al., ICLR 2024 (LyCORIS). When to use it: the fewest parameters at full rank.
    `alpha=None` means no scaling. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "LOKR"
    peft_options: ClassVar[Mapping[str, str]] = {"rank": "r", "factor": "decompose_factor"}
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "rank": (4, 8, 16),
    }

    rank: int = 8
    alpha: float | None = None
    factor: int = -1  # -1: the factors nearest the root
    targets: tuple[str, ...] = ()

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        alpha = self.rank if self.alpha is None else self.alpha
        return {"r": self.rank, "alpha": alpha, "decompose_factor": self.factor}


@dataclass(frozen=True, repr=False)
class HiRA(HeldMethod):
    """The stored matrix times a low-rank one, element by element: W' = W + W * (B A).

    A: (rank, in) kaiming-uniform, B: (out, rank) zero, so it starts as the identity; the update has
    the rank of W. rank (in + out) parameters a layer. Merges exactly. Tensors of HF PEFT (`HIRA`).
    Source: Huang et al., ICLR 2025, eq. 4. When to use it: where the update should keep what W
    ignores. Zeros of W stay zero. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "HIRA"
    delta: ClassVar[type[Held]] = HadamardHeld
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "rank": (8, 32),
    }

    rank: int = 32
    targets: tuple[str, ...] = ()

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        return {"r": self.rank}

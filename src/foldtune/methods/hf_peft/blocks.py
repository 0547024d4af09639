"""MiSS, GraLoRA, DeLoRA, GLoRA and PEANuT: relatives of LoRA by blocks, bounds and paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from foldtune.core.method import LogRange, Method
from foldtune.methods.hf_peft.held import Held, HeldMethod, Shape, divisor


class RepeatedColumns(Held):
    """W' = W + D repeated along the inputs, D: (out, rank)."""

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        shards: Tensor = self.own("miss_block").T
        times = -(-weight.shape[1] // shards.shape[1])
        return weight + shards.repeat(1, times)[:, : weight.shape[1]], bias


class FivePaths(Held):
    """W' = W + W * A + B, b' = b + b * D + E + W C; C, D, E where there is a bias."""

    moves_bias = True

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        moved = weight + weight * self.own("glora_A")() + self.own("glora_B")()
        if bias is None:
            return moved, None
        shift = bias * self.own("glora_D")() + self.own("glora_E")()
        return moved, bias + shift + (weight @ self.own("glora_C")()).squeeze(-1)


class Tweaked(Held):
    """W' = W + scale (B relu(A W)): a small network of the columns of W. A: (rank, out)."""

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        down, up = self.own("peanut_A").weight, self.own("peanut_B").weight
        return weight + self.own("scaling") * (up @ torch.relu(down @ weight)), bias


@dataclass(frozen=True, repr=False)
class MiSS(HeldMethod):
    """One small matrix, repeated along the inputs: W' = W + [D D ... D], D: (out, rank).

    D is zero, so it starts as the identity; rank out numbers a layer. Merges exactly. Tensors of HF
    PEFT (`MISS`). Source: Kang and Yin, 2024 (MiSS, first Bone: Block Affine Adaptation). When to
    use it: cheap steps. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "MISS"
    delta: ClassVar[type[Held]] = RepeatedColumns
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {**Method.space, "rank": (8, 32)}

    rank: int = 32
    targets: tuple[str, ...] = ()

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        return {"r": min(self.rank, shapes[0][1])}


@dataclass(frozen=True, repr=False)
class GraLoRA(HeldMethod):
    """LoRA by blocks: W is cut into blocks^2 pieces, each with a low-rank update of its own.

    rank (in + out) parameters, as LoRA, but the whole has up to blocks times its rank. B is zero,
    so it starts as the identity. Merges exactly. Tensors of HF PEFT (`GRALORA`). Source: Jung et
    al., NeurIPS 2025 (Granular Low-Rank Adaptation). When to use it: where a higher rank makes LoRA
    worse. Differs from the paper: `blocks` shrinks to what divides rank and sizes. `alpha=None`
    means no scaling. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "GRALORA"
    peft_options: ClassVar[Mapping[str, str]] = {"rank": "r", "blocks": "gralora_k"}
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "rank": (8, 16, 32),
    }

    rank: int = 8
    alpha: float | None = None
    blocks: int = 2
    targets: tuple[str, ...] = ()

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        alpha = self.rank if self.alpha is None else self.alpha
        blocks = divisor(self.blocks, self.rank, *shapes[0])
        return {"r": self.rank, "alpha": alpha, "gralora_k": blocks}


@dataclass(frozen=True, repr=False)
class DeLoRA(HeldMethod):
    """LoRA of bounded strength: W' = W + (lambda / rank) B N A |W|, N the inverse lengths of both.

    Each of the `rank` directions has length one, lambda is trained, |W| are the lengths of the
    columns of W: so the update's size is learned apart from its direction. B is zero, so it starts
    as the identity. rank (in + out) + 1 parameters a layer. Merges exactly. Tensors of HF PEFT
    (`DELORA`). Source: Bini et al., ICLR 2025, eq. 8. When to use it: where high rates or long
    schedules ruin LoRA. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "DELORA"
    peft_options: ClassVar[Mapping[str, str]] = {"rank": "r", "strength": "delora_lambda"}
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "rank": (8, 16),
    }

    rank: int = 8
    strength: float = 15.0
    targets: tuple[str, ...] = ()

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        return {"r": self.rank, "delora_lambda": self.strength}


@dataclass(frozen=True, repr=False)
class GLoRA(HeldMethod):
    """Five supports: W' = W + W * A + B and b' = b + b D + E + W C, A, B and C of low rank.

    The zero factor of each is zero, so it starts as the identity; D and E are one number each, and
    with C only where there is a bias. Merges exactly. Tensors of HF PEFT (`GLORA`). Source: Chavan
    et al., 2023 (One-for-All), eq. 10. Differs from the paper: no search over the form of each
    support. When to use it: more room than LoRA at its rank. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "GLORA"
    delta: ClassVar[type[Held]] = FivePaths
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {**Method.space, "rank": (4, 8)}

    rank: int = 8
    targets: tuple[str, ...] = ()

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        return {"r": self.rank}


@dataclass(frozen=True, repr=False)
class PEANuT(HeldMethod):
    """A small network of the stored matrix is its update: W' = W + scale B relu(A W).

    A: (rank, out) kaiming-uniform, B: (out, rank) zero, so it starts as the identity; 2 rank out
    parameters a layer. Merges exactly: the network reads W and no features. Tensors of HF PEFT
    (`PEANUT`, no inner layers). Source: Zhong et al., 2024 (Neat; PEANuT). When to use it: updates
    that should follow W's own structure. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "PEANUT"
    peft_options: ClassVar[Mapping[str, str]] = {"rank": "r", "scale": "scaling"}
    delta: ClassVar[type[Held]] = Tweaked
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {**Method.space, "rank": (8, 32)}

    rank: int = 32
    scale: float = 1.0
    targets: tuple[str, ...] = ()

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        return {"r": self.rank, "scaling": self.scale}

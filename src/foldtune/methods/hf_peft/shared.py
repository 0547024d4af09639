"""VeRA, RandLoRA, VBLoRA and UniLoRA: low-rank updates out of what all layers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from foldtune.core.method import LogRange, Method
from foldtune.methods.hf_peft.held import HeldMethod, Shape, divisor


@dataclass(frozen=True, repr=False)
class VeRA(HeldMethod):
    """Frozen random A and B for all layers, a trained gain after each: W' = W + b * (B (d * A)).

    A: (rank, widest in), B: (widest out, rank), uniform from `seed`, each layer takes its part;
    d: (rank,) starts at 0.1, b: (out,) at zero, so it starts as the identity. Merges exactly.
    3 D L + rank L parameters on a fused qkv (rank 256 on ViT-B/16: 30,720). Tensors of HF PEFT
    (`VERA`). Source: Kopiczko et al., ICLR 2024, eq. 2. When to use it: hundreds of tasks to store.
    targets as for LoRA.
    """

    peft_type: ClassVar[str] = "VERA"
    peft_options: ClassVar[Mapping[str, str]] = {"rank": "r", "seed": "projection_prng_key"}
    shares: ClassVar[bool] = True
    beside: ClassVar[tuple[str, ...]] = ("vera_A", "vera_B")
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "lr": LogRange(1e-3, 1e-1),  # the paper takes ten times LoRA's
        "rank": (64, 256),
    }

    rank: int = 256
    targets: tuple[str, ...] = ()
    seed: int = 0

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        return {"r": self.rank, "projection_prng_key": self.seed}


@dataclass(frozen=True, repr=False)
class RandLoRA(HeldMethod):
    """Full-rank sums of frozen random low-rank products: W' = W + (alpha / rank) sum B (l A g).

    The sum runs over min(in, out) / rank bases, so a small rank is a *large* update; l and g are
    trained diagonals, l starts at zero, so it starts as the identity. Random bases from `seed`,
    shared by all layers. Merges exactly. Tensors of HF PEFT (`RANDLORA`). Source: Albert et al.,
    ICLR 2025, eq. 4. When to use it: where LoRA's rank is what limits it. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "RANDLORA"
    peft_options: ClassVar[Mapping[str, str]] = {
        "rank": "r", "alpha": "randlora_alpha", "seed": "projection_prng_key",
    }  # fmt: skip
    shares: ClassVar[bool] = True
    beside: ClassVar[tuple[str, ...]] = ("randlora_A", "randlora_B")
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "rank": (16, 32),
    }

    rank: int = 32
    alpha: float = 640.0
    targets: tuple[str, ...] = ()
    seed: int = 0

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        rank = min(self.rank, *(n for shape in shapes for n in shape))
        alpha = int(self.alpha) if self.alpha == int(self.alpha) else self.alpha
        return {"r": rank, "randlora_alpha": alpha, "projection_prng_key": self.seed}


@dataclass(frozen=True, repr=False)
class VBLoRA(HeldMethod):
    """LoRA whose A and B are put together from a bank of `count` vectors that all layers share.

    Each piece of `length` numbers is a mixture of the `topk` vectors with the largest trained
    logits. The bank and the logits are random, so it does *not* start as the identity, but near it
    (PEFT's bank is uniform within 0.02). Merges exactly. Tensors of HF PEFT (`VBLORA`). Source: Li
    et al., NeurIPS 2024, eq. 3 to 5. When to use it: many tasks to store (PEFT can keep the largest
    logits alone). Differs from the paper: `length` shrinks to what divides every layer's sizes.
    targets as for LoRA.
    """

    starts_as_identity: ClassVar[bool] = False
    peft_type: ClassVar[str] = "VBLORA"
    peft_options: ClassVar[Mapping[str, str]] = {
        "rank": "r", "count": "num_vectors", "length": "vector_length",
    }  # fmt: skip
    shares: ClassVar[bool] = True
    beside: ClassVar[tuple[str, ...]] = ("vblora_vector_bank",)
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "rank": (4, 8),
    }

    rank: int = 4
    count: int = 256
    length: int = 256
    topk: int = 2
    targets: tuple[str, ...] = ()

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        length = divisor(self.length, *(n for shape in shapes for n in shape))
        return {
            "r": self.rank, "num_vectors": self.count, "vector_length": length, "topk": self.topk,
        }  # fmt: skip


@dataclass(frozen=True, repr=False)
class UniLoRA(HeldMethod):
    """LoRA whose every number is one of `count` shared ones: A = s theta[i], B = t theta[j].

    The places i, j are random from `seed` and even, s and t make the projection an isometry. theta:
    (count,) uniform within 0.02 and the *only* parameters, so it does not start as the identity,
    but near it. Merges exactly. Tensors of HF PEFT (`UNILORA`). Source: Li et al., 2025 (Uni-LoRA:
    One Vector Is All You Need). When to use it: the fewest parameters. targets as for LoRA.
    """

    starts_as_identity: ClassVar[bool] = False
    peft_type: ClassVar[str] = "UNILORA"
    peft_options: ClassVar[Mapping[str, str]] = {
        "rank": "r", "count": "theta_d_length", "seed": "proj_seed",
    }  # fmt: skip
    shares: ClassVar[bool] = True
    beside: ClassVar[tuple[str, ...]] = ("unilora_theta_d",)
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "count": (4096, 23040),
    }

    rank: int = 4
    count: int = 23040
    targets: tuple[str, ...] = ()
    seed: int = 42

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        return {"r": self.rank, "theta_d_length": self.count, "proj_seed": self.seed}

"""FourierFT, WaveFT and C3A: updates given by a few numbers of a transform of the matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from foldtune.core.method import LogRange, Method
from foldtune.methods.hf_peft.held import ADAPTER, Held, HeldMethod, Shape, divisor


class HaarHeld(Held):
    """W' = W + scale times the inverse Haar transform of a matrix that is zero but in some places.

    PEFT's own transform asks for types as it goes, which torch.compile does not trace.
    """

    def __init__(self, layer: Any, shape: Shape) -> None:
        super().__init__(layer, shape)
        self.padded = tuple(n + n % 2 for n in shape)
        rows, columns = layer.waveft_indices.pop(ADAPTER)
        self.register_buffer("at", rows * self.padded[1] + columns, persistent=False)

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        values = self.layer.waveft_scaling[ADAPTER] * self.own("waveft_spectrum")
        rows, columns = self.padded
        drawn = values.new_zeros(rows * columns).scatter(0, self.get_buffer("at"), values)
        quarters = drawn.view(2, rows // 2, 2, columns // 2)
        mean, across = quarters[0, :, 0], quarters[0, :, 1]
        down, both = quarters[1, :, 0], quarters[1, :, 1]
        upper = torch.stack((mean + across + down + both, mean + across - down - both), 1)
        lower = torch.stack((mean - across + down - both, mean - across - down + both), 1)
        update = torch.stack((upper, lower), 1).permute(0, 1, 3, 2).reshape(rows, columns) / 2
        return weight + update[: weight.shape[0], : weight.shape[1]], bias


@dataclass(frozen=True, repr=False)
class FourierFT(HeldMethod):
    """`count` trained frequencies of the update's Fourier transform: W' = W + scale Re(ifft2(F)).

    Their places are random from `seed`; they start at zero, so it starts as the identity. `count` L
    parameters (3000 on ViT-B/16: 36,000). Merges exactly (the transform is in float32, as PEFT has
    it). Tensors of HF PEFT (`FOURIERFT`). Source: Gao et al., ICML 2024, eq. 2 to 4, whose ViT has
    3,000 frequencies and a scale of 300. When to use it: the fewest parameters. Differs from the
    paper: its frequencies start at random. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "FOURIERFT"
    peft_options: ClassVar[Mapping[str, str]] = {
        "count": "n_frequency", "scale": "scaling", "seed": "random_loc_seed",
    }  # fmt: skip
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "lr": LogRange(3e-3, 3e-1),  # the paper's ViTs: 0.05 to 0.3
        "count": (1000, 3000),
    }

    count: int = 3000
    scale: float = 300.0
    targets: tuple[str, ...] = ()
    seed: int = 0

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        return _places(self.count, self.scale, self.seed, shapes)


@dataclass(frozen=True, repr=False)
class WaveFT(HeldMethod):
    """`count` trained coefficients of the update's wavelet transform: W' = W + scale IDWT(F).

    Their places are random from `seed`; they start at zero, so it starts as the identity. `count` L
    parameters. Merges exactly. Tensors of HF PEFT (`WAVEFT`, Daubechies 1). Source: Bilican et al.,
    2025 (Exploring Sparsity for Parameter Efficient Fine Tuning Using Wavelets). When to use it: as
    FourierFT, for updates that are local in the matrix. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "WAVEFT"
    delta: ClassVar[type[Held]] = HaarHeld
    peft_options: ClassVar[Mapping[str, str]] = {
        "count": "n_frequency", "scale": "scaling", "seed": "random_loc_seed",
    }  # fmt: skip
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "count": (1000, 3000),
    }

    count: int = 2592
    scale: float = 25.0
    targets: tuple[str, ...] = ()
    seed: int = 777

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        return _places(self.count, self.scale, self.seed, shapes)


@dataclass(frozen=True, repr=False)
class C3A(HeldMethod):
    """Blocks of circulant matrices: W' = W + [C(c_ij)] / in, each block from one row of numbers.

    c: (out / size, in / size, size) zero, so it starts as the identity; in out / size parameters a
    layer, of any rank. Merges exactly (the transform is in float32, as PEFT has it). Tensors of HF
    PEFT (`C3A`). Source: Chen et al., ACL 2025 (Parameter-Efficient Fine-Tuning via Circular
    Convolution). When to use it: full-rank updates at LoRA's size. Differs from the paper: `size`
    shrinks to what divides a layer's sizes. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "C3A"
    peft_options: ClassVar[Mapping[str, str]] = {"size": "block_size"}
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        **Method.space,
        "lr": LogRange(3e-3, 3e-1),  # its numbers are divided by the width
        "size": (64, 256),
    }

    size: int = 256
    targets: tuple[str, ...] = ()

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        return {"block_size": divisor(self.size, *shapes[0]), "init_weights": True}


def _places(count: int, scale: float, seed: int, shapes: Sequence[Shape]) -> Mapping[str, Any]:
    """Options of places drawn in a matrix, no more than it has."""
    rows, columns = shapes[0]
    held = min(count, rows * columns)
    return {
        "n_frequency": held, "scaling": scale, "random_loc_seed": seed, "init_weights": True,
    }  # fmt: skip

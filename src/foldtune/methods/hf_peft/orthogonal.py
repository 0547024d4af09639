"""OFT, BOFT, HRA and RoAd: the matrix is turned, and keeps its angles."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from foldtune.core.method import LogRange, Method
from foldtune.errors import InputError
from foldtune.methods.hf_peft.held import ADAPTER, Held, HeldMethod, Shape, divisor
from foldtune.torchvision_ops import declare_missing_operators

_TURNS: Mapping[str, LogRange | tuple[Any, ...]] = {**Method.space, "lr": LogRange(1e-4, 1e-2)}


class TurnedInput(Held):
    """W' = W R^T, R: (in, in) of orthogonal blocks on the diagonal."""

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return weight @ self.layer.get_delta_weight(ADAPTER).T, bias


class TurnedAndScaled(Held):
    """W' = s W R^T, s: (out, 1), R: (in, in) of orthogonal blocks on the diagonal.

    Block by block: PEFT makes R whole and multiplies it twice by a permutation, which with one
    butterfly factor is the identity.
    """

    def __init__(self, layer: Any, shape: Shape) -> None:
        super().__init__(layer, shape)
        del layer.boft_P

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        blocks = self.layer.cayley_batch(self.own("boft_R").flatten(0, 1))
        parts = weight.unflatten(1, (len(blocks), -1))
        turned = torch.einsum("obj,bij->obi", parts, blocks).flatten(1)
        return self.own("boft_s") * turned, bias


class Reflected(Held):
    """W' = W H, H: (in, in) a product of reflections."""

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return weight @ self.layer.get_delta_weight(ADAPTER), bias


class TurnedOutput(Held):
    """W' = R W, b' = R b: R turns pairs of outputs, by theta, and scales them, by alpha."""

    moves_bias = True

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        turned = None if bias is None else self._turn(bias[:, None])[:, 0]
        return self._turn(weight), turned

    def _turn(self, rows: Tensor) -> Tensor:
        """R times (out, n): pairs are the halves of each group of outputs."""
        half = self.layer.group_size[ADAPTER] // 2
        theta = self.own("road_theta").view(-1, half, 1)
        alpha = self.own("road_alpha").view(-1, half, 1)
        first, second = rows.view(-1, 2, half, rows.shape[1]).unbind(1)
        cos, sin = alpha * theta.cos(), alpha * theta.sin()
        pairs = torch.stack((first * cos - second * sin, second * cos + first * sin), dim=1)
        return pairs.view_as(rows)


@contextlib.contextmanager
def _without_extension() -> Iterator[None]:
    """Inside, PEFT builds layers as where its CUDA extension has failed, without another attempt.

    PEFT keeps what loaded and not that nothing did, so it calls a compiler for every layer (0.21.2:
    7 s for lite0's 19). Its own note of the extension is as it was after.
    """
    declare_missing_operators()
    boft: Any = importlib.import_module("peft.tuners.boft.layer")
    known = getattr(boft, "_FBD_CUDA", None)
    boft._FBD_CUDA = False
    try:
        yield
    finally:
        boft._FBD_CUDA = known


@dataclass(frozen=True, repr=False)
class OFT(HeldMethod):
    """Orthogonal blocks turn the input: W' = W R^T, R = diag of (I - Q)(I + Q)^-1, Q skew.

    Q: in / size blocks of size (size - 1) / 2 numbers, zero, so it starts as the identity, and
    angles between the rows of W stay. Merges exactly, as a product. Tensors of HF PEFT (`OFT`).
    Source: Qiu et al., NeurIPS 2023, eq. 3 to 5; HF PEFT turns inputs (Qiu et al., 2025), the paper
    outputs. `neumann`: terms of a series in the place of the inverse, cheaper and orthogonal only
    nearly; 0 is exact. When to use it: where what the backbone knows should stay. `size` shrinks to
    what divides a layer's inputs. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "OFT"
    peft_options: ClassVar[Mapping[str, str]] = {
        "size": "oft_block_size", "neumann": "num_cayley_neumann_terms",
    }  # fmt: skip
    delta: ClassVar[type[Held]] = TurnedInput
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {**_TURNS, "size": (16, 32)}

    size: int = 32
    neumann: int = 0
    targets: tuple[str, ...] = ()

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        series: dict[str, Any] = {"use_cayley_neumann": self.neumann > 0}
        if self.neumann > 0:
            series["num_cayley_neumann_terms"] = self.neumann
        return {"oft_block_size": divisor(self.size, shapes[0][1]), **series}

    @classmethod
    def settings_of(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        found = super().settings_of(options)
        return found if options.get("use_cayley_neumann") else found | {"neumann": 0}


@dataclass(frozen=True, repr=False)
class BOFT(HeldMethod):
    """Orthogonal blocks turn the input and a gain scales each output: W' = s W R^T.

    R: in / size blocks of size^2 numbers, of which the skew part counts, zero; s: (out, 1) ones, so
    it starts as the identity. Merges exactly, as a product. Tensors of HF PEFT (`BOFT`). Source:
    Liu et al., ICLR 2024, with one butterfly factor, as PEFT computes without its CUDA extension:
    several would mix what lies in different blocks. When to use it: as OFT, with gains. `size`
    shrinks to what divides a layer's inputs. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "BOFT"
    peft_options: ClassVar[Mapping[str, str]] = {"size": "boft_block_size"}
    delta: ClassVar[type[Held]] = TurnedAndScaled
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {**_TURNS, "size": (4, 8)}

    size: int = 8
    targets: tuple[str, ...] = ()

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        return {"boft_block_size": divisor(self.size, shapes[0][1])}

    def _layers(self, weights: Sequence[Tensor], bias: Sequence[bool]) -> list[Any]:
        with _without_extension():
            return super()._layers(weights, bias)


@dataclass(frozen=True, repr=False)
class HRA(HeldMethod):
    """A chain of reflections turns the input: W' = W H_1 ... H_rank, H_i = I - 2 u_i u_i^T.

    u: (in, rank), equal in pairs at the start, which cancel, so it starts as the identity; rank in
    numbers a layer. Merges exactly, as a product. Tensors of HF PEFT (`HRA`). Source: Yuan et al.,
    NeurIPS 2024, eq. 3 and 4. When to use it: an orthogonal change at half of LoRA's size. rank:
    even. targets as for LoRA.
    """

    peft_type: ClassVar[str] = "HRA"
    delta: ClassVar[type[Held]] = Reflected
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {**_TURNS, "rank": (4, 8, 16)}

    rank: int = 8
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank % 2:
            raise InputError(
                "HRA: rank must be even, since reflections cancel in pairs at the start, not "
                f"{self.rank}"
            )

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        return {"r": self.rank}


@dataclass(frozen=True, repr=False)
class RoAd(HeldMethod):
    """Pairs of outputs are turned by an angle and scaled: W' = R W, b' = R b.

    theta: (out / 2,) zero, alpha: (out / 2,) ones, so it starts as the identity; `out` numbers a
    layer. Pairs are the halves of groups of `size` outputs. Merges exactly, as a product. Tensors
    of HF PEFT (`ROAD`, road_1). Source: Liao and Monz, NeurIPS 2024 (3-in-1: 2D Rotary Adaptation).
    When to use it: very few images, many tasks. `size` shrinks to what divides a layer's outputs.
    targets as for LoRA.
    """

    peft_type: ClassVar[str] = "ROAD"
    peft_options: ClassVar[Mapping[str, str]] = {"size": "group_size"}
    delta: ClassVar[type[Held]] = TurnedOutput

    size: int = 64
    targets: tuple[str, ...] = ()

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        rows = shapes[0][0]
        if rows % 2 or self.size < 2:
            raise InputError(
                f"RoAd turns outputs in pairs; {rows} outputs in groups of {self.size} have none. "
                "Name other targets, or a size of at least 2"
            )
        return {"group_size": 2 * divisor(self.size // 2, rows // 2)}

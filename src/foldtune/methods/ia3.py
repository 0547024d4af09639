"""IA3: learned gains on keys, values and the MLP's hidden features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from foldtune.core.compute.called import frozen_linear
from foldtune.core.compute.delta import Delta
from foldtune.core.compute.lean import Pair, scale_shift, scale_shift_linear
from foldtune.core.edits import Edit, Reweight
from foldtune.core.method import Method
from foldtune.core.structure.qkv import order_of, untold
from foldtune.core.structure.sites import Site, select, stored_matrix
from foldtune.errors import InputError
from foldtune.methods.refusal import NoPlace


class KeyValueGain(Delta):
    """W: (3 D, D); its rows of k and v, weight and bias, times l_k and l_v: (D,).

    letters: of "qkv", one a row; by default in thirds.
    """

    def __init__(self, width: int, letters: str | None = None) -> None:
        super().__init__()
        self.order: Tensor | None
        self.register_buffer("order", order_of(letters), persistent=False)
        self.l_k = nn.Parameter(torch.ones(width))
        self.l_v = nn.Parameter(torch.ones(width))

    def _gain(self) -> Tensor:
        gain = torch.cat([torch.ones_like(self.l_k), self.l_k, self.l_v])
        return gain if self.order is None else gain[self.order]

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        gain = self._gain()
        return weight * gain[:, None], None if bias is None else bias * gain

    def call(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        stored = frozen_linear(layer)
        if stored is None:
            return scale_shift(layer(x), self._gain(), None, -1, self.leanness())
        return scale_shift_linear(x, *stored, self._gain(), None, self.leanness())

    def divisors(self) -> Sequence[Pair]:
        return ((self.l_k, None), (self.l_v, None))


class OutputGain(Delta):
    """l * f(h): the rows of W, (out, in) or (out, in, 1, 1), and the bias times l: (out,)."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.l = nn.Parameter(torch.ones(shape[0]))
        self.trailing = [1] * len(shape[2:])

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        gain = self.l.view(-1, 1, *self.trailing)
        return weight * gain, None if bias is None else bias * self.l

    def call(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        stored = frozen_linear(layer)
        if stored is None:
            axis = 1 if self.trailing else -1
            return scale_shift(layer(x), self.l, None, axis, self.leanness())
        return scale_shift_linear(x, *stored, self.l, None, self.leanness())

    def divisors(self) -> Sequence[Pair]:
        return ((self.l, None),)


class InputGain(Delta):
    """f(l * h): the columns of W, (out, in) or (out, in, 1, 1), times l: (in,)."""

    moves_bias = False

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.l = nn.Parameter(torch.ones(shape[1]))
        self.trailing = [1] * len(shape[2:])

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return weight * self.l.view(-1, *self.trailing), bias

    def call(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        return layer(x * self.l.view(-1, *self.trailing))


@dataclass(frozen=True, repr=False)
class IA3(Method):
    """Gains on keys, values and the MLP's hidden features: l_k * K, l_v * V, W_2 (l * act(W_1 x)).

    l_k, l_v: (D,), l: (4 D,), ones, so it starts as the identity. 6 D L parameters (ViT-B/16:
    55,296). 1-D, so without weight decay. Merges exactly: rows of k and v, found by what attention
    multiplies, and columns of fc2. Source:
    Liu et al., NeurIPS 2022 (Few-Shot Parameter-Efficient Fine-Tuning), section 3.3. When to use
    it: very few images, or hundreds of tasks to store; SSF gives more for a little more. Differs
    from the paper: on hosts without attention (ConvNeXt, Mixer) only the MLP has a gain; where the
    host adds a bias of its own to k and v (EVA-02, BEiT, SwinV2) it stays as it is; hosts whose q,
    k and v are layers of their own are refused, since only their names tell k from q: name k and v
    in `outputs`. outputs, inputs: roles or exact site paths whose output or input has a gain, in
    the place of those above.
    """

    tells_qkv_apart: ClassVar[bool] = True

    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        if self.outputs or self.inputs:
            return self._keys_and_values(model, sites)
        edits: list[Edit] = []
        for site in select(sites, "attn.in", "mlp.down"):
            shape = tuple(stored_matrix(model, site, "IA3").shape)
            if site.role == "mlp.down":
                edits.append(Reweight(site, InputGain(shape)))
            elif site.layout != "turned":
                if shape[0] != 3 * shape[1]:
                    reason = (
                        f"IA3 needs q, k, v in one matrix (3 D, D); {site.path} is {shape}. Name k "
                        "and v: IA3(outputs=(path, ...), inputs=('mlp.down',))"
                    )
                    raise NoPlace(reason, model, sites)
                if site.letters == "":
                    raise NoPlace(untold("IA3", site), model, sites)
                edits.append(Reweight(site, KeyValueGain(shape[1], site.letters)))
        if not edits:
            host = type(model).__name__
            raise NoPlace(f"IA3 needs attention or an MLP; {host} has neither", model, sites)
        return edits

    def _keys_and_values(self, model: nn.Module, sites: Sequence[Site]) -> list[Edit]:
        outputs, inputs = select(sites, *self.outputs), select(sites, *self.inputs)
        for site in (s for s in outputs if s in inputs):
            raise InputError(f"IA3: {site.path} is in outputs and in inputs; choose one gain")
        if not outputs and not inputs:
            raise InputError(
                f"IA3 finds none of {', '.join(self.outputs + self.inputs)} in "
                f"{type(model).__name__}; give roles it has or exact paths of `foldtune sites`"
            )
        return [
            Reweight(site, gain(stored_matrix(model, site, "IA3").shape))
            for gain, group in ((OutputGain, outputs), (InputGain, inputs))
            for site in group
        ]

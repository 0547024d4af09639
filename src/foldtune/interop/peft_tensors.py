"""One edit in PEFT's terms and back: which tensors PEFT keeps for the layer that it wraps.

PEFT keeps the update of each layer by itself: `lora_A` (rank, in), `lora_B` (out, rank) and a
scale of alpha / rank; `lora_magnitude_vector` (out,) for DoRA; `ia3_l`, (out, 1) where it is a gain
of the output and (1, in) where it is one of the input. Convolutions carry two more axes of size 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from foldtune.core.compute.computed import host_class
from foldtune.core.compute.delta import Delta
from foldtune.core.structure.sites import Site
from foldtune.errors import InputError
from foldtune.methods.dora import DirectedLowRank
from foldtune.methods.ia3 import InputGain, KeyValueGain, OutputGain
from foldtune.methods.low_rank import (
    FoldedLowRank,
    FoldedStartedLowRank,
    LowRank,
    SplitLowRank,
    StartedLowRank,
)

# PEFT's names of its types and tensors.
LORA, IA3, NORMS = "LORA", "IA3", "LN_TUNING"
A, B, MAGNITUDE, GAIN = "lora_A", "lora_B", "lora_magnitude_vector", "ia3_l"
# Our names for PEFT's one `ia3_l` on either side of a layer.
OUTPUT, INPUT = "output gain", "input gain"
HAVE_A_FORM = (
    "Methods that have one: LoRA and DoRA (alone, or with BitFit or LayerNorm), IA3 (alone, or "
    "with LayerNorm), LayerNorm, and those on PEFT's layers (VeRA, LoHa, OFT, ...), alone or with "
    "LayerNorm"
)
# The files of an adapter's folder, the prefix of its tensors, and our note among its metadata.
CONFIG, TENSORS, NOTE = "adapter_config.json", "adapter_model.safetensors", "foldtune_tuning"
PREFIX = "base_model.model."
BESIDE = "base_model."  # of what all layers share


@dataclass(frozen=True)
class Layer:
    """What PEFT keeps for one layer.

    tensors: A (rank, in), B (out, rank), MAGNITUDE (out,), OUTPUT (out,), INPUT (in,), as far as
    there are. scale, dropout: of a low-rank update.
    """

    tensors: dict[str, Tensor]
    scale: float = 1.0
    dropout: float = 0.0

    @property
    def rank(self) -> int:
        return self.tensors[A].shape[0]


def check_layer(model: nn.Module, site: Site) -> None:
    """Raise InputError where PEFT's wrapper of this layer would not compute what ours does."""
    module = model.get_submodule(site.path)
    host = host_class(module)
    if not site.called or isinstance(module, nn.MultiheadAttention):
        raise InputError(
            f"PEFT has no form for {site.path}: {type(model).__name__} reads its tensors itself "
            "and never calls it, so that a PEFT layer there changes nothing. Choose layers that "
            "are called (`foldtune sites`), such as targets=('mlp.up', 'mlp.down')"
        )
    if issubclass(host, nn.Linear):
        return
    # A subclass such as StdConv2d would standardise PEFT's lora_A too.
    if host is not nn.Conv2d or module.groups != 1 or module.kernel_size != (1, 1):
        raise InputError(
            f"PEFT has no equal form for {site.path}, a {host.__name__}: only at a Linear or a "
            "plain 1x1 Conv2d do both compute the same. Choose such layers with targets=(...)"
        )


def layer_of(delta: Delta) -> Layer:
    """The PEFT layer that computes what `delta` does. Raises InputError where there is none."""
    write = _WRITERS.get(type(delta))
    if write is None:
        raise InputError(
            f"{type(delta).__name__} has no PEFT form: no layer of PEFT computes it. {HAVE_A_FORM}"
        )
    return write(delta)


def fill(delta: Delta, layer: Layer, path: str) -> None:
    """Copy a PEFT layer's tensors into `delta`, whatever the scale of either.

    Raises InputError where shapes differ, or where the tensors have lost the form that our method
    gave them (q, k, v of one matrix trained apart, or q left alone) in further training by PEFT.
    """
    mine = layer_of(delta)
    for name in [*mine.tensors, *layer.tensors]:
        here, there = _shape(mine.tensors.get(name)), _shape(layer.tensors.get(name))
        if here != there:
            raise InputError(
                f"the adapter does not fit {path}: {name} is {there} in the adapter and {here} here"
            )
    tensors = {name: t.to(mine.tensors[name]) for name, t in layer.tensors.items()}
    if B in tensors and layer.scale != mine.scale:
        tensors[B] = tensors[B] * (layer.scale / mine.scale)
    with torch.no_grad():
        _READERS[type(delta)](delta, tensors)
    if any(not torch.equal(t, tensors[name]) for name, t in layer_of(delta).tensors.items()):
        raise InputError(
            f"the adapter is said to be of {type(delta).__name__} at {path}, but its tensors have "
            "another form; its weights were changed since foldtune wrote it. Save it with PEFT, "
            "which drops that note"
        )


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else str(tuple(tensor.shape))


def _low_rank(delta: LowRank) -> Layer:
    return Layer({A: delta.lora_A.detach(), B: delta.lora_B.detach()}, delta.scale, delta.dropout)


def _fill_low_rank(delta: LowRank, tensors: dict[str, Tensor]) -> None:
    delta.lora_A.copy_(tensors[A])
    delta.lora_B.copy_(tensors[B])


def _difference_to_start(delta: StartedLowRank) -> Layer:
    """The difference to the start as one LoRA of twice the rank."""
    tensors = {
        A: torch.cat([delta.lora_A.detach(), delta.start_A]),
        B: torch.cat([delta.lora_B.detach(), -delta.start_B], 1),
    }
    return Layer(tensors, delta.scale, delta.dropout)


def _fill_started(delta: StartedLowRank, tensors: dict[str, Tensor]) -> None:
    rank = len(delta.lora_A)
    delta.lora_A.copy_(tensors[A][:rank])
    delta.start_A.copy_(tensors[A][rank:])
    delta.lora_B.copy_(tensors[B][:, :rank])
    delta.start_B.copy_(-tensors[B][:, rank:])


def _split(delta: SplitLowRank) -> Layer:
    """One LoRA of the whole matrix: A's stacked, B's in the rows of their letter, zeros around."""
    _check_thirds(delta.order)
    pairs = list(delta.pairs())
    low = [_low_rank(pair) for _, pair in pairs]
    (width, rank), first = low[0].tensors[B].shape, low[0]
    b = first.tensors[B].new_zeros(3 * width, rank * len(low))
    for i, (letter, _) in enumerate(pairs):
        rows, columns = _block("qkv".index(letter), width), _block(i, rank)
        b[rows, columns] = low[i].tensors[B]
    return Layer({A: torch.cat([l.tensors[A] for l in low]), B: b}, first.scale, first.dropout)


def _fill_split(delta: SplitLowRank, tensors: dict[str, Tensor]) -> None:
    for i, (letter, pair) in enumerate(delta.pairs()):
        width, rank = pair.lora_B.shape
        pair.lora_A.copy_(tensors[A][_block(i, rank)])
        pair.lora_B.copy_(tensors[B][_block("qkv".index(letter), width), _block(i, rank)])


def _check_thirds(order: Tensor | None) -> None:
    if order is not None:
        raise InputError(
            "an adapter of PEFT for q, k or v of a fused projection is written in thirds of its "
            "rows, and this backbone stores them head by head"
        )


def _block(index: int, size: int) -> slice:
    return slice(index * size, (index + 1) * size)


def _with_magnitude(delta: DirectedLowRank) -> Layer:
    low = _low_rank(delta.low)
    return Layer({**low.tensors, MAGNITUDE: delta.m.detach()}, low.scale)


def _fill_directed(delta: DirectedLowRank, tensors: dict[str, Tensor]) -> None:
    _fill_low_rank(delta.low, tensors)
    delta.m.copy_(tensors[MAGNITUDE])


def _key_value(delta: KeyValueGain) -> Layer:
    _check_thirds(delta.order)
    k, v = delta.l_k.detach(), delta.l_v.detach()
    return Layer({OUTPUT: torch.cat([torch.ones_like(k), k, v])})


def _fill_key_value(delta: KeyValueGain, tensors: dict[str, Tensor]) -> None:
    _, k, v = tensors[OUTPUT].chunk(3)
    delta.l_k.copy_(k)
    delta.l_v.copy_(v)


# By the delta's own class: a subclass may compute something else.
_WRITERS: dict[type[Delta], Callable[[Any], Layer]] = {
    LowRank: _low_rank,
    FoldedLowRank: _low_rank,
    StartedLowRank: _difference_to_start,
    FoldedStartedLowRank: _difference_to_start,
    SplitLowRank: _split,
    DirectedLowRank: _with_magnitude,
    KeyValueGain: _key_value,
    OutputGain: lambda delta: Layer({OUTPUT: delta.l.detach()}),
    InputGain: lambda delta: Layer({INPUT: delta.l.detach()}),
}
_READERS: dict[type[Delta], Callable[[Any, dict[str, Tensor]], Any]] = {
    LowRank: _fill_low_rank,
    FoldedLowRank: _fill_low_rank,
    StartedLowRank: _fill_started,
    FoldedStartedLowRank: _fill_started,
    SplitLowRank: _fill_split,
    DirectedLowRank: _fill_directed,
    KeyValueGain: _fill_key_value,
    OutputGain: lambda delta, tensors: delta.l.copy_(tensors[OUTPUT]),
    InputGain: lambda delta, tensors: delta.l.copy_(tensors[INPUT]),
}

"""Gradients that keep less than autograd does: scale and shift, and products computed again.

Written plainly, `scale * y + shift` makes autograd keep y, while whatever follows keeps the result:
two tensors of the size of the features. Here only the result z is kept, and what the gradient of
the scale needs is computed back from it: sum(dz y) = (sum(dz z) - shift sum(dz)) / scale. After a
linear layer the pair is folded into its weight on the way, so that no feature is read or written
once more in either direction. Where a scale is too small to divide by, the plain path is taken:
asked once a pass for all layers together, since every answer is a wait for the device.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from foldtune.core.compute.sums import sums_by_channel
from foldtune.core.tensors import is_sharded

Pair = tuple[Tensor, Tensor | None]  # scale and shift


class _Pass(threading.local):
    """What was found, in this thread, of the pass that goes on: whom, by id, may be divided by."""

    found: dict[int, bool] | None = None
    recorded: bool = False


_pass = _Pass()


def ask_once(pairs: Mapping[int, Sequence[Pair]]) -> None:
    """Find out whose pairs of scale and shift can all be divided by, with one wait for the device.

    pairs: those of whom, by id. Sharded ones are left to be asked by themselves.
    """
    asked = {
        who: own for who, own in pairs.items()
        if own and not any(is_sharded(scale) or scale.is_meta for scale, _ in own)
    }  # fmt: skip
    every = [pair for own in asked.values() for pair in own]
    # Nearly always yes, and then a few operations on all of them in a row have said so.
    if every and bool(_all_divisible(every)):
        _pass.found = dict.fromkeys(asked, True)
        return
    answers = iter(torch.stack([_divisible(*pair) for pair in every]).tolist() if every else ())
    _pass.found = {who: min([next(answers) for _ in own]) for who, own in asked.items()}


def forget() -> None:
    """The pass is over: what was found holds no longer."""
    _pass.found = None


def was_found(who: int) -> bool | None:
    """What the pass that goes on found; None where nobody asked."""
    return None if _pass.found is None else _pass.found.get(who)


def scale_shift(
    y: Tensor, scale: Tensor, shift: Tensor | None, axis: int, lean: bool | None = None
) -> Tensor:
    """scale * y + shift along the channel `axis` of y; scale, shift: (channels,).

    lean: False where the result is written over before the backward pass, or the scale is known to
    be too small to divide by; True where it is known not to be; None: it is asked.
    """
    if _keeps_result(scale, shift, lean):
        return _ScaleShift.apply(y, scale, shift, axis)
    shape = [1] * y.ndim
    shape[axis] = -1
    gain = scale.view(shape)
    # One fused operation: y * gain would be a second tensor of the size of y.
    changed = y * gain if shift is None else torch.addcmul(shift.view(shape), y, gain)
    # Under autocast y is bfloat16 and the sum float32, twice as large to keep.
    return changed.to(y.dtype)


def scale_shift_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor,
    shift: Tensor | None,
    lean: bool | None = None,
) -> Tensor:
    """scale * (W x + b) + shift with W and b frozen.

    x: (..., in); weight: (out, in); bias, scale, shift: (out,). Returns (..., out). lean: as above.
    """
    if _keeps_result(scale, shift, lean):
        device = x.device.type
        if torch.is_autocast_enabled(device):
            x = x.to(torch.get_autocast_dtype(device))
        return _ScaleShiftLinear.apply(x, weight, bias, scale, shift)
    return scale_shift(F.linear(x, weight, bias), scale, shift, -1, lean)


def recompute(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """function(x), of which autograd keeps x alone and computes the rest again for the gradient.

    Random draws (dropout) repeat. For a function of a few products of low rank.
    """
    if not torch.is_grad_enabled() or is_traced():
        return function(x)
    return checkpoint(function, x, use_reentrant=False)


@contextmanager
def recorded_formulas() -> Iterator[None]:
    """Inside, in this thread, formulas are due that can be recorded, as under a compiler: no
    question to the device, no branch on a value, nothing that is computed again. Whoever records
    asks before (`Container.ask`), and records anew where the answer is another."""
    before, _pass.recorded = _pass.recorded, True
    try:
        yield
    finally:
        _pass.recorded = before


def is_recorded() -> bool:
    """Whether `recorded_formulas` are due. Not to be asked under a compiler, which cannot look into
    a thread's own."""
    return _pass.recorded


def is_traced() -> bool:
    """Whether a compiler, whose own partition of the graph keeps as little, or a transform such as
    vmap looks on, or `recorded_formulas` are due: then the plain formula is, or one that was told
    beforehand that it may divide."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or is_recorded():
        return True
    transformed: bool = torch._C._are_functorch_transforms_active()
    return transformed


def _keeps_result(scale: Tensor, shift: Tensor | None, lean: bool | None) -> bool:
    """Whether the lean gradient may be used: eager, and every channel can be divided by."""
    if lean is False or scale.is_meta:
        return False
    if is_traced() and not (lean and (torch.compiler.is_dynamo_compiling() or is_recorded())):
        return False
    if not (torch.is_grad_enabled() and scale.requires_grad):
        return False
    return bool(_divisible(scale, shift)) if lean is None else lean


def _divisible(scale: Tensor, shift: Tensor | None) -> Tensor:
    """All |scale| >= max(1, |shift|) / 10: then y = (z - shift) / scale is as exact as z itself,
    but for a rounding error of ten times the unit."""
    largest = 1.0 if shift is None else shift.detach().abs().clamp_min(1.0)
    return (scale.detach().abs() * 10 >= largest).all()


def _all_divisible(pairs: Sequence[Pair]) -> Tensor:
    """Whether `_divisible` holds for all of them."""
    scales = [scale.detach().flatten() for scale, _ in pairs]
    if len({(scale.device, scale.dtype) for scale in scales}) > 1:
        return torch.zeros((), dtype=torch.bool)
    one = scales[0].new_ones(1)
    largest = [
        one.expand_as(scale) if shift is None else shift.detach().flatten()
        for scale, (_, shift) in zip(scales, pairs, strict=True)
    ]
    return (torch.cat(scales).abs() * 10 >= torch.cat(largest).abs().clamp_min(1.0)).all()


def _pair(z: Tensor, dz: Tensor, scale: Tensor, shift: Tensor | None, axis: int) -> Any:
    """Gradients of scale and shift from the result z and its gradient dz."""
    along, total = sums_by_channel(dz, z, axis, torch.promote_types(z.dtype, scale.dtype))
    if shift is None:
        return along / scale, None
    return torch.addcmul(along, shift, total, value=-1) / scale, total


# `forward` takes ctx itself: with a `setup_context` beside it torch binds the arguments by name on
# every call, which takes about 40 us. Transforms such as vmap, which need that, never come here.
class _ScaleShift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, scale: Tensor, shift: Tensor | None, axis: int) -> Tensor:
        shape = [1] * y.ndim
        shape[axis] = -1
        gain = scale.view(shape)
        z = y * gain if shift is None else torch.addcmul(shift.view(shape), y, gain)
        z, ctx.axis = z.to(y.dtype), axis
        ctx.save_for_backward(z, scale, shift)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        z, scale, shift = ctx.saved_tensors
        shape = [1] * z.ndim
        shape[ctx.axis] = -1
        dy = (dz * scale.view(shape)).to(dz.dtype) if ctx.needs_input_grad[0] else None
        return dy, *_pair(z, dz, scale, shift, ctx.axis), None


class _ScaleShiftLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        scale: Tensor,
        shift: Tensor | None,
    ) -> Tensor:
        folded, offset = _folded(weight, scale, x.dtype), shift
        if bias is not None:
            offset = bias * scale if shift is None else torch.addcmul(shift, bias, scale)
        z = F.linear(x, folded, None if offset is None else offset.to(x.dtype))
        # Where the batch is large the folded weight is small beside the features: kept. Where it
        # is not, it is folded again from the weight, which is there anyway.
        kept = folded if 4 * folded.numel() <= z.numel() else None
        ctx.save_for_backward(z, kept, weight, scale, shift)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        z, folded, weight, scale, shift = ctx.saved_tensors
        dx = None
        if ctx.needs_input_grad[0]:
            dx = dz @ (_folded(weight, scale, dz.dtype) if folded is None else folded)
        return dx, None, None, *_pair(z, dz, scale, shift, -1)


def _folded(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """diag(scale) weight in `dtype`, in one operation."""
    if is_traced() or torch.promote_types(weight.dtype, scale.dtype) == dtype:
        return (weight * scale[:, None]).to(dtype)
    return torch.mul(weight, scale[:, None], out=torch.empty_like(weight, dtype=dtype))

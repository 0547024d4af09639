"""Products of low rank beside frozen ones, with fewer passes over the features than autograd makes.

A product of rank 8 computes almost nothing and reads and writes as much as its wide neighbour. So
it adds to the features in one call; where the batch is large it is folded into the frozen weight
on the way, which is then small beside the features; and the gradient of the wide factor is taken as
(rank, out), twice as fast on a CPU as the (out, rank) of autograd.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from foldtune.core.compute.lean import is_traced

# Features below which a gradient of our own, in Python, takes longer than it saves.
_LARGE = 2**20


def add_product(
    y: Tensor, low: Tensor, up: Tensor, bias: Tensor | None = None, scale: float = 1.0
) -> Tensor:
    """y + scale (low up^T + bias).

    y: (..., out); low: (..., rank), of as many rows; up: (out, rank); bias: (out,).
    """
    rows, low = y.reshape(-1, y.shape[-1]), low.reshape(-1, low.shape[-1])
    # A compiler is asked first: a size that is compared with a number is fixed in its graph.
    if not is_traced() and rows.numel() >= _LARGE and _one_type(y, low, up):
        added = _AddProduct.apply(rows, low, up, bias, scale)
    elif bias is None:
        added = torch.addmm(rows, low, up.T, alpha=scale)
    else:
        added = torch.add(rows, F.linear(low, up, bias), alpha=scale)
    return added.view(y.shape)


def worth_folding(x: Tensor, weight: Tensor, down: Tensor, up: Tensor) -> bool:
    """Whether `folded_linear` may and should be used: with gradients and on many rows, where the
    weight is small beside the features, but not in half precision or TF32, where a small update
    would be rounded away beside the weight. Shapes as there."""
    if is_traced():  # asked first: a size that is compared with a number is fixed in the graph
        return False
    many = x.numel() >= 2 * x.shape[-1] ** 2  # from there on it was faster, at widths 128 to 768
    exact = x.dtype == torch.float64 or torch.get_float32_matmul_precision() == "highest"
    trained = torch.is_grad_enabled() and up.requires_grad and down.requires_grad
    return many and exact and trained and _one_type(x, weight, down, up)


def folded_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
) -> Tensor:
    """(W + scale up down) x + b with W and b frozen.

    x: (..., in); weight: (out, in); bias: (out,); down: (rank, in); up: (out, rank). Returns
    (..., out).
    """
    # Over rows, and a view outside: who writes over the result must not meet a view from within.
    rows = x.reshape(-1, x.shape[-1])
    return _FoldedLinear.apply(rows, weight, bias, down, up, scale).view(*x.shape[:-1], len(weight))


def _one_type(x: Tensor, *others: Tensor) -> bool:
    """All in one float type of at least 32 bits, which autocast would leave alone."""
    wide = x.dtype in (torch.float32, torch.float64)
    cast = not x.is_meta and torch.is_autocast_enabled(x.device.type)
    return wide and not cast and all(t.dtype == x.dtype for t in others)


class _AddProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, y: Tensor, low: Tensor, up: Tensor, bias: Tensor | None, scale: float
    ) -> Tensor:
        ctx.scale, ctx.biased = scale, bias is not None
        ctx.save_for_backward(low, up)
        if bias is not None:  # as one more rank, whose input is 1
            low, up = _with_ones(low), torch.cat([up, bias[:, None]], 1)
        return torch.addmm(y, low, up.T, alpha=scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        low, up = ctx.saved_tensors
        dlow = dup = dbias = None
        if ctx.needs_input_grad[1]:
            dlow = (dz @ up) * ctx.scale
        if ctx.needs_input_grad[2] or ctx.needs_input_grad[3]:
            found = ((_with_ones(low) if ctx.biased else low).T @ dz) * ctx.scale
            dup = found[: up.shape[1]].T
            dbias = found[-1] if ctx.biased else None
        return dz, dlow, dup, dbias, None


class _FoldedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        scale: float,
    ) -> Tensor:
        ctx.scale = scale
        ctx.save_for_backward(x, weight, down, up)
        return F.linear(x, torch.addmm(weight, up, down, alpha=scale), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, down, up = ctx.saved_tensors
        dx = None
        if ctx.needs_input_grad[
            0
        ]:  # folded again: kept, it would be one more weight for each layer
            dx = dz @ torch.addmm(weight, up, down, alpha=ctx.scale)
        ddown = ((dz @ up).T @ x) * ctx.scale
        dup = ((x @ down.T).T @ dz).T * ctx.scale
        return dx, None, None, ddown, dup, None


def _with_ones(low: Tensor) -> Tensor:
    return torch.cat([low, low.new_ones(len(low), 1)], 1)

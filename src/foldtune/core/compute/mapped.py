"""Calls that `torch.func.vmap` would take apart, made as one: attention, linear layers, norms,
and LoRA's product.

torch 2.13 maps the fused attention of the CPU one image at a time, parts a linear layer's bias from
its product, which reads and writes every feature once more, and computes a norm with an affine for
each image three times over the features. Here the mapped axis joins the batch of one fused call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Axes = Sequence[int | None]


@dataclass(frozen=True)
class _Attention:
    """q, k, v: (..., heads, tokens, channels)."""

    options: dict[str, Any]

    def plain(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, **self.options)

    def map(self, size: int, axes: Axes, *qkv: Tensor) -> Tensor:
        whole = [_leading(x, axis, size).flatten(0, 1) for x, axis in zip(qkv, axes, strict=True)]
        return self.plain(*whole).unflatten(0, (size, -1))


@dataclass(frozen=True)
class _Linear:
    """x: (..., in); weight: (out, in); bias: (out,) or None."""

    def plain(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    def map(self, size: int, axes: Axes, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        at, at_weight, at_bias = axes
        if at is None and at_weight is not None:  # several layers on one input are one wide layer
            biases = None if bias is None else _leading(bias, at_bias, size).flatten()
            wide = F.linear(x, weight.movedim(at_weight, 0).flatten(0, 1), biases)
            return wide.unflatten(-1, (size, -1)).movedim(-2, 0)
        if at_weight is not None or at is None:
            return torch.vmap(F.linear, tuple(axes))(x, weight, bias)
        x = x.movedim(at, 0)
        if bias is None or at_bias is None:
            return F.linear(x, weight, bias)
        return F.linear(x, weight).add_(_beside(bias.movedim(at_bias, 0), x.ndim))


@dataclass(frozen=True)
class _AddedProduct:
    """y + alpha a b; y: (rows, out), a: (rows, rank), b: (rank, out)."""

    alpha: float

    def plain(self, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.addmm(y, a, b, alpha=self.alpha)

    def map(self, size: int, axes: Axes, *yab: Tensor) -> Tensor:
        y, a, b = (_leading(x, axis, size) for x, axis in zip(yab, axes, strict=True))
        return torch.baddbmm(y, a, b, alpha=self.alpha)


@dataclass(frozen=True)
class _LayerNorm:
    """x: (..., channels); weight, bias: (channels,) or None."""

    shape: tuple[int, ...]
    eps: float

    def plain(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return F.layer_norm(x, self.shape, weight, bias, self.eps)

    def map(
        self, size: int, axes: Axes, x: Tensor, weight: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        at, at_weight, at_bias = axes
        if at_weight is None and at_bias is None:
            return self.plain(_leading(x, at, size), weight, bias)
        y = F.layer_norm(x if at is None else x.movedim(at, 0), self.shape, eps=self.eps)
        ndim = x.ndim + (at is None)
        if at_weight is not None and weight is not None:
            weight = _beside(weight.movedim(at_weight, 0), ndim)
        if at_bias is not None and bias is not None:
            bias = _beside(bias.movedim(at_bias, 0), ndim)
        if bias is None:
            return y if weight is None else y * weight
        if weight is None:
            return y + bias
        # In place where no gradient will be taken from y.
        own = y if at is not None and not torch.is_grad_enabled() else None
        return torch.addcmul(bias, y, weight, out=own)


class _Once(torch.autograd.Function):
    """`call` on tensors; under vmap, its own rule."""

    @staticmethod
    def forward(call: Any, *tensors: Tensor | None) -> Tensor:
        found: Tensor = call.plain(*tensors)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def vmap(info: Any, axes: Axes, call: Any, *tensors: Tensor | None) -> tuple[Tensor, int]:
        return call.map(info.batch_size, axes[1:], *tensors), 0


class Mapped(TorchFunctionMode):
    """Inside, such a call under vmap is one call for all that is mapped.

    Attention with a mask or with dropout is left to vmap itself, which refuses random draws.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if func is F.scaled_dot_product_attention and len(args) == 3:
            if options.get("attn_mask") is None and not options.get("dropout_p"):
                return _Once.apply(_Attention(options), *args)
        elif func is torch.addmm and len(args) == 3 and set(options) == {"alpha"}:
            return _Once.apply(_AddedProduct(**options), *args)
        elif func is F.linear and not options:
            return _Once.apply(_Linear(), *args, *[None] * (3 - len(args)))
        elif func is F.layer_norm and len(args) == 2 and len(args[1]) == 1:
            call = _LayerNorm(tuple(args[1]), options["eps"])  # torch hands these on by name
            return _Once.apply(call, args[0], options["weight"], options["bias"])
        return func(*args, **options)


def _leading(x: Tensor, axis: int | None, size: int) -> Tensor:
    """The mapped axis in front; a tensor that is not mapped is repeated without being copied."""
    return x.expand(size, *x.shape) if axis is None else x.movedim(axis, 0)


def _beside(vectors: Tensor, ndim: int) -> Tensor:
    """(mapped, channels) as (mapped, 1, ..., channels), beside features of `ndim` axes."""
    return vectors.view(len(vectors), *[1] * (ndim - 2), vectors.shape[-1])

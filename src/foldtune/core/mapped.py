"""The fused attention under `torch.func.vmap`, on the CPU as well."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class _Attention(torch.autograd.Function):
    """The fused attention with a rule for vmap: the mapped axis joins the batch.

    torch 2.13 has no such rule for the CPU's kernel and falls back on one image at a time.
    """

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, **options)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def vmap(
        info: Any, axes: tuple[Any, ...], q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]
    ) -> tuple[Tensor, int]:
        size = info.batch_size

        def flat(x: Tensor, axis: int | None) -> Tensor:
            whole = x.expand(size, *x.shape) if axis is None else x.movedim(axis, 0)
            return whole.flatten(0, 1)

        q, k, v = (flat(x, axis) for x, axis in zip((q, k, v), axes, strict=False))
        out = F.scaled_dot_product_attention(q, k, v, **options)
        return out.unflatten(0, (size, -1)), 0


class MappedAttention(TorchFunctionMode):
    """Inside, a call of the fused attention under vmap is one call for all that is mapped.

    One with a mask or with dropout is left to vmap itself, which refuses random draws.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        plain = options.get("attn_mask") is None and not options.get("dropout_p")
        if func is F.scaled_dot_product_attention and len(args) == 3 and plain:
            return _Attention.apply(*args, options)
        return func(*args, **options)

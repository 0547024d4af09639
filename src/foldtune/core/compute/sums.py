"""Sums over all places of a feature map: of a gradient, and of it times the map.

They are the gradients of a shift and of a scale. What they cost is the reading of two tensors of
the size of the features, so how often these are read and written decides: in reduced precision
widening both first, multiplying and summing moves eleven times the map, one kernel twice.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable

import torch
from torch import Tensor

Sums = tuple[Tensor, Tensor]


def sums_by_channel(dz: Tensor, z: Tensor, axis: int, wide: torch.dtype) -> Sums:
    """sum(dz z) and sum(dz) over all but the channel `axis`, each (channels,) in `wide`.

    wide: the dtype of the sums and of what they are summed in, such as float32 for bfloat16 maps.
    """
    others = [i for i in range(z.ndim) if i != axis % z.ndim]
    if torch.compiler.is_compiling():  # which makes one pass of it, or a part of another
        return (dz.to(wide) * z).sum(others), dz.sum(others, dtype=wide)
    kernel = _kernel() if z.is_cuda and wide == torch.float32 else None
    rows = None if kernel is None else (_as_rows(dz, axis), _as_rows(z, axis))
    if kernel is not None and rows is not None and None not in rows and z.numel():
        return kernel(*rows)
    if axis % z.ndim == z.ndim - 1 and z.dtype == wide:
        return _by_norm(dz, z)
    if z.dtype == dz.dtype == torch.bfloat16:
        # A product rounded to the map's own precision is as exact as the map; the sum is wide. Not
        # in float16, where the product of a scaled gradient may be too large.
        return (dz * z).sum(others, dtype=wide), dz.sum(others, dtype=wide)
    return (dz.to(wide) * z).sum(others), dz.sum(others, dtype=wide)


def _by_norm(dz: Tensor, z: Tensor) -> Sums:
    """By the norm's own kernel, which sums dz and dz * (z - mean) * deviation in one pass; mean 0
    and deviation 1 give the two sums wanted, where torch.sum(dz * z) would write dz * z first.

    In bfloat16 that kernel keeps its sums in bfloat16 on a CPU (torch 2.13), far too short.
    """
    rows, channels = z.numel() // z.shape[-1], z.shape[-1]
    zero, one, like = z.new_zeros(rows, 1), z.new_ones(rows, 1), z.new_ones(channels)
    _, along, total = torch.ops.aten.native_layer_norm_backward(
        dz.reshape(rows, channels), z.reshape(rows, channels), [channels], zero, one,
        like, like, [False, True, True],
    )  # fmt: skip
    return along, total


def _as_rows(map_: Tensor, axis: int) -> Tensor | None:
    """The map as (places, channels) with channels side by side in memory; None where they are not
    (a map of images in (batch, channels, height, width) order)."""
    rows = map_.movedim(axis, -1)
    return rows.reshape(-1, rows.shape[-1]) if rows.is_contiguous() else None


@functools.cache
def _kernel() -> Callable[..., Sums] | None:
    """The fused kernel, where Triton is there (torch's builds for CUDA on Linux bring it)."""
    try:
        module = importlib.import_module("foldtune.core.compute.fused_sums")
    except ImportError:
        return None
    found: Callable[..., Sums] = module.fused_sums
    return found

"""Tensors that may be sharded over processes, those that must be finite, those sent to a device."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from foldtune.errors import InputError


def send(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of the CPU on a device, in `dtype` there where one is given.

    A plain copy to a GPU waits until it has done all that it was asked before; a pinned one comes
    after it, and nobody waits.
    """
    tensor = tensor if dtype is None else tensor.to(dtype)
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type != "cpu")


def check_finite(tensors: Mapping[str, Tensor], where: str, cure: str) -> None:
    """Raise InputError for the first tensor that holds NaN or infinity.

    where: what they are of; cure: what to do. Integers and tensors without data pass.
    """
    wrong = [n for n, t in tensors.items() if not _is_finite(t)]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        count = int((~torch.isfinite(tensors[wrong[0]])).sum())
        raise InputError(
            f"{where}: {wrong[0]}{more} is not finite ({count} of "
            f"{tensors[wrong[0]].numel()} values are NaN or infinite); {cure}"
        )


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.is_meta:
        return True
    return bool(torch.isfinite(tensor.detach()).all())


def is_plain(tensor: Tensor) -> bool:
    """Whether it is a plain tensor of floats: not quantised (torchao, bitsandbytes)."""
    kind = type(tensor) in (Tensor, nn.Parameter) or is_sharded(tensor)
    return kind and tensor.is_floating_point()


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or, of one that FSDP2 has sharded, all of it on this process.

    A collective where it is sharded: every process must ask.
    """
    held: Any = tensor
    found: Tensor = held.full_tensor() if is_sharded(tensor) else tensor
    return found


def is_sharded(tensor: Tensor) -> bool:
    """Whether the tensor is a DTensor."""
    return hasattr(tensor, "full_tensor")


def reshard(model: nn.Module) -> None:
    """Let FSDP2, if it has sharded the model, put its sharded parameters back in their places.

    After a forward pass without a backward one the outermost module still shows gathered copies,
    and what is written to these, or given to an optimiser, is lost.
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None or not hasattr(fsdp, "FSDPModule"):
        return
    for module in model.modules():
        if isinstance(module, fsdp.FSDPModule):
            module.reshard()


@torch.no_grad()
def write(stored: Tensor, value: Tensor) -> None:
    """Copy `value`, which is whole, over what is stored, which may be sharded."""
    if not is_sharded(stored):
        stored.copy_(value)
        return
    from torch.distributed.tensor import distribute_tensor

    held: Any = stored
    value = value.to(held.device, held.dtype)
    held.copy_(distribute_tensor(value, held.device_mesh, held.placements))


def relative_distance(a: Tensor, b: Tensor) -> float:
    """The root mean square of a - b over that of b."""
    return root_mean_square(a - b) / (root_mean_square(b) or 1.0)


def root_mean_square(x: Tensor) -> float:
    """The root mean square."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return float(torch.linalg.vector_norm(x, dtype=wide)) / max(1, x.numel()) ** 0.5

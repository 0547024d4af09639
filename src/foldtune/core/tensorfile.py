"""Tensors by name: the hash they are known by, and the safetensors file that holds them."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from foldtune.core.tensors import whole
from foldtune.errors import Unwritable
from foldtune.files import replacing_on_disk


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """A hash over names, shapes, dtypes and bytes; the same on every device."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = _readable(whole(tensors[name].detach())).cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def _readable(tensor: Tensor) -> Tensor:
    """A quantised weight (torchao) as the numbers that it stands for: it has no bytes to show."""
    quantised: Any = tensor
    plain = type(tensor) in (Tensor, torch.nn.Parameter) or not hasattr(tensor, "dequantize")
    return tensor if plain else quantised.dequantize()


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file that appears whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_on_disk(path) as fresh:
            save_file(dict(tensors), fresh, metadata)
            if len(metadata) > 1:
                _order_metadata(Path(fresh))
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        why = "no space left on the device" if full else str(error)
        raise Unwritable(f"cannot write {path}: {why}; free space or choose another folder") from (
            error
        )


def _order_metadata(file: Path) -> None:
    """Sort the entries of a file's metadata, in place: safetensors (0.8) writes several in another
    order each time, and a file written twice is to have one hash."""
    with file.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= length:  # the same words in another order; spaces fill up
            stream.seek(8)
            stream.write(text.ljust(length))

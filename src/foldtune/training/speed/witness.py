"""What within a step no CUDA graph can hold, seen before one is recorded: a recording that fails
midway leaves torch's allocator and generator in its middle."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# How torch tells of a wait; other warnings speak of synchronization too.
WAIT = "called a synchronizing CUDA operation"
_INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_unsafe_index")


class Witness(TorchDispatchMode):
    """Notes operations whose result Python reads, or whose shape their values decide, and copies
    between devices, whose source would be gone when the graph is run again."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.told: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        why = _hindrance(func, args, found)
        if why is not None:
            self.told.append(why)
        return found


def _hindrance(func: Any, args: Any, found: Any) -> str | None:
    name = func._schema.name
    if torch.Tag.data_dependent_output in func.tags:
        return f"a value is read from the device in a step ({name})"
    if name in _INDEXED:
        masks = [t for t in args[1] if t is not None and t.dtype in (torch.bool, torch.uint8)]
        return f"a mask decides a shape in a step ({name})" if masks else None
    if torch.Tag.dynamic_output_shape in func.tags:
        return f"values decide a shape in a step ({name})"
    if name in ("aten::_to_copy", "aten::copy_"):
        source = args[1] if name == "aten::copy_" else args[0]
        if isinstance(source, Tensor) and source.device.type != found.device.type:
            return f"a step copies from {source.device.type} to {found.device.type}"
    return None


@contextmanager
def witnessed(device: torch.device, wanted: bool = True) -> Iterator[list[str]]:
    """Inside, if wanted, what a graph cannot hold is noted, each with why; on a GPU waits for it
    too, of which torch tells."""
    if not wanted:
        yield []
        return
    with Witness() as witness:
        if device.type != "cuda":
            yield witness.told
            return
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield witness.told
            finally:
                torch.cuda.set_sync_debug_mode(before)
    for one in heard:
        if WAIT in str(one.message):
            text = str(one.message).partition("(")[0].strip()
            witness.told.append(f"a step waits for the device ({text})")
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)

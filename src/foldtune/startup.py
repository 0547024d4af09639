"""What foldtune does to a process that is its own: the command line's, and those of its workers.

The library changes nothing in a process that imports it. `foldtune.__main__`, the verbs and the
workers that they start enter these; each names what it was measured to be worth.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import platform
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

# Of glibc's malloc.h: when the heap's end goes back, and how many blocks may be mapped apart.
_TRIM, _MAPPED = -1, -4
_LARGEST_TRIM = 2**31 - 1
_COMPILER = "torch._dynamo.utils"


def keep_freed_memory() -> None:
    """Let the allocator keep what is freed, for the rest of the process.

    A backward pass frees all that the forward pass kept. glibc returns it to the system, and the
    next step's first touch of every page is a fault: 2 % of a step of ViT-S with 16 images. No
    block is mapped apart, not even above the 32 MiB to which that threshold can be raised, as an
    activation of 64 images at 96 pixels is: those faults were a seventh of a step of BitFit on
    EfficientNet-Lite0. Does nothing with another C library. It is about the host's memory alone.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM, _LARGEST_TRIM)
        libc.mallopt(_MAPPED, 0)


def end_without_collecting() -> None:
    """At the end of the process do not walk all that lives, torch's objects, once more."""
    atexit.register(gc.freeze)


@contextlib.contextmanager
def brief() -> Iterator[None]:
    """Decorates a verb that looks and ends: what it makes is not searched for garbage.

    Importing torch and timm makes objects by the hundred thousand that stay, and Python's collector
    walks them again and again. Without that walk and the last one `foldtune inspect micro` takes a
    quarter to two fifths less (Python 3.11).
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def import_hosts() -> None:
    """Import torchvision and timm without torch's compiler, which takes 2.6 of 6.1 s of processor.

    Both need it at import for little: torchvision 0.28 for a function that one operator asks when
    it runs, timm 1.0.31 for a decorator. The function is given as one that loads the compiler when
    it is called; the decorator is the twin that torch uses inside itself, which waits likewise.
    Both are put back at once. Does nothing where the compiler is loaded already.
    """
    import torch

    from foldtune.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    if _COMPILER in sys.modules or "torch._dynamo" in sys.modules:
        return
    late, disable = _Late(_COMPILER), torch.compiler.disable
    sys.modules[_COMPILER] = late
    torch.compiler.disable = torch._disable_dynamo  # type: ignore[assignment]
    try:
        importlib.import_module("timm")
    finally:
        torch.compiler.disable = disable
        late.leave()


class _Late(ModuleType):
    """Stands for the compiler's module until anything else of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _asked_later if name == "is_compile_supported" else getattr(self.leave(True), name)

    def leave(self, load: bool = False) -> Any:
        """Go; with `load` put the module itself there, and return it."""
        if sys.modules.get(_COMPILER) is self:
            del sys.modules[_COMPILER]
        return importlib.import_module(_COMPILER) if load else None


def _asked_later(*arguments: Any) -> Any:
    is_supported: Callable[..., Any] = importlib.import_module(_COMPILER).is_compile_supported
    return is_supported(*arguments)

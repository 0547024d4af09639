"""Let `import torchvision` succeed beside a torch it has no binaries for.

The registry's torchvision wheel is a CUDA build. Beside a CPU torch its operators fail to load,
and `import torchvision` dies with "operator torchvision::nms does not exist" because it registers
shape functions for operators that nobody declared (seen with torch 2.13.0, torchvision 0.28.0).
Declaring the two schemas is enough: foldtune, timm and torchvision's transforms call neither.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_COMPILER = "torch._dynamo.utils"
# The declarations live as long as this object.
_library: torch.library.Library | None = None


def declare_missing_operators() -> tuple[str, ...]:
    """Declare torchvision's `nms` and `qnms` where absent; return the names that were declared.

    Must run before torchvision is first imported. With a matched pair of builds torchvision's own
    extension defines the operators when it loads, so nothing is declared and nothing changes.
    """
    global _library
    if "torchvision" in sys.modules or _library is not None or _own_operators_load():
        return ()
    _library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS.values():
        _library.define(schema)
    return tuple(_SCHEMAS)


def _own_operators_load() -> bool:
    """Whether torchvision's compiled extension loads beside this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return True  # no torchvision: nothing to mend
    from importlib.machinery import EXTENSION_SUFFIXES
    from pathlib import Path

    folder = Path(spec.submodule_search_locations[0])
    for suffix in EXTENSION_SUFFIXES:
        extension = folder / f"_C{suffix}"
        if extension.exists():
            try:
                torch.ops.load_library(str(extension))
            except OSError:
                return False
            return hasattr(torch.ops.torchvision, "nms")
    return hasattr(torch.ops.torchvision, "nms")


@contextmanager
def compiler_unloaded() -> Iterator[None]:
    """Import torchvision and timm inside without loading torch's compiler, 2.5 s of processor time.

    Both need it at import for little: torchvision 0.28 for a function that one operator asks when
    it runs, timm 1.0.31 for a decorator. The function is given as one that loads the compiler when
    it is called; the decorator is the twin that torch uses inside itself, which waits likewise.
    Nothing changes where the compiler is loaded already.
    """
    if _COMPILER in sys.modules or "torch._dynamo" in sys.modules:
        yield
        return
    late, disable = _Late(_COMPILER), torch.compiler.disable
    sys.modules[_COMPILER] = late
    torch.compiler.disable = torch._disable_dynamo  # type: ignore[assignment]
    try:
        yield
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

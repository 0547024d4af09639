"""Let `import torchvision` succeed beside a torch it has no binaries for.

The registry's torchvision wheel is a CUDA build. Beside a CPU torch its operators fail to load,
and `import torchvision` dies with "operator torchvision::nms does not exist" because it registers
shape functions for operators that nobody declared (seen with torch 2.13.0, torchvision 0.28.0).
Declaring the two schemas is enough: foldtune, timm and torchvision's transforms call neither.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
# The declarations live as long as this object.
_library: torch.library.Library | None = None


def declare_missing_operators() -> tuple[str, ...]:
    """Declare torchvision's `nms` and `qnms` where absent; return the names that were declared.

    Must run before torchvision is first imported. With a matched pair of builds torchvision's own
    extension defines the operators when it loads, so nothing is declared and nothing changes.
    """
    global _library
    import torch

    # Looking for the extension asks every finder for torchvision, which is no import of it.
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Ahead)]
    if "torchvision" in sys.modules or _library is not None or _own_operators_load():
        return ()
    # A fragment: somebody else may have declared, or yet declare, the same.
    _library, declared = torch.library.Library("torchvision", "FRAGMENT"), []
    for name, schema in _SCHEMAS.items():
        with contextlib.suppress(RuntimeError):  # it is there
            _library.define(schema)
            declared.append(name)
    return tuple(declared)


def declare_before_torchvision() -> None:
    """Declare them when torchvision is first imported, by whomever: so that `import foldtune`
    costs nothing, and `import timm` after it works."""
    if "torchvision" not in sys.modules and not any(isinstance(f, _Ahead) for f in sys.meta_path):
        sys.meta_path.insert(0, _Ahead())


class _Ahead:
    """Finds nothing; is asked first, acts once, and leaves."""

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name == "torchvision":
            declare_missing_operators()


def _own_operators_load() -> bool:
    """Whether torchvision's compiled extension loads beside this torch."""
    import torch

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

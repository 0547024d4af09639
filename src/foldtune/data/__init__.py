"""Labelled images: from a folder, zip, table or embedded set to a decode-once array with splits.

Names are resolved when first used: a process that decodes needs none of them. `augment` is imported
from its own module, since it needs torch, which listing and decoding do not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foldtune.data.images import ImageData
    from foldtune.data.load import load_data
    from foldtune.data.sources.listing import Item, Listing
    from foldtune.data.sources.source import read_source

__all__ = ["ImageData", "Item", "Listing", "load_data", "read_source"]

_HOMES = {
    "ImageData": "images",
    "Item": "sources.listing",
    "Listing": "sources.listing",
    "load_data": "load",
    "read_source": "sources.source",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

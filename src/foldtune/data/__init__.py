"""Labelled images: from a folder, zip, table or embedded set to a decode-once array with splits.

`augment` is imported from its own module: it needs torch, which listing and decoding do not.
"""

from foldtune.data.listing import Item, Listing
from foldtune.data.pixels import ImageData, load_data
from foldtune.data.sources import read_source

__all__ = ["ImageData", "Item", "Listing", "load_data", "read_source"]

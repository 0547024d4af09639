"""Labelled images: listed, split, decoded once, augmented on the device."""

from foldtune.data.sources import Item, Listing, read_source

__all__ = ["Item", "Listing", "read_source"]

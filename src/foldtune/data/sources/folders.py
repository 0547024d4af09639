"""Class folders, below a folder or in an archive, as a listing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from foldtune.data.sources.layout import SUFFIXES, arrange, not_taken, pictures
from foldtune.data.sources.listing import Listing
from foldtune.data.sources.trees import Tree
from foldtune.errors import InputError


def read_folders(tree: Tree) -> Listing:
    """List class folders."""
    names, ignored = pictures(tree.stamps)
    if not names:
        raise _no_images(tree.where, ignored)
    items, classes = arrange(names, tree.where)
    ledger = not_taken(names, tree.stamps.keys() - set(names), tree.empty, tree.where)
    return tree.listing(items, classes, ignored=ignored, ledger=replace(ledger, twice=tree.twice))


def _no_images(where: str, ignored: Mapping[str, int]) -> InputError:
    others = ", ".join(f"{count} {suffix}" for suffix, count in ignored.items()) or "nothing"
    return InputError(
        f"no image in {where} (found: {others}); known extensions: {' '.join(sorted(SUFFIXES))}; "
        "expected <class>/image.jpg, or train|val|test/<class>/image.jpg"
    )

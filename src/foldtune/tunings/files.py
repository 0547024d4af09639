"""The picture files that a user names, one by one or by folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foldtune.data.sources.layout import pictures
from foldtune.data.sources.trees import open_tree
from foldtune.errors import InputError


def expanded(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, and of each folder all the pictures in it, sorted.

    Raises InputError for a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        tree = open_tree(path)
        names, ignored = pictures(tree.stamps)
        if not names:
            others = ", ".join(f"{count} {suffix}" for suffix, count in ignored.items())
            raise InputError(f"no picture in {path} (found: {others or 'nothing'})")
        found += [path / name for name in names]
    return found

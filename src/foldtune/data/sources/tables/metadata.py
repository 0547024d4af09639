"""`metadata.jsonl` of Hugging Face's ImageFolder: labels of a folder's files, by `file_name`; or
`_annotations.coco.json`, as Roboflow writes it into each split's folder.

One at the top, or one in each of the folders train, val and test. A metadata file without a label
says nothing of classes: then class folders are read, and the ledger names the file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from foldtune.data.sources.listing import Item, Listing
from foldtune.data.sources.readers import FileReader
from foldtune.data.sources.tables.cells import has_labels
from foldtune.data.sources.tables.rows import read_table, sorted_labels
from foldtune.data.splits import split_name
from foldtune.errors import InputError

NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet", "_annotations.coco.json")


def find_metadata(folder: Path) -> list[Path]:
    """The metadata files of a folder: its own, or else those of its split folders, sorted."""
    own = [folder / name for name in NAMES if (folder / name).is_file()]
    if own:
        return own[:1]
    inner = sorted(p for p in folder.iterdir() if p.is_dir() and split_name(p.name))
    return [p / name for p in inner for name in NAMES if (p / name).is_file()]


def read_metadata(folder: Path, group: str | None = None) -> Listing | None:
    """The listing of a folder by its metadata; None where it has none, or none with labels.

    Raises InputError where a split folder has metadata and another none.
    """
    tables = [path for path in find_metadata(folder) if has_labels(path)]
    if not tables:
        return None
    if tables[0].parent == folder:
        return _with_splits(read_table(tables[0], group))
    splits = [p.name for p in folder.iterdir() if p.is_dir() and split_name(p.name)]
    without = sorted(set(splits) - {path.parent.name for path in tables})
    if without:
        raise InputError(
            f"{tables[0]} tells the labels of its folder, and {folder / without[0]} has no such "
            "file; add it, or list all images in a CSV with columns path,label,split"
        )
    return _join_parts(folder, {path.parent.name: read_table(path, group) for path in tables})


def _with_splits(listing: Listing) -> Listing:
    """Splits by the first folder of every file, where each is one and the table names none."""
    tops = [split_name(item.name.split("/")[0]) for item in listing.items]
    if None in tops or any(item.split for item in listing.items):
        return listing
    items = [replace(i, split=top) for i, top in zip(listing.items, tops, strict=True)]
    return replace(listing, items=tuple(items))


def _join_parts(folder: Path, parts: dict[str, Listing]) -> Listing:
    classes = sorted_labels({name for part in parts.values() for name in part.classes})
    index = {name: label for label, name in enumerate(classes)}
    items = [
        Item(f"{name}/{item.name}", index[part.classes[item.label]], split_name(name))
        for name, part in parts.items()
        for item in part.items
    ]
    root = str(folder.resolve())
    stamps = tuple(stamp for part in parts.values() for stamp in part.stamps)
    groups = tuple(group for part in parts.values() for group in part.groups)
    first = next(iter(parts.values()))
    told = next((part for part in parts.values() if part.task is not None or part.doubt), first)
    return Listing(tuple(items), classes, FileReader(root), stamps, root,
                   groups=groups if len(groups) == len(items) else (),
                   task=told.task, doubt=told.doubt)  # fmt: skip

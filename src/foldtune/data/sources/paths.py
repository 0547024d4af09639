"""From a path that exists to a listing of its labelled images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from foldtune.data.sources.folders import read_folders
from foldtune.data.sources.listing import Listing
from foldtune.data.sources.tables.metadata import find_metadata, read_metadata
from foldtune.data.sources.trees import open_tree, split_zip
from foldtune.errors import InputError

CONVERTED = "foldtune.csv"  # what a converted folder is read by
_TABLES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson", ".json")


def read_path(path: Path, group: str | None = None) -> Listing:
    """List the labelled images of an existing path; group: the column of a table that groups."""
    if path.exists() and not path.is_dir() and not path.is_file():
        raise InputError(f"{path} is a device, a FIFO or a socket; give a folder or a file")
    suffix = path.suffix.lower()
    read = _FILES.get(suffix)
    if path.is_dir() and (path / CONVERTED).is_file():
        return read_path(path / CONVERTED, group)
    if path.is_dir() and (listing := read_metadata(path, group)) is not None:
        return listing
    if path.is_dir() or split_zip(path) is not None:
        if group is not None:
            raise InputError(
                f"{path} has no columns to group by; list its images in a CSV with columns "
                f"path,label,{group}"
            )
        return _folder(path)
    if suffix in _TABLES:
        from foldtune.data.sources.tables.rows import read_table

        return read_table(path, group)
    if read is not None:
        return read(path)
    raise InputError(
        f"{path} is neither a folder nor a .zip, .tar, .npz, .csv, .jsonl or .parquet; unpack it "
        "into class folders, or list its images in a CSV with columns path,label"
    )


def _folder(path: Path) -> Listing:
    """Class folders; where there are none, the table beside that tells the classes is named."""
    try:
        listing = read_folders(open_tree(path))
    except InputError as error:
        tables = sorted(p.name for p in path.glob("*") if p.suffix.lower() in _TABLES) if (
            path.is_dir()) else []  # fmt: skip
        if not tables:
            raise
        raise InputError(f"{error} ({path} holds {tables[0]}: give that file)") from error
    ignored = tuple(p.relative_to(path).as_posix() for p in find_metadata(path)) if (
        path.is_dir()) else ()  # fmt: skip
    return replace(listing, ledger=replace(listing.ledger, metadata=ignored))


def _npz(path: Path) -> Listing:
    from foldtune.data.sources.arrays import read_npz

    return read_npz(path)


def _tar(path: Path) -> Listing:
    from foldtune.data.sources.sets.shards import read_shards

    return read_shards([path])


_FILES: Mapping[str, Callable[[Path], Listing]] = {".npz": _npz, ".tar": _tar}

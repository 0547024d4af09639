"""From a spec (a path, or SET:PART@ROOT) to a listing of labelled images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from foldtune.data.sources.layout import SUFFIXES, arrange, pictures
from foldtune.data.sources.listing import Item, Listing
from foldtune.data.sources.spec import parse_spec
from foldtune.data.sources.trees import Tree, open_tree, split_zip
from foldtune.errors import InputError

__all__ = ["Item", "Listing", "read_path", "read_source"]
CONVERTED = "foldtune.csv"  # what a converted folder is read by
_TABLES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson")


def read_source(spec: str | Path) -> Listing:
    """List the labelled images of a path, or of a set by name (spec.py, sets/).

    A path is a folder, a .zip or a folder inside one, a .csv (.tsv), .jsonl or .parquet, an .npz,
    or a .tar. Folder and zip: `<class>/image.jpg`, or `train|val|test/<class>/image.jpg` (also
    `valid`, `validation`, in any case). Folders that only wrap the rest are descended; hidden
    files, `__MACOSX` and files without an image's extension are ignored; links are followed, loops
    are not. Classes are sorted by name. A folder that `foldtune data convert` wrote is read by its
    table.
    """
    path = Path(spec).expanduser()
    if path.exists() or split_zip(path) is not None:
        return read_path(path)
    parsed = parse_spec(str(spec))
    if parsed is not None:
        from foldtune.data.sources.sets import read_set

        return read_set(parsed)
    raise InputError(
        f"no data at {str(spec)!r}: no such folder, .zip, .tar, .npz, .csv, .jsonl or .parquet; "
        f"check the path (looked from {Path.cwd()}), or name a set: vtab:dtd@FOLDER"
    )


def read_path(path: Path, group: str | None = None) -> Listing:
    """List the labelled images of an existing path; group: the column of a table that groups."""
    suffix = path.suffix.lower()
    read = _FILES.get(suffix)
    if path.is_dir() and (path / CONVERTED).is_file():
        return read_path(path / CONVERTED, group)
    if path.is_dir() or split_zip(path) is not None:
        if group is not None:
            raise InputError(
                f"{path} has no columns to group by; list its images in a CSV with columns "
                f"path,label,{group}"
            )
        return read_folders(open_tree(path))
    if suffix in _TABLES:
        from foldtune.data.sources.tables import read_table

        return read_table(path, group)
    if read is not None:
        return read(path)
    raise InputError(
        f"{path} is neither a folder nor a .zip, .tar, .npz, .csv, .jsonl or .parquet; unpack it "
        "into class folders, or list its images in a CSV with columns path,label"
    )


def read_folders(tree: Tree) -> Listing:
    """List class folders."""
    names, ignored = pictures(tree.stamps)
    if not names:
        raise _no_images(tree.where, ignored)
    items, classes = arrange(names, tree.where)
    return tree.listing(items, classes, ignored=ignored)


def _npz(path: Path) -> Listing:
    from foldtune.data.sources.arrays import read_npz

    return read_npz(path)


def _tar(path: Path) -> Listing:
    from foldtune.data.sources.sets.shards import read_shards

    return read_shards([path])


_FILES: Mapping[str, Callable[[Path], Listing]] = {".npz": _npz, ".tar": _tar}


def _no_images(where: str, ignored: Mapping[str, int]) -> InputError:
    others = ", ".join(f"{count} {suffix}" for suffix, count in ignored.items()) or "nothing"
    return InputError(
        f"no image in {where} (found: {others}); known extensions: {' '.join(sorted(SUFFIXES))}; "
        "expected <class>/image.jpg, or train|val|test/<class>/image.jpg"
    )

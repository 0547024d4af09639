"""From a spec (a path, or SET:PART@ROOT) to a listing of labelled images."""

from __future__ import annotations

from pathlib import Path

from foldtune.data.sources.listing import Listing
from foldtune.data.sources.paths import read_path
from foldtune.data.sources.sets import read_set
from foldtune.data.sources.spec import parse_spec
from foldtune.data.sources.trees import split_zip
from foldtune.errors import InputError


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
        return read_set(parsed)
    raise InputError(
        f"no data at {str(spec)!r}: no such folder, .zip, .tar, .npz, .csv, .jsonl or .parquet; "
        f"check the path (looked from {Path.cwd()}), or name a set: vtab:dtd@FOLDER"
    )

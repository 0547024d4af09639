"""What is stored already: the entry that a request led to, as a listing sees it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.data.identity import unpack
from foldtune.data.store.decode import Fit
from foldtune.data.store.entries import open_entry
from foldtune.files import read_json

# What the answer to a request holds.
_ANSWER = frozenset(
    {"identity", "files", "rows", "skipped", "dropped", "content", "rekeyed", "range", "measured"}
)


@dataclass(frozen=True, eq=False)
class Stored:
    """An entry as one listing sees it. rows: of each row, the index of the listing's item."""

    identity: str
    pixels: np.memmap
    labels: np.ndarray
    hashes: tuple[str, ...]
    keys: np.ndarray  # (images, 32) uint8: each picture's key and its file's hash
    prints: np.ndarray  # difference hash of each image, uint64
    rows: tuple[int, ...]
    skipped: Mapping[str, str]  # name and reason of each item that could not be decoded
    dropped: Mapping[str, str]  # the same of each that `conflicts="drop"` left out
    content: str  # hash of all pictures and labels, before any was dropped
    rekeyed: tuple[str, ...]  # names of files that an earlier decoding gave another key
    fit: Fit  # with the range that was found
    measured: Mapping[str, Any]  # of images of more than 8 bits: what they hold, and what is said


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/foldtune/pixels`, or `~/.cache/foldtune/pixels`."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "foldtune" / "pixels"


def find_stored(cache: Path, request: Path, fit: Fit) -> Stored | None:
    """The entry that a request led to before, or None if there is none or it is damaged."""
    about = read_json(request)
    # Of another version's fields may be missing: then it is made again, as a damaged one is.
    if about is None or not about.keys() >= _ANSWER:
        return None
    found = open_entry(cache / about["identity"])
    if found is None:
        return None
    pixels, entry = found
    if about["measured"] and "depth" not in entry:  # of a foldtune that kept 8 bits of any depth
        return None
    fit = replace(fit, depth=pixels.dtype.name)
    # Of one identity the files may differ, as PNG and TIFF of the same pictures do.
    keys = np.concatenate([unpack(entry["keys"]), unpack(about["files"])], axis=1)
    return Stored(
        identity=about["identity"],
        pixels=pixels,
        labels=np.array(entry["labels"], dtype=np.int64),
        hashes=tuple(entry["hashes"]),
        keys=keys,
        prints=np.array(entry["prints"], dtype=np.uint64),
        rows=tuple(about["rows"]),
        skipped=about["skipped"],
        dropped=about["dropped"],
        content=about["content"],
        rekeyed=tuple(about["rekeyed"]),
        fit=fit if about["range"] is None else replace(fit, range=tuple(about["range"])),
        measured=about["measured"],
    )

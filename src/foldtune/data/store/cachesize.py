"""How large the cache of decoded images is, and making it smaller: the least recently used go."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.data.identity import image_hash
from foldtune.data.store.crew import DECODED, Rows
from foldtune.data.store.entries import open_entry
from foldtune.errors import InputError
from foldtune.files import read_json

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_NAMED = 5  # damaged rows that are told
_IN_USE = 600  # seconds since the last use within which nothing is removed


@dataclass(frozen=True)
class Kept:
    """One entry or stream of the cache."""

    folder: Path
    kind: str  # entry | stream
    images: int
    bytes: int
    used: float  # when it was opened last, in seconds since 1970


def contents(cache: Path) -> list[Kept]:
    """What a cache keeps, most recently used first."""
    kept = []
    for folder in [*cache.glob("*"), *cache.glob("streams/*")]:
        sign = "state.raw" if folder.parent.name == "streams" else "entry.json"
        if not (folder / sign).is_file() or folder.name.startswith("tmp-"):
            continue
        size = sum(f.stat().st_blocks * 512 for f in folder.iterdir())  # a stream may be sparse
        if sign == "entry.json":
            about = read_json(folder / sign)
            images = len(about["labels"]) if about else 0
        else:
            images = (folder / sign).stat().st_size
        kind = "entry" if sign == "entry.json" else "stream"
        kept.append(Kept(folder, kind, images, size, (folder / sign).stat().st_mtime))
    return sorted(kept, key=lambda one: -one.used)


def shrink(cache: Path, limit: int) -> dict[str, Any]:
    """Remove the least recently used until at most `limit` bytes stay.

    What was used within ten minutes is kept: a run may have it open. A run that finds its entry
    gone decodes again.
    """
    kept, removed, freed = contents(cache), 0, 0
    total = sum(one.bytes for one in kept)
    for one in reversed(kept):
        if total <= limit:
            break
        if time.time() - one.used < _IN_USE and limit > 0:
            continue
        shutil.rmtree(one.folder, ignore_errors=True)
        total, freed, removed = total - one.bytes, freed + one.bytes, removed + 1
    return {"removed": removed, "freed": freed, "left": total}


def verify(cache: Path) -> list[dict[str, Any]]:
    """Hash every decoded row of a cache; one line an entry or stream: its images and the places of
    damaged ones, -1 for a damaged description. Nothing is changed: a damaged row is decoded again
    when it is next used."""
    found = []
    for one in contents(cache):
        damaged = _damaged_rows(one)
        found.append(
            {"kind": one.kind, "images": one.images, "damaged": len(damaged),
             "rows": damaged[:_NAMED], "folder": str(one.folder)}
        )  # fmt: skip
    return found


def _damaged_rows(one: Kept) -> list[int]:
    """The rows whose pixels have another hash than was kept."""
    if one.kind == "entry":
        opened = open_entry(one.folder)
        if opened is None:
            return [-1]
        pixels, about = opened
        return [n for n, known in enumerate(about["hashes"]) if image_hash(pixels[n]) != known]
    try:
        rows = Rows.open(one.folder)
    except (OSError, ValueError):
        return [-1]
    decoded = np.flatnonzero(rows.state == DECODED)
    return [n for n in decoded.tolist() if rows.doubtful(np.array([n]), forget=False)]


def parse_size(text: str) -> int:
    """Bytes of `20g`, `500 MB` or `1000`, by powers of 1024."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", text.strip().lower())
    if found is None:
        raise InputError(f"{text!r} is no size; write 20g, 500m or a number of bytes")
    return int(float(found[1]) * _UNITS[found[2]])

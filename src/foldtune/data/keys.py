"""Keys that are known already: of every file that was decoded before, by its name and its stamp.

    <cache>/keys/<place>.json    key and file's hash of the files of one folder, or of one archive

Beside size, times and inode, which a stamp holds, so that a picture keeps its split and is known
again at any size without being decoded: a stream draws splits at once, and few shots are drawn.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from foldtune.data.decode import Fit
from foldtune.data.entries import read_json, write_json
from foldtune.data.identity import KEY, as_bytes, digest, pack, unpack
from foldtune.data.listing import Listing
from foldtune.data.workers import Job, decode_all
from foldtune.errors import InputError

_FORMAT = 1
_MARK = 32  # bytes of a key and its file's hash


def known_marks(listing: Listing, cache: Path) -> list[str]:
    """`Decoded.mark` of each item, in hex; '' where it was not decoded yet, or changed since."""
    if not listing.stamps:
        return [""] * len(listing.items)
    known = _read(_record(listing, cache))
    return [known.get(item, b"").hex() for item in _items(listing)]


def remember(listing: Listing, cache: Path, marks: Sequence[str]) -> list[str]:
    """Keep the marks of items; '' for those that have none. Returns the names of items whose file
    was known under another key: the decoder gives other pixels than before."""
    if not listing.stamps:
        return []
    path = _record(listing, cache)
    known = _read(path)
    key_of = {mark[16:]: mark[:16] for mark in known.values()}
    changed = []
    for item, code, text in zip(listing.items, _items(listing), marks, strict=True):
        if not text:
            continue
        mark = bytes.fromhex(text)
        if key_of.get(mark[16:], mark[:16]) != mark[:16]:
            changed.append(item.name)
        known[code] = mark
    told = {
        "format": _FORMAT,
        "items": pack(code.hex() for code in known),
        "marks": pack(mark.hex() for mark in known.values()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        write_json(Path(folder) / "new", told)
        os.replace(Path(folder) / "new", path)
    return changed


def find_keys(listing: Listing, cache: Path, workers: int | None = None) -> list[bytes]:
    """The key of each item: known, or found by decoding it once; no pixels are kept.

    Raises InputError naming images that cannot be read.
    """
    marks = known_marks(listing, cache)
    unknown = [row for row, mark in enumerate(marks) if not mark]
    if unknown:
        cache.mkdir(parents=True, exist_ok=True)
        names = [listing.items[row].name for row in unknown]
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            file = Path(folder) / "pixels.raw"
            file.touch()
            # A key needs no size, so the smallest.
            found = decode_all(Job(listing.open, Fit(1, interpolation="nearest"), file), names,
                               workers, None)  # fmt: skip
        if found.broken:
            raise unreadable({names[row]: why for row, why in found.broken.items()}, len(marks))
        for row, mark in zip(unknown, found.marks, strict=True):
            marks[row] = mark
        remember(listing, cache, marks)
    return [bytes.fromhex(mark[:KEY]) for mark in marks]


def unreadable(skipped: Mapping[str, str], count: int) -> InputError:
    """The refusal of images, by name and reason, of which there are `count` in all."""
    named = ", ".join(f"{name} ({why})" for name, why in list(skipped.items())[:5])
    more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    cure = "none is left: check the source"
    if len(skipped) < count:
        cure = "repair or remove them, or go on without them (skip_broken)"
    return InputError(f"{len(skipped)} of {count} images cannot be read: {named}{more}; {cure}")


def _record(listing: Listing, cache: Path) -> Path:
    """Where the keys of a listing's folder are kept; of an archive, by the names in it."""
    names = [] if listing.origin else [item.name for item in listing.items]
    return cache / "keys" / f"{digest(['keys', listing.origin, *names])}.json"


def _items(listing: Listing) -> list[bytes]:
    pairs = zip(listing.items, listing.stamps, strict=True)
    return [bytes.fromhex(digest([item.name, stamp])) for item, stamp in pairs]


def _read(path: Path) -> dict[bytes, bytes]:
    """From a file's name and stamp, hashed, to its mark; empty if there is no sound record."""
    told = read_json(path)
    if told is None or told["format"] != _FORMAT:
        return {}
    pairs = zip(
        as_bytes(unpack(told["items"])), as_bytes(unpack(told["marks"], _MARK)), strict=True
    )
    return dict(pairs)

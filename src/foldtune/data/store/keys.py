"""Keys that are known already: of every file that was decoded before, by its name and its stamp.

    <cache>/keys/<place>.raw    of the files of one folder, or of one archive: the hashes of names
                                and stamps, then the marks (key and file's hash); in front a sign
                                and the hash of all

Beside size, times and inode, which a stamp holds, so that a picture keeps its split and is known
again at any size without being decoded: a stream draws splits at once, and few shots are drawn.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from foldtune.data.identity import MARK, as_bytes, unpack
from foldtune.data.sources.listing import Listing
from foldtune.data.store.decode import Fit
from foldtune.data.store.workers import Job, decode_all
from foldtune.errors import InputError
from foldtune.files import HASH, digest, replacing_on_disk

_SIGN = b"foldtune keys 1\n"


def known_marks(listing: Listing, cache: Path) -> np.ndarray:
    """`Decoded.mark` of each item, (items, 32) uint8; zeros where it was not decoded yet, or
    changed since."""
    marks = np.zeros((len(listing.items), MARK), np.uint8)
    if not listing.stamps:
        return marks
    items, known = _read(_record(listing, cache))
    place = {item: row for row, item in enumerate(as_bytes(items))}
    for row, item in enumerate(as_bytes(_items(listing))) if place else ():
        if item in place:
            marks[row] = known[place[item]]
    return marks


def unknown_rows(marks: np.ndarray) -> np.ndarray:
    """The rows of marks that are not known."""
    return np.flatnonzero(~marks.any(1))


def remember(listing: Listing, cache: Path, marks: np.ndarray) -> list[str]:
    """Keep the marks of items, as `known_marks` gives them. Returns the names of items whose file
    was known under another key: the decoder gives other pixels than before."""
    if not listing.stamps:
        return []
    path, found = _record(listing, cache), marks.any(1)
    items, (old_items, old) = _items(listing), _read(path)
    changed = []
    if len(old):
        key_of = dict(zip(as_bytes(old[:, 16:]), as_bytes(old[:, :16]), strict=True))
        for row in np.flatnonzero(found).tolist():
            key = marks[row, :16].tobytes()
            if key_of.get(marks[row, 16:].tobytes(), key) != key:
                changed.append(listing.items[row].name)
        new = set(as_bytes(items[found]))
        stays = np.array([item not in new for item in as_bytes(old_items)], bool)
        items = np.concatenate([old_items[stays], items[found]])
        marks = np.concatenate([old[stays], marks[found]])
    else:
        items, marks = items[found], marks[found]
    _write(path, items, marks)
    return changed


def find_keys(listing: Listing, cache: Path, workers: int | None = None) -> list[bytes]:
    """The key of each item: known, or found by decoding it once; no pixels are kept.

    Raises InputError naming images that cannot be read.
    """
    marks = known_marks(listing, cache)
    rows = unknown_rows(marks)
    if len(rows):
        cache.mkdir(parents=True, exist_ok=True)
        names = [listing.items[row].name for row in rows]
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            file = Path(folder) / "pixels.raw"
            file.touch()
            # A key needs no size, so the smallest.
            found = decode_all(Job(listing.open, Fit(1, interpolation="nearest"), file), names,
                               workers, None)  # fmt: skip
        if found.broken:
            raise unreadable({names[row]: why for row, why in found.broken.items()}, len(marks))
        marks[rows] = unpack(found.marks, MARK)
        remember(listing, cache, marks)
    return as_bytes(marks[:, :16])


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
    return cache / "keys" / f"{digest(['keys', listing.origin, *names])}.raw"


def _items(listing: Listing) -> np.ndarray:
    """The hash of each item's name and stamp, (items, 16) uint8."""
    found = bytearray()
    for item, stamp in zip(listing.items, listing.stamps, strict=True):
        found += bytes.fromhex(digest([item.name, stamp]))
    return unpack(found)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Names and stamps, hashed, and the marks of their files; empty without a sound record."""
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    start = len(_SIGN) + HASH
    if data[:start] != _SIGN + _hash(memoryview(data)[start:]):
        return unpack(b""), unpack(b"", MARK)
    split = start + (len(data) - start) // (HASH + MARK) * HASH
    return unpack(data[start:split]), unpack(data[split:], MARK)


def _write(path: Path, items: np.ndarray, marks: np.ndarray) -> None:
    """Put a record in its place at once, on disk."""
    body = items.tobytes() + marks.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_on_disk(path) as fresh, fresh.open("wb") as file:
        file.write(_SIGN + _hash(body))
        file.write(body)


def _hash(body: bytes | memoryview) -> bytes:
    return hashlib.blake2b(body, digest_size=HASH).digest()

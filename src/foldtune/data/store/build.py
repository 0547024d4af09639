"""Decode once: pixels on disk, keyed by identity and reused by every later run.

    <cache>/<identity>/          an entry (entries.py)
    <cache>/requests/<key>.json  which identity a listing led to, and which item is which row
    <cache>/keys/...             the keys of files, at whatever size they were decoded (keys.py)

The key of a request is made of what is known without reading an image, so a second run reads none.
Rows are ordered by (label, key): one identity means one array, byte for byte, whatever folder, zip
or table it came from, and at another size the rows are the same pictures. Nothing is ever changed
in place: an entry is built in a temporary folder and renamed when complete, so a kill leaves only
what the next build of the same request goes on with (journal.py), or else clears, and of two
processes that build the same entry one throws its own away.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from foldtune.data.conflicts import to_drop
from foldtune.data.identity import MARK, as_bytes, content_of, data_identity, pack, unpack
from foldtune.data.pictures.intensity import BYTES, Measured, measure
from foldtune.data.sources.listing import Listing
from foldtune.data.store.decode import Fit
from foldtune.data.store.entries import (
    FORMAT,
    permute,
    publish,
    temporary_folder,
)
from foldtune.data.store.journal import Journal, adopt
from foldtune.data.store.keys import remember, unreadable
from foldtune.data.store.requests import DROPPED, stored_key
from foldtune.data.store.stored import Stored, find_stored
from foldtune.data.store.workers import Job, Progress, Rows, decode_all
from foldtune.errors import InputError
from foldtune.files import sync_folder, write_json

_SPARE = 1 << 20  # bytes that the small files beside the pixels may take


def fetch(
    listing: Listing,
    fit: Fit,
    cache: Path,
    *,
    skip_broken: bool = False,
    drop: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Stored:
    """The decoded images of a listing: found in the cache, or decoded into it.

    Images that cannot be decoded are refused, all at once; with `skip_broken` they are left out.
    drop: leave out what `to_drop` tells, as another set of images.
    """
    request = cache / "requests" / f"{stored_key(listing, fit, drop)}.json"
    stored = find_stored(cache, request, fit) if listing.stamps else None
    for _ in range(3):  # an entry may vanish again before it is opened: somebody clears the cache
        if stored is not None:
            break
        try:
            _build(cache, request, listing, fit, skip_broken, drop, workers, progress)
        except OSError as error:
            raise _no_store(cache, error, len(listing.items) * fit.row_bytes) from error
        stored = find_stored(cache, request, fit)
    if stored is None:
        raise InputError(
            f"the decoded images in {cache} vanish or change as soon as they are written; "
            "let no other program clear the folder, or give another (cache)"
        )
    if stored.skipped and not skip_broken:
        raise unreadable(stored.skipped, len(listing.items))
    return stored


def _build(
    cache: Path, request: Path, listing: Listing, fit: Fit, skip_broken: bool, drop: bool,
    workers: int | None, progress: Progress | None,
) -> None:  # fmt: skip
    """Decode a listing into an entry, publish it, and note which request led to it."""
    request.parent.mkdir(parents=True, exist_ok=True)
    names = [item.name for item in listing.items]
    labels = [item.label for item in listing.items]
    key, asked = request.stem, fit.range

    def rescue(ours: Path, theirs: Path) -> None:
        if listing.stamps:  # else nothing tells whether the images are still the same
            adopt(ours / "entry", theirs, key)

    with temporary_folder(cache, rescue) as temporary:
        entry = temporary / "entry"
        entry.mkdir(exist_ok=True)
        journal = Journal(entry, key)
        job, decoded, measured = _decode(cache, listing, fit, journal, workers, progress)
        broken, marks, fit = decoded.broken, unpack(decoded.marks, MARK), job.fit
        keys = ["" if n in broken else key.hex() for n, key in enumerate(as_bytes(marks[:, :16]))]
        skipped = {names[row]: why for row, why in broken.items()}
        if skipped and (not skip_broken or len(broken) == len(names)):
            raise unreadable(skipped, len(names))
        splits = [item.split for item in listing.items]
        dropped = to_drop(keys, labels, splits) if drop else {}
        whole = (row for row in range(len(names)) if row not in broken and row not in dropped)
        rows = sorted(whole, key=lambda row: (labels[row], keys[row], names[row]))
        permute(job.file, [*rows, *broken, *dropped], len(rows), fit.row_bytes)
        about = _describe([keys[r] for r in rows], [labels[r] for r in rows], listing, fit, drop)
        about["hashes"] = [decoded.hashes[r] for r in rows]
        about["prints"] = [decoded.prints[r] for r in rows]
        write_json(entry / "entry.json", about)
        journal.remove()
        publish(entry, cache / about["identity"], temporary)
        found = {
            "identity": about["identity"],
            "rows": rows,
            "files": marks[rows, 16:].tobytes().hex(),
            "skipped": skipped,
            "dropped": {names[row]: why for row, why in dropped.items()},
            "content": content_of(keys, labels, listing.classes),
            "rekeyed": remember(listing, cache, marks),
            "range": None if isinstance(fit.range, str) else fit.range,
            "measured": measured.json() | {"lines": measured.lines(asked)} if measured else {},
        }
        write_json(temporary / "request.json", found)
        os.replace(temporary / "request.json", request)
    sync_folder(request.parent)


def _decode(
    cache: Path, listing: Listing, fit: Fit, journal: Journal, workers: int | None,
    progress: Progress | None,
) -> tuple[Job, Rows, Measured | None]:  # fmt: skip
    """The images of a listing in a file of the journal's folder: the job, with the fit that was
    found, what came of it, and what deep images hold."""
    names = [item.name for item in listing.items]
    _refuse_full(cache, len(names) * fit.row_bytes)
    file = _empty(journal.folder / "pixels.raw", len(names) * fit.row_bytes)
    job = Job(listing.open, fit, file)
    decoded = decode_all(
        job, names, workers, progress, done=journal.read_done(job), note=journal.add
    )
    measured = measure([decoded.spans[row] for row in sorted(decoded.spans)], fit.range)
    if measured is not None:
        # Only now range and depth are known, which no image tells alone.
        fit = replace(fit, range=measured.taken or fit.range, depth=measured.depth)
        _refuse_full(cache, len(names) * fit.row_bytes)
        job = replace(job, fit=fit, file=_empty(file, len(names) * fit.row_bytes))
        decoded = decode_all(job, names, workers, progress)
    return job, decoded, measured


def _refuse_full(cache: Path, pixels: int) -> None:
    if shutil.disk_usage(cache).free < pixels + _SPARE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _empty(file: Path, length: int) -> Path:
    """A file of that length, of which the disk holds nothing yet."""
    file.touch()
    os.truncate(file, length)
    return file


def _describe(
    keys: list[str], labels: list[int], listing: Listing, fit: Fit, drop: bool
) -> dict[str, Any]:
    stated = (*fit.geometry, *fit.other_settings, *(DROPPED if drop else ()))
    return {
        "format": FORMAT,
        "identity": data_identity(keys, labels, listing.classes, stated),
        "geometry": fit.geometry,
        "channels": fit.channels,
        **({} if fit.depth == BYTES else {"depth": fit.depth}),
        "classes": list(listing.classes),
        "labels": labels,
        "keys": pack(keys),
    }


def _no_store(cache: Path, error: OSError, pixels: int) -> InputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(
            f"no space left for the decoded images in {cache}: {pixels + _SPARE:,} bytes needed; "
            "free some, use a smaller size, or give a folder on another disk (cache)"
        )
    return InputError(
        f"cannot keep the decoded images in {cache}: {error.strerror or error}; "
        "give a folder that can be written (cache)"
    )

"""What a listing holds, told from lists and headers alone: nothing is decoded."""

from __future__ import annotations

import glob
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.data.conflicts import (
    alike_names,
    file_keys,
    find_repeats,
    told_labels,
    told_splits,
)
from foldtune.data.facts import listing_warnings
from foldtune.data.pictures.dicom import is_lossless, size_of
from foldtune.data.pictures.foreign import DICOM, kind_of
from foldtune.data.pictures.opening import open_picture
from foldtune.data.sources.listing import Item, Listing
from foldtune.data.sources.spec import Spec
from foldtune.data.sources.trees import IRREGULAR, MISSING
from foldtune.errors import InputError
from foldtune.files import digest

_LOSSY = {"JPEG", "MPO", "AVIF"}
_NOTHING = (MISSING, IRREGULAR)
_SAMPLE = 64  # images of a split whose headers are read


def check(spec: Spec) -> list[dict[str, Any]]:
    """One row per part of a set: what is present, or in `problem` why it cannot be read."""
    from foldtune.data.sources.sets import part_group, read_set, set_parts

    rows = []
    for part in set_parts(spec):
        group = part_group(part)
        row: dict[str, Any] = {"part": part.part or part.set, **({"group": group} if group else {})}
        try:
            rows.append(row | describe(read_set(part)))
        except InputError as error:
            rows.append(row | {"problem": str(error)})
    return rows


def describe(listing: Listing) -> dict[str, Any]:
    """Counts, labels, sizes, formats and the manifest's hash, ready for JSON.

    Sizes and formats are of 64 images a split, evenly spread (`looked_at`, all together). The
    manifest is the list of names, labels and splits: it tells apart the splits of two exporters
    without reading an image.
    """
    counts = Counter(item.split or "no split" for item in listing.items)
    labels = [item.label for item in listing.items]
    sample, broken = _headers(listing)
    missing = sum(stamp == MISSING for stamp in listing.stamps)
    return {
        "images": len(listing.items),
        "looked_at": len(sample) + len(broken),
        "counts": dict(counts),
        "classes": len(listing.classes),
        "labels": [min(labels), max(labels)] if labels else [],
        "missing_files": missing,
        "ledger": listing.ledger.json()
        | _by_stamp(listing)
        | ({"unreadable": broken} if broken else {}),
        "sizes": _sizes([about[0] for about in sample]),
        "formats": dict(Counter(about[1] for about in sample)),
        "lossless": all(about[2] for about in sample),
        "manifest": manifest_hash(listing),
        "warnings": [
            *listing_warnings(listing),
            *_missing(listing),
            *_unreadable(broken, len(sample)),
            *_describe_repeats(listing),
        ],
    }


def refuse_absent(listing: Listing) -> None:
    """Refuse data of which a whole class or split is not there: rows of a table without files."""
    if listing.published:
        return
    for what, of in (("images", lambda item: ""), ("the {} split", lambda item: item.split),
                     ("class {}", lambda item: listing.classes[item.label])):  # fmt: skip
        there: dict[str, bool] = {}
        for item, stamp in zip(listing.items, listing.stamps, strict=False):
            key = of(item) or ""
            there[key] = there.get(key, False) or stamp not in _NOTHING
        for key, any_there in there.items():
            if not any_there:
                raise InputError(
                    f"no file of {what.format(key)} is there: {'; '.join(_missing(listing))}; "
                    "correct the paths, which count from the table's folder"
                )


def _missing(listing: Listing) -> list[str]:
    """What is said of files that are not there, or are none."""
    lines = []
    for stamp, word in ((MISSING, "missing"), (IRREGULAR, "no regular files")):
        names = [i.name for i, s in zip(listing.items, listing.stamps, strict=False) if s == stamp]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            lines.append(
                f"{len(names)} of {len(listing.items)} files are {word}: {', '.join(names[:3])}"
                f"{more}{_beside(listing, names[0])}"
            )
    return lines


def _beside(listing: Listing, name: str) -> str:
    """`(there is oak/im000.png)`, where a file of that stem is."""
    path = Path(listing.origin, name)
    if not listing.origin or not os.path.isdir(path.parent):
        return ""
    near = sorted(p.name for p in path.parent.glob(f"{glob.escape(path.stem)}.*"))
    return f" (there is {(Path(name).parent / near[0]).as_posix()})" if near else ""


def _by_stamp(listing: Listing) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item, stamp in zip(listing.items, listing.stamps, strict=False):
        if stamp in _NOTHING:
            found.setdefault("missing" if stamp == MISSING else "not_regular", []).append(item.name)
    return found


def _describe_repeats(listing: Listing) -> list[str]:
    """What is said of class names that are alike, and of files that are there more than once."""
    names, labels = [i.name for i in listing.items], [i.label for i in listing.items]
    splits = [i.split for i in listing.items]
    found = find_repeats(file_keys(listing), labels, splits)
    return [
        *alike_names(listing.classes),
        *told_labels(found, names, labels, listing.classes),
        *told_splits(found, names, labels, listing.classes, splits),
    ]


def manifest_hash(listing: Listing) -> str:
    """The hex hash of names, labels and splits, in any order, and of the class names."""
    rows = sorted((i.split or "", i.name, i.label) for i in listing.items)
    return digest(
        ["foldtune manifest 1", *listing.classes, *(cell for row in rows for cell in row)]
    )


def _unreadable(broken: Mapping[str, str], sound: int) -> list[str]:
    """What is said of files of the sample that are there and cannot be opened."""
    if not broken:
        return []
    name, why = next(iter(broken.items()))
    looked = len(broken) + sound
    return [
        f"{len(broken)} of {looked} files that were looked at cannot be read, such as {name} "
        f"({why}); decoding tells all"
    ]


def _headers(
    listing: Listing,
) -> tuple[list[tuple[tuple[int, int], str, bool]], dict[str, str]]:
    """Size, format and whether lossless, of a sample; and those that cannot be read, with why."""
    by_split: dict[str | None, list[Item]] = {}
    for item, stamp in zip(listing.items, listing.stamps, strict=True):
        if stamp not in _NOTHING:
            by_split.setdefault(item.split, []).append(item)
    found, broken = [], dict[str, str]()
    for items in by_split.values():
        for item in _spread(items):
            try:
                about = header(listing.open(item.name))
            except Exception as error:  # damaged archives raise nearly every type there is
                broken[item.name] = " ".join(str(error).split())[:80] or type(error).__name__
                continue
            if about is None:
                broken[item.name] = "no header of a picture"
            else:
                found.append(about)
    return found, broken


def _spread(items: Sequence[Item]) -> list[Item]:
    places = np.unique(np.linspace(0, len(items) - 1, _SAMPLE).astype(int))
    return [items[place] for place in places]


def header(data: bytes) -> tuple[tuple[int, int], str, bool] | None:
    """Size, format and whether it keeps pixels as they were, from a file's first bytes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if (kind := kind_of(data)) is not None:
                return size_of(kind, data), kind.name, kind is DICOM and is_lossless(data)
            with open_picture(data) as image:
                form = image.format or "?"
                compressed = image.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
                size = image.size
    except Exception:  # damaged files raise nearly every type there is
        return None
    if form == "WEBP":
        # A lossless picture's chunk is VP8L; in an extended file (VP8X) it follows later.
        lossless = b"VP8L" in data[12:64]
        return size, "WEBP lossless" if lossless else "WEBP lossy", lossless
    return size, form, form not in _LOSSY and not compressed


def _sizes(sizes: Sequence[tuple[int, int]]) -> str:
    """`32x32`, or the range of widths and heights."""
    if not sizes:
        return "-"
    widths, heights = zip(*sizes, strict=True)
    if len(set(sizes)) == 1:
        return f"{widths[0]}x{heights[0]}"
    return f"{min(widths)}-{max(widths)} x {min(heights)}-{max(heights)}"

"""Labelled images that are decoded while they are used: `stream_data`, the twin of `load_data`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foldtune.data.conflicts import check_mode, to_drop
from foldtune.data.facts import data_facts, rekeyed_warnings, tell_conflicts
from foldtune.data.identity import as_bytes, content_of, data_identity
from foldtune.data.images import ImageData
from foldtune.data.pictures.intensity import OWN, Setting, check_setting
from foldtune.data.pictures.opening import MAX_PIXELS
from foldtune.data.pictures.read import RGB
from foldtune.data.sources.find import find_listing, refuse_one_class, short_name
from foldtune.data.sources.ledger import refuse_empty
from foldtune.data.sources.listing import Listing
from foldtune.data.splits import complete_splits
from foldtune.data.store.decode import Fit
from foldtune.data.store.keys import known_marks, remember, unknown_rows
from foldtune.data.store.requests import DROPPED, request_key
from foldtune.data.store.stored import default_cache
from foldtune.data.store.stream import StreamedKeys, StreamedPixels, stream_folder
from foldtune.data.tasks import settled_for, strata_of, task_facts, task_of
from foldtune.errors import InputError
from foldtune.tasks.task import Task


def stream_data(
    spec: str | Path,
    *,
    size: int | tuple[int, int],
    interpolation: str = "bicubic",
    resize: str = "squash",
    seed: int | None = 0,
    conflicts: str = "keep",
    cache: Path | None = None,
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
    range: Setting = OWN,
    channels: int = RGB,
    task: Task | str | None = None,
) -> ImageData:
    """Labelled images that are there at once and decoded as they are asked for, each only once.

    The arguments are those of `load_data`. Splits that are to be drawn follow the pictures, so all
    of these are decoded first, unless their keys are known; then identity, rows and splits are
    those of `load_data`; so it is with conflicts that are not kept. Where splits are given, nothing
    is waited for: rows are in the order of
    the listing and, since nobody has seen all pictures yet, the identity is that of the listing
    (names, labels, and stamps of files, or their checksums in a zip), with `listing:` in front.
    Broken images are refused when they are met.
    """
    check_mode(conflicts)
    fit = Fit(size, resize, interpolation, max_pixels, check_setting(range), channels)
    listing = find_listing(spec)
    known = task_of(listing, task, str(spec))
    if seed is not None:
        refuse_one_class(listing, spec)
        refuse_empty(listing.ledger)
    if not listing.stamps:
        raise InputError(f"{spec} cannot be streamed: nothing tells when its images change")
    home = default_cache() if cache is None else Path(cache).expanduser()
    request = request_key(listing, fit)
    pixels = StreamedPixels(listing, fit, stream_folder(home, request), workers)
    drawn = seed is not None and any(item.split in (None, "train") for item in listing.items)
    drawn = drawn and {item.split for item in listing.items} != {"train", "val", "test"}
    if drawn or conflicts != "keep":
        return _draw(spec, fit, listing, seed, home, pixels, conflicts, known)
    return _keep_order(spec, fit, listing, seed, home, pixels, request, known)


def _keep_order(
    spec: str | Path, fit: Fit, listing: Listing, seed: int | None, cache: Path,
    pixels: StreamedPixels, request: str, task: Task,
) -> ImageData:  # fmt: skip
    """The data whose splits are given: rows and identity are those of the listing."""
    labels = np.array([item.label for item in listing.items], np.int64)
    names = tuple(item.name for item in listing.items)
    splits, rule = complete_splits(
        [item.split for item in listing.items], labels, names, listing.classes, seed,
        groups=listing.groups, published=listing.published,
        strata=strata_of(task, listing.classes, labels, names, listing.groups, seed),
    )  # fmt: skip
    task = settled_for(task, listing.classes, labels, splits)
    facts = data_facts(spec, fit, listing, splits, rule, seed) | task_facts(task)
    if seed is None and not len(unknown_rows(marks := known_marks(listing, cache))):
        # To judge: whether these are the images that a tuning was made with.
        keys = [key.hex() for key in as_bytes(marks[:, :16])]
        facts["content"] = content_of(keys, labels.tolist(), listing.classes)
    return ImageData(
        name=short_name(spec),
        pixels=pixels,  # type: ignore[arg-type]  # an array in all that anybody asks of it
        labels=labels,
        classes=listing.classes,
        names=names,
        splits=splits,
        identity=f"listing:{request}",
        keys=StreamedKeys(pixels),  # type: ignore[arg-type]
        facts=facts,
        task=task,
    )


def _draw(
    spec: str | Path, fit: Fit, listing: Listing, seed: int | None, cache: Path,
    pixels: StreamedPixels, conflicts: str, task: Task,
) -> ImageData:  # fmt: skip
    """The data of which splits are drawn: rows and identity are those of the loaded data."""
    marks, changed = all_marks(listing, cache, pixels)
    labels, names = [item.label for item in listing.items], [item.name for item in listing.items]
    keys = [key.hex() for key in as_bytes(marks[:, :16])]
    given = [item.split for item in listing.items]
    dropped = to_drop(keys, labels, given) if conflicts == "drop" else {}
    kept = [row for row in range(len(marks)) if row not in dropped]
    order = sorted(kept, key=lambda row: (labels[row], keys[row], names[row]))
    own = np.array([labels[row] for row in order], np.int64)
    known = [bytes.fromhex(keys[row]) for row in order]
    groups = [listing.groups[row] for row in order] if listing.groups else []
    splits, rule = complete_splits(
        [given[row] for row in order], own, known, listing.classes, seed,
        groups=groups, published=listing.published,
        strata=strata_of(task, listing.classes, own, known, groups, seed),
    )  # fmt: skip
    task = settled_for(task, listing.classes, own, splits)
    facts = data_facts(spec, fit, listing, splits, rule, seed, conflicts) | task_facts(task)
    facts["content"] = content_of(keys, labels, listing.classes)
    facts["warnings"] += rekeyed_warnings(changed)
    stated = (*fit.geometry, *fit.other_settings, *(DROPPED if conflicts == "drop" else ()))
    data = ImageData(
        name=short_name(spec),
        pixels=pixels.reorder(np.array(order)),  # type: ignore[arg-type]
        labels=own,
        classes=listing.classes,
        names=tuple(names[row] for row in order),
        splits=splits,
        identity=data_identity([keys[row] for row in order], own.tolist(), listing.classes, stated),
        keys=marks[order],
        facts=facts,
        task=task,
    )
    tell_conflicts(data, known, {names[row]: why for row, why in dropped.items()})
    return data


def all_marks(
    listing: Listing, cache: Path, pixels: StreamedPixels
) -> tuple[np.ndarray, Sequence[str]]:
    """The mark of every item, and names of files that were known under another key. What is not
    known is decoded into the stream."""
    marks = known_marks(listing, cache)
    rows = unknown_rows(marks)
    if not len(rows):
        return marks, ()
    pixels.expect(rows)
    marks[rows] = pixels.keys(rows)
    return marks, remember(listing, cache, marks)

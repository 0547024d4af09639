"""From the name of data to labelled images, decoded once and split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foldtune.data.conflicts import check_mode
from foldtune.data.facts import (
    data_facts,
    rekeyed_warnings,
    shared_with_train,
    skipped_by_kind,
    tell_conflicts,
    tell_range,
    warn_of_twins,
)
from foldtune.data.identity import as_bytes
from foldtune.data.images import ImageData
from foldtune.data.pictures.intensity import Setting, as_setting
from foldtune.data.pictures.opening import MAX_PIXELS
from foldtune.data.pictures.read import RGB
from foldtune.data.sources.find import (
    find_listing,
    names_embedded,
    refuse_one_class,
    short_name,
)
from foldtune.data.sources.ledger import refuse_empty
from foldtune.data.sources.listing import Listing
from foldtune.data.splits import complete_splits
from foldtune.data.store.build import fetch
from foldtune.data.store.checked import CheckedPixels, DecodeAgain
from foldtune.data.store.decode import Fit
from foldtune.data.store.stored import Stored, default_cache
from foldtune.data.store.workers import Progress
from foldtune.data.streaming import stream_data
from foldtune.data.tasks import settled_for, strata_of, task_facts, task_of
from foldtune.errors import InputError
from foldtune.tasks.task import Task


def load_data(
    spec: str | Path,
    *,
    size: int | tuple[int, int],
    interpolation: str = "bicubic",
    resize: str | None = None,
    seed: int | None = 0,
    split_seed: int | None = None,
    skip_broken: bool = False,
    conflicts: str = "keep",
    shots: int | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    max_pixels: int | None = None,
    range: Setting | Sequence[str] | None = None,
    stream: bool = False,
    channels: int = RGB,
    task: Task | str | None = None,
) -> ImageData:
    """Load labelled images, decoded once and reused by every later call.

    spec: a folder, .zip, .csv or .parquet (see `read_source` for layouts); or `digits`,
    `shapes/count`, `shapes/position`, `shapes/orientation`, also with `embedded:` in front. A path
    that exists wins over an embedded name. size: pixels a side, or height and width; resize:
    `squash` (usual) or `crop` (see `Fit`). seed, or split_seed: of the splits that are not given
    (rules in splits.py), which follow the pictures, whatever their size, names and format; None
    draws none, for data that is only judged: then all of it is test, of any number of images and
    classes. Embedded images are the same under every seed. shots: images a class to train on, see
    `ImageData.few_shot`. stream: decode them as they are used, see `stream_data`. skip_broken:
    leave unreadable images out, and list them in `facts["skipped"]`, instead of refusing the
    source. conflicts: what becomes of a picture under several labels, and of one in several given
    splits: `keep`, with a warning; `drop` (see `to_drop`), which the identity states; `refuse`.
    workers: processes, 1 for none but this; by default one a core, where there is enough to decode
    to be worth their start. progress: called with the images done and in all, and never when
    everything was decoded before. max_pixels: what a picture may have, lest a few bytes fill the
    memory. range: by what samples of more than 8 bits are read: `own`, the set's range where the
    file's full one is hardly used (`measure`); `percentile`, without the outer 0.5 % each;
    `header`, the full one always; or (low, high). A range is part of the identity. channels: of the
    images in the store, by default RGB; another number is that of their own. task: what labels say
    (`SingleLabel`, `MultiLabel`, `Ordinal`, `Regression`, or such a text); by default what they are
    where that is certain, else one class.

    >>> data = load_data("digits", size=16)
    >>> data.pixels[data.split("train", "val")].shape
    (1440, 16, 16, 3)
    """
    resize, max_pixels, taken = resize or "squash", max_pixels or MAX_PIXELS, as_setting(range)
    seed = seed if seed is None or split_seed is None else split_seed
    if stream:
        found = stream_data(
            spec, size=size, interpolation=interpolation, resize=resize, seed=seed,
            conflicts=conflicts, cache=cache, workers=workers, max_pixels=max_pixels, range=taken,
            channels=channels, task=task,
        )  # fmt: skip
        return found if shots is None else found.few_shot(shots, seed or 0)
    fit = Fit(size, resize, interpolation, max_pixels, taken, channels)
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}; at least one must do the work")
    check_mode(conflicts)
    listing = find_listing(spec)
    known = task_of(listing, task, str(spec))
    if seed is not None:
        refuse_one_class(listing, spec)
        refuse_empty(listing.ledger)
    stored = fetch(
        listing,
        fit,
        default_cache() if cache is None else Path(cache).expanduser(),
        skip_broken=skip_broken,
        drop=conflicts == "drop",
        workers=workers,
        progress=progress,
    )
    found = _assemble(spec, fit, listing, stored, seed, conflicts, skip_broken, known)
    return found if shots is None else found.few_shot(shots, seed or 0)


def _assemble(
    spec: str | Path, fit: Fit, listing: Listing, stored: Stored, seed: int | None, conflicts: str,
    skip_broken: bool, task: Task,
) -> ImageData:  # fmt: skip
    """What is stored, with splits and facts."""
    _refuse_lost_splits(listing, stored)
    if seed is not None and task.classed:
        _refuse_lost_classes(listing, stored)
    items = [listing.items[row] for row in stored.rows]
    keys = as_bytes(stored.keys[:, :16])
    groups = tuple(listing.groups[row] for row in stored.rows) if listing.groups else ()
    splits, rule = complete_splits(
        [item.split for item in items],
        stored.labels,
        keys,
        listing.classes,
        seed,
        groups=groups,
        published=listing.published,
        strata=strata_of(task, listing.classes, stored.labels, keys, groups, seed),
    )
    if seed is not None:
        task = settled_for(task, listing.classes, stored.labels, splits)
    facts = {
        **data_facts(spec, stored.fit, listing, splits, rule, seed, conflicts),
        "shared_with_train": shared_with_train(keys, splits),
        "skipped": dict(stored.skipped),
        "skip_broken": skip_broken,
        "content": stored.content,
        **task_facts(task),
    }
    facts["ledger"] |= skipped_by_kind(stored.skipped)
    tell_range(facts, stored.measured)
    facts["warnings"] += rekeyed_warnings(stored.rekeyed)
    names = tuple(item.name for item in items)
    again = DecodeAgain(spec, stored.fit, names)
    checked = CheckedPixels(stored.pixels, stored.hashes, names, again)
    data = ImageData(
        name=short_name(spec),
        pixels=checked,  # type: ignore[arg-type]  # an array in all that anybody asks of it
        labels=stored.labels,
        classes=listing.classes,
        names=names,
        splits=splits,
        identity=stored.identity,
        keys=stored.keys,
        facts=facts,
        groups=groups,
        task=task,
    )
    tell_conflicts(data, keys, stored.dropped)
    if not names_embedded(spec):  # digits of 8 x 8 pixels look alike, and are as they are
        warn_of_twins(data, stored.prints)
    return data


def _refuse_lost_splits(listing: Listing, stored: Stored) -> None:
    """Refuse that another split stands in for one of which nothing can be read."""
    left = {listing.items[row].split for row in stored.rows}
    for name in sorted({item.split for item in listing.items if item.split} - left):
        raise InputError(
            f"no image of the {name} split can be read; repair its images, or remove the split"
        )


def _refuse_lost_classes(listing: Listing, stored: Stored) -> None:
    if listing.published:
        return
    present = set(stored.labels.tolist())
    lost = [name for label, name in enumerate(listing.classes) if label not in present]
    if lost:
        if stored.dropped:
            raise InputError(
                f"no image of class {', '.join(lost[:5])} is left ({len(lost)} such classes): each "
                "is, pixel for pixel, under another label, too; correct the labels"
            )
        raise InputError(
            f"no image of class {', '.join(lost[:5])} can be read ({len(lost)} such classes); "
            "repair its images, or remove the class"
        )

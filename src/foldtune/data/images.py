"""Labelled images, decoded and split: what everything above the data floor works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.data.conflicts import check_mode
from foldtune.data.facts import (
    data_facts,
    rekeyed,
    shared_with_train,
    tell_conflicts,
    warn_of_twins,
)
from foldtune.data.identity import as_bytes, split_hash
from foldtune.data.shots import draw_shots, refuse_too_few
from foldtune.data.sources.embedded import embedded_listing, embedded_names, is_embedded
from foldtune.data.sources.listing import Listing
from foldtune.data.sources.source import read_source
from foldtune.data.sources.trees import split_zip
from foldtune.data.splits import complete_splits
from foldtune.data.store.build import Stored, default_cache, fetch
from foldtune.data.store.checked import CheckedPixels, DecodeAgain
from foldtune.data.store.decode import Fit
from foldtune.data.store.workers import Progress
from foldtune.errors import InputError, unknown


@dataclass(frozen=True, eq=False)
class ImageData:
    """Decoded images with labels and splits. The identity fixes pixels, labels and row order."""

    name: str
    pixels: np.ndarray = field(repr=False)  # (images, height, width, 3) uint8, read-only
    labels: np.ndarray = field(repr=False)  # (images,) int64
    classes: tuple[str, ...]
    names: tuple[str, ...] = field(repr=False)  # of the items, as their source calls them
    splits: Mapping[str, np.ndarray] = field(repr=False)  # sorted int64 rows, disjoint
    identity: str
    # (images, 32) uint8: the key of each (`image_key`), 16 bytes, and the hash of its file; of a
    # stream, what gives these rows once they are decoded.
    keys: np.ndarray = field(repr=False)
    facts: Mapping[str, Any]  # ready for JSON
    groups: tuple[str, ...] = field(default=(), repr=False)  # of the images, where they have any

    def split(self, *names: str) -> np.ndarray:
        """The sorted rows of one split, or of several together."""
        for name in names:
            if name not in self.splits:
                raise unknown("split", name, self.splits)
        return np.sort(np.concatenate([np.empty(0, np.int64), *(self.splits[n] for n in names)]))

    def few_shot(self, shots: int, seed: int = 0) -> ImageData:
        """The same data with `shots` images a class in train, and at most as many in validation.

        Drawn from the given splits by `seed` and the pictures' keys, as `draw_shots` tells; the
        test split stays whole. Raises InputError where a class has fewer training images.
        """
        splits = dict(self.splits)
        for name in ("train", "val"):
            rows = splits[name]
            keys = as_bytes(self.keys[rows][:, :16])
            if name == "train":
                refuse_too_few(rows, self.labels, keys, self.classes, shots)
            splits[name] = draw_shots(rows, self.labels, keys, self.classes, shots, seed)
        facts = {
            **self.facts,
            "counts": {name: len(rows) for name, rows in splits.items()},
            "shots": shots,
            "split_hash": split_hash(splits),
        }
        return replace(self, splits=splits, facts=facts)


def load_data(
    spec: str | Path,
    *,
    size: int,
    interpolation: str = "bicubic",
    resize: str = "squash",
    seed: int | None = 0,
    skip_broken: bool = False,
    conflicts: str = "keep",
    cache: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """Load labelled images, decoded once and reused by every later call.

    spec: a folder, .zip, .csv or .parquet (see `read_source` for layouts); or `digits`,
    `shapes/count`, `shapes/position`, `shapes/orientation`, also with `embedded:` in front. A path
    that exists wins over an embedded name. size: pixels a side; resize: `squash` or `crop` (see
    `Fit`). seed: of the splits that are not given (rules in splits.py), which follow the pictures,
    whatever their size, names and format; None draws none, for data that is only judged: then all
    of it is test, of any number of images and classes. Embedded images are the same under every
    seed. skip_broken: leave unreadable images out, and list them in `facts["skipped"]`, instead of
    refusing the source. conflicts: what becomes of a picture under several labels, and of one in
    several given splits: `keep`, with a warning; `drop` (see `to_drop`), which the identity states;
    `refuse`. workers: processes, 1 for none but this; by default one a core, where there is enough
    to decode to be worth their start. progress: called with the images done and in all, and never
    when everything was decoded before.

    >>> data = load_data("digits", size=16)  # doctest: +SKIP
    >>> data.pixels[data.split("train", "val")].shape  # doctest: +SKIP
    (1437, 16, 16, 3)
    """
    fit = Fit(size, resize, interpolation)
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}; at least one must do the work")
    check_mode(conflicts)
    listing = find_listing(spec)
    if seed is not None:
        refuse_one_class(listing, spec)
    stored = fetch(
        listing,
        fit,
        default_cache() if cache is None else Path(cache).expanduser(),
        skip_broken=skip_broken,
        drop=conflicts == "drop",
        workers=workers,
        progress=progress,
    )
    return _labelled(spec, fit, listing, stored, seed, conflicts)


def _labelled(
    spec: str | Path, fit: Fit, listing: Listing, stored: Stored, seed: int | None, conflicts: str
) -> ImageData:
    """What is stored, with splits and facts."""
    if seed is not None:
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
    )
    facts = {
        **data_facts(spec, fit, listing, splits, rule, seed, conflicts),
        "shared_with_train": shared_with_train(keys, splits),
        "skipped": dict(stored.skipped),
        "content": stored.content,
    }
    facts["warnings"] += rekeyed(stored.rekeyed)
    names = tuple(item.name for item in items)
    again = DecodeAgain(spec, fit, names)
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
    )
    tell_conflicts(data, keys, stored.dropped)
    if not _embedded(spec):  # digits of 8 x 8 pixels look alike, and are as they are
        warn_of_twins(data, stored.prints)
    return data


def find_listing(spec: str | Path) -> Listing:
    """The listing of a path, a set or embedded data; a path that exists wins."""
    if _embedded(spec):
        return embedded_listing(Path(spec).as_posix())
    try:
        return read_source(spec)
    except InputError as error:
        if Path(spec).expanduser().exists():
            raise
        raise InputError(f"{error}; embedded data: {', '.join(embedded_names())}") from error


def _embedded(spec: str | Path) -> bool:
    return is_embedded(Path(spec).as_posix()) and not Path(spec).exists()


def refuse_one_class(listing: Listing, spec: str | Path) -> None:
    """Refuse to train on one class; images to judge may be of one."""
    if len(listing.classes) < 2:
        raise InputError(
            f"{spec} holds one class only, {listing.classes[0]!r}; a classifier needs at least two "
            "class folders or labels: <class>/image.jpg, or train|val|test/<class>/image.jpg"
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


def short_name(spec: str | Path) -> str:
    """What reports call the data."""
    text = str(spec).removeprefix("embedded:")
    path = Path(spec).expanduser()
    if not path.exists():
        return path.name if split_zip(path) else text
    return path.resolve().name if path.is_dir() else path.stem

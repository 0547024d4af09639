"""Labelled images that are decoded while they are used: `stream_data`, the twin of `load_data`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from foldtune.data.decode import Fit
from foldtune.data.pixels import ImageData, data_facts, find_listing, short_name
from foldtune.data.splits import complete_splits
from foldtune.data.store import default_cache, request_key
from foldtune.data.stream import StreamedPixels, forget_broken, stream_folder
from foldtune.errors import InputError


def stream_data(
    spec: str | Path,
    *,
    size: int,
    interpolation: str = "bicubic",
    resize: str = "squash",
    seed: int = 0,
    cache: Path | None = None,
    workers: int | None = None,
) -> ImageData:
    """Labelled images that are there at once and decoded as they are asked for, each only once.

    The arguments are those of `load_data`. Differs from it: rows are in the order of the listing;
    splits that are not given are drawn by names and not by pixels; and, since nobody has seen all
    pixels yet, the identity is that of the listing (names, labels, and sizes and times of files,
    or their checksums in a zip), with `listing:` in front. Broken images are refused when they are
    met.
    """
    fit = Fit(size, resize, interpolation)
    listing = find_listing(spec)
    if not listing.stamps:
        raise InputError(f"{spec} cannot be streamed: nothing tells when its images change")
    request = request_key(listing, fit)
    folder = stream_folder(default_cache() if cache is None else Path(cache).expanduser(), request)
    forget_broken(folder)
    labels = np.array([item.label for item in listing.items], np.int64)
    names = tuple(item.name for item in listing.items)
    splits, rule = complete_splits(
        [item.split for item in listing.items], labels, names, listing.classes, seed,
        groups=listing.groups, published=listing.published,
    )  # fmt: skip
    facts = data_facts(spec, fit, listing, splits, rule, seed)
    pixels = StreamedPixels(listing, fit, folder, workers)
    return ImageData(
        name=short_name(spec),
        pixels=pixels,  # type: ignore[arg-type]  # an array in all that anybody asks of it
        labels=labels,
        classes=listing.classes,
        names=names,
        splits=splits,
        identity=f"listing:{request}",
        facts=facts,
    )

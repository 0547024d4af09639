"""What is told of data beside its pixels: counts, rules, hashes, and what a reader must know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foldtune.data.conflicts import (
    alike_names,
    find_repeats,
    refuse_conflicts,
    split_of_rows,
    told_labels,
    told_splits,
)
from foldtune.data.identity import split_hash
from foldtune.data.sources.listing import Listing
from foldtune.data.sources.readers import NO_FILE
from foldtune.data.splits import SPLITS
from foldtune.data.store.decode import Fit
from foldtune.data.store.duplicates import near_duplicates

if TYPE_CHECKING:
    from foldtune.data.images import ImageData

_KINDS = {"no such file": "missing", "empty file": "empty_files"}
_PAIRS = 50_000_000  # of a training and a judging image, compared in about 0.3 s


def data_facts(
    spec: str | Path,
    fit: Fit,
    listing: Listing,
    splits: Mapping[str, np.ndarray],
    rule: str,
    seed: int | None,
    conflicts: str = "keep",
) -> dict[str, Any]:
    """What is told of data whether or not its pixels have been seen."""
    return {
        "source": str(spec),
        "size": fit.size,
        "resize": fit.resize,
        "interpolation": fit.interpolation,
        "max_pixels": fit.max_pixels,
        "channels": fit.channels,
        # By what samples of more than 8 bits are read; None: by their file's full range, or none.
        "range": None if isinstance(fit.range, str) else list(fit.range),
        "wide": 0,  # images of more than 8 bits
        "depth": fit.depth,  # of the images in the store
        "counts": {name: len(splits[name]) for name in SPLITS},
        "split_rule": rule,
        "seed": seed,
        "split_hash": split_hash(splits),
        "content": None,  # the pictures with their labels, at whatever size; None: not all seen
        "shared_with_train": {},
        "near_duplicates": {},  # of val and test in train; absent where there are too many pairs
        "skipped": {},
        "skip_broken": False,
        "dropped": {},  # by `conflicts="drop"`: name and reason
        "conflicts": conflicts,
        "repeated": {},  # pictures under several `labels`, and others in several `splits`
        "ignored": dict(listing.ignored),
        "ledger": listing.ledger.json(),  # what was not taken
        "warnings": [*listing_warnings(listing), *alike_names(listing.classes)],
    }


def listing_warnings(listing: Listing) -> list[str]:
    """What the reader of a listing found odd, and what it did not take."""
    taken = Counter(listing.classes[item.label] for item in listing.items)
    return [*listing.warnings, *listing.ledger.lines(taken)]


def skipped_by_kind(skipped: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Names and reasons of what could not be decoded: missing, empty, not regular, unreadable."""
    found: dict[str, dict[str, str]] = {}
    for name, why in skipped.items():
        kind = _KINDS.get(why) or ("not_regular" if why.endswith(NO_FILE) else "unreadable")
        found.setdefault(kind, {})[name] = why
    return found


def tell_range(facts: dict[str, Any], measured: Mapping[str, Any]) -> None:
    """Note how images of more than 8 bits are read, where there are any."""
    if measured:
        facts["wide"] = measured["images"]
        facts["ledger"]["range"] = {k: v for k, v in measured.items() if k != "lines"}
        facts["warnings"] += measured["lines"]


def tell_conflicts(data: ImageData, keys: Sequence[bytes], dropped: Mapping[str, str]) -> None:
    """Note pictures with several labels or in several splits; refuse them where that was asked.

    keys: of each row; dropped: what was left out for this already.
    """
    labels, splits = data.labels.tolist(), split_of_rows(data.splits, len(data.labels))
    found = find_repeats(keys, labels, splits)
    lines = [
        *told_labels(found, data.names, labels, data.classes),
        *told_splits(found, data.names, labels, data.classes, splits),
    ]
    if data.facts["conflicts"] == "refuse":
        refuse_conflicts(lines)
    facts = data.facts
    facts["dropped"].update(dropped)
    facts["repeated"].update(labels=len(found.labels), splits=len(found.splits))
    facts["warnings"].extend(lines)
    if dropped:
        name, why = next(iter(dropped.items()))
        facts["warnings"].append(
            f"{len(dropped)} images are left out (--conflicts drop), such as {name}: {why}"
        )


def warn_of_twins(data: ImageData, prints: np.ndarray) -> None:
    """Note near duplicates between train and what judges, where they are quick to look for."""
    train, facts = data.splits["train"], data.facts
    for name in ("val", "test"):
        if len(train) * len(data.splits[name]) > _PAIRS:
            continue
        pairs = near_duplicates(data.pixels, prints, train, data.splits[name])
        facts["near_duplicates"][name] = len(pairs)
        if pairs:
            row, twin = pairs[0]
            facts["warnings"].append(
                f"{len(pairs)} of {len(data.splits[name])} {name} images are nearly in train, such "
                f"as {data.names[row]} ({data.names[twin]}): {name} accuracy flatters"
                f"{_unlike(data, pairs)}; `foldtune data card` lists them"
            )


def _unlike(data: ImageData, pairs: Sequence[tuple[int, int]]) -> str:
    """Those of near duplicates that have two labels, in words."""
    unlike = [pair for pair in pairs if data.labels[pair[0]] != data.labels[pair[1]]]
    if not unlike:
        return ""
    one, other = ((data.names[row], data.classes[data.labels[row]]) for row in unlike[0])
    return (
        f", and {len(unlike)} have another label there: {one[0]} ({one[1]}) ~ "
        f"{other[0]} ({other[1]})"
    )


def rekeyed_warnings(names: Sequence[str]) -> list[str]:
    """What is said of files that were known under another key."""
    if not names:
        return []
    return [
        f"{len(names)} known files, such as {names[0]}, are decoded to other pixels than before: "
        "another version of an image library? Splits that are drawn may hold other images of these"
    ]


def shared_with_train(keys: Sequence[bytes], splits: Mapping[str, np.ndarray]) -> dict[str, int]:
    """How many images of val and of test are, sample for sample, also in train."""
    train = {keys[row] for row in splits["train"]}
    return {name: sum(keys[row] in train for row in splits[name]) for name in ("val", "test")}

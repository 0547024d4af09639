"""Pictures that are there more than once: under several labels, or in several splits."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from foldtune.data.grouping import Key
from foldtune.data.identity import image_hash
from foldtune.data.sources.listing import Listing
from foldtune.data.sources.trees import IRREGULAR, MISSING
from foldtune.errors import InputError, unknown_name

CONFLICTS = ("keep", "drop", "refuse")
_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,15})?")
_SHOWN = 3  # pictures that a line names
_JUDGES = {"test": 2, "val": 1}  # the split that keeps a picture which is in several
_SEVERAL = "one picture under several labels"
_TRAINED = "the same picture is in {}"

Group = tuple[int, ...]


@dataclass(frozen=True)
class Repeated:
    """Rows that show one picture: labels: under several of them; splits: under one, in several."""

    labels: tuple[Group, ...]
    splits: tuple[Group, ...]


def find_repeats(
    keys: Sequence[Key], labels: Sequence[int], splits: Sequence[str | None]
) -> Repeated:
    """Pictures with several labels, and others in several splits; in the order of the rows.

    keys, labels, splits: of each row; an empty key is no picture.
    """
    first: dict[Key, int] = {}
    more: dict[int, list[int]] = {}  # few: most pictures are there once
    for row, key in enumerate(keys):
        if key and (one := first.setdefault(key, row)) != row:
            more.setdefault(one, [one]).append(row)
    groups = [tuple(more[one]) for one in sorted(more)]
    several = {g for g in groups if len({labels[row] for row in g}) > 1}
    parted = [g for g in groups if g not in several and len({splits[row] for row in g}) > 1]
    return Repeated(tuple(g for g in groups if g in several), tuple(parted))


def to_drop(
    keys: Sequence[Key], labels: Sequence[int], splits: Sequence[str | None]
) -> dict[int, str]:
    """The rows that `drop` leaves out, and why.

    Of a picture with several labels all, since nobody knows which is right. Of one in several
    given splits those that are not in the last of train, val and test, so that what judges stays
    whole.
    """
    found = find_repeats(keys, labels, splits)
    dropped = {row: _SEVERAL for group in found.labels for row in group}
    for group in found.splits:
        judge = max((splits[row] for row in group), key=lambda name: _JUDGES.get(name or "", 0))
        reason = _TRAINED.format(judge)
        dropped |= {row: reason for row in group if splits[row] != judge}
    return dropped


def refuse_conflicts(lines: Sequence[str]) -> None:
    """Refuse data of which these conflicts are known."""
    if lines:
        raise InputError(f"{'; '.join(lines)}; correct the data, or give --conflicts drop or keep")


def check_mode(conflicts: str) -> None:
    """Refuse an unknown way to treat conflicts."""
    if conflicts not in CONFLICTS:
        raise unknown_name("way to treat conflicts", conflicts, CONFLICTS)


def told_labels(
    found: Repeated, names: Sequence[str], labels: Sequence[int], classes: Sequence[str]
) -> list[str]:
    """What is said of pictures with several labels."""
    shown = [_equal(group, names, labels, classes) for group in found.labels[:_SHOWN]]
    if not shown:
        return []
    if len(found.labels) == 1:
        count = len({labels[row] for row in found.labels[0]})
        words = {2: "two", 3: "three"}.get(count, str(count))
        return [f"one image has {words} labels: {shown[0]}"]
    return [f"{len(found.labels)} images have several labels, such as {', '.join(shown)}"]


def told_splits(
    found: Repeated,
    names: Sequence[str],
    labels: Sequence[int],
    classes: Sequence[str],
    splits: Sequence[str | None],
) -> list[str]:
    """What is said of pictures in several splits."""
    lines = []
    for judge, other in (("test", "train"), ("val", "train"), ("test", "val")):
        pairs = [
            tuple(next(row for row in group if splits[row] == name) for name in (judge, other))
            for group in (*found.splits, *found.labels)
            if {judge, other} <= {splits[row] for row in group}
        ]
        if pairs:
            shown = ", ".join(_equal(pair, names, labels, classes) for pair in pairs[:_SHOWN])
            count = "one picture is" if len(pairs) == 1 else f"{len(pairs)} pictures are"
            lines.append(f"{count} in {judge} and in {other}: {shown}")
    return lines


def alike_names(classes: Sequence[str]) -> list[str]:
    """What is said of class names that differ by case, space, form or a number's writing alone."""
    same: dict[str, list[str]] = {}
    for name in classes:
        plain = "".join(unicodedata.normalize("NFKC", name).casefold().split())
        if _NUMBER.fullmatch(plain):
            plain = repr(float(plain))
        same.setdefault(plain, []).append(name)
    return [
        f"classes {', '.join(map(repr, names))} differ by case, space, Unicode form or how a "
        "number is written alone; if they are one class, merge them "
        "(files:map=FILE@..., a line 'class,new class' each)"
        for names in same.values() if len(names) > 1
    ]  # fmt: skip


def file_keys(listing: Listing) -> list[str]:
    """A hash of each item's file where another may be the same, '' elsewhere; nothing is decoded.

    Only files of one size are read, and of a zip those of one checksum.
    """
    alike: dict[str, list[int]] = {}
    for row, stamp in enumerate(listing.stamps):
        if stamp not in (MISSING, IRREGULAR):
            alike.setdefault(_alike(stamp), []).append(row)
    found = [""] * len(listing.items)
    for rows in alike.values():
        for row in rows if len(rows) > 1 else ():
            found[row] = _file_key(listing, listing.items[row].name)
    return found


def _alike(stamp: str) -> str:
    """What equal files have in common of a stamp: see `file_stamp` and `open_zip`."""
    parts = stamp.split(":")
    if len(parts) == 2:
        return stamp
    return parts[0] if len(parts) == 4 else ""


def _file_key(listing: Listing, name: str) -> str:
    try:
        return image_hash(listing.open(name))
    except Exception:  # what cannot be read is told by others
        return ""


def _equal(
    rows: Sequence[int], names: Sequence[str], labels: Sequence[int], classes: Sequence[str]
) -> str:
    """`a.png (oak) = b.png (elm)`"""
    return " = ".join(f"{names[row]} ({classes[labels[row]]})" for row in rows[:_SHOWN])


def split_of_rows(splits: Mapping[str, Iterable[int]], rows: int) -> list[str | None]:
    """The split of each row, from the rows of each split."""
    found: list[str | None] = [None] * rows
    for name, part in splits.items():
        for row in part:
            found[int(row)] = name
    return found

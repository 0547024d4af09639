"""Train, val and test: as given, or stratified and seeded, complete in every case.

Rules (the one that was used is told in words beside the splits):
- train, val and test given: as given.
- train and test given: val is a stratified 20 % of train.
- train and val given: the given val serves as test, and val is a stratified 20 % of train. So the
  images meant for judging are read once, by the winner, and selection has images of its own.
- nothing given, or train alone: stratified 60/20/20.
- anything else (no train; a split for some images only) is refused.
A class with images in val or test but none in train is refused. Published splits of a benchmark are
taken as they are in this respect, and may be a test split alone.
Where images have groups (a patient, a burst), a drawn split never parts one (grouping.py), and
given splits that do are refused. Identical pictures are never parted either, whatever their labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from foldtune.data.grouping import Key, draw_by_groups, refuse_parted
from foldtune.data.strata import Strata
from foldtune.errors import InputError
from foldtune.files import digest

SPLITS = ("train", "val", "test")
GIVEN, WHOLE = "as given", "all images, no split given"  # rules
_ALIASES = {
    **{name: name for name in SPLITS},
    **dict.fromkeys(("training", "train_set", "trainset"), "train"),
    **dict.fromkeys(("valid", "validation", "validate", "dev", "development", "val_set"), "val"),
    **dict.fromkeys(("testing", "test_set", "testset"), "test"),
}
_HOLD_OUT = {"train": 0.8, "val": 0.2}
_THREE_WAY = {"train": 0.6, "val": 0.2, "test": 0.2}


def split_name(text: str) -> str | None:
    """The split that a folder or a cell names ('Valid' is 'val'), or None."""
    return _ALIASES.get(text.strip().casefold())


def complete_splits(
    given: Sequence[str | None],
    labels: np.ndarray,
    keys: Sequence[Key],
    classes: Sequence[str],
    seed: int | None,
    *,
    groups: Sequence[str] = (),
    published: bool = False,
    strata: Strata | None = None,
) -> tuple[dict[str, np.ndarray], str]:
    """Sorted, disjoint rows of train, val and test, and the rule in words.

    given: each row's split or None; labels: (rows,); keys: each row's picture (`image_key`), which
    with the seed alone decides the drawing; groups: of each row, or none. Without a seed nothing is
    drawn: images without a split are test, which has no least number then. strata: what is to be
    spread evenly where that is not classes.
    """
    named = {name for name in given if name is not None}
    if seed is None:
        return _as_they_are(given, bool(named))
    if None in given and named:
        row = list(given).index(None)
        raise InputError(
            f"a split is given for some images only: {len(given) - given.count(None)} of "
            f"{len(given)} have one, image {row} has none; give one for every image or for none"
        )
    rows = {name: np.flatnonzero([g == name for g in given]) for name in SPLITS}
    if published and "train" not in named:
        return rows, "as published, for evaluation only"
    if named - {"train"} and "train" not in named:
        raise InputError(
            f"the splits given are {_join(sorted(named))}, without train; "
            "add a train split, or give none at all and have them drawn"
        )
    draw, how = _drawing(labels, keys, classes, seed, groups)
    if strata is not None:
        draw, how = strata.draw, strata.how
    if named <= {"train"}:
        return draw(np.arange(len(labels)), _THREE_WAY), f"{how} 60/20/20, seed {seed}"
    if not published and strata is None:
        _refuse_untrained(rows, labels, classes)
    elif not published and strata is not None:
        strata.refuse_untrained(rows)
    refuse_parted(rows, groups)
    if named == set(SPLITS):
        return rows, GIVEN
    rule = f"val: {how} 20 % of train, seed {seed}; test: as given"
    if "test" not in named:
        rows["test"] = rows["val"]
        rule = f"test: the given val; val: {how} 20 % of train, seed {seed}"
    return {**rows, **draw(rows["train"], _HOLD_OUT)}, rule


def _as_they_are(given: Sequence[str | None], named: bool) -> tuple[dict[str, np.ndarray], str]:
    rows = {name: np.flatnonzero([(g or "test") == name for g in given]) for name in SPLITS}
    return rows, GIVEN if named else WHOLE


def _drawing(
    labels: np.ndarray,
    keys: Sequence[Key],
    classes: Sequence[str],
    seed: int,
    groups: Sequence[str],
) -> tuple[Callable[[np.ndarray, Mapping[str, float]], dict[str, np.ndarray]], str]:
    """What draws splits from rows by fractions, and its name."""
    if groups:
        return (
            lambda rows, shares: draw_by_groups(rows, labels, keys, groups, classes, shares, seed),
            "by groups, nearly stratified",
        )
    return (
        lambda rows, shares: draw_by_classes(rows, labels, keys, classes, shares, seed),
        "stratified",
    )


def draw_by_classes(
    rows: np.ndarray,
    labels: np.ndarray,
    keys: Sequence[Key],
    classes: Sequence[str],
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, np.ndarray]:
    """Draw each split from every class, in proportion, by largest remainder.

    The pictures of a class are ordered by the hash of (seed, key), so the drawing depends on the
    pictures and the seed alone: not on file names, file order or a generator's version. Identical
    images are one picture; where they have several labels, it is drawn for the rarest. A class of
    two pictures gives one to val, a class of three or more at least one to each split; a class of
    one is refused.
    """
    by_class = _pictures(rows, labels, keys, len(classes))
    single = [classes[c] for c, members in enumerate(by_class) if len(members) == 1]
    if single:
        raise InputError(
            f"too few images to draw {_join(list(fractions))}: one image only in class "
            f"{_join(single)}; every class needs 2 pictures, and 3 where a test split is drawn: "
            "add images, remove the class, or give the splits as folders"
        )
    drawn: dict[str, list[int]] = {name: [] for name in fractions}
    for pictures in by_class:
        ordered = in_order(pictures, seed)
        start = 0
        for name, count in _shares(len(ordered), fractions).items():
            for key in ordered[start : start + count]:
                drawn[name] += pictures[key]
            start += count
    lost = sorted(set(labels[rows].tolist()) - set(labels[drawn["train"]].tolist()))
    if lost:
        raise InputError(
            f"every image of class {_join([classes[label] for label in lost])} is, pixel for "
            "pixel, in another class too, so train would have none; correct the labels"
        )
    empty = [name for name, members in drawn.items() if not members]
    if empty:
        raise InputError(
            f"too few images to draw {_join(list(fractions))}: {_join(empty)} would be empty, "
            "since no class has 3 images; add images, or give the splits as folders"
        )
    return {name: np.sort(np.array(members, dtype=np.int64)) for name, members in drawn.items()}


def in_order(keys: Iterable[Key], seed: int) -> list[Key]:
    """Keys in the one order by which pictures are drawn: for splits, and for few shots."""
    return sorted(keys, key=lambda key: digest([seed, key]))


def _pictures(
    rows: np.ndarray, labels: np.ndarray, keys: Sequence[Key], classes: int
) -> list[dict[Key, list[int]]]:
    """Of each class the rows of its pictures; one of several labels is in the smallest class."""
    counts = np.bincount(labels[rows], minlength=classes)
    same: dict[Key, list[int]] = {}
    for row in rows.tolist():
        same.setdefault(keys[row], []).append(row)
    found: list[dict[Key, list[int]]] = [{} for _ in range(classes)]
    for key, members in same.items():
        home = min(labels[members].tolist(), key=lambda label: (counts[label], label))
        found[home][key] = members
    return found


def _shares(total: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """How many of a class's images each split gets: largest remainder, then at least one each."""
    names = list(fractions)
    exact = {name: total * fractions[name] for name in names}
    counts = {name: int(exact[name] + 1e-9) for name in names}
    by_remainder = sorted(names, key=lambda n: (counts[n] - exact[n], names.index(n)))
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    for name in names[:total]:
        if counts[name] == 0:
            counts[max(names, key=lambda n: counts[n])] -= 1
            counts[name] = 1
    return counts


def _refuse_untrained(
    rows: Mapping[str, np.ndarray], labels: np.ndarray, classes: Sequence[str]
) -> None:
    trained = set(labels[rows["train"]].tolist())
    for name in ("val", "test"):
        missing = sorted(set(labels[rows[name]].tolist()) - trained)
        if missing:
            raise InputError(
                f"no training image of class {_join([classes[c] for c in missing])}, which "
                f"{name} holds; add images to train, or remove the class from {name}"
            )


def _join(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more

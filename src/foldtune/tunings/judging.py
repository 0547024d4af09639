"""Which images a tuning may be judged on: those of its test split, and new ones, none it has seen.

One look-up for all that judges. A picture is known by its key or its file, so neither size, names,
format nor another drawing of splits lets one through that was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foldtune.core.tuningfile import Source, TuningFile
from foldtune.data import ImageData
from foldtune.data.membership import Membership
from foldtune.data.splits import SPLITS, WHOLE
from foldtune.errors import InputError, unknown_name
from foldtune.judging.accuracy import accuracy
from foldtune.judging.calibration import calibration

_SUFFIX = "_including_trained"  # of the names of figures over images that were trained on, too
_UNKNOWN = (
    "it keeps no membership (it was written before foldtune kept one), so whether it was trained "
    "on these images cannot be told"
)


@dataclass(frozen=True)
class Known:
    """What a tuning, or several together, says of the images it knows. membership: None where one
    of them keeps none; header: the first one's; trained_on: the splits that training saw."""

    membership: Membership | None
    header: Mapping[str, Any]
    trained_on: tuple[str, ...]

    @classmethod
    def of(cls, files: Sequence[Source], headers: Sequence[Mapping[str, Any]]) -> Known:
        """What tuning files say, with their headers."""
        splits = {s for h in headers for s in h.get("training", {}).get("train_on", ())}
        trained_on = tuple(name for name in SPLITS if name in splits)
        found = []
        for file, header in zip(files, headers, strict=True):
            pictures = TuningFile.of(file).pictures
            if any(split not in pictures for split in SPLITS):
                return cls(None, headers[0], trained_on)
            said = header.get("training", {}).get("train_on", ())
            own = tuple(split for split in SPLITS if split in said)
            found.append(Membership({n: t.numpy() for n, t in pictures.items()}, own))
        whole = found[0] if len(found) == 1 else Membership.union(found)
        return cls(whole, headers[0], trained_on)

    def pictures(self) -> dict[str, Tensor]:
        """The membership as `core.tuningfile.save` keeps it."""
        parts = self.membership.parts if self.membership is not None else {}
        return {name: torch.from_numpy(part) for name, part in parts.items()}

    def owns(self, data: ImageData) -> bool:
        """Whether these are the images, all of them, that the tuning was made with."""
        told = self.header.get("data", {})
        content = told.get("content")
        same = content is not None and content == data.facts.get("content")
        return self.membership is not None and (same or told.get("identity") == data.identity)

    def is_seen(self, data: ImageData, rows: np.ndarray) -> np.ndarray:
        """Which of these rows training saw; none where that cannot be told."""
        if self.membership is None or not len(rows):
            return np.zeros(len(rows), bool)
        return self.membership.is_seen(data.keys[rows])


@dataclass(frozen=True, eq=False)
class Chosen:
    """The rows to judge. split: what they are; asked: how many there were before those that were
    trained on were left out; trained_on: how many these are; included: whether they are judged all
    the same; notes: what a reader must know, a line each."""

    rows: np.ndarray
    split: str
    asked: int
    trained_on: int
    included: bool = False
    notes: tuple[str, ...] = ()


def choose(
    known: Known, data: ImageData, split: str | None = None, *, included: bool = False
) -> Chosen:
    """The images of a split that training did not see; with `included` those that it saw, too.

    split: by default the tuning's own test images, of data that it was made with, and all images of
    other data; "all"; or train, val, test: of its own data as it was when it was trained, of other
    data as given. Raises InputError where that leaves none.
    """
    own = known.owns(data)
    split = split or ("test" if own else "all")
    rows = asked_rows(known, data, split)
    seen = known.is_seen(data, rows)
    kept = rows if included else rows[~seen]
    if not len(kept):
        raise InputError(
            f"all {len(rows)} images of {data.name} ({split}) were trained on, so they judge "
            "nothing; give others, or judge on them with --include-trained"
        )
    notes = _notes(known, data, rows, seen, split, included)
    return Chosen(kept, split, len(rows), int(seen.sum()), included and bool(seen.any()), notes)


def asked_rows(known: Known, data: ImageData, split: str) -> np.ndarray:
    """The rows of a split, those that were trained on among them."""
    if split not in (*SPLITS, "all"):
        raise unknown_name("split", split, (*SPLITS, "all"))
    everything = data.split(*data.splits)
    if split == "all":
        rows = everything
    elif known.membership is not None and known.owns(data):
        rows = everything[known.membership.within(split, data.keys[everything])]
    elif data.facts.get("split_rule") == WHOLE:
        raise InputError(
            f"{data.name} gives no splits, so it has no {split}; leave --split out to judge all of "
            "it, or put its images below train, val and test"
        )
    else:
        rows = data.split(split)
    if not len(rows):
        raise InputError(f"{data.name} has no images in its split {split}")
    return rows


def validation_rows(known: Known, data: ImageData) -> tuple[np.ndarray, str | None]:
    """Validation images that training did not see, and why there are none."""
    none = np.empty(0, np.int64)
    if "val" in known.trained_on:
        return none, "it was trained on validation, too"
    try:
        rows = asked_rows(known, data, "val")
    except InputError as error:
        return none, str(error)
    if known.membership is None and data.facts.get("split_rule") != "as given":
        return none, _UNKNOWN
    rows = rows[~known.is_seen(data, rows)]
    return rows, None if len(rows) else "it was trained on all validation images"


def figures(logits: Tensor, labels: np.ndarray, chosen: Chosen) -> dict[str, Any]:
    """Accuracy and calibration of the chosen rows, and what these are. logits: (rows, classes);
    labels: (rows,). Names of figures say where images that were trained on are in them."""
    truth = torch.from_numpy(labels)
    metrics = dict(accuracy(logits, truth)) | dict(calibration(logits, truth))
    metrics = honest_names(metrics, chosen)
    about = {"split": chosen.split, "images": len(labels), "trained_on": chosen.trained_on}
    return about | metrics


def honest_names(
    told: Mapping[str, Any], chosen: Chosen, names: Sequence[str] | None = None
) -> dict[str, Any]:
    """The same figures, those called `names` (all by default) under names that say so where images
    that were trained on are in them."""
    if not chosen.included:
        return dict(told)
    return {k + _SUFFIX if names is None or k in names else k: v for k, v in told.items()}


def trained_line(seen: int, asked: int, *, included: bool = False) -> str:
    """What is said of images that were trained on."""
    done = "judged all the same (--include-trained)" if included else "left out"
    return f"{seen} of {asked} were trained on: {done}"


def tested_lines(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is said of the test images of runs that were trained on, a line at most."""
    left = [(row.get("test_trained_on") or 0, row.get("test_images") or 0) for row in rows]
    seen, kept = max(left, default=(0, 0))
    return [f"test images: {trained_line(seen, seen + kept)}"] if seen else []


def _notes(
    known: Known, data: ImageData, rows: np.ndarray, seen: np.ndarray, split: str, included: bool
) -> tuple[str, ...]:
    if known.membership is None:
        return (f"{data.name}: of this tuning, {_UNKNOWN}",)
    notes = []
    if seen.any():
        notes.append(trained_line(int(seen.sum()), len(rows), included=included))
        others = known.membership.by_file_alone(data.keys[rows])
        if others.any():
            notes.append(
                f"{others.sum()} of these are known by their files alone: they are decoded to "
                "other pixels than when it was trained (another version of an image library?)"
            )
    if split != "val" and "val" not in known.trained_on:
        watched = known.membership.within("val", data.keys[rows]) & ~seen
        if watched.any():
            notes.append(f"{watched.sum()} of {len(rows)} were its validation images: judged")
    return tuple(notes)

"""The curve of a training: one entry an epoch, after epoch 0 where the start was judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Required, TypedDict, cast

from foldtune.errors import InputError


class Entry(TypedDict, total=False):
    """One epoch, from 1; epoch 0 is the start. loss: mean over its images; lr: of its last step;
    what begins with `val` is of validation. `evaluate` of `train` may have added further numbers.
    """

    epoch: Required[int]
    loss: float
    lr: float
    seconds: float
    images_per_second: float
    val_accuracy: float
    val_loss: float


def epochs_trained(curve: Iterable[Entry]) -> int:
    """How many whole epochs a curve tells of; epoch 0 is the start, which took no training."""
    return sum(entry["epoch"] > 0 for entry in curve)


def joined_entry(entry: Entry, evaluated: Mapping[str, Any]) -> Entry:
    """The entry with what `evaluate` returned, as plain numbers that JSON keeps exactly."""
    if taken := entry.keys() & evaluated.keys():
        raise InputError(f"evaluate returned {sorted(taken)}, names that the curve itself uses")
    plain = {k: v.item() if hasattr(v, "item") else v for k, v in evaluated.items()}
    return cast(Entry, entry | plain)

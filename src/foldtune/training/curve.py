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


def epoch_line(entry: Entry, epochs: int) -> str:
    """An epoch in a line: its loss, validation where it was watched, and images a second.

    >>> entry = {"epoch": 3, "loss": 0.51, "val_accuracy": 0.875, "images_per_second": 210.4}
    >>> epoch_line(entry, 20)
    'epoch 3 of 20: loss 0.510, validation 87.5 %, 210 images/s'
    """
    if entry["epoch"] == 0:
        return f"start: validation {100 * entry.get('val_accuracy', 0.0):.1f} %"
    said = [f"loss {entry['loss']:.3f}"] if "loss" in entry else []
    if "val_accuracy" in entry:
        said.append(f"validation {100 * entry['val_accuracy']:.1f} %")
    if "images_per_second" in entry:
        said.append(f"{entry['images_per_second']:.0f} images/s")
    return f"epoch {entry['epoch']} of {epochs}: {', '.join(said)}"


def joined_entry(entry: Entry, evaluated: Mapping[str, Any]) -> Entry:
    """The entry with what `evaluate` returned, as plain numbers that JSON keeps exactly."""
    if taken := entry.keys() & evaluated.keys():
        raise InputError(f"evaluate returned {sorted(taken)}, names that the curve itself uses")
    plain = {k: v.item() if hasattr(v, "item") else v for k, v in evaluated.items()}
    return cast(Entry, entry | plain)

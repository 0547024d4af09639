"""The curve of a training: one entry an epoch, after epoch 0 where the start was judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from foldtune.errors import InputError


def epochs_trained(curve: Iterable[Mapping[str, Any]]) -> int:
    """How many whole epochs a curve tells of; epoch 0 is the start, which took no training."""
    return sum(entry["epoch"] > 0 for entry in curve)


def joined_entry(entry: dict, evaluated: dict) -> dict:
    """The entry with what `evaluate` returned, as plain numbers that JSON keeps exactly."""
    if taken := entry.keys() & evaluated.keys():
        raise InputError(f"evaluate returned {sorted(taken)}, names that the curve itself uses")
    plain = {k: v.item() if hasattr(v, "item") else v for k, v in evaluated.items()}
    return entry | plain

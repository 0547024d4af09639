"""Where to write the names beside the points of a scatter chart, so that they do not overlap."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from foldtune.analysis.row import Standing

# The plot the places are worked out for, in pixels; other widths only move points apart or closer.
_WIDTH, _HEIGHT, _LETTER, _LINE = 640.0, 300.0, 6.4, 13.0
_PLACES = (
    *((9, 0, "left"), (-9, 0, "right"), (8, -11, "left"), (8, 12, "left")),
    *((-8, -11, "right"), (-8, 12, "right"), (0, -16, "center"), (0, 17, "center")),
)

Box = tuple[float, float, float, float]


def place_labels(entries: Sequence[Standing]) -> list[dict[str, Any]]:
    """For each leaderboard entry: dx, dy, align, and shown = 0 where no place is free.

    Greedy: the entries earlier in the list choose first. Points and intervals are kept clear.
    """
    across, up = _across(entries), _up(entries)
    taken: list[Box] = []
    for entry, x in zip(entries, across, strict=True):
        y, low, high = (up(entry[key]) for key in ("test_accuracy", "low", "high"))
        taken += [(x - 7, y - 7, x + 7, y + 7), (x - 1, high, x + 1, low)]
    places = []
    for entry, x in zip(entries, across, strict=True):
        place: dict[str, Any] = {"dx": 9, "dy": 0, "align": "left", "shown": 0}
        for dx, dy, align in _PLACES:
            box = _box(x + dx, up(entry["test_accuracy"]) + dy, align, len(entry["label"]))
            inside = box[0] >= 0 and box[2] <= _WIDTH + 20
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                place = {"dx": dx, "dy": dy, "align": align, "shown": 1}
                break
        places.append(place)
    return places


def _across(entries: Sequence[Standing]) -> list[float]:
    """The points' places along the axis of parameters, which is as wide as they reach."""
    powers = [math.log10(1 + (entry["trainable"] or 0)) for entry in entries]
    # Zero parameters stand a little before the smallest count, not four decades before it.
    first = min((power for power in powers if power > 0), default=1.0) - 0.7
    share = _share([max(power, first) for power in powers])
    return [_WIDTH * share(max(power, first)) for power in powers]


def _up(entries: Sequence[Standing]) -> Callable[[Any], float]:
    """The height of an accuracy in the plot, from its upper edge; of a missing one, the middle."""
    values = (value for e in entries for value in (e["test_accuracy"], e["low"], e["high"]))
    share = _share([value for value in values if value is not None] or [0.0])
    return lambda value: _HEIGHT * (1 - (0.5 if value is None else share(value)))


def _share(values: Sequence[float]) -> Callable[[Any], float]:
    low, high = min(values), max(values)
    return lambda value: 0.5 if high == low else 0.05 + 0.9 * (value - low) / (high - low)


def _box(x: float, y: float, align: str, letters: int) -> Box:
    width = letters * _LETTER
    left = {"left": x, "right": x - width, "center": x - width / 2}[align]
    return left, y - _LINE / 2, left + width, y + _LINE / 2


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

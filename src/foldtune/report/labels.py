"""Where to write the names beside the points of a scatter chart, so that they do not overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

# The plot the places are worked out for, in pixels; other widths only move points apart or closer.
_WIDTH, _HEIGHT, _LETTER, _LINE = 640.0, 300.0, 6.4, 13.0
_PLACES = ((9, 0, "left"), (-9, 0, "right"), (0, -14, "center"), (0, 15, "center"))
_DIAGONAL = ((8, -11, "left"), (8, 12, "left"), (-8, -11, "right"), (-8, 12, "right"))

Box = tuple[float, float, float, float]


def place_labels(points: Sequence[tuple[int, float, str]]) -> list[dict[str, Any]]:
    """For each (parameters, accuracy, label): dx, dy, align, and shown = 0 where no place is free.

    Greedy: the points earlier in the list choose first.
    """
    spots = _spots(points)
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in spots]
    places = []
    for (x, y), (_, _, label) in zip(spots, points, strict=True):
        place = {"dx": 9, "dy": 0, "align": "left", "shown": 0}
        for dx, dy, align in (*_PLACES, *_DIAGONAL):
            box = _box(x + dx, y + dy, align, len(label) * _LETTER)
            inside = box[0] >= 0 and box[2] <= _WIDTH + 20
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                place = {"dx": dx, "dy": dy, "align": align, "shown": 1}
                break
        places.append(place)
    return places


def _spots(points: Sequence[tuple[int, float, str]]) -> list[tuple[float, float]]:
    """The points' places in the plot, its axes as wide as the points reach."""
    across = [math.log10(1 + count) for count, _, _ in points]
    up = [accuracy for _, accuracy, _ in points]
    # Zero parameters stand half a decade before the smallest count, not four decades before.
    first = min((value for value in across if value > 0), default=1.0) - 0.7
    across = [max(value, first) for value in across]
    return [
        (_share(x, across) * _WIDTH, (1 - _share(y, up)) * _HEIGHT)
        for x, y in zip(across, up, strict=True)
    ]


def _share(value: float, values: Sequence[float]) -> float:
    low, high = min(values), max(values)
    return 0.5 if high == low else 0.05 + 0.9 * (value - low) / (high - low)


def _box(x: float, y: float, align: str, width: float) -> Box:
    left = {"left": x, "right": x - width, "center": x - width / 2}[align]
    return left, y - _LINE / 2, left + width, y + _LINE / 2


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

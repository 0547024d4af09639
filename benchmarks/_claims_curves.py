"""Study A's claim of many images, judged from curves: small methods beside Full and the probe.

Two kinds: of studies, where every method was searched, and of the table beside plain code
(against_plain.py), where `fit` ran as it comes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import against_plain
import numpy as np
from _claims_kept import Line
from _claims_numbers import APART, Found, board_of

_MANY = 100  # images of a class, from which on they are many
_PROBE, _FULL = APART
_CLASSES = {"flowers12": 12, "photo": 7, "art": 7}


@dataclass(frozen=True)
class Point:
    """One place of a curve. small: accuracy of the small method, or methods, that is judged."""

    images: int
    of_class: float
    board: Mapping[str, float]
    small: float

    def ahead(self, other: str) -> float:
        """Points from another method."""
        return 100 * (self.small - self.board[other])


Curves = Mapping[str, Sequence[Point]]


def crossing(studies: Sequence[Line]) -> Found | None:
    """From studies: judged is the small method that validation chose."""
    curves = defaultdict(list)
    for study in sorted(studies, key=lambda one: one["images"]["train"]):
        board, images = board_of(study), study["images"]["train"]
        small = [e for e in study["board"] if e["label"] in board and e["label"] not in APART]
        if small and set(APART) <= board.keys():
            chosen = max(small, key=lambda entry: entry["val_accuracy"])["label"]
            point = Point(images, images / study["classes"], board, board[chosen])
            curves[study["data"]].append(point)
    return _judged(curves, "the small method that validation chose", "")


def untuned(lines: Sequence[Line]) -> Found | None:
    """From the table beside plain code, of one model: judged is the mean of the small methods."""
    small = [name for name in against_plain.METHODS if name not in APART]
    seen = {tuple(line["cell"][1:3]): line["train"] for line in lines if "train" in line}
    curves = defaultdict(list)
    for (_, name, shots), row in against_plain.by_place(list(lines)).items():
        labels = [*APART, *small]
        seeds = set.intersection(*(set(row[label]) for label in labels))
        if seeds and (name, shots) in seen:
            board = {label: float(np.mean([row[label][s] for s in seeds])) for label in labels}
            images = seen[name, shots]
            mean = float(np.mean([board[label] for label in small]))
            curves[name].append(Point(images, images / _CLASSES[name], board, mean))
    curves = {name: sorted(points, key=lambda p: p.images) for name, points in curves.items()}
    *others, last = small
    return _judged(curves, f"the mean of {', '.join(others)} and {last}", ", as fit comes")


def _judged(curves: Curves, who: str, how: str) -> Found | None:
    many = {n: p for n, p in curves.items() if p and p[-1].of_class >= _MANY}
    ends = [points[-1] for points in (many or curves).values() if points]
    if not ends:
        return None
    labels = sorted({label for points in curves.values() for label in points[-1].board})
    said = [
        f"on {name} ({p[-1].images:,}) {p[-1].ahead(_FULL):+.1f} points from Full, behind it "
        f"{_crossed(p)}, and {p[-1].ahead(_PROBE):+.1f} from the probe"
        for name, p in sorted(curves.items())
    ]
    full, probe = ([end.ahead(other) for end in ends] for other in (_FULL, _PROBE))
    verdict = (
        "for" if min(full) > -1 and min(probe) > 1 else "against" if max(full) < -1 else "open"
    )
    most = max(end.of_class for end in ends)
    rows = [(name, point) for name, points in sorted(curves.items()) for point in points]
    return {
        "claim": f"Small methods stay useful with many images{how}",
        "verdict": verdict if many else "open",
        "table": [
            ["data", "training images", *labels],
            *([name, f"{p.images:,}", *(_percent(p.board.get(label)) for label in labels)]
              for name, p in rows),
        ],
        "points": [
            {"group": name, "label": label, "images": p.images, "accuracy": 100 * value}
            for name, p in rows for label, value in p.board.items() if label in labels
        ],
        "sentence": f"With the most images tried, {who} is {'; '.join(said)} (means over seeds, no "
        f"interval)."
        + _of_many(curves, many, most),
        "change": "more images than these sets have, or a larger backbone.",
    }  # fmt: skip


def _of_many(curves: Curves, many: Curves, most: float) -> str:
    if not many:
        return f" {most:.0f} images of a class are not many: no verdict."
    few = sorted(set(curves) - set(many))
    return f" Judged without {', '.join(few)}, which has no {_MANY} of a class." if few else ""


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _crossed(points: Sequence[Point]) -> str:
    """From how many images on a curve stays below Full's."""
    below = [point.ahead(_FULL) < 0 for point in points]
    if not below[-1]:
        return "at none"
    first = len(below) - next((n for n, one in enumerate(reversed(below)) if not one), len(below))
    return f"from {points[first].images:,} on"

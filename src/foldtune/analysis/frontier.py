"""Accuracy at home against accuracy under shift: Pareto frontiers and curves, not single points.

`reference()` holds the weight-space ensembles that study A published (Mai et al., CVPR 2025: CLIP
ViT-B/16, ImageNet with 100 images a class, against the mean of V2, R, Sketch and A) against its
claim that full fine-tuning with a weight-space ensemble strikes the better balance.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Point:
    """A model: accuracy on its own distribution (`home`) and under shift, in one unit."""

    home: float
    shift: float
    label: str = ""


def frontier(points: Iterable[Point]) -> list[Point]:
    """The points that no other beats in one accuracy without losing in the other, by rising home.

    Of equal points the first given stays.
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (-p.home, -p.shift)):
        if not kept or point.shift > kept[-1].shift:
            kept.append(point)
    return kept[::-1]


def shift_at(points: Iterable[Point], home: float) -> float | None:
    """The frontier's accuracy under shift where its accuracy at home is `home`.

    Straight lines between the frontier's points; left of them the leftmost, which is at least as
    good in both; right of them None: no such model is known.
    """
    edge = frontier(points)
    if not edge or home > edge[-1].home:
        return None
    if home <= edge[0].home:
        return edge[0].shift
    for a, b in pairwise(edge):
        if home <= b.home:
            return a.shift + (home - a.home) / (b.home - a.home) * (b.shift - a.shift)
    raise AssertionError("an edge with a home beyond `home` was found above")


def crossings(a: Sequence[Point], b: Sequence[Point]) -> list[float]:
    """The accuracies at home at which the frontiers of two curves change places."""
    knots = sorted({p.home for curve in (a, b) for p in frontier(curve)})
    both = [(h, shift_at(a, h), shift_at(b, h)) for h in knots]
    leads = [(h, x - y) for h, x, y in both if x is not None and y is not None]
    return [
        h + (k - h) * lead / (lead - after)
        for (h, lead), (k, after) in pairwise(leads)
        if lead * after < 0
    ]


def reference() -> dict[str, Any]:
    """The published points and curves, and what becomes of the claim on their frontiers."""
    curves: dict[str, list[Point]] = {}
    for row in read_published("wise_curves"):
        point = Point(float(row["home"]), float(row["shift"]), f"alpha {row['alpha']}")
        curves.setdefault(row["method"], []).append(point)
    full, lora = curves["full"], curves["lora_32"]
    homes = sorted({p.home for curve in (full, lora) for p in curve})
    return {
        "methods": read_published("robustness"),
        "claim": "full fine-tuning with a weight-space ensemble strikes the better balance",
        "changes_places_at": crossings(full, lora),
        "leads": [
            {
                "home": home,
                "full": shift_at(full, home),
                "lora_32": shift_at(lora, home),
                "better": _better(shift_at(full, home), shift_at(lora, home)),
            }
            for home in homes
        ],
    }


def read_published(name: str) -> list[dict[str, str]]:
    """The rows of a published table that the package holds."""
    text = (files("foldtune.analysis") / "published" / f"{name}.csv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def _better(full: float | None, lora: float | None) -> str:
    if lora is None:
        return "full alone gets there"
    if full is None:
        return "lora_32 alone gets there"
    return "full" if full > lora else "lora_32"

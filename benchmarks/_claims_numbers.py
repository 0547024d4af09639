"""Numbers that the claims are judged by: means with intervals, frontiers, points of figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foldtune.analysis.frontier import Point, shift_at

Found = dict[str, Any]
APART = ("LinearProbe", "Full")  # what the small methods are held against


def board_of(study: Found) -> dict[str, float]:
    """The mean test accuracy of the methods of a study that have one, best first."""
    return {
        e["label"]: e["test_accuracy"] for e in study["board"] if e["test_accuracy"] is not None
    }


def ends_of(run: Found) -> tuple[float, float, float]:
    """Accuracy at home and away of the tuned model, and the best one away on the frontier that is
    as good at home."""
    rows = sorted(run["rows"], key=lambda row: row["alpha"])
    away = [float(np.mean([row[name] for name in run["away"]])) for row in rows]
    points = [
        Point(row["home"], far, str(row["alpha"])) for row, far in zip(rows, away, strict=True)
    ]
    at_home = shift_at(points, rows[-1]["home"])
    return rows[-1]["home"], away[-1], max(away[-1], at_home if at_home is not None else 0.0)


def frontier_of(start: str, label: str, runs: Sequence[Found]) -> list[Found]:
    """Accuracies at home and away by the place between start and tuned, means over seeds."""
    by: dict[float, list[tuple[float, float]]] = defaultdict(list)
    for run in runs:
        for row in run["rows"]:
            away = float(np.mean([row[name] for name in run["away"]]))
            by[row["alpha"]].append((100 * row["home"], 100 * away))
    means = {alpha: np.mean(values, axis=0) for alpha, values in sorted(by.items())}
    return [
        {"group": start, "label": label, "alpha": alpha, "home": float(home), "away": float(away)}
        for alpha, (home, away) in means.items()
    ]


def points_of(of: Mapping[str, Sequence[float]]) -> list[Found]:
    """A point a study, by what it is of."""
    return [{"label": name, "value": float(v)} for name, values in of.items() for v in values]


def mean_over(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean with Student's interval over studies."""
    from scipy.stats import t

    array = np.asarray(values, float)
    mean = float(array.mean())
    half = float(t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5)
    return mean, mean - half, mean + half


def spread(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.1f} ({found[1]:.1f} to {found[2]:.1f})"

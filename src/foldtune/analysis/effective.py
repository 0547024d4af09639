"""Effective robustness: accuracy under shift beyond what accuracy at home predicts."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foldtune.analysis.frontier import Point
from foldtune.errors import InputError


@dataclass(frozen=True)
class Baseline:
    """logit(shift) = slope logit(home) + intercept, fitted to `points` baseline models."""

    slope: float
    intercept: float
    points: int

    def predict(self, home: float) -> float:
        """The accuracy under shift that a model with this accuracy at home, in 0..1, would have."""
        return 1 / (1 + math.exp(-(self.slope * logit(home) + self.intercept)))

    def effective(self, home: float, shift: float) -> float:
        """shift - predicted(home), in 0..1 as both (Taori et al., NeurIPS 2020, eq. 1)."""
        return shift - self.predict(home)


def fit_baseline(points: Sequence[Point]) -> Baseline:
    """The least-squares line through the logits of both accuracies (Taori et al., NeurIPS 2020).

    points: accuracies in 0..1 of models without any robustness intervention. Raises InputError for
    fewer than two different accuracies at home, and for one of 0 or 1, whose logit is infinite.
    """
    if len({p.home for p in points}) < 2:
        raise InputError(
            f"{len(points)} baseline points give no line; at least two models of different "
            "accuracy at home are needed"
        )
    home, shift = (np.array([logit(getattr(p, k)) for p in points]) for k in ("home", "shift"))
    slope, intercept = np.polyfit(home, shift, 1)
    return Baseline(float(slope), float(intercept), len(points))


def logit(share: float) -> float:
    """log(p / (1 - p))."""
    if not 0 < share < 1:
        raise InputError(f"an accuracy of {share:g} has no finite logit; shares between 0 and 1")
    return math.log(share / (1 - share))


def read_baselines(path: Path) -> dict[str, list[Point]]:
    """Baseline points by shift, from a CSV with a column `home` and one column a shift.

    Shares in 0..1, one model a row; an empty cell is a model that was not measured there. Raises
    InputError for a missing file, a missing column, and what is no number.
    """
    if not path.is_file():
        raise InputError(f"no baselines at {path}; give a CSV with columns home and one a shift")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or "home" not in rows[0] or len(rows[0]) < 2:
        raise InputError(f"{path} needs a column home, one column a shift, and a model in each row")
    found: dict[str, list[Point]] = {}
    for line, row in enumerate(rows, 2):
        for name, cell in row.items():
            if name in ("home", "model") or not cell:
                continue
            try:
                point = Point(float(row["home"]), float(cell), row.get("model", ""))
            except (TypeError, ValueError) as error:
                raise InputError(f"{path} line {line}: {error}; shares in 0..1") from error
            found.setdefault(name, []).append(point)
    return found

"""From which probability on a class is to be answered: chosen on validation, judged on test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foldtune.tasks.metrics import Judged

Row = dict[str, Any]
PRECISION = 0.9  # that is wanted, where nothing is said
_POINTS = 60  # of a drawn curve


def curves(judged: Judged, names: Sequence[str]) -> tuple[list[Row], list[Row]]:
    """Points of each name's precision over recall, and of its true over false positives: those of
    scikit-learn, thinned to what a chart can show."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    precision, roc = [], []
    for k in judged.both:
        marks, shares = judged.marks[:, k], judged.shares[:, k]
        p, r, _ = precision_recall_curve(marks, shares)
        false, true, _ = roc_curve(marks, shares)
        precision += [
            {"label": names[k], "recall": float(r[n]), "precision": float(p[n])}
            for n in _thin(len(p))
        ]
        roc += [
            {"label": names[k], "false": float(false[n]), "true": float(true[n])}
            for n in _thin(len(false))
        ]
    return precision, roc


def best_f1(marks: np.ndarray, shares: np.ndarray) -> float | None:
    """The threshold of the best F1, the lowest of equal ones; None where nobody is marked."""
    precision, recall, thresholds = _curve(marks, shares)
    if thresholds is None:
        return None
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[int(f1.argmax())])


def for_precision(marks: np.ndarray, shares: np.ndarray, wanted: float) -> float | None:
    """The threshold of the most recall among those of at least the wanted precision, of equal ones
    the highest, which answers the fewest others; None where there is none."""
    precision, recall, thresholds = _curve(marks, shares)
    if thresholds is None or not (precision >= wanted).any():
        return None
    able = np.flatnonzero(precision >= wanted)
    most = able[recall[able] == recall[able].max()]
    return float(thresholds[most[-1]])


def for_cost(marks: np.ndarray, shares: np.ndarray, missed: float) -> float:
    """The threshold of the least cost, a false answer costing 1 and a missed one `missed`."""
    order = np.argsort(-shares, kind="stable")
    ordered, held = shares[order], marks[order]
    # After the n most likely are answered; ties are answered together.
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    false, hits = np.cumsum(~held)[ends], np.cumsum(held)[ends]
    cost = np.append(false + missed * (held.sum() - hits), missed * held.sum())
    best = int(cost.argmin())
    return float(np.nextafter(1.0, 2.0)) if best == len(ends) else float(ordered[ends[best]])


def at(marks: np.ndarray, shares: np.ndarray, threshold: float | None) -> Row:
    """Precision and recall where what is at least as likely is answered; None of what is 0 / 0."""
    if threshold is None:
        return {"precision": None, "recall": None}
    said = shares >= threshold
    hits = float((said & marks).sum())
    return {
        "precision": hits / said.sum() if said.any() else None,
        "recall": hits / marks.sum() if marks.any() else None,
    }


def table(
    chosen_on: Judged, test: Judged, names: Sequence[str], wanted: float = PRECISION
) -> list[Row]:
    """Of each name the thresholds of the best F1 and of the wanted precision, both chosen on the
    first, with what they reach on the second."""
    rows = []
    for k, name in enumerate(names):
        marks, shares = chosen_on.marks[:, k], chosen_on.shares[:, k]
        row: Row = {"label": name, "images": int(test.marks[:, k].sum())}
        for key, threshold in (
            ("f1", best_f1(marks, shares)),
            ("wanted", for_precision(marks, shares, wanted)),
        ):
            reached = at(test.marks[:, k], test.shares[:, k], threshold)
            row |= {f"{key}_threshold": threshold}
            row |= {f"{key}_{name}": value for name, value in reached.items()}
        rows.append(row)
    return rows


def _curve(
    marks: np.ndarray, shares: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    from sklearn.metrics import precision_recall_curve

    if not marks.any():
        return np.zeros(0), np.zeros(0), None
    precision, recall, thresholds = precision_recall_curve(marks, shares)
    return precision[:-1], recall[:-1], thresholds


def _thin(points: int) -> list[int]:
    found = np.unique(np.linspace(0, points - 1, min(points, _POINTS)).astype(int))
    return [int(n) for n in found]

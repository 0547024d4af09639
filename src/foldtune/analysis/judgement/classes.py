"""Recall and precision of each class or label, with intervals of the one decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foldtune.analysis.bootstrap import Estimate
from foldtune.analysis.decision import decide
from foldtune.analysis.panel import Panel
from foldtune.analysis.spread import wilson
from foldtune.tasks.influence import ratio
from foldtune.tasks.kinds import MultiLabel

Row = dict[str, Any]
_NORMAL = 1.959964  # the 97.5 % point
_WIDE = 0.1  # between the mean over images and that over classes, from which on it is said


def class_names(panel: Panel, told: object) -> list[str]:
    """The names of what is predicted, as a study tells them; numbers where it does not."""
    many = panel.task.probabilities(panel.members[0].logits[:1]).shape[1]
    if isinstance(told, list) and len(told) == many:
        return [str(name) for name in told]
    return [f"class {k}" for k in range(many)]


def per_class(
    panel: Panel, name: str, names: Sequence[str], groups: np.ndarray | None = None
) -> list[Row]:
    """Of each class or label its images, recall and precision over images and seeds; an estimate
    without a value where nobody has it or it is never answered."""
    it = [panel.with_labels(member) for member in panel.runs[name]]
    several = isinstance(panel.task, MultiLabel)
    rows = []
    for k, label in enumerate(names):
        truth = it[0].marks[:, k]
        said = np.stack([one.answers[:, k] > 0 if several else one.answers == k for one in it])
        inside = None if groups is None else groups[truth]
        recall = _share(said[:, truth], inside)
        rows.append(
            {"class": label, "images": int(truth.sum()), "recall": recall,
             "precision": _precision(said & truth, said, groups), "said": float(said.sum(1).mean())}
        )  # fmt: skip
    return rows


def parts(panel: Panel, name: str) -> Row | None:
    """Accuracy over images beside that over classes where the two part by more than ten points,
    which one figure hides; None where they do not."""
    right = panel.right[name].mean(0)
    counts = np.bincount(panel.labels)
    held = counts > 0
    each = np.bincount(panel.labels, right)[held] / counts[held]
    whole, classes = float(right.mean()), float(each.mean())
    if abs(whole - classes) < _WIDE:
        return None
    return {"images": whole, "classes": classes, "least": int(counts[held].min()),
            "most": int(counts.max())}  # fmt: skip


def _share(said: np.ndarray, groups: np.ndarray | None) -> Estimate:
    if _units(said, groups) < 2:
        value = float(said.mean()) if said.size else None
        return {"value": value, "low": None, "high": None}
    found = decide({"": said}, groups)
    return {"value": found.accuracy[0], "low": found.low[0], "high": found.high[0]}


def _units(rows: np.ndarray, groups: np.ndarray | None) -> int:
    """How many independent images there are."""
    return rows.shape[1] if groups is None else len(np.unique(groups))


def _precision(right: np.ndarray, said: np.ndarray, groups: np.ndarray | None) -> Estimate:
    """Of what was said the share that holds: a ratio, so by each image's influence on it."""
    heard = said.sum(1)
    if not heard.all():
        return {"value": None, "low": None, "high": None}
    psi = np.stack([
        hits.sum() / told.sum() + ratio(hits.astype(float), told.astype(float))
        for hits, told in zip(right, said, strict=True)
    ])  # fmt: skip
    if _units(psi, groups) < 2:
        return {"value": float(psi.mean()), "low": None, "high": None}
    found = decide({"": psi}, groups, proportions=False)
    # Where few images are called it, and all of them rightly, the spread alone would be none.
    low, high = wilson(found.accuracy[0], float(heard.mean()), _NORMAL)
    return {
        "value": found.accuracy[0], "low": min(found.low[0], float(low)),
        "high": max(found.high[0], float(high)),
    }  # fmt: skip

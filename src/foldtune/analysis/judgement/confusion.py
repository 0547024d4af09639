"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foldtune.analysis.panel import Panel
from foldtune.tasks.kinds import Ordinal

Row = dict[str, Any]


def confusion(panel: Panel, name: str) -> np.ndarray:
    """(classes, classes): how many images of each class, by row, are called each, by column; the
    mean over the method's seeds."""
    it = [panel.judged(member) for member in panel.runs[name]]
    classes = it[0].shares.shape[1]
    cells = [np.bincount(one.targets * classes + one.answers, minlength=classes**2) for one in it]
    return np.asarray(np.mean(cells, axis=0).reshape(classes, classes))


def shares(counts: np.ndarray) -> np.ndarray:
    """Each row as shares of its images; 0 where a class has none."""
    return np.asarray(counts / np.maximum(counts.sum(1, keepdims=True), 1e-12))


def in_order(counts: np.ndarray, panel: Panel) -> list[int]:
    """The classes in an order in which those that are taken for one another are neighbours; grades
    in their own. Leaves of average linkage, ordered (Bar-Joseph et al., Bioinformatics 2001)."""
    classes = len(counts)
    if isinstance(panel.task, Ordinal) or classes < 3:
        return list(range(classes))
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    mixed = shares(counts)
    apart = 1.0 - (mixed + mixed.T) / 2
    np.fill_diagonal(apart, 0.0)
    tree = linkage(squareform(apart, checks=False), "average", optimal_ordering=True)
    return [int(place) for place in leaves_list(tree)]


def largest(counts: np.ndarray, names: Sequence[str], most: int = 5) -> list[Row]:
    """The confusions that most images suffer, the largest first: truth, said, images and share of
    the true class."""
    off = counts.copy()
    np.fill_diagonal(off, 0.0)
    share = shares(counts)
    found = []
    for place in np.argsort(-off, axis=None, kind="stable")[:most].tolist():
        row, column = divmod(place, len(counts))
        if off[row, column] > 0:
            found.append(
                {"truth": names[row], "said": names[column], "images": float(off[row, column]),
                 "share": float(share[row, column])}
            )  # fmt: skip
    return found

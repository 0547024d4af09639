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
    it = [panel.with_labels(member) for member in panel.runs[name]]
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
    share = shares(counts)
    return [
        {"truth": names[row], "said": names[column], "images": float(counts[row, column]),
         "share": float(share[row, column])}
        for row, column in cells(counts, most)
    ]  # fmt: skip


def cells(counts: np.ndarray, most: int = 5) -> list[tuple[int, int]]:
    """The places of the largest confusions, (true class, called class), the largest first."""
    off = counts.copy()
    np.fill_diagonal(off, 0.0)
    order = np.argsort(-off, axis=None, kind="stable")[:most].tolist()
    places = (divmod(place, len(counts)) for place in order)
    return [(row, column) for row, column in places if off[row, column] > 0]


def examples(panel: Panel, name: str, truth: int, said: int, most: int = 4) -> list[int]:
    """Images of one class that are called another: those that most seeds call so first, of these
    the one that is given the largest probability."""
    it = [panel.with_labels(member) for member in panel.runs[name]]
    seeds = np.sum([one.answers == said for one in it], axis=0)
    sure = np.mean([one.shares[:, said] for one in it], axis=0)
    found = np.flatnonzero((panel.labels == truth) & (seeds > 0))
    order = np.lexsort((-sure[found], -seeds[found]))
    return [int(place) for place in found[order][:most]]

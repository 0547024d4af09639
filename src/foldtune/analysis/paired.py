"""The methods of one study against each other on the same test images.

For each pair the difference of accuracy (mean over seeds), with an interval from resampled images,
and a p-value of exchangeable signs over images (`signs`), corrected over all pairs. Ranks: in each
resample the methods are ranked; what comes out is each method's mean rank with an interval, and how
often it is first. Seeds are held: the spread between seeds is in the leaderboard's intervals.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from foldtune.analysis.bootstrap import LEVEL, estimate, with_whole
from foldtune.analysis.panel import Panel
from foldtune.analysis.signs import holm, sign_flip_p

Row = dict[str, Any]


def differences(panel: Panel, counts: np.ndarray) -> list[Row]:
    """One row a pair: accuracy of a minus that of b; `p` after Holm; `distinguishable`."""
    draws = with_whole(counts)
    accuracy = (panel.share_right @ draws.T) / draws.sum(1)
    pairs = list(combinations(range(len(panel.names)), 2))
    if not pairs:
        return []
    gaps = np.stack([accuracy[i] - accuracy[j] for i, j in pairs])
    raw = np.array([sign_flip_p(_whole_differences(panel, i, j)) for i, j in pairs])
    return [
        {
            "a": panel.names[i],
            "b": panel.names[j],
            "difference": estimate(gap[0], gap[1:]),
            "p": p,
            "distinguishable": p < 1 - LEVEL,
        }
        for (i, j), gap, p in zip(pairs, gaps, holm(raw), strict=True)
    ]


def image_ranks(panel: Panel, counts: np.ndarray) -> list[Row]:
    """Best mean rank first: `rank` with its interval, and `first`, the share of resamples in which
    the method has the highest accuracy (ties shared out)."""
    draws = with_whole(counts)
    accuracy = np.round((panel.share_right @ draws.T) / draws.sum(1), 9)
    # Equal methods share their mean rank; scipy.stats does the same, and takes 1.3 s to import.
    better = (accuracy[None] > accuracy[:, None]).sum(1)
    ranks = better + ((accuracy[None] == accuracy[:, None]).sum(1) + 1) / 2
    top = accuracy[:, 1:] == accuracy[:, 1:].max(0)
    first = (top / top.sum(0)).mean(1)
    rows = [
        {"method": name, "accuracy": float(value[0]), "rank": estimate(rank[0], rank[1:]),
         "first": float(share)}
        for name, value, rank, share in zip(panel.names, accuracy, ranks, first, strict=True)
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (row["rank"]["value"], row["method"]))


# -- private ---------------------------------------------------------------------------------------


def _whole_differences(panel: Panel, i: int, j: int) -> np.ndarray:
    """By image how many more of all pairs of seeds method i gets right than method j."""
    a, b = (panel.right[panel.names[k]] for k in (i, j))
    found: np.ndarray = a.sum(0) * len(b) - b.sum(0) * len(a)
    return found

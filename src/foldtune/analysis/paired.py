"""The methods of one study against each other on the same test images.

For each pair the difference of accuracy (mean over seeds), with an interval from resampled images,
and a two-sided bootstrap p-value, corrected over all pairs by Holm (Scandinavian Journal of
Statistics 1979). Ranks: in each resample the methods are ranked; what comes out is each method's
mean rank with an interval, and how often it is first. Seeds are held: the spread between seeds is
in the leaderboard's intervals.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from foldtune.analysis.bootstrap import LEVEL, estimate, with_whole
from foldtune.analysis.panel import Panel

Row = dict[str, Any]


def differences(panel: Panel, counts: np.ndarray) -> list[Row]:
    """One row a pair: accuracy of a minus that of b; `p` after Holm; `distinguishable`.

    The smallest p there can be is 2 / (draws + 1) before the correction.
    """
    draws = with_whole(counts)
    accuracy = (panel.share_right @ draws.T) / draws.sum(1)
    pairs = list(combinations(range(len(panel.names)), 2))
    if not pairs:
        return []
    gaps = np.stack([accuracy[i] - accuracy[j] for i, j in pairs])
    drawn = gaps[:, 1:]
    beyond = np.minimum((drawn <= 0).sum(1), (drawn >= 0).sum(1))
    raw = np.minimum(1.0, 2 * (beyond + 1) / (drawn.shape[1] + 1))
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
    from scipy.stats import rankdata

    draws = with_whole(counts)
    accuracy = np.round((panel.share_right @ draws.T) / draws.sum(1), 9)
    ranks = rankdata(-accuracy, axis=0)
    top = accuracy[:, 1:] == accuracy[:, 1:].max(0)
    first = (top / top.sum(0)).mean(1)
    rows = [
        {"method": name, "accuracy": float(value[0]), "rank": estimate(rank[0], rank[1:]),
         "first": float(share)}
        for name, value, rank, share in zip(panel.names, accuracy, ranks, first, strict=True)
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (row["rank"]["value"], row["method"]))


def holm(p: np.ndarray) -> list[float]:
    """Holm's corrected p-values: of the sorted, max over earlier ones of (n - i) p_i, at most 1."""
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p)[order] * (len(p) - np.arange(len(p)))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(value) for value in corrected]

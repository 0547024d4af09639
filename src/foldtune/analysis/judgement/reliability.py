"""Whether the probability of each class or label is right: one against the rest.

A confidence that is right over all images may be too high for one class and too low for another
(Kull and others, Beyond temperature scaling, NeurIPS 2019, classwise calibration).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foldtune.analysis.panel import Panel

Row = dict[str, Any]
BINS = 15  # of equal width, as of `judging.calibration`


def by_name(panel: Panel, name: str, names: Sequence[str]) -> list[Row]:
    """Of each class or label the expected calibration error of its probability and what that is
    made of; the largest error first.

    images: that have it; share: of all images; probability: the mean one; ece: over 15 bins of
    equal width, weighted by images, mean over seeds; by_chance: what it would be on average were
    every probability right, since few images leave none at 0; bins: those that hold images, seeds
    together, with their images, mean probability and share.
    """
    it = [panel.with_labels(member) for member in panel.runs[name]]
    rows = []
    for k, label in enumerate(names):
        marks = it[0].marks[:, k]
        each = [_sum_in_bins(one.shares[:, k], marks) for one in it]
        together = np.sum(each, axis=0)
        held = together[:, together[0] > 0]
        rows.append({
            "class": label,
            "images": int(marks.sum()),
            "share": float(marks.mean()),
            "probability": float(np.mean([one.shares[:, k].mean() for one in it])),
            "ece": float(np.mean([_error(one) for one in each])),
            "by_chance": float(np.mean([_by_chance(one) for one in each])),
            "bins": [
                {"images": int(n), "probability": float(p / n), "share": float(right / n)}
                for n, p, right, _ in held.T
            ],
        })  # fmt: skip
    return sorted(rows, key=lambda row: -row["ece"])


def _sum_in_bins(shares: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """(4, bins): images, the sums of their probabilities and marks, and the variance of the latter
    were the probabilities right."""
    # Open to the left, (0, 1/15] first, as in Guo et al. (ICML 2017).
    which = np.clip(np.ceil(shares * BINS).astype(int) - 1, 0, BINS - 1)
    weights = (np.ones(len(shares)), shares, marks.astype(float), shares * (1 - shares))
    return np.stack([np.bincount(which, one, minlength=BINS) for one in weights])


def _error(binned: np.ndarray) -> float:
    images, probability, right, _ = binned
    return float(np.abs(probability - right).sum() / images.sum())


def _by_chance(binned: np.ndarray) -> float:
    """The mean error were each mark drawn by its probability, sums being normal: sqrt(2 / pi) of
    each bin's deviation."""
    images, _, _, variance = binned
    return float(np.sqrt(2 / np.pi * variance).sum() / images.sum())

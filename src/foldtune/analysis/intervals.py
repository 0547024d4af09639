"""Intervals beside the one judgement (decision.py): of a paired gain, and of rows alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foldtune.analysis.bootstrap import LEVEL, Estimate
from foldtune.analysis.decision import PSEUDO
from foldtune.analysis.spread import (
    Array,
    Spread,
    accuracy_bounds,
    binomial_variance,
    borrowing,
    spread_of,
)


def paired_gain(
    better: Array, worse: Array, groups: Array | None = None, *, level: float = LEVEL
) -> Estimate:
    """The mean of better - worse with its interval, over new images and new seeds.

    Each (seeds, images), row s of both from the same seed: such pairs are the replicates. One row
    covers new images alone.
    """
    from scipy.special import stdtrit

    it = spread_of([np.asarray(better, float) - np.asarray(worse, float)], groups)
    images = (it.products[0, 0] + 2 * PSEUDO) / ((it.images - 1) * it.images)
    between, inner = it.between[0] / it.runs[0], it.residual[0] / it.runs[0]
    whole = images + max(between - inner, 0.0)
    doubt = images**2 / (it.units - 1) + between**2 / max(it.freedom[0], 1)
    half = stdtrit(max(whole**2 / doubt, 1.0), (1 + level) / 2) * np.sqrt(whole)
    value = float(it.accuracy[0])
    return {"value": value, "low": value - float(half), "high": value + float(half)}


def row_intervals(
    runs: Sequence[Sequence[float]], images: int, level: float = LEVEL
) -> list[tuple[float, float]]:
    """The intervals of mean accuracies where only each run's accuracy on `images` is known.

    As `decide` gives them, but wider: which images a run is right about is not known, so that the
    images' part of the spread between runs is counted as the seeds'. runs: by method its seeds'.
    """
    accuracy = np.array([np.mean(found) for found in runs])
    between = np.array([np.var(found, ddof=1) if len(found) > 1 else 0.0 for found in runs])
    binomial = binomial_variance(accuracy, images)
    spread = Spread(
        images, images, np.array([len(found) for found in runs]), accuracy,
        np.diag(binomial * (images - 1)), between, np.zeros(len(accuracy)),
    )  # fmt: skip
    weights = borrowing(spread.freedom, accuracy, images)
    low, high = accuracy_bounds(spread, weights, level)
    return list(zip(low.tolist(), high.tolist(), strict=True))

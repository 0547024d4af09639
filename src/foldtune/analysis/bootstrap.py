"""Intervals from resampling: the test images, or the tasks, drawn again with replacement.

Percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13). A draw
is held as counts, how often each image was drawn, so that a statistic that is a sum over images is
one matrix product for all draws and all statistics at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

DRAWS = 500
LEVEL = 0.95
_DIGITS = 7  # what float32 sums over images can vouch for

Estimate = dict[str, Any]


def resamples(
    images: int, draws: int = DRAWS, seed: int = 0, groups: np.ndarray | None = None
) -> np.ndarray:
    """(draws, images) float32: how often each image occurs in each resample of `images` images, or
    of as many groups of them as there are, where images that stand for one come together."""
    rng = np.random.default_rng(seed)
    where = np.arange(images) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(where.max()) + 1 if images else 0
    counts = np.empty((draws, images), np.float32)
    for row in counts:
        row[:] = np.bincount(rng.integers(0, units, units), minlength=units)[where]
    return counts


def estimate(value: float, drawn: np.ndarray) -> Estimate:
    """The value with the percentile interval at 95 % of its resampled values; nan ones left out."""
    value = round(float(value), _DIGITS) + 0.0  # no minus zero
    drawn = np.round(drawn[np.isfinite(drawn)], _DIGITS) + 0.0
    if not np.isfinite(value) or not len(drawn):
        return {"value": value if np.isfinite(value) else None, "low": None, "high": None}
    low, high = np.quantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return {"value": value, "low": float(low), "high": float(high)}


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below; nan where below is 0."""
    safe = np.where(below == 0, np.nan, below)
    found: np.ndarray = above / safe
    return found


def with_whole(counts: np.ndarray) -> np.ndarray:
    """The draws with the data as they are put in front, so that one product gives both."""
    return np.concatenate([np.ones((1, counts.shape[1]), counts.dtype), counts])

"""Sums over images and seeds that a decision rests on, and the interval of an accuracy from them.

The formulae are in `decision`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foldtune.errors import InputError

BORROWED = 2.0  # degrees of freedom that all other methods' seed variance counts for
_LEAST = 0.75  # of p (1 - p) / N: the least image variance of a mean over several seeds

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Spread:
    """Sums that a decision needs. products: (M, M) of centred X X^T; between: variance of a run's
    accuracy over seeds; residual: the part of it that images make; units: independent draws."""

    images: int
    units: int
    runs: Array
    accuracy: Array
    products: Array
    between: Array
    residual: Array
    tails: Array | None = None  # kurtosis of a method's images, 3 where they are normal

    @property
    def variance(self) -> float:
        """Of one image's score, the mean over methods; above 0."""
        return max(float(np.diag(self.products).mean()) / self.images, 1e-12)

    @property
    def freedom(self) -> Array:
        return self.runs - 1


def spread_of(right: Sequence[Array], groups: Array | None = None) -> Spread:
    """The sums of methods, each (seeds, images). Of groups sums stand in the place of images.

    Raises InputError for fewer than two images or groups.
    """
    images = right[0].shape[1]
    sizes, units, sums = np.ones(images), images, [np.asarray(rows, float) for rows in right]
    if groups is not None:
        _, where = np.unique(groups, return_inverse=True)
        units = int(where.max()) + 1
        sizes = np.bincount(where).astype(float)
        sums = [np.stack([np.bincount(where, row, units) for row in rows]) for rows in sums]
    if units < 2:
        raise InputError(f"{images} test images in {units} group tell nothing apart; give more")
    means = np.stack([rows.mean(0) for rows in sums])
    accuracy = means.sum(1) / images
    centred = means - sizes * accuracy[:, None]
    few = units / (units - 1)  # both as if each group were an image: sums over N (N - 1)
    products = centred @ centred.T * ((images - 1) / images * few)
    between, residual = np.zeros(len(sums)), np.zeros(len(sums))
    for m, rows in enumerate(sums):
        if len(rows) > 1:
            each = rows.sum(1) / images
            between[m] = each.var(ddof=1)
            left = rows - sizes * each[:, None]
            left -= left.mean(0)
            residual[m] = (left**2).sum() * few / ((len(rows) - 1) * images**2)
    runs = np.array([len(rows) for rows in sums])
    square = np.maximum((centred**2).mean(1), 1e-100)
    tails = (centred**4).mean(1) / square**2
    return Spread(images, units, runs, accuracy, products, between, residual, tails)


def borrowed_freedom(freedom: Array) -> Array:
    """Degrees of freedom that all other methods lend each, (M,)."""
    found: Array = np.minimum(BORROWED, freedom.sum() - freedom)
    return found


def borrowing(freedom: Array, accuracy: Array, images: int) -> Array:
    """W (M, M): method i's seed variance is the sum over k of W_ik times that of k.

    All other methods together weigh as `BORROWED` degrees of freedom (fewer where they have fewer)
    beside the method's own f_i; of variances that go with p (1 - p).
    """
    others, borrowed = freedom.sum() - freedom, borrowed_freedom(freedom)
    total = np.maximum(freedom + borrowed, 1e-12)
    weights = np.where(others > 0, borrowed / np.maximum(others, 1), 0)[:, None] * freedom[None]
    weights = weights / total[:, None]
    np.fill_diagonal(weights, freedom / total)
    scale = binomial_variance(accuracy, images) * images
    found: Array = weights * scale[:, None] / scale[None]
    return found


def accuracy_bounds(it: Spread, weights: Array, level: float) -> tuple[Array, Array]:
    """Wilson's interval (JASA 1927) with p (1 - p) / V in the place of the images, and t of z."""
    from scipy.special import stdtrit

    binomial, free = binomial_variance(it.accuracy, it.images), it.freedom
    images = np.diag(it.products) / ((it.images - 1) * it.images)
    images = np.maximum(images, binomial * np.where(it.runs > 1, _LEAST, 1.0))
    whole = images + np.maximum(weights @ (it.between - it.residual), 0) / it.runs
    raw = weights @ it.between / it.runs
    held = np.maximum(free, free.sum() / 2) if free.any() else np.ones(len(free))
    freedom = whole**2 / (images**2 / (it.units - 1) + raw**2 / held)
    effective = binomial * it.images / whole
    return wilson(it.accuracy, effective, stdtrit(freedom, (1 + level) / 2))


def score_bounds(it: Spread, weights: Array, level: float, made_up: float) -> tuple[Array, Array]:
    """Student's interval of scores that are no shares of images, cut off at 0 and 1. made_up:
    sum of squares that keeps it above 0."""
    from scipy.special import stdtrit

    free = it.freedom
    images = (np.diag(it.products) + made_up) / ((it.images - 1) * it.images)
    whole = images + np.maximum(weights @ (it.between - it.residual), 0) / it.runs
    raw = weights @ it.between / it.runs
    held = np.maximum(free, free.sum() / 2) if free.any() else np.ones(len(free))
    # A class of few images makes few large influences, and a variance that is known less well.
    tails = np.full(len(free), 3.0) if it.tails is None else np.maximum(it.tails, 3.0)
    freedom = np.maximum(
        whole**2 / (images**2 * (tails - 1) / 2 / (it.units - 1) + raw**2 / held), 1.0
    )
    half = stdtrit(freedom, (1 + level) / 2) * np.sqrt(whole)
    return np.maximum(it.accuracy - half, 0.0), np.minimum(it.accuracy + half, 1.0)


def wilson(share: Any, images: Any, quantile: Any) -> tuple[Any, Any]:
    """The score interval of a proportion: within [0, 1], and not empty at 0 or all right."""
    weight = 1 + quantile**2 / images
    centre = (share + quantile**2 / (2 * images)) / weight
    spread = share * (1 - share) / images + quantile**2 / (4 * images**2)
    half = quantile * np.sqrt(np.maximum(spread, 0)) / weight
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def binomial_variance(accuracy: Array, images: int) -> Array:
    """p (1 - p) / N of accuracies that half an image keeps from 0 and 1."""
    p = (accuracy * images + 0.5) / (images + 1)
    found: Array = p * (1 - p) / images
    return found

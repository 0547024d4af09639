"""What each image adds to a metric that is no mean over images, so that one decision takes it.

A metric T is a smooth function of the images' weights w, which sum to N. psi_i = T + N dT/dw_i at
equal weights (the infinitesimal jackknife, Jaeckel 1972; for AUROC DeLong's placements, Biometrics
1988): their mean is T, and their spread over images is T's own. All are written out, so that a
metric costs a sort and not N of them. Errors are turned and divided by the span, as scores are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from foldtune.tasks.kinds import MultiLabel, Ordinal
from foldtune.tasks.metrics import Judged, metric_of

Array = np.ndarray


def influence(name: str, judged: Judged) -> Array:
    """(images,) float64, whose mean is the metric's score where that is not cut off at 0."""
    metric = metric_of(name, judged.task)
    value, found = metric.value(judged), _INFLUENCE[name](judged)
    if metric.error:
        value, found = 1.0 - value / judged.span, -found / judged.span
    psi: Array = value + (found - found.mean())
    return psi


# -- private: N dT/dw_i, up to a constant ----------------------------------------------------------


def _mean(each: Callable[[Judged], Array]) -> Callable[[Judged], Array]:
    return lambda it: each(it).astype(np.float64)


def _by_class(it: Judged) -> Array:
    """By strata: an image counts against its own class alone."""
    places = it.targets.astype(np.int64)
    right = (it.answers == it.targets).astype(np.float64)
    counts = np.bincount(places)
    shares = np.bincount(places, right) / np.maximum(counts, 1)
    found: Array = len(places) * (right - shares[places]) / counts[places] / (counts > 0).sum()
    return found


def ratio(above: Array, below: Array) -> Array:
    """Of sum(above) / sum(below)."""
    whole = below.sum()
    if whole == 0:
        return np.zeros(len(above))
    found: Array = len(above) * (above - above.sum() / whole * below) / whole
    return found


def _macro_f1(it: Judged) -> Array:
    if isinstance(it.task, MultiLabel):
        truth, said = it.targets > 0, it.answers > 0
        names = np.arange(truth.shape[1])
    else:
        names = np.unique(np.concatenate([it.targets, it.answers]))
        truth, said = it.targets[:, None] == names, it.answers[:, None] == names
    parts = [
        ratio(2.0 * (truth[:, k] & said[:, k]), 1.0 * truth[:, k] + said[:, k])
        for k in range(len(names))
    ]
    found: Array = np.mean(parts, axis=0)
    return found


def _micro_f1(it: Judged) -> Array:
    truth, said = it.targets > 0, it.answers > 0
    return ratio(2.0 * (truth & said).sum(1), 1.0 * truth.sum(1) + said.sum(1))


def _kappa(it: Judged) -> Array:
    """kappa = 1 - O / E: the weights of what was said over those of what chance would say."""
    names, images = it.shares.shape[1], len(it.targets)
    grid = np.arange(names)
    apart = grid[:, None] - grid[None]
    cost = apart**2.0 if isinstance(it.task, Ordinal) else (apart != 0).astype(np.float64)
    truth, said = it.targets.astype(np.int64), it.answers.astype(np.int64)
    rows, columns = (np.bincount(x, minlength=names) / images for x in (truth, said))
    seen, chance = cost[truth, said].mean(), rows @ cost @ columns
    if chance == 0:
        return np.zeros(images)
    by_chance = (cost @ columns)[truth] + (rows @ cost)[said]
    found: Array = -cost[truth, said] / chance + seen * by_chance / chance**2
    return found


def _mean_over_names(one: Callable[[Array, Array], Array]) -> Callable[[Judged], Array]:
    def mean(it: Judged) -> Array:
        found: Array = np.mean([one(it.marks[:, k], it.shares[:, k]) for k in it.both], axis=0)
        return found

    return mean


def _auroc(marks: Array, shares: Array) -> Array:
    """An image's share of the images of the other kind that it is on the right side of."""
    held, images = int(marks.sum()), len(marks)
    below = _share_below(np.sort(shares[~marks]), shares[marks])
    above = 1.0 - _share_below(np.sort(shares[marks]), shares[~marks])
    area = below.mean()
    found = np.empty(images)
    found[marks] = images / held * (below - area)
    found[~marks] = images / (images - held) * (above - area)
    return found


def _share_below(ordered: Array, values: Array) -> Array:
    """The share of `ordered` that is below each value, equal ones by half."""
    left, right = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    found: Array = (left + right) / 2 / len(ordered)
    return found


def _precision(marks: Array, shares: Array) -> Array:
    """AP = sum over thresholds g of d_g / P times TP_g / N_g, images of equal shares together."""
    _, group = np.unique(-shares, return_inverse=True)
    held = np.bincount(group, marks.astype(np.float64))
    seen = np.cumsum(np.bincount(group)).astype(np.float64)
    hits, total = np.cumsum(held), float(marks.sum())
    value = (held * hits / seen).sum() / total
    # Of all thresholds from an image's own on.
    ahead = np.cumsum((held / seen)[::-1])[::-1] / total
    behind = np.cumsum((held * hits / seen**2)[::-1])[::-1] / total
    own = (hits / seen / total - value / total + ahead)[group]
    found: Array = len(marks) * (np.where(marks, own, 0.0) - behind[group])
    return found


def _off(it: Judged) -> Array:
    found: Array = it.answers.astype(np.float64) - it.targets
    return found


def _rmse(it: Judged) -> Array:
    square = _off(it) ** 2
    found: Array = square / max(2 * float(np.sqrt(square.mean())), 1e-300)
    return found


def _r2(it: Judged) -> Array:
    square, truth = _off(it) ** 2, it.targets.astype(np.float64)
    around = (truth - truth.mean()) ** 2
    spread = around.mean()
    found: Array = -square / spread + square.mean() * around / spread**2
    return found


_INFLUENCE: dict[str, Callable[[Judged], Array]] = {
    "accuracy": _mean(lambda it: it.answers == it.targets),
    "balanced_accuracy": _by_class,
    "macro_f1": _macro_f1,
    "micro_f1": _micro_f1,
    "kappa": _kappa,
    "auroc": _mean_over_names(_auroc),
    "map": _mean_over_names(_precision),
    "hamming": _mean(lambda it: (it.answers == it.targets).mean(1)),
    "exact": _mean(lambda it: (it.answers == it.targets).all(1)),
    "mae": _mean(lambda it: np.abs(_off(it))),
    "rmse": _rmse,
    "r2": _r2,
}

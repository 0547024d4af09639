"""How alike methods predict, always beside how alike one method is with other seeds.

For methods a and b with seeds s and t, over test images: agreement = share of p_as = p_bt; equal
mistakes = share of p_as = p_bt != label; given both wrong = equal mistakes / share of both wrong;
Cohen's kappa = (agreement - e) / (1 - e) with e the agreement of independent predictions with the
same class shares (Cohen, Educational and Psychological Measurement 1960). Each is averaged over all
pairs of seeds (numerators and denominators first, then divided); for a = b, the control, over all
pairs of different seeds. Their intervals cover other test images, with the same trained models.

Whether two methods agree less than their own seeds do is judged over new images and new seeds. With
h[i] the agreement of a and b on image i minus the mean of their controls there, its mean has
variance A + u_a / S_a + u_b / S_b: A that of h over images; u_a that over a's seeds s of (agreement
of s with b's seeds) - (with a's other seeds), the part of each seed in the statistic (Hoeffding,
Annals of Mathematical Statistics 1948), without what images make of it and borrowed from other
methods as in `decision`. t by Satterthwaite, at 5 % over the number of pairs (Bonferroni).
"""

from __future__ import annotations

from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np

from foldtune.analysis.bootstrap import LEVEL, estimate, ratio, with_whole
from foldtune.analysis.panel import Panel
from foldtune.analysis.spread import BORROWED, Spread, spread_of

Row = dict[str, Any]
Key = tuple[str, str]  # two methods


def agreement(panel: Panel, counts: np.ndarray, groups: np.ndarray | None = None) -> list[Row]:
    """One row a pair of methods, and one a method with two or more seeds (`control` True).

    A row of two methods has beside its four figures `seeds_agreement`: the mean agreement of the
    two methods with their own other seeds, and `beyond_seeds`: agreement minus that, with an
    interval that covers new images and seeds, all pairs together; None where a method has one
    seed. `differs`: whether that whole interval is below zero. groups: see `decision.decide`.
    """
    draws = with_whole(counts)
    pairs = _pairs(panel)
    if not pairs:
        return []
    same, wrong_same, wrong = _sums(panel, pairs, draws)
    chance = _chance(panel, pairs, draws)
    size = draws.sum(1)
    figures = {
        "agreement": same / size,
        "equal_mistakes": wrong_same / size,
        "given_both_wrong": ratio(wrong_same, wrong),
        "kappa": ratio(same / size - chance, 1 - chance),
    }
    own = {a: figures["agreement"][i] for i, (a, b) in enumerate(pairs) if a == b}
    beyond = _beyond(panel, groups)
    return [
        _row(pair, {k: v[i] for k, v in figures.items()}, own, beyond)
        for i, pair in enumerate(pairs)
    ]


def oracle(panel: Panel, counts: np.ndarray) -> Row:
    """How often at least one is right: of all methods (one seed each), and of seeds of one method.

    For a fair control both are also given for the same number of members: `methods_at` is the
    mean over all sets of that many methods, `seeds` the mean over methods of their own seeds.
    """
    draws = with_whole(counts)
    size = draws.sum(1)
    seeds = min(len(group) for group in panel.runs.values())
    right = np.stack([found[:seeds] for found in panel.right.values()])  # methods seeds images
    methods = len(right)
    told: Row = {
        "methods": methods,
        "all_methods": _mean(right.any(0).mean(0), draws, size),
        "best_method": _mean(panel.share_right[panel.share_right.mean(1).argmax()], draws, size),
        "members": None,
        "methods_at": None,
        "seeds": None,
    }
    if seeds > 1 and methods >= seeds:
        hits = right.sum(0)  # seeds images
        told |= {
            "members": seeds,
            "methods_at": _mean(_any_of(hits, methods, seeds).mean(0), draws, size),
            "seeds": _mean(right.any(1).mean(0), draws, size),
        }
    return told


# -- private ---------------------------------------------------------------------------------------


def _pairs(panel: Panel) -> list[Key]:
    every = combinations_with_replacement(panel.names, 2)
    return [(a, b) for a, b in every if a != b or len(panel.runs[a]) > 1]


def _sums(
    panel: Panel, pairs: list[Key], draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each (pairs, draws): images with equal predictions, equal mistakes, both wrong."""
    looked = np.empty((3, len(pairs), len(panel.labels)), np.float32)
    for i, (a, b) in enumerate(pairs):
        one, other = panel.predictions[a], panel.predictions[b]
        if a == b:
            first, second = np.triu_indices(len(one), 1)
        else:
            first, second = (g.ravel() for g in np.indices((len(one), len(other))))
        equal = one[first] == other[second]
        right = panel.right[a][first]
        looked[0, i] = equal.mean(0)
        looked[1, i] = (equal & ~right).mean(0)
        looked[2, i] = (~right & ~panel.right[b][second]).mean(0)
    found = looked.reshape(-1, looked.shape[-1]) @ draws.T
    same, wrong_same, wrong = found.reshape(3, len(pairs), -1).astype(np.float64)
    return same, wrong_same, wrong


def _beyond(panel: Panel, groups: np.ndarray | None) -> dict[Key, tuple[float, float]]:
    """Of each pair of methods with two or more seeds the value, and the half-width of its interval
    over new images and seeds, all pairs together."""
    from scipy.special import stdtrit

    own = {a: _with_others(found) for a, found in panel.predictions.items() if len(found) > 1}
    if len(own) < 2:
        return {}
    whole, parts = {}, {}
    for a, b in combinations(own, 2):
        equal = panel.predictions[a][:, None] == panel.predictions[b][None]
        together = equal.mean((0, 1)) - (own[a].mean(0) + own[b].mean(0)) / 2
        whole[a, b] = spread_of([together[None]], groups)
        parts[a, b] = spread_of([equal.mean(1) - own[a]], groups)
        parts[b, a] = spread_of([equal.mean(0) - own[b]], groups)
    free = {a: len(found) - 1 for a, found in own.items()}
    mean = {a: np.mean([_spread(p) for (k, _), p in parts.items() if k == a], 0) for a in own}
    found = {}
    for (a, b), it in whole.items():
        images = (it.products[0, 0] + 1) / ((it.images - 1) * it.images)
        variance, doubt = images, images**2 / (it.units - 1)
        for one, other in ((a, b), (b, a)):
            others = {k: free[k] for k in own if k != one}
            lent = sum(others.values())
            borrowed, total = min(BORROWED, lent), free[one] + min(BORROWED, lent)
            pool = sum(f * mean[k] for k, f in others.items()) / lent
            raw, net = (free[one] * _spread(parts[one, other]) + borrowed * pool) / total
            variance += max(net, 0.0) / (free[one] + 1)
            doubt += (raw / (free[one] + 1)) ** 2 / total
        level = 1 - (1 - LEVEL) / (2 * len(whole))
        half = stdtrit(max(variance**2 / doubt, 1.0), level) * np.sqrt(variance)
        found[a, b] = float(it.accuracy[0]), float(half)
    return found


def _with_others(predictions: np.ndarray) -> np.ndarray:
    """(seeds, images): with what share of a method's other seeds each agrees."""
    equal = (predictions[:, None] == predictions[None]).sum(1)
    found: np.ndarray = (equal - 1) / (len(predictions) - 1)
    return found


def _spread(part: Spread) -> np.ndarray:
    """The variance over seeds, whole and without what images make of it."""
    return np.array([part.between[0], part.between[0] - part.residual[0]])


def _chance(panel: Panel, pairs: list[Key], draws: np.ndarray) -> np.ndarray:
    """(pairs, draws): the agreement of independent predictions with the methods' class shares."""
    size = draws.sum(1)
    drawn = np.ascontiguousarray(draws.T)  # as the sparse product wants it: twice as fast
    shares, squares = {}, {}
    for name, found in panel.predictions.items():
        each = [_class_shares(seed, panel.classes, drawn) / size for seed in found]
        shares[name] = np.mean(each, axis=0)  # classes draws
        squares[name] = sum((share * share).sum(0) for share in each)
    rows = []
    for a, b in pairs:
        together = (shares[a] * shares[b]).sum(0)
        if a == b:
            n = len(panel.runs[a])
            together = (n * n * together - squares[a]) / (n * (n - 1))
        rows.append(together)
    return np.stack(rows)


def _class_shares(predictions: np.ndarray, classes: int, drawn: np.ndarray) -> np.ndarray:
    """(classes, draws): how many images of each draw are predicted as each class."""
    from scipy.sparse import csr_matrix

    images = np.arange(len(predictions))
    ones = np.ones(len(predictions), np.float32)
    table = csr_matrix((ones, (predictions, images)), shape=(classes, len(predictions)))
    found: np.ndarray = table @ drawn
    return found


def _row(
    pair: Key,
    figures: dict[str, np.ndarray],
    own: dict[str, np.ndarray],
    beyond: dict[Key, tuple[float, float]],
) -> Row:
    a, b = pair
    row: Row = {"a": a, "b": b, "control": a == b}
    row |= {name: estimate(values[0], values[1:]) for name, values in figures.items()}
    row |= {"seeds_agreement": None, "beyond_seeds": None, "differs": None}
    if pair in beyond:
        control = (own[a] + own[b]) / 2
        value, half = beyond[pair]
        row["seeds_agreement"] = estimate(control[0], control[1:])
        row["beyond_seeds"] = {"value": value, "low": value - half, "high": value + half}
        row["differs"] = value + half < 0
    return row


def _mean(shares: np.ndarray, draws: np.ndarray, size: np.ndarray) -> Row:
    found = (draws @ shares.astype(np.float32)) / size
    return estimate(found[0], found[1:])


def _any_of(hits: np.ndarray, methods: int, members: int) -> np.ndarray:
    """The share of all sets of `members` methods with at least one of the `hits` right ones."""
    from scipy.special import comb

    missed: np.ndarray = comb(methods - np.arange(methods + 1), members) / comb(methods, members)
    right: np.ndarray = (1 - missed)[hits]
    return right

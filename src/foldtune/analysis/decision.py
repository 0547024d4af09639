"""What differs between methods, and how sure: over new test images and new training seeds.

The one judgement behind every sentence, table and badge. Y[m, s, i] says whether seed s of method m
is right about image i; X[m, i] is its mean over the S_m seeds, p_m that of X, f_m = S_m - 1.

Variance of p_i - p_j: A_ij + v_i + v_j.
- Images: A_ij = (sum of squares of the centred X_i - X_j, + 1) / ((N - 1) N). The 1, half a made-up
  image a method, keeps it above 0 where two methods never disagree.
- Seeds: v_i = max(sum over k of W_ik (b_k - r_k), 0) / S_i. b_k: variance over seeds of a run's
  accuracy; r_k: the two-way residual mean square / N, the part of b_k that images make and A
  holds already. W (`borrowing`): two seeds say little of a variance, so all other methods together
  count as two degrees of freedom, scaled by p (1 - p).
- Degrees of freedom by Satterthwaite (Biometrics Bulletin 1946), a method's own variance with at
  least those that others lend it: with two seeds its own single one makes intervals twice too wide.

All pairs are one family: q is the 95 % point of the largest |Z_i - Z_j| / sd, Z normal with these
variances (single-step max-T, Westfall and Young 1993), and two methods differ if and only if the
interval +- t q / z over their difference excludes 0. Chosen by simulation, over which it holds its
5 % and 95 % (benchmarks/judgement.py, docs/analysis.md): resampling images alone, methods' own
variances, a two-way bootstrap and permuted labels do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from foldtune.analysis.bootstrap import LEVEL
from foldtune.analysis.spread import (
    Array,
    Spread,
    accuracy_bounds,
    borrowed_freedom,
    borrowing,
    score_bounds,
    spread_of,
)

PSEUDO = 0.5  # made-up images a method
_LIKE = 2.0  # the same of scores, times their variance: that of images right by half is a quarter
_DRAWS = 4000  # of the largest difference under the hypothesis that none differs
_RARE = 20 / _DRAWS  # a share of draws below which Bonferroni says more

SEEDS, IMAGES, SEARCHES = "images and seeds", "images", "images, seeds and searches"


@dataclass(frozen=True)
class Pair:
    """a's accuracy minus b's. low, high: simultaneous over all pairs; p: corrected for all pairs;
    apart: whether that interval excludes 0; images_share: of the variance; holds_to_seed_sd: the
    standard deviation of a run over seeds up to which `apart` would stay true, were it known.
    """

    a: str
    b: str
    difference: float
    low: float
    high: float
    p: float
    apart: bool
    images_share: float
    holds_to_seed_sd: float
    alone: float  # half-width of the interval of this pair alone, corrected for no other

    @property
    def as_json(self) -> dict[str, Any]:
        """Ready for JSON, the difference as an estimate."""
        found = asdict(self)
        value, low, high = (found.pop(key) for key in ("difference", "low", "high"))
        found.pop("alone")
        return found | {"difference": {"value": value, "low": low, "high": high}}


@dataclass(frozen=True, eq=False)
class Decision:
    """What can be said of several methods on one test split.

    covers: of what a repetition would be new. accuracy, low, high, seed_sd: one a method, shares;
    seed_sd of one run. best, worst: the ranks between which a method lies, 1 + the number of
    methods distinguishably better, and M - the number distinguishably worse. units: images, or
    groups of images that count as one draw.
    """

    names: tuple[str, ...]
    images: int
    units: int
    seeds: tuple[int, ...]
    covers: str
    accuracy: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seed_sd: tuple[float, ...]
    pairs: tuple[Pair, ...]
    best: tuple[int, ...]
    worst: tuple[int, ...]

    def at(self, name: str) -> int:
        return self.names.index(name)

    def may_be_best(self, name: str) -> bool:
        """Nobody is distinguishably better."""
        return self.best[self.at(name)] == 1

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON: what it covers, a row a method, best first, and a row a pair."""
        columns = (self.names, self.accuracy, self.low, self.high, self.seed_sd, self.best,
                   self.worst, self.seeds)  # fmt: skip
        keys = ("method", "accuracy", "low", "high", "seed_sd", "rank_low", "rank_high", "seeds")
        rows = [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
        rows = [row | {"may_be_best": row["rank_low"] == 1} for row in rows]
        return {
            "covers": self.covers, "images": self.images, "independent_images": self.units,
            "methods": sorted(rows, key=lambda row: (-row["accuracy"], row["method"])),
            "pairs": [pair.as_json for pair in self.pairs],
        }  # fmt: skip

    def between(self, a: str, b: str) -> Pair:
        """The pair as a minus b. Raises KeyError for methods that were not judged."""
        for pair in self.pairs:
            if (pair.a, pair.b) == (a, b):
                return pair
            if (pair.a, pair.b) == (b, a):
                turned = {"a": a, "b": b, "difference": -pair.difference,
                          "low": -pair.high, "high": -pair.low}  # fmt: skip
                return Pair(**asdict(pair) | turned)
        raise KeyError((a, b))


def decide(
    right: Mapping[str, Array], groups: Array | None = None, *, level: float = LEVEL,
    replicates: str = "seeds", proportions: bool = True,
    least: float = PSEUDO,
) -> Decision:  # fmt: skip
    """The judgement. right: for each method (seeds, images), right or not, or a share of several
    runs; the same images in order. groups: (images,) labels of images that count as one draw, such
    as near duplicates. proportions: of images that are right or not; else each row is a metric's
    influence (tasks/influence.py), whose mean is its score. replicates: what a method's rows are,
    seeds or whole searches. least: made-up images a method that scores are given at least, 0 of
    errors, which are far from being 0 or 1.
    """
    spread = spread_of(list(right.values()), groups)
    weights = borrowing(spread.freedom, spread.accuracy, spread.images)
    seeds = np.maximum(weights @ (spread.between - spread.residual), 0)  # of one run
    made_up = PSEUDO if proportions else max(_LIKE * spread.variance, least)
    low, high = (
        accuracy_bounds(spread, weights, level) if proportions
        else score_bounds(spread, weights, level, made_up)
    )  # fmt: skip
    names = tuple(right)
    pairs = _pairs(names, spread, weights, level, made_up) if len(names) > 1 else ()
    apart = [(p.a, p.b) if p.difference > 0 else (p.b, p.a) for p in pairs if p.apart]
    over = {"seeds": SEEDS, "searches": SEARCHES}[replicates]
    return Decision(
        names, spread.images, spread.units, tuple(int(s) for s in spread.runs),
        over if spread.freedom.any() else IMAGES, _as_floats(spread.accuracy), _as_floats(low),
        _as_floats(high), _as_floats(np.sqrt(seeds)), pairs,
        tuple(1 + sum(worse == name for _, worse in apart) for name in names),
        tuple(len(names) - sum(better == name for better, _ in apart) for name in names),
    )  # fmt: skip


# -- private ---------------------------------------------------------------------------------------


def _pairs(
    names: Sequence[str], it: Spread, weights: Array, level: float, made_up: float
) -> tuple[Pair, ...]:
    from scipy.special import ndtr, ndtri, stdtr, stdtrit

    i, j = np.triu_indices(len(names), 1)
    each = np.maximum(weights @ (it.between - it.residual), 0) / it.runs
    square = np.diag(it.products)
    images = square[i] + square[j] - 2 * it.products[i, j] + 2 * made_up
    images = images / ((it.images - 1) * it.images)
    whole = images + each[i] + each[j]
    parts = (weights[i] / it.runs[i, None] + weights[j] / it.runs[j, None]) * it.between
    free = it.freedom
    doubt = (parts**2 / np.maximum(np.maximum(free, borrowed_freedom(free)), 1)).sum(1)
    doubt = np.maximum(doubt, parts.sum(1) ** 2 / max(free.sum(), 1))
    freedom = np.maximum(whole**2 / (images**2 / (it.units - 1) + doubt), 1.0)
    gap, sd = it.accuracy[i] - it.accuracy[j], np.sqrt(whole)
    p = np.where(np.abs(gap) < 1e-12, 1.0, 2 * stdtr(freedom, -np.abs(gap) / sd))
    largest = _largest(it, each, i, j, sd, made_up)
    # One pair needs no draws: its one-sided level is known.
    one_sided = ndtr(np.quantile(largest, level)) if len(i) > 1 else (1 + level) / 2
    half = stdtrit(freedom, one_sided) * sd
    apart = np.abs(gap) > half
    if len(i) > 1:
        z = -ndtri(np.maximum(p, 1e-300) / 2)
        share = np.array([(largest >= one).mean() for one in z])
        rare = np.minimum(_RARE, len(i) * p)
        p = np.where(p >= 1, 1.0, np.where(share < _RARE, rare, share))
        p = np.where(apart, np.minimum(p, 1 - level - 0.5 / _DRAWS), p)  # ties of the draws
    room = (gap / stdtrit(1e6, one_sided)) ** 2 - images
    holds = np.sqrt(np.maximum(room, 0) / (1 / it.runs[i] + 1 / it.runs[j]))
    alone = stdtrit(freedom, (1 + level) / 2) * sd
    columns = (gap, gap - half, gap + half, p, apart, images / whole, holds, alone)
    return tuple(
        Pair(names[a], names[b], *values)
        for a, b, *values in zip(i, j, *(column.tolist() for column in columns), strict=True)
    )


def _largest(it: Spread, each: Array, i: Array, j: Array, sd: Array, made_up: float) -> Array:
    """Draws of the largest standardised difference if none differs, (draws,)."""
    methods = len(it.accuracy)
    inner = it.products + made_up * np.eye(methods)
    cover = inner / ((it.images - 1) * it.images) + np.diag(each)
    normal = np.random.default_rng(0).standard_normal((_DRAWS, methods))
    drawn = normal @ np.linalg.cholesky(cover + 1e-14 * np.eye(methods)).T
    found: Array = (np.abs(drawn[:, i] - drawn[:, j]) / sd).max(1)
    return found


def _as_floats(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)

"""Methods over several tasks: ranks, and which differences the tasks can tell from chance.

Ranks: 1 is the highest score of a task; equal scores share their mean rank. The tests follow Demsar
(Journal of Machine Learning Research 2006): Friedman's over all methods, with Iman and Davenport's
F; Nemenyi's critical difference q sqrt(k (k + 1) / (6 n)) for k methods on n tasks; and Wilcoxon's
signed rank test a pair with Holm's correction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from foldtune.analysis.bootstrap import LEVEL, estimate, resamples, with_whole
from foldtune.analysis.tasks.signs import holm, sign_flip_p
from foldtune.errors import InputError

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Scores:
    """values: (methods, tasks), higher is better, none missing; groups: one name a task."""

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    groups: tuple[str, ...]
    values: np.ndarray

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.methods), len(self.tasks)):
            raise InputError(
                f"scores have shape {self.values.shape} for {len(self.methods)} methods and "
                f"{len(self.tasks)} tasks"
            )
        if len(self.groups) != len(self.tasks):
            raise InputError(f"{len(self.tasks)} tasks need as many groups, not {len(self.groups)}")
        if len(self.methods) < 2 or not np.isfinite(self.values).all():
            raise InputError("a ranking needs two or more methods with a score on every task")

    def of_group(self, group: str) -> Scores:
        kept = [i for i, name in enumerate(self.groups) if name == group]
        return Scores(
            self.methods,
            tuple(self.tasks[i] for i in kept),
            (group,) * len(kept),
            self.values[:, kept],
        )

    @property
    def group_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.groups))


def rank(scores: Scores, draws: int = 2000) -> Row:
    """All that can be said of the methods: `overall` and `groups` (see `rank_methods`), `friedman`,
    `nemenyi`, `pairs` (see each function), and `between_groups` (Kendall's tau)."""
    names = scores.group_names
    return {
        "methods": len(scores.methods),
        "tasks": len(scores.tasks),
        "overall": rank_methods(scores, draws),
        "groups": {name: rank_methods(scores.of_group(name), draws) for name in names},
        "friedman": friedman(scores),
        "nemenyi": nemenyi(scores),
        "pairs": wilcoxon_pairs(scores),
        "between_groups": kendall(scores) if len(names) > 1 else [],
    }


def ranks_of(values: np.ndarray) -> np.ndarray:
    """(methods, tasks) of ranks, 1 the best, ties averaged."""
    from scipy.stats import rankdata

    # Published accuracies have two decimals: what rounding noise would part is a tie.
    found: np.ndarray = rankdata(-np.round(values, 9), axis=0)
    return found


def rank_methods(scores: Scores, draws: int = 2000) -> list[Row]:
    """Best mean rank first: mean score, mean rank with an interval over tasks (tasks resampled),
    and `frequency`, on how many tasks the method is at rank 1, 2, ... (ties: at the better one)."""
    from scipy.stats import rankdata

    ranks = ranks_of(scores.values)
    places = rankdata(-np.round(scores.values, 9), axis=0, method="min").astype(int)
    counts = with_whole(resamples(len(scores.tasks), draws))
    drawn = (ranks @ counts.T) / counts.sum(1)
    rows = [
        {
            "method": method,
            "score": float(scores.values[i].mean()),
            "rank": estimate(drawn[i, 0], drawn[i, 1:]),
            "frequency": np.bincount(places[i], minlength=len(ranks) + 1)[1:].tolist(),
        }
        for i, method in enumerate(scores.methods)
    ]
    return sorted(rows, key=lambda row: (row["rank"]["value"], row["method"]))


def friedman(scores: Scores) -> Row | None:
    """Whether the methods differ at all. statistic: Friedman's chi squared with ties corrected
    (JASA 1937); f: Iman and Davenport's (Communications in Statistics 1980), which is less
    cautious. None with fewer than three methods or two tasks."""
    from scipy.stats import f as f_distribution
    from scipy.stats import friedmanchisquare

    k, n = scores.values.shape
    if k < 3 or n < 2:
        return None
    chi, p = friedmanchisquare(*np.round(scores.values, 9))
    left = n * (k - 1) - chi
    f = math.inf if left <= 0 else (n - 1) * chi / left
    f_p = float(f_distribution.sf(f, k - 1, (k - 1) * (n - 1)))
    return {"statistic": float(chi), "p": float(p), "f": None if math.isinf(f) else float(f),
            "f_p": f_p, "differ": f_p < 1 - LEVEL}  # fmt: skip


def nemenyi(scores: Scores) -> Row:
    """The critical difference of mean ranks, and what a diagram of it draws.

    `cliques`: the maximal runs of methods in the order of mean rank whose ends are closer than the
    critical difference: not distinguishable among themselves. `critical_difference` is None where
    the number of tasks is one.
    """
    from scipy.stats import studentized_range

    k, n = scores.values.shape
    q = float(studentized_range.ppf(LEVEL, k, math.inf)) / math.sqrt(2)
    critical = q * math.sqrt(k * (k + 1) / (6 * n)) if n > 1 else None
    means = ranks_of(scores.values).mean(1)
    order = np.argsort(means, kind="stable")
    placed = [{"method": scores.methods[i], "rank": float(means[i])} for i in order]
    return {
        "critical_difference": critical,
        "q": q,
        "level": LEVEL,
        "ranks": placed,
        "cliques": _cliques(means[order], [p["method"] for p in placed], critical or math.inf),
    }


def wilcoxon_pairs(scores: Scores) -> list[Row]:
    """One row a pair: the median difference over tasks, on how many tasks a is better and b, `p` of
    Wilcoxon's signed rank test (Biometrics Bulletin 1945), exact, after Holm, and
    `distinguishable`."""
    pairs = list(combinations(range(len(scores.methods)), 2))
    gaps = [np.round(scores.values[i] - scores.values[j], 9) for i, j in pairs]
    corrected = holm(np.array([_signed_rank(gap) for gap in gaps]))
    return [
        {
            "a": scores.methods[i],
            "b": scores.methods[j],
            "median_difference": float(np.median(gap)),
            "wins": int((gap > 0).sum()),
            "losses": int((gap < 0).sum()),
            "p": p,
            "distinguishable": p < 1 - LEVEL,
        }
        for (i, j), gap, p in zip(pairs, gaps, corrected, strict=True)
    ]


def kendall(scores: Scores) -> list[Row]:
    """How alike the order of methods by mean rank is in each pair of groups: Kendall's tau-b
    (Biometrika 1938), from -1 to 1, and the p-value of no association."""
    from scipy.stats import kendalltau

    order = {g: ranks_of(scores.of_group(g).values).mean(1) for g in scores.group_names}
    rows = []
    for a, b in combinations(order, 2):
        found = kendalltau(order[a], order[b])
        tau = float(found.statistic)
        rows.append({"a": a, "b": b, "tau": tau if math.isfinite(tau) else None,
                     "p": float(found.pvalue) if math.isfinite(tau) else None})  # fmt: skip
    return rows


# -- private ---------------------------------------------------------------------------------------


def _signed_rank(gap: np.ndarray) -> float:
    """Exact given the ties; zero differences are dropped, as Wilcoxon did. SciPy's test falls back
    on the normal approximation where there are ties, which is far off at 18 of 18."""
    from scipy.stats import rankdata

    gap = gap[gap != 0]
    doubled = np.round(2 * rankdata(np.abs(gap))) * np.sign(gap)  # whole numbers, ties or not
    return sign_flip_p(doubled)


def _cliques(means: Sequence[float], names: Sequence[str], critical: float) -> list[list[str]]:
    found: list[list[str]] = []
    last = -1
    for start in range(len(names)):
        end = max(i for i in range(start, len(names)) if means[i] - means[start] < critical)
        if end > start and end > last:
            found.append(list(names[start : end + 1]))
            last = end
    return found

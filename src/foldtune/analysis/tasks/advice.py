"""Which methods to try first on new data, from what happened on other tasks.

Evidence is a list of cases: tasks on which many methods were tried, each with one number that can
be known of new data without tuning anything, the accuracy of a linear probe on frozen features,
corrected for chance. Cases are weighted by the inverse square of the distance in that number
(Shepard, Proceedings of the ACM national conference 1968), to which the sampling variance of the
new data's number is added; a method's expected shortfall is the weighted mean of how many points
it was below the best method. The first suggestion has the least; each further one is that which
most lowers the expected shortfall of the best of the set. How sure that is: the chance that a
method comes within a point of the best, logistic in its expected shortfall, fitted to the published
tasks, each left out of its own evidence. How good both are: `advice_check`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from foldtune.analysis.tasks.reference import best_settings, probe_quality, vtab
from foldtune.errors import InputError, some

# Keeps a case of the very same number from taking all the weight.
_FLOOR = 1e-6
NEAR = 1.0  # points below the best up to which a method is as good as it for our purpose
_LEAST = 0.3  # points: keeps the logarithm of a shortfall of 0 finite

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A task with known results. quality: probe accuracy above chance, 0 to 1; shortfall: by
    method, points below the best; settings: by method, what validation chose; source: whose."""

    name: str
    quality: float
    shortfall: Mapping[str, float]
    settings: Mapping[str, Mapping[str, Any]]
    source: str = "published"


def published_cases() -> list[Case]:
    """The 19 tasks of VTAB-1K. Shortfalls are those of the mean of the last and the best epoch's
    accuracies: two noisy views of one run, less noisy together."""
    last, best = vtab("last"), vtab("best")
    shortfall = shortfalls((last.values + best.values) / 2)
    settings = best_settings()
    return [
        Case(
            task,
            probe_quality()[i],
            dict(zip(last.methods, shortfall[:, i].tolist(), strict=True)),
            {m: settings[task, m] for m in last.methods},
        )
        for i, task in enumerate(last.tasks)
    ]


def shortfalls(values: np.ndarray) -> np.ndarray:
    """(methods, tasks): how far each score is below the task's best."""
    found: np.ndarray = values.max(0) - values
    return found


def weigh(qualities: np.ndarray, quality: float, variance: float = 0.0) -> np.ndarray:
    """One weight a case, summing to 1: 1 / ((quality - its quality)^2 + variance)."""
    weights = 1 / ((qualities - quality) ** 2 + variance + _FLOOR)
    found: np.ndarray = weights / weights.sum()
    return found


def choose(costs: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """(targets, size): for each row of weights the methods of a greedily grown set.

    costs: (methods, cases); weights: (targets, cases). A set's cost on a case is its best
    member's; each step adds the method with the least weighted mean of that (ties: the lower own
    mean, then the earlier method).
    """
    own = weights @ costs.T  # targets methods
    reached = np.full((len(weights), costs.shape[1]), np.inf)
    taken = np.zeros(own.shape, bool)
    picks = np.empty((len(weights), size), int)
    for step in range(size):
        together = np.minimum(reached[:, None], costs[None])  # targets methods cases
        cost = np.einsum("tmc,tc->tm", together, weights) + 1e-9 * own
        cost[taken] = np.inf
        picks[:, step] = cost.argmin(1)
        rows = np.arange(len(weights))
        taken[rows, picks[:, step]] = True
        reached = together[rows, picks[:, step]]
    return picks


def suggest(
    cases: Sequence[Case],
    quality: float,
    *,
    variance: float = 0.0,
    methods: Sequence[str] | None = None,
    size: int = 3,
) -> list[Row]:
    """The first `size` methods to try, each with the evidence for it.

    quality: of the new data; variance: its sampling variance; methods: allowed ones (None: all
    that any case knows). A row holds `method`; `expected_shortfall` in points; `support`: in what
    share of resampled evidence (weights over cases drawn anew, Rubin's Bayesian bootstrap, Annals
    of Statistics 1981) this method has the least; `settings`: the configuration that the
    weighted cases vote for; `cases`: the three that weigh most.
    """
    known = list(dict.fromkeys(name for case in cases for name in case.shortfall))
    names = [name for name in known if methods is None or name in methods]
    if not names:
        raise InputError(
            f"no evidence on {some(methods or ())}; methods with evidence: {some(known)}"
        )
    weights = weigh(np.array([case.quality for case in cases]), quality, variance)
    costs = _fill_gaps(cases, names, weights)
    picks = choose(costs, weights[None], min(size, len(names)))[0]
    chance = support_of(costs @ weights, fitted_support())
    heavy = np.argsort(-weights, kind="stable")
    return [
        {
            "method": names[i],
            "expected_shortfall": float(costs[i] @ weights),
            "support": float(chance[i]),
            "settings": vote_settings(cases, weights, names[i]),
            "cases": [_case_row(cases[c], weights[c], names[i]) for c in heavy[:3]],
        }
        for i in picks
    ]


def fit_support(shortfall: np.ndarray, near: np.ndarray) -> np.ndarray:
    """(a, b) of the chance 1 / (1 + exp(-(a - b log(shortfall + 0.3)))), by maximum likelihood.

    shortfall: expected ones in points; near: whether each came within `NEAR` points. A hundredth of
    b squared is taken off the likelihood, which keeps b finite where the two part.
    """
    x = np.stack([np.ones(shortfall.size), -np.log(shortfall.ravel() + _LEAST)], 1)
    found = np.zeros(2)
    for _ in range(50):  # Newton's method; ten steps suffice
        p = 1 / (1 + np.exp(-(x @ found)))
        slope = x.T @ (near.ravel() - p) - [0, 0.02 * found[1]]
        step = np.linalg.solve((x.T * (p * (1 - p))) @ x + np.diag([1e-9, 0.02]), slope)
        found = found + step
        if np.abs(step).max() < 1e-10:
            break
    return found


def support_of(shortfall: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """The chance of coming within `NEAR` points of the best, from the expected shortfall."""
    found: np.ndarray = 1 / (1 + np.exp(-(fitted[0] - fitted[1] * np.log(shortfall + _LEAST))))
    return found


@cache
def fitted_support() -> np.ndarray:
    """Fitted to all published tasks, each with the shortfalls that the others let expect."""
    near = shortfalls(vtab("last").values).T <= NEAR
    costs = shortfalls((vtab("last").values + vtab("best").values) / 2)
    return fit_support(expected_shortfall(costs, np.array(probe_quality())), near)


def expected_shortfall(costs: np.ndarray, qualities: np.ndarray) -> np.ndarray:
    """(tasks, methods): the shortfall that all other tasks let expect of each method on a task."""
    found: np.ndarray = without_own(np.stack([weigh(qualities, q) for q in qualities])) @ costs.T
    return found


def without_own(weights: np.ndarray) -> np.ndarray:
    """The weights (tasks, tasks) without each task's own, summing to 1 again."""
    kept = weights * (1 - np.eye(len(weights)))
    found: np.ndarray = kept / kept.sum(1, keepdims=True)
    return found


def vote_settings(cases: Sequence[Case], weights: np.ndarray, method: str) -> dict[str, Any]:
    """The configuration with the most weight, whole: a learning rate fits its own scale and rank.
    Of equal ones the first seen; empty where no case knows one."""
    polls: dict[str, float] = {}
    settings: dict[str, Mapping[str, Any]] = {}
    for case, weight in zip(cases, weights, strict=True):
        if found := case.settings.get(method):
            key = repr(sorted(found.items()))
            polls[key] = polls.get(key, 0.0) + float(weight)
            settings.setdefault(key, found)
    return dict(settings[max(polls, key=lambda key: polls[key])]) if polls else {}


# -- private ---------------------------------------------------------------------------------------


def _fill_gaps(cases: Sequence[Case], names: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """(methods, cases) of shortfalls; where a case lacks a method, its mean over the others."""
    costs = np.array([[case.shortfall.get(name, np.nan) for case in cases] for name in names])
    there = np.isfinite(costs)
    means = np.where(there, costs, 0.0) @ weights / np.maximum(there @ weights, 1e-12)
    return np.where(there, costs, means[:, None])


def _case_row(case: Case, weight: float, method: str) -> Row:
    return {
        "case": case.name,
        "source": case.source,
        "weight": float(weight),
        "quality": case.quality,
        "shortfall": case.shortfall.get(method),
    }

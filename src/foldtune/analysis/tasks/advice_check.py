"""How good the advice is: leave one task out of the published table, advise, look at the table.

Regret: points between the best of all 16 methods on the left-out task and the suggested one (or
the best of three suggested). The baseline suggests what is best on average over the other tasks.
The rule was made looking at this very table, so three harder figures stand beside it: with the
feature chosen anew on the other 18 tasks each time (`nested`), with the probe measured on few
images (`noisy_probe`), and the share of random reassignments of the feature to tasks that do as
well (`chance`). `edge` says how much of the gain over the baseline rests on one task, and
`calibration` how often what `support` says is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np

from foldtune.analysis.bootstrap import estimate, resamples, with_whole
from foldtune.analysis.tasks.advice import (
    NEAR,
    choose,
    expected_shortfall,
    fit_support,
    shortfalls,
    support_of,
    weigh,
    without_own,
)
from foldtune.analysis.tasks.reference import CLASSES, above_chance, probe_quality, vtab

SIZE = 3
# Accuracies of the probe are taken as if measured on this many held-out images.
NOISE = (200, 1000)
_PERMUTATIONS = 500
BINS = (0.1, 0.2, 0.4, 0.6, 0.8)  # of what support says

Row = dict[str, Any]


def check_advice(epoch: str = "last") -> Row:
    """Mean regrets of one suggestion and of the best of three, with intervals over tasks.

    epoch: the table on which suggestions are judged. `aim`: what the project asked for.
    """
    table = vtab(epoch)
    regret = shortfalls(table.values)
    costs = shortfalls((vtab("last").values + vtab("best").values) / 2)
    tasks = regret.shape[1]
    counts = with_whole(resamples(tasks, 2000))
    quality = np.array(probe_quality())
    advised = _judge(costs, regret, without_own(np.stack([weigh(quality, q) for q in quality])))
    baseline = baseline_regret(table.values)
    permuted = _judge_permuted(costs, regret, quality)
    return {
        "epoch": epoch,
        "tasks": tasks,
        "advice": _means(advised, counts),
        "baseline": _means(baseline, counts),
        "gain": _means(baseline - advised, counts),
        "edge": _edge((baseline - advised)[:, 0], table.tasks),
        "calibration": calibration(),
        "nested": _means(_judge_nested(costs, regret), counts),
        "noisy_probe": {str(n): _noisy(costs, regret, quality, n) for n in NOISE},
        "chance": dict(zip(("one", "three"), _share_as_good(permuted, advised), strict=True)),
        "aim": {"one": 0.9, "three": 0.25},
        "per_task": [
            {"task": task, "one": float(one), "three": float(three)}
            for task, (one, three) in zip(table.tasks, advised, strict=True)
        ],
    }


def baseline_regret(values: np.ndarray) -> np.ndarray:
    """(tasks, 2): regret of the method, and of the best of the three methods, with the highest mean
    accuracy over the other tasks."""
    regret = shortfalls(values)
    tasks = values.shape[1]
    means = (values.sum(1, keepdims=True) - values) / (tasks - 1)
    order = np.argsort(-means, axis=0, kind="stable")[:SIZE]
    found = np.take_along_axis(regret, order, 0)
    return np.stack([found[0], found.min(0)], 1)


def calibration() -> Row:
    """What `support` says on each published task without it, against how often that is true.

    The logistic is fitted anew without the task, on the others' expectations without it. `bins`:
    all methods on all tasks, by what was said; `first`: of the first suggestion alone.
    """
    costs = shortfalls((vtab("last").values + vtab("best").values) / 2)
    near = shortfalls(vtab("last").values).T <= NEAR
    quality = np.array(probe_quality())
    own = expected_shortfall(costs, quality)
    said = np.empty(own.shape)
    for task in range(len(own)):
        kept = np.arange(len(own)) != task
        fitted = fit_support(expected_shortfall(costs[:, kept], quality[kept]), near[kept])
        said[task] = support_of(own[task], fitted)
    first = np.arange(len(own)), own.argmin(1)
    at = np.digitize(said, BINS)
    bins = [
        {"from": low, "to": high, **_said_and_true(said[at == i], near[at == i])}
        for i, (low, high) in enumerate(pairwise((0.0, *BINS, 1.0)))
        if (at == i).any()
    ]
    return {"points": NEAR, "bins": bins, "first": _said_and_true(said[first], near[first])}


# -- private ---------------------------------------------------------------------------------------


def _said_and_true(said: np.ndarray, near: np.ndarray) -> Row:
    return {"said": float(said.mean()), "true": float(near.mean()), "count": said.size}


def _edge(gain: np.ndarray, tasks: Sequence[str]) -> Row:
    """How much of the mean gain over the baseline rests on single tasks: without the one that gives
    most, and how many tasks give any or cost any."""
    most = int(gain.argmax())
    return {
        "gain": float(gain.mean()),
        "without_one": float(np.delete(gain, most).mean()),
        "task": tasks[most],
        "wins": int((gain > 0).sum()),
        "losses": int((gain < 0).sum()),
    }


def _judge(costs: np.ndarray, regret: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(targets, 2): what is lost with the first suggestion, and with the best of three."""
    picks = choose(costs, weights, SIZE)
    found = np.take_along_axis(regret.T, picks, 1)
    return np.stack([found[:, 0], found.min(1)], 1)


def _means(regrets: np.ndarray, counts: np.ndarray) -> Row:
    drawn = (counts @ regrets) / counts.sum(1, keepdims=True)
    return {name: estimate(drawn[0, i], drawn[1:, i]) for i, name in enumerate(("one", "three"))}


def _judge_nested(costs: np.ndarray, regret: np.ndarray) -> np.ndarray:
    """(tasks, 2): each task with the features that are best among the others, left out in turn."""
    every = [_distances(columns) for columns in feature_sets()]
    outer = np.stack([_judge(costs, regret, without_own(w)) for w in every])  # sets tasks 2
    chosen = np.empty(outer.shape[1:])
    for task in range(outer.shape[1]):
        kept = np.arange(outer.shape[1]) != task
        inner = [
            _judge(costs[:, kept], regret[:, kept], without_own(w[np.ix_(kept, kept)])).mean(0)
            for w in every
        ]
        best = np.argmin(inner, axis=0)
        chosen[task] = outer[best, task, [0, 1]]
    return chosen


def feature_sets() -> list[np.ndarray]:
    """Every set of features that was tried: (tasks, features) each, scaled to a spread of 1.

    VTAB's group; the logarithm of the number of classes; the probe's accuracy, not at all, as its
    log-odds, or above chance.
    """
    table = vtab()
    group = np.array([[2.0**0.5 * (g == name) for name in table.group_names] for g in table.groups])
    classes = np.log2(list(CLASSES.values()))
    linear = table.values[table.methods.index("LinearProbe")] / 100
    probes = (None, np.log(linear / (1 - linear)), np.array(probe_quality()))
    sets = []
    for with_group, with_classes, probe in product((False, True), (False, True), probes):
        columns = [group] if with_group else []
        columns += [(classes / classes.std())[:, None]] if with_classes else []
        columns += [] if probe is None else [(probe / probe.std())[:, None]]
        empty = np.zeros((len(group), 1))
        sets.append(np.concatenate(columns, 1) if columns else empty)
    return sets


def _distances(columns: np.ndarray) -> np.ndarray:
    """(tasks, tasks) of inverse squared distances, as `weigh` has them."""
    square = ((columns[:, None] - columns[None]) ** 2).sum(-1)
    found: np.ndarray = 1 / (square + 1e-6)
    return found


def _noisy(costs: np.ndarray, regret: np.ndarray, quality: np.ndarray, images: int) -> Row:
    """Mean regrets over 200 draws of the left-out task's probe accuracy on that many images."""
    rng = np.random.default_rng(0)
    classes = np.array(list(CLASSES.values()))
    accuracy = quality * (1 - 1 / classes) + 1 / classes
    found = []
    for _ in range(200):
        seen = rng.binomial(images, accuracy) / images
        variance = seen * (1 - seen) / images / (1 - 1 / classes) ** 2
        measured = [above_chance(a, int(k)) for a, k in zip(seen, classes, strict=True)]
        weights = [weigh(quality, q, v) for q, v in zip(measured, variance, strict=True)]
        found.append(_judge(costs, regret, without_own(np.stack(weights))).mean(0))
    one, three = np.mean(found, axis=0)
    return {"one": float(one), "three": float(three)}


def _judge_permuted(costs: np.ndarray, regret: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """(permutations, 2) of mean regrets with the feature handed to the wrong tasks."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(_PERMUTATIONS):
        mixed = rng.permutation(quality)
        weights = without_own(np.stack([weigh(mixed, q) for q in mixed]))
        found.append(_judge(costs, regret, weights).mean(0))
    return np.stack(found)


def _share_as_good(permuted: np.ndarray, advised: np.ndarray) -> list[float]:
    as_good = (permuted <= advised.mean(0) + 1e-9).sum(0)
    return [(int(n) + 1) / (len(permuted) + 1) for n in as_good]

"""How far the advice's figures on the published table come from having chosen its rule there.

Many rules (features, kernel, its width, costs, evidence) are judged by leaving one task out; then
the whole choice among them is repeated inside, on the other 18 tasks, for each task. One JSON line
a figure: mean regret in points with one suggestion and with the best of three.

    python benchmarks/advice_search.py
"""

import json
from itertools import product

import numpy as np
from scipy.stats import rankdata

from foldtune.analysis.tasks.advice import choose, shortfalls, without_own
from foldtune.analysis.tasks.advice_check import baseline_regret, feature_sets
from foldtune.analysis.tasks.reference import vtab

# The sets of features, in the order of `feature_sets`.
NAMES = [
    " + ".join(filter(None, parts)) or "nothing"
    for parts in product(
        ("", "group"), ("", "classes"), ("", "probe's log-odds", "probe above chance")
    )
]
EPOCHS = {"last": ("last",), "last and best": ("last", "best")}


def kernels(columns: np.ndarray) -> list[np.ndarray]:
    square = ((columns[:, None] - columns[None]) ** 2).sum(-1)
    if not square.any():
        return [np.ones_like(square)]
    shapes = [1 / (square + 1e-6), 1 / (square**0.5 + 1e-3)]
    shapes += [np.exp(-square / (2 * width**2)) + 1e-12 for width in (0.35, 0.5, 0.7, 1.0)]
    shares = (0.0, 0.2, 0.5)  # of the weight that all tasks get alike
    even = without_own(np.ones_like(square))
    return [(1 - s) * without_own(k) + s * even for k, s in product(shapes, shares)]


def costs(epochs: tuple[str, ...]) -> list[np.ndarray]:
    values = np.mean([vtab(epoch).values for epoch in epochs], axis=0)
    short = shortfalls(values)
    return [short, np.minimum(short, 5.0), rankdata(-values, axis=0)]


def judge(cost: np.ndarray, regret: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(tasks, 3): one suggestion, the best of a grown set of three, the best of the first three."""
    weights = without_own(weights)
    grown = np.take_along_axis(regret.T, choose(cost, weights, 3), 1)
    first = np.argsort(weights @ cost.T, axis=1, kind="stable")[:, :3]
    listed = np.take_along_axis(regret.T, first, 1)
    return np.stack([grown[:, 0], grown.min(1), listed.min(1)], 1)


def main() -> None:
    rules = [
        (cost, kernel)
        for epochs in EPOCHS.values()
        for cost in costs(epochs)
        for columns in feature_sets()
        for kernel in kernels(columns)
    ]
    for epoch in ("last", "best"):
        regret = shortfalls(vtab(epoch).values)
        outer = np.stack([judge(cost, regret, kernel) for cost, kernel in rules])
        chosen = []
        for task in range(regret.shape[1]):
            kept = np.delete(np.arange(regret.shape[1]), task)
            inner = np.stack([
                judge(cost[:, kept], regret[:, kept], kernel[np.ix_(kept, kept)]).mean(0)
                for cost, kernel in rules
            ])  # fmt: skip
            three = np.concatenate([inner[:, 1], inner[:, 2]]).argmin()
            both = np.concatenate([outer[:, task, 1], outer[:, task, 2]])
            chosen.append((outer[inner[:, 0].argmin(), task, 0], both[three]))
        means = outer.mean(1)
        figures = {
            "baseline": baseline_regret(vtab(epoch).values).mean(0),
            "best of all rules, chosen on the same tasks": means.min(0)[:2],
            "median of all rules": np.median(means, axis=0)[:2],
            "rule chosen without the left-out task": np.mean(chosen, axis=0),
        }
        for name, found in figures.items():
            one, three = (round(float(x), 3) for x in found)
            print(json.dumps({"figure": f"regret, {epoch} epoch: {name}", "rules": len(rules),
                              "one": one, "three": three}))  # fmt: skip
        cost = costs(EPOCHS["last and best"])[0]
        for name, columns in zip(NAMES, feature_sets(), strict=True):
            one, three, _ = judge(cost, regret, kernels(columns)[0]).mean(0).round(3).tolist()
            print(json.dumps({"figure": f"regret, {epoch} epoch, knowing {name}",
                              "one": one, "three": three}))  # fmt: skip


if __name__ == "__main__":
    main()

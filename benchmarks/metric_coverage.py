"""Intervals of metrics that are no means over images: how often they hold what is true.

    python benchmarks/metric_coverage.py [--repeats 200] [--images 200] [--seeds 3]

A made-up world of known truth: four classes of unlike size, three methods of which none is better,
whose logits share each image's difficulty and vary by seed. The truth of a metric is the mean of
300 runs on 4,000 images. One JSON line a metric: the share of repeats in which the interval of a
method holds the truth (95 % is wanted), and in which some pair is called apart (5 % at most).
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from foldtune.analysis.decision import decide
from foldtune.tasks.influence import influence
from foldtune.tasks.kinds import SingleLabel
from foldtune.tasks.metrics import Judged, score_of

METRICS = ("balanced_accuracy", "macro_f1", "kappa", "auroc", "map")
SHARES = (0.5, 0.3, 0.15, 0.05)
METHODS = 3


def main() -> None:
    """Simulate and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--repeats", type=int, default=200)
    options.add_argument("--images", type=int, default=200)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--noise", type=float, default=0.15, help="of a seed's logits")
    asked = options.parse_args()
    draw = np.random.default_rng(0)
    # Seeds are what varies most, so many of them, and of all methods, which are alike.
    whole = [one for group in world(draw, 4000, 100, asked.noise) for one in group]
    truth = {name: float(np.mean([score_of(name, one) for one in whole])) for name in METRICS}
    held = dict.fromkeys(METRICS, 0)
    apart = dict.fromkeys(METRICS, 0)
    for _ in range(asked.repeats):
        runs = world(draw, asked.images, asked.seeds, asked.noise)
        for name in METRICS:
            rows = {
                str(m): np.stack([influence(name, one) for one in group])
                for m, group in enumerate(runs)
            }
            found = decide(rows, proportions=False)
            bounds = zip(found.low, found.high, strict=True)
            held[name] += sum(low <= truth[name] <= high for low, high in bounds)
            apart[name] += any(pair.apart for pair in found.pairs)
    for name in METRICS:
        print(json.dumps({
            "metric": name, "truth": round(truth[name], 4), "images": asked.images,
            "seeds": asked.seeds, "covered": round(held[name] / asked.repeats / METHODS, 4),
            "called_apart": round(apart[name] / asked.repeats, 4), "repeats": asked.repeats,
        }))  # fmt: skip


def world(draw: np.random.Generator, images: int, seeds: int, noise: float) -> list[list[Judged]]:
    """Of each method the runs of its seeds on the same images."""
    labels = draw.choice(len(SHARES), images, p=SHARES)
    labels[: len(SHARES)] = np.arange(len(SHARES))  # of every class one at least
    shared = draw.normal(size=(images, len(SHARES)))
    found = []
    for _ in range(METHODS):
        own = draw.normal(size=shared.shape)
        group = []
        for _ in range(seeds):
            single = draw.normal(size=shared.shape)
            tilt = noise * draw.normal(size=(1, len(SHARES)))
            logits = 0.9 * shared + 0.35 * own + 0.25 * single + tilt
            logits[np.arange(images), labels] += 1.3 + noise * draw.normal()
            group.append(Judged(SingleLabel(), logits, labels))
        found.append(group)
    return found


if __name__ == "__main__":
    main()

"""A made-up panel whose methods share part of their mistakes."""

import numpy as np

from foldtune.analysis.panel import Member, Panel


def made(methods=3, seeds=2, images=200, classes=4, own=1.0, noise=0.3, seed=0):
    """own: how far methods are apart; noise: how far seeds of one method are."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    shared = rng.normal(size=(images, classes))
    shared[np.arange(images), labels] += 1.5
    runs = {}
    for name in "ABCDEFGH"[:methods]:
        its = shared + own * rng.normal(size=shared.shape)
        runs[name] = [
            Member(name, s, (its + noise * rng.normal(size=shared.shape)).astype(np.float32))
            for s in range(seeds)
        ]
    return Panel(labels, runs)


def of_predictions(labels, **predicted):
    """A panel with these predictions; each method's is a list of seeds."""
    labels = np.array(labels)
    classes = 1 + max(labels.max(), *(np.max(p) for p in predicted.values()))
    return Panel(
        labels,
        {
            name: [Member(name, s, 5 * np.eye(classes, dtype=np.float32)[p]) for s, p in
                   enumerate(np.atleast_2d(found))]
            for name, found in predicted.items()
        },
    )  # fmt: skip

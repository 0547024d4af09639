"""Several tunings of one backbone as one classifier: how much better, and at what cost.

Three rules: the mean of logits, the mean of probabilities, and the majority vote, where tied
classes are separated by their mean probability (then the first class). Two to choose members
without the test split: the best k on validation, and greedy forward selection with replacement
(Caruana et al., ICML 2004). The control is the same method with other seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foldtune.analysis.decision import decide
from foldtune.analysis.intervals import paired_gain
from foldtune.analysis.panel import Member, Panel
from foldtune.errors import unknown_name

RULES = ("logits", "probabilities", "vote")
Row = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """Which members and how often each counts. weights: by method; from: what chose them."""

    name: str
    weights: Mapping[str, int]
    chosen_by: str


def combine(members: Sequence[Member], rule: str, weights: Sequence[int] | None = None) -> Any:
    """Scores (images, classes) whose largest is the ensemble's class.

    They are the weighted mean of logits; of probabilities; or the share of votes, to which half
    the mean probability of a single vote's worth is added, which decides ties and nothing else.
    """
    if rule not in RULES:
        raise unknown_name("rule of an ensemble", rule, RULES)
    weights = [1] * len(members) if weights is None else list(weights)
    scores = np.zeros(members[0].logits.shape, np.float32)
    for member, weight in zip(members, weights, strict=True):
        scores += weight * (member.logits if rule == "logits" else member.probabilities)
    scores /= sum(weights)
    if rule == "vote":
        scores /= 2
        rows = np.arange(len(scores))
        for member, weight in zip(members, weights, strict=True):
            scores[rows, member.predictions] += weight
        scores /= sum(weights)
    return scores


def greedy(
    probabilities: Mapping[str, np.ndarray], labels: np.ndarray, rounds: int = 25
) -> dict[str, int]:
    """How often each member counts in the mean of probabilities that is best on validation.

    probabilities: each member's (images, classes) on validation. Starts from the best member; each
    round adds the one, again or new, that gives the best accuracy (ties: the lower mean -log p of
    the label, then the earlier name); of all rounds the first best one is kept. Differs from the
    paper: no bagging, and the start is one member.
    """
    total: np.ndarray | float = 0.0
    probabilities = {name: np.asarray(found, float) for name, found in probabilities.items()}
    taken: list[str] = []
    best: tuple[tuple[float, float], int] | None = None
    for size in range(1, rounds + 1):
        scored = [
            (_order_key((total + found) / size, labels), name)
            for name, found in probabilities.items()
        ]
        judged, name = min(scored, key=lambda pair: pair[0])
        taken.append(name)
        total = total + probabilities[name]
        if best is None or judged < best[0]:
            best = (judged, size)
    kept = taken[: best[1]] if best else []
    return {name: kept.count(name) for name in probabilities if name in kept}


def ensembles(
    panel: Panel,
    choices: Sequence[Choice],
    winner: str | None = None,
    groups: np.ndarray | None = None,
) -> list[Row]:
    """For each choice of methods and each rule its accuracy, gains and cost.

    Each seed makes one ensemble, of every member's final run with that seed; figures are means
    over the seeds that all have. `gain` is over the method that validation chose (`winner`), with
    the same seed, and holds that choice fixed; None where there is no winner. `gain_over_mean` is
    over the members' mean. Intervals cover new images and, with two or more seeds, new seeds
    (`paired_gain`). `passes`: forward passes an image; `trainable`: parameters to keep beside the
    backbone, without classifiers. After the choices come the controls: each method's own seeds
    (`control` True), which are one ensemble, so that their intervals hold its seeds.
    """
    rows = []
    for choice in choices:
        runs = [panel.runs[name] for name in choice.weights]
        weights = list(choice.weights.values())
        per_seed = list(zip(*runs, strict=False))
        members = np.stack([panel.right[name][: len(per_seed)] for name in choice.weights]).mean(0)
        for rule in RULES:
            right = [combine(m, rule, weights).argmax(1) == panel.labels for m in per_seed]
            found = _figures(panel, np.stack(right), members, winner, groups)
            size = sum(group[0].trainable for group in runs)
            rows.append(_row(choice, rule, len(choice.weights), size) | found)
    for name, group in panel.runs.items():
        if len(group) < 2:
            continue
        choice = Choice(f"{name}, {len(group)} seeds", {name: len(group)}, "control")
        for rule in RULES:
            one = combine(group, rule).argmax(1) == panel.labels
            found = _figures(panel, one[None], panel.right[name].mean(0)[None], winner, groups)
            size = sum(member.trainable for member in group)
            rows.append(_row(choice, rule, len(group), size) | found | {"control": True})
    return rows


def best_k(order: Sequence[str], k: int) -> Choice:
    """The first k of methods that are ordered by validation accuracy."""
    return Choice(f"best {k} on validation", dict.fromkeys(order[:k], 1), "validation accuracy")


# -- private ---------------------------------------------------------------------------------------


def _order_key(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Smaller is better: minus accuracy, then the mean of -log p(label).

    To nine digits: the same member n times over is no better for the last bits of its sum.
    """
    accuracy = float((probabilities.argmax(1) == labels).mean())
    at_label = probabilities[np.arange(len(labels)), labels]
    return -accuracy, round(float(-np.log(np.maximum(at_label, 1e-12)).mean()), 9)


def _figures(
    panel: Panel,
    right: np.ndarray,
    members: np.ndarray,
    winner: str | None,
    groups: np.ndarray | None,
) -> Row:
    """Accuracy and gains of an ensemble. right, members: (seeds, images), of the ensemble and of
    the mean over its members."""
    judged = decide({"": right}, groups)
    gain = None
    if winner is not None:
        own = panel.right[winner]
        # A control has one row, which stands against every seed of the winner.
        seeds = len(own) if len(right) == 1 else min(len(own), len(right))
        both = np.broadcast_to(right, (seeds, right.shape[1])) if len(right) == 1 else right[:seeds]
        gain = paired_gain(both, own[:seeds], groups)
    return {
        "accuracy": {"value": judged.accuracy[0], "low": judged.low[0], "high": judged.high[0]},
        "gain": gain,
        "gain_over_mean": paired_gain(right, members, groups),
        "seeds": len(right),
    }


def _row(choice: Choice, rule: str, passes: int, trainable: int) -> Row:
    return {
        "ensemble": choice.name,
        "rule": rule,
        "members": dict(choice.weights),
        "chosen_by": choice.chosen_by,
        "control": False,
        "passes": passes,
        "trainable": trainable,
    }

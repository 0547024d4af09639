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

from foldtune.analysis.bootstrap import estimate, with_whole
from foldtune.analysis.panel import Member, Panel
from foldtune.errors import unknown

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
        raise unknown("rule of an ensemble", rule, RULES)
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
    taken: list[str] = []
    best: tuple[tuple[float, float], int] | None = None
    for size in range(1, rounds + 1):
        scored = [
            (_judged((total + found) / size, labels), name) for name, found in probabilities.items()
        ]
        judged, name = min(scored, key=lambda pair: pair[0])
        taken.append(name)
        total = total + probabilities[name]
        if best is None or judged < best[0]:
            best = (judged, size)
    kept = taken[: best[1]] if best else []
    return {name: kept.count(name) for name in probabilities if name in kept}


def ensembles(panel: Panel, choices: Sequence[Choice], counts: np.ndarray) -> list[Row]:
    """For each choice of methods and each rule its accuracy, gains and cost.

    Each seed makes one ensemble, of every member's final run with that seed; figures are means
    over the seeds that all members have. `gain_over_best` is over the member with the best test
    accuracy, which nobody can know beforehand, so it is cautious; `gain_over_mean` is over the
    members' mean. Intervals are over images, paired. `passes`: forward passes an image;
    `trainable`: parameters to keep beside the backbone, without classifiers. After the choices
    come the controls: each method's own seeds (`control` True).
    """
    draws = with_whole(counts)
    rows = []
    for choice in choices:
        groups = [panel.runs[name] for name in choice.weights]
        weights = list(choice.weights.values())
        per_seed = list(zip(*groups, strict=False))
        members = np.stack([panel.share_right[panel.names.index(n)] for n in choice.weights])
        for rule in RULES:
            right = [combine(m, rule, weights).argmax(1) == panel.labels for m in per_seed]
            rows.append(_row(choice, rule, np.mean(right, axis=0), members, draws, len(per_seed)))
            rows[-1]["trainable"] = sum(group[0].trainable for group in groups)
    for name, group in panel.runs.items():
        if len(group) < 2:
            continue
        choice = Choice(f"{name}, {len(group)} seeds", {name: len(group)}, "control")
        for rule in RULES:
            right_one = combine(group, rule).argmax(1) == panel.labels
            rows.append(_row(choice, rule, right_one, panel.right[name], draws, 1))
            rows[-1] |= {"control": True, "passes": len(group)}
            rows[-1]["trainable"] = sum(member.trainable for member in group)
    return rows


def best_k(order: Sequence[str], k: int) -> Choice:
    """The first k of methods that are ordered by validation accuracy."""
    return Choice(f"best {k} on validation", dict.fromkeys(order[:k], 1), "validation accuracy")


# -- private ---------------------------------------------------------------------------------------


def _judged(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Smaller is better: minus accuracy, then the mean of -log p(label)."""
    accuracy = float((probabilities.argmax(1) == labels).mean())
    at_label = probabilities[np.arange(len(labels)), labels]
    return -accuracy, float(-np.log(np.maximum(at_label, 1e-12)).mean())


def _row(
    choice: Choice,
    rule: str,
    right: np.ndarray,
    members: np.ndarray,
    draws: np.ndarray,
    seeds: int,
) -> Row:
    best = members[members.mean(1).argmax()]
    looked = np.stack([right, right - 1.0 * best, right - members.mean(0)]).astype(np.float32)
    found = (looked @ draws.T) / draws.sum(1)
    return {
        "ensemble": choice.name,
        "rule": rule,
        "members": dict(choice.weights),
        "chosen_by": choice.chosen_by,
        "control": False,
        "accuracy": estimate(found[0, 0], found[0, 1:]),
        "gain_over_best": estimate(found[1, 0], found[1, 1:]),
        "gain_over_mean": estimate(found[2, 0], found[2, 1:]),
        "passes": len(choice.weights),
        "seeds": seeds,
    }
